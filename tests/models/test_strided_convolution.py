"""Strided 1x1 convolutions with few channels: the same function as before, and no fault of oneDNN in their gradient."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lkca_search.models.networks.strided_convolution import SubsampledConv2d, subsample_strided_convolutions
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


def test_every_model_is_built_without_affected_convolutions() -> None:
    model = build_model(Configuration(family="resnet", depth=1, width=16), ImageShape(32, 32, 3), 10)
    changed = [name for name, module in model.named_modules() if isinstance(module, SubsampledConv2d)]
    assert len(changed) == 2, "the shortcuts of the second and third stage"
