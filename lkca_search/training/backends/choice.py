"""Choice of one backend per shape of LKCA layers, before the first step of a training.

Results of two backends differ by rounding, and times vary. A choice is therefore made once: a checkpoint, an earlier
attempt, a record or the cache of the node decides before a new measurement does.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import nn

from lkca_search.layout import BACKENDS
from lkca_search.models.networks.backend_times import LayerShape, choose_backend, measure_backends
from lkca_search.models.networks.backends import Backend
from lkca_search.models.networks.lkca import LKCA
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.provenance import LayerBackend
from lkca_search.spec.base import FrozenModel
from lkca_search.training.backends.cache import find_or_measure

_log = logging.getLogger(__name__)


class LayerSettings(NamedTuple):
    """Settings of a training that decide how fast its layers are."""

    batch_size: int
    """Images per step."""
    device: torch.device
    """Device of the model."""
    device_name: str
    """Name of the GPU, or `cpu`."""
    precision: str = "float32"
    """Precision as the record states it."""
    dtype: torch.dtype = torch.float32
    """Type of the tokens inside a forward pass."""
    context: Callable[[], AbstractContextManager[object]] = nullcontext
    """Makes the context of a forward pass, such as autocast."""


class _Choices(FrozenModel):
    """Content of an attempt's file."""

    backends: tuple[LayerBackend, ...]


def apply_backends(model: nn.Module, backends: Iterable[LayerBackend]) -> None:
    """Let each LKCA layer be computed by the backend of its shape; a layer of another shape estimates it."""
    known = {LayerShape(*each.shape): each.backend for each in backends}
    for layer in _layers(model):
        layer.backend = known.get(layer.shape, "auto")


def choose_backends(
    model: nn.Module,
    settings: LayerSettings,
    *,
    given: Sequence[LayerBackend] = (),
    measure: bool = True,
) -> tuple[LayerBackend, ...]:
    """Return the backend of each shape of LKCA layers: the given one, or the one that this node has measured.

    With `measure` False, shapes without a given backend get the estimated one.
    """
    known = {LayerShape(*each.shape): each for each in given}
    shapes = dict.fromkeys(layer.shape for layer in _layers(model))
    return tuple(known.get(shape) or _choose(shape, settings, measure=measure) for shape in shapes)


def read_backends(folders: Iterable[AnyPath]) -> tuple[LayerBackend, ...]:
    """Return the choices of earlier attempts, the first one first; a missing or damaged file has none."""
    found: list[LayerBackend] = []
    for folder in folders:
        try:
            found += _Choices.model_validate_json((folder / BACKENDS).read_bytes()).backends
        except (OSError, ValueError):
            continue
    return tuple(reversed(found))  # the first attempt decides: later ones of a shape are replaced


def write_backends(backends: tuple[LayerBackend, ...], folder: AnyPath) -> None:
    """Write the choices of an attempt before its first step, for attempts on other nodes.

    A storage that is full fails no trial: checkpoints have the choices too.
    """
    if not backends:
        return
    try:
        write_atomically(folder / BACKENDS, _Choices(backends=backends).model_dump_json().encode())
    except OSError as error:
        _log.warning("the backends of %s are not stored: %s", folder, error)


def _layers(model: nn.Module) -> list[LKCA]:
    return [module for module in model.modules() if isinstance(module, LKCA)]


def _choose(shape: LayerShape, settings: LayerSettings, *, measure: bool) -> LayerBackend:
    if not measure or settings.device.type == "meta":
        return _decide(shape, settings, {})
    return find_or_measure(_key(shape, settings), lambda: _measure(shape, settings))


def _measure(shape: LayerShape, settings: LayerSettings) -> LayerBackend:
    milliseconds = measure_backends(
        shape,
        batch_size=settings.batch_size,
        device=settings.device,
        dtype=settings.dtype,
        context=settings.context,
    )
    return _decide(shape, settings, milliseconds)


def _decide(shape: LayerShape, settings: LayerSettings, milliseconds: dict[Backend, float]) -> LayerBackend:
    return LayerBackend(
        grid=shape.grid,
        kernel_size=shape.kernel_size,
        num_kernels=shape.num_kernels,
        channels=shape.channels,
        backend=choose_backend(shape, settings.dtype, milliseconds),
        batch_size=settings.batch_size,
        precision=settings.precision,
        milliseconds={name: round(taken, 4) for name, taken in milliseconds.items()},
    )


def _key(shape: LayerShape, settings: LayerSettings) -> str:
    """Return the key of a measurement in the cache of a node; everything that changes the times is in it."""
    (height, width), size, num_kernels, channels = shape
    processor = torch.backends.cpu.get_cpu_capability() if settings.device.type == "cpu" else "GPU"
    threads = f"{torch.get_num_threads()} threads" if settings.device.type == "cpu" else "any threads"
    deterministic = "deterministic" if torch.are_deterministic_algorithms_enabled() else "any algorithm"
    return (
        f"{settings.device_name} {processor}, {threads}, torch {torch.__version__}, {deterministic}, "
        f"{settings.precision}, batch {settings.batch_size}, grid {height}x{width}, kernel {size}, "
        f"{num_kernels} kernels, {channels} channels"
    )
