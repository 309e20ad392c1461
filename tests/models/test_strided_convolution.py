"""Strided 1x1 convolutions with few channels: the same function as before, and no fault of oneDNN in their gradient."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lkca_search.models.networks.strided_convolution import (
    SubsampledConv2d,
    SubsampledKind,
    subsample_strided_convolutions,
)
from lkca_search.models.registry import build_model
from lkca_search.spec.configuration import Configuration, ImageShape

STEP = """
import torch
from lkca_search.models.registry import build_model
from lkca_search.spec.configuration import Configuration, ImageShape

torch.set_num_threads(1)
configuration = Configuration(family="resnet", depth=2, width=31)
model = build_model(configuration, ImageShape(64, 64, 3), 200)
images = torch.randn(64, 64, 64, 3).permute(0, 3, 1, 2)
model(images).logsumexp(1).mean().backward()
"""
"""Training step of the ResNet whose gradient was a segmentation fault."""


def test_a_small_resnet_on_large_images_trains_a_step() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("in_channels", "stride", "size"), [(4, 2, 8), (7, 2, 9), (15, (2, 1), 6), (3, 3, 7)])
def test_output_and_gradients_are_those_of_a_strided_convolution(
    in_channels: int, stride: int | tuple[int, int], size: int
) -> None:
    strided = nn.Conv2d(in_channels, 12, 1, stride=stride).double()
    images = torch.randn(3, in_channels, size, size, dtype=torch.float64, requires_grad=True)
    expected = strided(images)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    gradients = [each.grad.clone() for each in (images, *strided.parameters()) if each.grad is not None]
    images.grad = None
    strided.zero_grad()
    (changed,) = subsample_strided_convolutions(nn.Sequential(strided))
    assert isinstance(changed, SubsampledConv2d)
    output = changed(images)
    (output * weights).sum().backward()
    torch.testing.assert_close(output, expected)
    for gradient, parameter in zip(gradients, (images, *strided.parameters()), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("options", [{"in_channels": 16}, {"stride": 1}, {"kernel_size": 3}, {"padding": 1}])
def test_other_convolutions_stay_as_they_are(options: dict[str, int]) -> None:
    convolution = nn.Conv2d(**{"in_channels": 8, "out_channels": 8, "kernel_size": 1, "stride": 2, **options})
    assert type(subsample_strided_convolutions(convolution)) is nn.Conv2d


class Standardized(nn.Conv2d):
    """Convolution of normalized weights, which calls torch's function itself."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean()
        return torch.nn.functional.conv2d(input, weight, self.bias, self.stride, self.padding)


class Shifted(nn.Conv2d):
    """Convolution of a padded map: the pixels of its stride are other ones than those of its input."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(torch.nn.functional.pad(input, (1, 0, 1, 0)))


class Scaled(nn.Conv2d):
    """Convolution with another inner function, and an argument of its own."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, 3 * weight, bias)


@pytest.mark.parametrize("kind", [Standardized, Shifted, Scaled, Conv2dSame, StdConv2d, StdConv2dSame])
@pytest.mark.parametrize("size", [8, 7])
def test_a_subclass_computes_its_own_function_without_a_strided_convolution(kind: type[nn.Conv2d], size: int) -> None:
    plain = kind(5, 12, 1, stride=2)
    images = torch.randn(3, 5, size, size).requires_grad_()
    expected = plain(images)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    gradients = [each.grad.clone() for each in (images, *plain.parameters()) if each.grad is not None]
    images.grad = None
    changed = subsample_strided_convolutions(copy.deepcopy(plain).requires_grad_())
    changed.zero_grad()
    assert isinstance(changed, kind)
    assert isinstance(subsample_strided_convolutions(changed), SubsampledKind), "a second call changes nothing"
    assert changed.state_dict().keys() == plain.state_dict().keys()
    with RecordedConvolutions() as recorded:
        output = copy.deepcopy(changed)(images)  # as the averaged weights of a training
        output = changed(images)
    assert recorded.strides == {(1, 1)}
    (output * weights).sum().backward()
    torch.testing.assert_close(output, expected)
    for gradient, tensor in zip(gradients, (images, *changed.parameters()), strict=True):
        torch.testing.assert_close(tensor.grad, gradient)


class RecordedConvolutions(TorchDispatchMode):
    """Context that collects the strides of all convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.strides: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.strides.add(tuple(args[3]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [{"in_channels": 16}, {"stride": 1}, {"kernel_size": 3}])
def test_other_convolutions_of_a_subclass_stay_as_they_are(options: dict[str, int]) -> None:
    convolution = Scaled(**{"in_channels": 8, "out_channels": 8, "kernel_size": 1, "stride": 2, **options})
    assert type(subsample_strided_convolutions(convolution)) is Scaled


def test_a_subclass_that_pads_in_its_convolution_is_strided_as_before() -> None:
    plain = Scaled(8, 8, 1, stride=2, padding=1)
    images = torch.randn(2, 8, 6, 6)
    expected = plain(images)
    assert torch.equal(subsample_strided_convolutions(plain)(images), expected)


def test_every_model_is_built_without_affected_convolutions() -> None:
    model = build_model(Configuration(family="resnet", depth=1, width=16), ImageShape(32, 32, 3), 10)
    changed = [name for name, module in model.named_modules() if isinstance(module, SubsampledConv2d)]
    assert len(changed) == 2, "the shortcuts of the second and third stage"
