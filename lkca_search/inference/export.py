"""Export of a kept model to ONNX or torch.export, with its preprocessing and a dynamic number of images.

The exported graph takes pixels as they are in an image: uint8 (N, H, W, C). It normalizes them itself, and returns
logits and probabilities, (N, K), in float32. So nobody can forget or change the normalization.
"""

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lkca_search.errors import UserError
from lkca_search.faults import first_line
from lkca_search.file_names import hash_name, shorten_name
from lkca_search.models.networks.backends import estimate_backend
from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.model_description import ModelDescription
from lkca_search.training.trained_model import TrainedModel

ExportFormat = Literal["onnx", "torch_export"]
"""Format of an exported model."""
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
ENDINGS: Mapping[ExportFormat, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
"""Ending of the files of each format."""
MAX_BATCH = 2**16
"""Most images per call of an exported model."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_PLAIN, _OTHER = re.compile(r"[a-z0-9][a-z0-9._]*"), re.compile(r"[^A-Za-z0-9._-]+")
_HASH_DIGITS, _MAX_NAME_BYTES = 8, 150
INPUT, OUTPUTS = "images", ("logits", "probabilities")
"""Names of the input and the outputs of a graph."""

Run = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]
"""Function of uint8 images (N, H, W, C) that returns logits and probabilities, (N, K)."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Exported model in memory."""

    content: bytes
    """Content of the file."""
    run: Run
    """The content, loaded again and run on the CPU."""
    notes: tuple[str, ...] = ()
    """Differences of the graph from the model in memory."""


class PixelModel(nn.Module):
    """Model of pixels: uint8 (N, H, W, C) -> logits and probabilities (N, K), float32."""

    scale: Tensor
    shift: Tensor

    def __init__(self, module: nn.Module, mean: Tensor, std: Tensor) -> None:
        """Set the model of normalized images, and mean and standard deviation of the channels, (C,), scale 0 to 1."""
        super().__init__()
        self.module = module
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (-mean / std)[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalize as in training, classify, and take the softmax."""
        # (N, H, W, C) -> (N, C, H, W)
        pixels = images.permute(0, 3, 1, 2).float()
        logits = self.module(pixels * self.scale + self.shift).float()
        return logits, logits.softmax(dim=1)


def default_file(description: ModelDescription, to: ExportFormat) -> Path:
    """Return the default file of an exported model: search, levels of the cell, trial, draw and seed.

    `quickstart-lkca-0.1-3-draw-1-seed-0.onnx` is a legal name on every system. Levels with other characters than lower
    case letters, digits, `.` and `_` get a hash, so that two cells have two names.
    """
    cell, _, rest = description.trial_id.partition("/")
    levels = [pair.partition("=")[2] or pair for pair in cell.split(",")]
    if not all(_PLAIN.fullmatch(level) for level in levels):
        levels = [_OTHER.sub("_", level) for level in levels] + [hash_name(cell)[:_HASH_DIGITS]]
    name = "-".join([description.search, *levels, _OTHER.sub("-", rest)])
    return Path(f"{shorten_name(name, max_bytes=_MAX_NAME_BYTES)}{ENDINGS[to]}")


def check_replaceable(file: Path, description: ModelDescription, option: str) -> None:
    """Raise UserError, which names the option, if a file exists that is not an export of the same model."""
    if file.exists() and description.model_dump_json().encode() not in file.read_bytes():
        raise UserError(f"{option} must be a new file, got {file}, which is not of this model; choose another name")


def check_packages(to: ExportFormat) -> None:
    """Raise UserError with the command that installs them if the packages of a format are missing."""
    missing = [name for name in ONNX_PACKAGES if to == "onnx" and find_spec(name) is None]
    if missing:
        raise UserError(f"--to onnx needs the packages {', '.join(missing)}: pip install {' '.join(missing)}")


def pixel_model(module: nn.Module, description: ModelDescription) -> PixelModel:
    """Return a copy of a model that takes pixels, in float32 on the CPU, for evaluation alone."""
    statistics = description.normalization
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (statistics.mean, statistics.std))
    pixels = PixelModel(deepcopy(module), mean, std).to("cpu", torch.float32)
    pixels.to(memory_format=torch.contiguous_format)
    return pixels.eval().requires_grad_(False)


def export_model(model: TrainedModel, to: ExportFormat) -> Exported:
    """Return a model in another format, in float32, for any number of images of its shape.

    LKCA layers keep their backend, except that the FFT backend is exported as a convolution, which computes the same:
    ONNX has no fast transform of every length.

    Raises:
        UserError: The packages of the format are missing, or torch cannot export the model.
    """
    check_packages(to)
    description = model.description
    pixels = pixel_model(model.module, description)
    notes = _set_backends(pixels)
    details = {"model.json": description.model_dump_json(), "class_names": json.dumps(description.class_names)}
    with _quiet():
        program = _trace(pixels, description.image_shape, name=description.configuration.family)
        content, run = _to_onnx(program, details) if to == "onnx" else _to_torch(program, details)
    return Exported(content=content, run=run, notes=notes)


def _set_backends(model: nn.Module) -> tuple[str, ...]:
    """Set a backend that can be exported in each LKCA layer; return the notes on those that change."""
    num_changed = 0
    for layer in model.modules():
        if isinstance(layer, LKCA):
            num_kernels, size, _ = layer.kernel.shape
            if layer.backend == "auto":
                layer.backend = estimate_backend(layer.grid, size, num_kernels, torch.float32)
            if layer.backend == "fft":
                layer.backend = "conv"
                num_changed += 1
    return (f"{num_changed} LKCA layers with the fft backend are exported with conv, which computes the same",)[
        : num_changed > 0
    ]


def _trace(pixels: nn.Module, shape: Sequence[int], *, name: str) -> Any:
    """Return the exported program of a model for any number of images."""
    images = torch.zeros((2, *shape), dtype=torch.uint8)
    dynamic = {INPUT: {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}}
    reasons = []
    for strict in (False, True):  # as in torch.onnx: without dynamo first, then with it
        try:
            with torch.no_grad():
                return torch.export.export(pixels, (images,), dynamic_shapes=dynamic, strict=strict)
        except Exception as error:  # torch.export may raise anything from a model's code
            reasons.append(f"{type(error).__name__}: {first_line(error)}")
    raise UserError(f"family {name} must be a model that torch.export can trace, got {reasons[0]}")


def _to_onnx(program: Any, details: Mapping[str, str]) -> tuple[bytes, Run]:
    import onnxruntime

    try:
        converted = torch.onnx.export(program, input_names=[INPUT], output_names=list(OUTPUTS), verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"the model must have operations that ONNX has, got {first_line(error)}") from error
    assert converted is not None
    converted.model.metadata_props.update(details)
    content = converted.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: session.run(list(OUTPUTS), {INPUT: images})


def _to_torch(program: Any, details: Mapping[str, str]) -> tuple[bytes, Run]:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=dict(details))
    content = buffer.getvalue()
    loaded = torch.export.load(io.BytesIO(content)).module()

    def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [output.numpy() for output in loaded(torch.from_numpy(images))]

    return content, run


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings and log lines of torch's exporters, which are about their own versions."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
