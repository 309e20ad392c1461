"""Strided 1x1 convolutions with few input channels, computed without a fault of oneDNN on the CPU.

The gradient of such weights, with channels last in memory, writes behind its buffer: wrong numbers, a process that
hangs, or a segmentation fault (oneDNN 3.12, issue 6035, with fewer input channels than a block: 16 with AVX-512, 8 with
AVX2). The shortcuts of small ResNets have this shape. A convolution of every second pixel is the same function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

BLOCK_CHANNELS = 16
"""Input channels from which no block of oneDNN is partly filled."""
_NO_PADDING = (0, (0,), (0, 0), "valid")


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


class SubsampledKind(nn.Conv2d):
    """Base of the classes that replace a subclass of Conv2d, such as timm's or your own.

    Its forward pass may do anything before it convolves, so the convolutions in it are replaced, not their input.
    """

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the output of the replaced class."""
        with _Subsampling():
            return super().forward(*inputs, **options)


_kinds: dict[type[nn.Conv2d], type[nn.Conv2d]] = {nn.Conv2d: SubsampledConv2d}


class _Subsampling(TorchFunctionMode):
    """Context in which affected calls of `conv2d` take the pixels of their stride first."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (_conv2d if func is torch.conv2d else func)(*args, **(kwargs or {}))


def subsample_strided_convolutions(model: nn.Module) -> nn.Module:
    """Give each affected convolution of a model another class, in place; weights and their names stay. Return it."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_affected(module):
            module.__class__ = _subsampled(type(module))
    return model


def _is_affected(convolution: nn.Conv2d) -> bool:
    is_strided_1x1 = convolution.kernel_size == (1, 1) and max(convolution.stride) > 1
    is_padded = type(convolution) is nn.Conv2d and convolution.padding not in _NO_PADDING
    return is_strided_1x1 and not is_padded and convolution.in_channels < BLOCK_CHANNELS


def _subsampled(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    if issubclass(kind, SubsampledConv2d | SubsampledKind):
        return kind
    if kind not in _kinds:
        _kinds[kind] = type(f"Subsampled{kind.__name__}", (SubsampledKind, kind), {"__module__": kind.__module__})
    return _kinds[kind]


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution of (B, C, H, W) as `torch.conv2d` does."""
    rows, columns = (stride, stride) if isinstance(stride, int) else (stride[0], stride[-1])
    has_padding = (padding if isinstance(padding, int | str) else tuple(padding)) not in _NO_PADDING
    is_affected = weight.shape[2:] == (1, 1) and max(rows, columns) > 1 and weight.shape[1] * groups < BLOCK_CHANNELS
    if is_affected and not has_padding and input.device.type != "cuda":
        return torch.conv2d(input[..., ::rows, ::columns], weight, bias, groups=groups)
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
