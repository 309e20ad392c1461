"""Measured times of LKCA's backends on a device, and the choice between them."""

import math
import random
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

import torch

from lkca_search.models.networks.backends import Backend, estimate_backend, estimate_times, mix_tokens
from lkca_search.models.networks.grid import Grid

CLEARLY_FASTER = 1.1
"""Factor by which a backend must be faster than the estimated one to be taken instead of it.

Two measurements of one device agree on the choice unless a ratio of times is close to this factor.
"""
_FEW_IMAGES = 2
_HOPELESS = 10.0
"""Ratio to the fastest on few images at which a backend is not measured on a batch."""
_ESTIMATED_HOPELESS = 20.0
"""Ratio to the fastest of the estimates at which a backend is not run at all on a CPU."""
_SLOW = 3.0
"""Ratio to the fastest in the first runs of a batch at which a backend is not run again."""
_SECONDS = 0.3
"""Approximate time of the measurement after the first runs."""
_MIN_ROUNDS, _MAX_ROUNDS = 3, 40


class LayerShape(NamedTuple):
    """Shape of an LKCA layer, which decides the fastest backend together with batch, dtype and device."""

    grid: Grid
    kernel_size: int
    num_kernels: int
    channels: int


def choose_backend(shape: LayerShape, dtype: torch.dtype, milliseconds: Mapping[Backend, float]) -> Backend:
    """Return the fastest backend if it is clearly faster than the estimated one, else the estimated one."""
    estimated = estimate_backend(shape.grid, shape.kernel_size, shape.num_kernels, dtype)
    if not milliseconds:
        return estimated
    fastest = min(milliseconds, key=lambda backend: milliseconds[backend])
    if estimated in milliseconds and milliseconds[estimated] <= CLEARLY_FASTER * milliseconds[fastest]:
        return estimated
    return fastest


def measure_backends(
    shape: LayerShape,
    *,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[Backend, float]:
    """Return the milliseconds of a forward and backward pass per backend, the least of several alternating runs.

    Backends that are far from the fastest have the least time of few runs. Backends that a device cannot run, or that
    are hopeless on few images, are left out. torch's default generator is not used.

    Args:
        shape: Shape of the layer.
        batch_size: Images per batch.
        device: Device to measure; not the meta device.
        dtype: Type of the value tokens; the kernels are float32.
        context: Makes the context of a forward pass, such as autocast.
    """
    estimates = estimate_times(shape.grid, shape.kernel_size, shape.num_kernels, dtype)
    limit = _ESTIMATED_HOPELESS * min(estimates.values()) if device.type == "cpu" else math.inf
    candidates = [name for name in estimates if estimates[name] <= limit]
    few = _run_each(candidates, _Layer(shape, min(_FEW_IMAGES, batch_size), device, dtype, context))
    candidates = [name for name in few if few[name] <= _HOPELESS * min(few.values())]
    layer = _Layer(shape, batch_size, device, dtype, context)
    times = _run_each(candidates, layer)
    near = [name for name in times if times[name] <= _SLOW * min(times.values())]
    order, started, rounds = random.Random(0), time.perf_counter(), 0
    while len(near) > 1 and rounds < _MAX_ROUNDS:
        if rounds >= _MIN_ROUNDS and time.perf_counter() - started > _SECONDS:
            break
        for name in order.sample(near, len(near)):
            times[name] = min(times[name], layer.milliseconds(name))
        rounds += 1
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return times


class _Layer:
    """Value tokens, kernels and gradients of one batch."""

    def __init__(
        self,
        shape: LayerShape,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        generator = torch.Generator(device).manual_seed(0)
        tokens = (batch_size, shape.grid[0] * shape.grid[1], shape.channels)
        kernels = (shape.num_kernels, shape.kernel_size, shape.kernel_size)
        value = torch.randn(tokens, device=device, generator=generator).to(dtype)
        self._value = value.requires_grad_()
        self._kernel = torch.randn(kernels, device=device, generator=generator).requires_grad_()
        self._gradient = torch.randn(tokens, device=device, generator=generator).to(dtype)
        self._grid, self._device, self._context = shape.grid, device, context

    def milliseconds(self, backend: Backend) -> float:
        """Return the time of a forward and backward pass."""
        self._wait()
        started = time.perf_counter()
        with self._context():
            mixed = mix_tokens(self._value, self._kernel, self._grid, backend).contiguous()
        torch.autograd.grad(mixed, (self._value, self._kernel), self._gradient.to(mixed.dtype))
        self._wait()
        return 1000 * (time.perf_counter() - started)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _run_each(backends: list[Backend], layer: _Layer) -> dict[Backend, float]:
    """Return the least time of each backend in up to four runs; the first one allocates memory and loads code.

    A busy machine may interrupt any run, so only a backend whose runs take long is run less often.
    """
    times: dict[Backend, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a training warns by itself
        for name in backends:
            # Out of memory, or no deterministic implementation on this device.
            with suppress(RuntimeError):
                started = time.perf_counter()
                times[name] = layer.milliseconds(name)
                for _ in range(3):
                    if time.perf_counter() - started > _SECONDS:
                        break
                    times[name] = min(times[name], layer.milliseconds(name))
    return times
