"""Operations without a deterministic implementation on CUDA: found on the meta device, and absent from all families."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.determinism import find_operations, nondeterministic_operations
from lkca_search.models.registry import FAMILIES, PRESETS
from lkca_search.spec.configuration import Configuration, ImageShape

SHAPE = ImageShape(32, 32, 3)


@pytest.mark.parametrize("family", [*FAMILIES, *PRESETS])
def test_a_training_step_of_every_family_is_deterministic_on_cuda(family: str) -> None:
    assert nondeterministic_operations(Configuration(family=family), SHAPE, 10) == ()


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
@pytest.mark.parametrize("family", ["vit", "timm_vit"])
def test_every_pooling_is_deterministic_on_cuda(family: str, pooling: str) -> None:
    configuration = Configuration.model_validate({"family": family, "pooling": pooling})
    assert nondeterministic_operations(configuration, SHAPE, 10) == ()


class With(nn.Module):
    """Classifier with one more operation on its features (B, 4, 8, 8)."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.operation = operation
        self.head = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.operation(self.stem(images)).flatten(2).mean(2)
        return self.head(features)  # type: ignore[no-any-return]


def sampled(x: Tensor) -> Tensor:
    return F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)


OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "none": (nn.Identity(), ()),
    "mean by adaptive pooling": (nn.AdaptiveAvgPool2d(1), ()),
    "max pooling": (nn.MaxPool2d(2), ()),
    "average pooling": (nn.AvgPool2d(2), ()),
    "nearest": (nn.Upsample(scale_factor=2), ()),
    "replication": (nn.ReplicationPad2d(1), ()),
    "cumsum": (lambda x: x.cumsum(-1), ()),
    "FFT": (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), ()),
    "index": (lambda x: x[:, :, torch.tensor([0, 0, 1])], ()),
    "sum of scattered": (lambda x: x.scatter_reduce(3, torch.zeros_like(x).long(), x, "sum"), ()),
    "adaptive pooling": (nn.AdaptiveAvgPool2d(3), ("backward of AdaptiveAvgPool2d, except to 1x1",)),
    "adaptive max pooling": (nn.AdaptiveMaxPool2d(3), ("backward of AdaptiveMaxPool2d",)),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), ()),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), ("backward of interpolate, bicubic",)),
    "reflection": (nn.ReflectionPad2d(1), ("backward of ReflectionPad2d",)),
    "sampling": (sampled, ("backward of grid_sample",)),
    "median": (lambda x: x.median(-1).values, ("median with indices",)),
    "product of scattered": (
        lambda x: x.scatter_reduce(3, torch.zeros_like(x).long(), x, "prod"),
        ("scatter_reduce with prod",),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_without_a_deterministic_implementation_is_found_forward_and_backward(name: str) -> None:
    operation, expected = OPERATIONS[name]
    assert find_operations(lambda: With(operation), SHAPE, 10) == expected


def test_the_pooling_of_a_timm_model_is_found() -> None:
    configuration = Configuration(family="timm:pvt_v2_b2_li")
    expected = ("backward of AdaptiveAvgPool2d, except to 1x1",)
    assert nondeterministic_operations(configuration, SHAPE, 10) == expected
