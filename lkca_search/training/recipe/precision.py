"""Numerics of a training: the precision of its numbers, their layout in memory, and compilation.

Weights, gradients, moments of the optimizer, losses and metrics are float32 in every precision. In bfloat16 and
float16, torch's autocast computes matrix products and convolutions in the short type. float16 has a narrow range, so
its loss is scaled (torch.amp.GradScaler; arXiv 1710.03740, section 3.2).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lkca_search.errors import UserError
from lkca_search.recipe import COMPILED_STEPS
from lkca_search.spec.configuration import Configuration, Precision, UsedPrecision
from lkca_search.spec.resources import cpu_precision_rule

_SHORT_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_TF32_CAPABILITY = (8, 0)
"""Compute capability of Ampere, the first GPUs with TF32 and bfloat16."""
_COMPILERS = ("g++", "clang++", "c++")
_OPTIONS = {
    "fallback_random": True,  # the random numbers of the uncompiled model, so that only rounding differs
    "deterministic": True,  # no choice of a kernel by its measured time, which changes from run to run
}


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Precision, memory layout and compilation of one training, without `auto`."""

    precision: UsedPrecision = "float32"
    """Type of matrix products and convolutions."""
    compiled: bool = False
    """True if torch.compile compiles the model."""
    channels_last: bool = False
    """True if images and weights of convolutions have their channels last in memory."""
    device_type: str = "cpu"
    """`cpu` or `cuda`."""
    compiler: str | Callable[..., Any] = "inductor"
    """Backend of torch.compile."""

    def prepare(self, model: nn.Module) -> None:
        """Change the memory layout of a model, and compile it at its next call. The names of its tensors stay.

        A compiled model of an earlier training is compiled again if it is used again: torch counts the models that one
        process has compiled, and stops to compile at the ninth.
        """
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compiled:
            torch.compiler.reset()
            options: dict[str, Any] = {"options": _OPTIONS} if self.compiler == "inductor" else {}
            model.compile(backend=self.compiler, **options)

    def forward(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the float32 logits (B, K) of images (B, C, H, W)."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.compiled:
            torch._dynamo.maybe_mark_dynamic(images, 0)  # last batches have other sizes: compile for all at once
        with self.autocast():
            logits: Tensor = model(images)
        return logits.float()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the output of a matrix product in a forward pass."""
        return _SHORT_TYPES.get(self.precision, torch.float32)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        short = _SHORT_TYPES.get(self.precision)
        return nullcontext() if short is None else torch.autocast(self.device_type, short)

    def make_scaler(self) -> torch.amp.GradScaler:
        """Return a new scaler of the loss. It changes nothing in a precision other than float16."""
        return torch.amp.GradScaler(self.device_type, enabled=self.precision == "float16")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the precision of float32 products on GPUs in the block. The settings are those of the whole process."""
        if self.device_type == "cpu":
            yield
            return
        matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        uses_tf32 = self.precision == "tf32"
        _set_tf32("high" if uses_tf32 else "highest", convolution=uses_tf32)
        try:
            yield
        finally:
            _set_tf32(matmul, convolution=convolution)

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint by which `check` recognizes a training with the same arithmetic."""
        return {"precision": self.precision, "compiled": self.compiled}

    def check(self, state: dict[str, Any] | None) -> None:
        """Raise ValueError if a checkpoint has another arithmetic. Those of earlier versions have no such state."""
        state = state or {"precision": "float32", "compiled": False}
        if state != self.state():
            raise ValueError(f"it was trained with {_describe(state)}, not {_describe(self.state())}")


def resolve_numerics(configuration: Configuration, model: nn.Module, *, device: torch.device, steps: int) -> Numerics:
    """Return the numerics of a training of `steps` steps on a device.

    Precision `auto` is bfloat16 on GPUs that have it, else float32. Compilation `auto` is off on CPUs. On GPUs it is on
    from COMPILED_STEPS on, where the faster steps pay for the compilation.

    Raises:
        UserError: The device cannot compute in the requested precision, or this machine cannot compile.
    """
    is_cpu = device.type == "cpu"
    precision = _resolve_on_cpu(configuration.precision) if is_cpu else _resolve_on_gpu(configuration.precision, device)
    missing = _find_missing_compiler(device)
    if configuration.compile == "on" and missing:
        raise UserError(f"compile must be off or auto on a machine without {missing}, got on; or install it")
    return Numerics(
        precision=precision,
        compiled=not missing and _is_compiled(configuration, on_gpu=not is_cpu, steps=steps),
        channels_last=not is_cpu and any(isinstance(module, nn.Conv2d) for module in model.modules()),
        device_type=device.type,
    )


def plan_numerics(configuration: Configuration, *, uses_gpu: bool, steps: int) -> Numerics:
    """Return the numerics of a training that is planned, perhaps for another machine.

    A GPU that this machine does not have counts as one with bfloat16 and a compiler.
    """
    precision: UsedPrecision
    if configuration.precision != "auto":
        precision = configuration.precision
    else:
        is_old = torch.cuda.is_available() and torch.cuda.get_device_capability(0) < _TF32_CAPABILITY
        precision = "bfloat16" if uses_gpu and not is_old else "float32"
    return Numerics(precision=precision, compiled=_is_compiled(configuration, on_gpu=uses_gpu, steps=steps))


def _is_compiled(configuration: Configuration, *, on_gpu: bool, steps: int) -> bool:
    return configuration.compile == "on" or (configuration.compile == "auto" and on_gpu and steps >= COMPILED_STEPS)


def _resolve_on_cpu(requested: Precision) -> UsedPrecision:
    if rule := cpu_precision_rule(requested):
        raise UserError(rule)
    return "bfloat16" if requested == "bfloat16" else "float32"


def _resolve_on_gpu(requested: Precision, device: torch.device) -> UsedPrecision:
    has_short_types = torch.cuda.get_device_capability(device) >= _TF32_CAPABILITY
    if requested == "auto":
        return "bfloat16" if has_short_types else "float32"
    if requested in ("bfloat16", "tf32") and not has_short_types:
        name = torch.cuda.get_device_name(device)
        raise UserError(f"precision must be auto, float32 or float16 on {name}, which has no other, got {requested}")
    return requested


def _find_missing_compiler(device: torch.device) -> str | None:
    """Return the part that torch.compile needs and this machine lacks, or None."""
    if device.type == "cpu":
        return None if any(map(shutil.which, _COMPILERS)) else "a C++ compiler (g++)"
    from torch.utils._triton import has_triton  # only here: its import takes a second

    return None if has_triton() else "Triton"


def _set_tf32(matmul: str, *, convolution: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution


def _describe(state: dict[str, Any]) -> str:
    return f"{state['precision']}{' and compile' if state['compiled'] else ''}"
