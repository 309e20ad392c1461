"""Strided 1x1 convolutions with few input channels, computed without a fault of oneDNN on the CPU.

The gradient of such weights, with channels last in memory, writes behind its buffer: wrong numbers, a process that
hangs, or a segmentation fault (oneDNN 3.12, issue 6035, with fewer input channels than a block: 16 with AVX-512, 8 with
AVX2). The shortcuts of small ResNets have this shape. A convolution of every second pixel is the same function.
"""

import torch
from torch import Tensor, nn

BLOCK_CHANNELS = 16
"""Input channels from which no block of oneDNN is partly filled."""


class SubsampledConv2d(nn.Conv2d):
    """Strided 1x1 convolution that takes the pixels of its stride, then convolves them without a stride."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of (B, C, H, W)."""
        if input.device.type == "cuda":
            strided: Tensor = super()._conv_forward(input, weight, bias)
            return strided
        rows, columns = self.stride
        pixels = input[..., ::rows, ::columns]
        return torch.nn.functional.conv2d(pixels, weight, bias, groups=self.groups)


def subsample_strided_convolutions(model: nn.Module) -> nn.Module:
    """Give each affected convolution of a model the class above, in place; weights and their names stay. Return it."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_affected(module):
            module.__class__ = SubsampledConv2d
    return model


def _is_affected(convolution: nn.Conv2d) -> bool:
    is_strided_1x1 = convolution.kernel_size == (1, 1) and max(convolution.stride) > 1
    return is_strided_1x1 and convolution.padding == (0, 0) and convolution.in_channels < BLOCK_CHANNELS
