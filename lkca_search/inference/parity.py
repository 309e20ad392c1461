"""Check that an exported model computes the same as the kept one, for several numbers of images."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lkca_search.data.readers.decoded import decode_to_shape
from lkca_search.data.readers.image_files import ImageFiles
from lkca_search.inference.export import Exported, ExportFormat, export_model, pixel_model
from lkca_search.paths import write_atomically
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import ImageShape
from lkca_search.training.trained_model import TrainedModel

BATCH_SIZES = (1, 2, 7, 32)
"""Numbers of images that are compared; none of them is special in the graph."""
MAX_DIFFERENCE = 1e-4
"""Largest difference of a probability, and of a logit relative to the largest logit, that is rounding."""


class Parity(FrozenModel):
    """Largest absolute differences of an exported model from the kept one, by the number of images."""

    images: str
    """Images that were compared, in words."""
    probabilities: Mapping[int, float]
    """Largest difference of a probability."""
    logits: Mapping[int, float]
    """Largest difference of a logit."""
    largest_logit: float
    """Largest absolute logit."""

    @property
    def is_close(self) -> bool:
        """True if every difference is at most MAX_DIFFERENCE; a logit that is not a number is no rounding."""
        allowed = MAX_DIFFERENCE * max(1.0, self.largest_logit)
        return all(each <= MAX_DIFFERENCE for each in self.probabilities.values()) and all(
            each <= allowed for each in self.logits.values()
        )


class ExportResult(FrozenModel):
    """Exported model and its check."""

    model: str
    format: str
    file: str
    """File of the model; it is not written if the check has failed."""
    num_bytes: int
    notes: tuple[str, ...]
    parity: Parity


def export_checked(
    model: TrainedModel, to: ExportFormat, output: Path, files: ImageFiles | None, *, name: str
) -> ExportResult:
    """Export a model, and write it to `output` if it computes the same as the model on images of these files.

    Without files, the images are random.

    Raises:
        UserError: As `export_model`, or an image cannot be read.
    """
    shape = model.description.image_shape
    images = _random_images(shape) if files is None else _read_images(files, shape)
    exported = export_model(model, to)
    origin = "random" if files is None else f"{len(images)} given"
    parity = check_parity(model, exported, images, origin=origin)
    if parity.is_close:
        write_atomically(output, exported.content)
    return ExportResult(
        model=name,
        format=to,
        file=str(output),
        num_bytes=len(exported.content),
        notes=exported.notes,
        parity=parity,
    )


def _random_images(shape: ImageShape) -> NDArray[np.uint8]:
    """Return random pixels, always the same, (N, H, W, C)."""
    return np.random.default_rng(0).integers(0, 256, (max(BATCH_SIZES), *shape), dtype=np.uint8)


def _read_images(files: ImageFiles, shape: ImageShape) -> NDArray[np.uint8]:
    """Decode the first images, (N, H, W, C), at most as many as the largest batch; DataError if one is unreadable."""
    images = islice(files.images(), max(BATCH_SIZES))
    return np.stack([decode_to_shape(image.read, shape=shape, location=image.location) for image in images])


def check_parity(model: TrainedModel, exported: Exported, images: NDArray[np.uint8], *, origin: str) -> Parity:
    """Compare logits and probabilities in float32 on the CPU. Fewer images than a batch are repeated."""
    reference = pixel_model(model.module, model.description)
    probabilities: dict[int, float] = {}
    logits: dict[int, float] = {}
    largest = 0.0
    for size in BATCH_SIZES:
        batch = np.resize(images, (size, *images.shape[1:]))
        with torch.inference_mode():
            expected = [output.numpy() for output in reference(torch.from_numpy(batch))]
        for differences, ours, other in zip((logits, probabilities), expected, exported.run(batch), strict=True):
            differences[size] = float(np.abs(ours - other).max())
        largest = max(largest, float(np.abs(expected[0]).max()))
    return Parity(images=origin, probabilities=probabilities, logits=logits, largest_logit=largest)
