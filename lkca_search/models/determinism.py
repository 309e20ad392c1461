"""Operations of a model that have no deterministic implementation on CUDA, found without a GPU.

With `torch.use_deterministic_algorithms`, such an operation raises an error on a GPU, and none on the CPU. The table is
that of its documentation in torch 2.14. All other operations have a deterministic implementation, or choose it.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lkca_search.models.registry import build_model
from lkca_search.spec.configuration import Configuration, ImageShape

NONDETERMINISTIC: Mapping[str, str] = {
    "avg_pool3d_backward": "backward of AvgPool3d",
    "_adaptive_avg_pool2d_backward": "backward of AdaptiveAvgPool2d, except to 1x1",
    "_adaptive_avg_pool3d_backward": "backward of AdaptiveAvgPool3d, except to 1x1x1",
    "adaptive_max_pool2d_backward": "backward of AdaptiveMaxPool2d",
    "adaptive_max_pool3d_backward": "backward of AdaptiveMaxPool3d",
    "fractional_max_pool2d_backward": "backward of FractionalMaxPool2d",
    "fractional_max_pool3d_backward": "backward of FractionalMaxPool3d",
    "max_pool3d_with_indices_backward": "backward of MaxPool3d",
    "max_unpool2d": "MaxUnpool1d and MaxUnpool2d",
    "max_unpool3d": "MaxUnpool3d",
    "upsample_linear1d_backward": "backward of interpolate, linear",
    "upsample_bilinear2d_backward": "backward of interpolate, bilinear",
    "_upsample_bilinear2d_aa_backward": "backward of interpolate, bilinear with antialias",
    "upsample_bicubic2d_backward": "backward of interpolate, bicubic",
    "_upsample_bicubic2d_aa_backward": "backward of interpolate, bicubic with antialias",
    "upsample_trilinear3d_backward": "backward of interpolate, trilinear",
    "reflection_pad1d_backward": "backward of ReflectionPad1d",
    "reflection_pad2d_backward": "backward of ReflectionPad2d",
    "reflection_pad3d_backward": "backward of ReflectionPad3d",
    "grid_sampler_2d_backward": "backward of grid_sample",
    "grid_sampler_3d_backward": "backward of grid_sample",
    "nll_loss2d_forward": "NLLLoss of images",
    "_ctc_loss_backward": "backward of CTCLoss",
    "put": "put",
    "put_": "put",
    "histc": "histc",
    "kthvalue": "kthvalue",
    "median.dim": "median with indices",
    "nanmedian.dim": "nanmedian with indices",
    "scatter_reduce.two": "scatter_reduce with prod",
    "scatter_reduce_.two": "scatter_reduce with prod",
}
"""Operations without a deterministic implementation on CUDA: name in ATen, and words for the user."""


def nondeterministic_operations(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[str, ...]:
    """Return the operations of a configuration's training step that are not deterministic on CUDA, in words.

    Raises:
        UserError: The configuration breaks rules.
    """
    return _of_configuration(configuration, shape, num_classes)


@lru_cache(maxsize=1000)
def _of_configuration(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[str, ...]:
    return find_operations(lambda: build_model(configuration, shape, num_classes), shape, num_classes)


def find_operations(build: Callable[[], nn.Module], shape: ImageShape, num_classes: int) -> tuple[str, ...]:
    """Return the same for the model that `build` returns. A step on the meta device takes no memory.

    Operations after one that the meta device does not run remain unknown.
    """
    with torch.device("meta"), _deterministic_mode():
        model = build().train()
        images = torch.empty(2, shape.channels, shape.height, shape.width)
        labels = torch.zeros(2, dtype=torch.int64)
        with _Recorder() as recorder, suppress(NotImplementedError, RuntimeError, TypeError):
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    return tuple(sorted({NONDETERMINISTIC[name] for name in recorder.names & NONDETERMINISTIC.keys()}))


@contextmanager
def _deterministic_mode() -> Iterator[None]:
    """Set torch's deterministic mode in the block, as a training does: `interpolate` then calls other operations."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode that collects the names of all operations, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        overload = str(func).removeprefix("aten.")  # upsample_bilinear2d_backward.default
        name = overload.partition(".")[0]
        is_sum = name.startswith("scatter_reduce") and "prod" not in args
        if not is_sum:
            self.names |= {overload, name}
        return func(*args, **(kwargs or {}))
