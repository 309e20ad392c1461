"""ResNet for small images (He et al., arXiv 1512.03385, section 4.2), for any width and residual block."""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil

from torch import nn

from lkca_search.spec.configuration import ImageShape

MakeBlock = Callable[[int, int, int, float], nn.Module]
"""Function (in channels, out channels, stride, drop-path rate) -> residual block."""


def resnet(
    shape: ImageShape,
    num_classes: int,
    *,
    make_block: MakeBlock,
    width: int,
    depth: int,
    drop_path_rate: float,
    dropout: float = 0.0,
) -> nn.Module:
    """Return a network: 3x3 stem at full resolution, three stages of `depth` blocks, mean over space, Linear.

    The stages have width / 4, width / 2 (both rounded up) and width channels. The second and third stage halve the
    resolution. The drop-path rate rises linearly from 0 to `drop_path_rate`. Dropout acts on the inputs of the Linear.
    Convolutions are initialized by fan-out (arXiv 1502.01852). The network maps (B, channels, height, width) -> logits
    (B, num_classes).
    """
    channels = (ceil(width / 4), ceil(width / 2), width)
    layers: list[tuple[str, nn.Module]] = [
        ("stem", nn.Conv2d(shape.channels, channels[0], 3, padding=1, bias=False)),
        ("norm", nn.BatchNorm2d(channels[0])),
        ("act", nn.ReLU()),
    ]
    in_channels = channels[0]
    for stage, out_channels in enumerate(channels):
        blocks = []
        for index in range(stage * depth, (stage + 1) * depth):
            stride = 2 if stage > 0 and index == stage * depth else 1
            blocks.append(make_block(in_channels, out_channels, stride, drop_path_rate * index / (3 * depth - 1)))
            in_channels = out_channels
        layers.append((f"stage{stage + 1}", nn.Sequential(*blocks)))
    layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("dropout", nn.Dropout(dropout))]
    layers.append(("head", nn.Linear(width, num_classes)))
    model = nn.Sequential(OrderedDict(layers))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
