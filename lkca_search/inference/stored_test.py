"""Comparison of a kept model's predictions on the test images with those that its replicate has stored."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lkca_search.data.store import Images
from lkca_search.errors import SearchError
from lkca_search.faults import first_line
from lkca_search.inference.classification import ClassifiedBatch, ImagePrediction
from lkca_search.layout import PREDICTIONS
from lkca_search.paths import AnyPath
from lkca_search.records.finding import DamagedError, Finding, read_stored_bytes
from lkca_search.records.model_description import REMEDY, ModelDescription
from lkca_search.records.predictions import Predictions
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import UsedPrecision
from lkca_search.training.evaluation import EVALUATION_BATCH
from lkca_search.training.trained_model import TrainedModel

TOLERANCES: dict[UsedPrecision, float] = {"float32": 1e-3, "tf32": 5e-3, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest difference of a probability that another device, number of threads or batch explains, by precision.

Stored probabilities are float16: they are rounded by up to 0.00025, and two neighbors differ by up to 0.0005.
"""


class StoredComparison(FrozenModel):
    """Difference of computed from stored predictions on all test images."""

    verdict: Literal["identical", "within tolerance", "different"]
    """`identical` if every class and, in float16, every probability is equal."""
    num_images: int
    num_other_classes: int
    """Images with another predicted class."""
    max_difference: float
    """Largest difference of a probability from a stored one that is not equal in float16; 0 if all are equal."""
    tolerance: float
    """Largest difference that counts as within tolerance."""
    accuracy: float
    """Fraction of the images that are classified correctly now."""
    stored_accuracy: float

    @property
    def sentence(self) -> str:
        """Result as one sentence."""
        images = f"{self.num_images:,} test images"
        if self.verdict == "identical":
            return f"identical to the stored predictions of {images}; accuracy {self.accuracy:.4f}"
        verdict = "different from" if self.verdict == "different" else "within tolerance of"
        return (
            f"{verdict} the stored predictions of {images}: {self.num_other_classes:,} have another class, and the "
            f"largest difference of a probability is {self.max_difference:.2g} (tolerance {self.tolerance:g}); "
            f"accuracy {self.accuracy:.4f}, stored {self.stored_accuracy:.4f}"
        )


class PredictionList(FrozenModel):
    """Predictions of a command."""

    model: str
    """Model as the command found it."""
    test: StoredComparison | None
    """Comparison with the stored predictions of the test images; None for other images."""
    images: tuple[ImagePrediction, ...]


def read_stored(folder: AnyPath, description: ModelDescription) -> Predictions:
    """Return the test predictions that are stored beside a kept model. Both may come from elsewhere.

    Raises:
        SearchError: There are none.
        DamagedError: The file cannot be read, or is of other classes or test images.
    """
    path = folder / PREDICTIONS
    if not path.exists():
        raise SearchError(f"a tested model must have its stored predictions beside it, got no file {path}: restore it")
    try:
        stored = _parse(read_stored_bytes(path, remedy=REMEDY))
        damage = _find_damage(stored, description)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:  # pyarrow's are of all these kinds
        damage = f"must be a Parquet file of predictions, got one that cannot be read ({first_line(error)})"
    if damage is not None:
        raise DamagedError(Finding(place=str(path), damage=damage, remedy=REMEDY))
    return stored


def _parse(content: bytes) -> Predictions:
    table = pq.ParquetFile(pa.BufferReader(content)).read()
    probabilities = table["probabilities"].combine_chunks()
    return Predictions(
        labels=table["label"].to_numpy(),
        predicted=table["predicted"].to_numpy(),
        probabilities=probabilities.flatten().to_numpy().reshape(len(table), -1),
        data_hash=table.schema.metadata[b"test_data_hash"].decode(),
    )


def _find_damage(stored: Predictions, description: ModelDescription) -> str | None:
    """Return the rule that stored predictions break; None if they are those of the described model."""
    if stored.data_hash != description.test_hash:
        return f"must have the test images of the model, got the hash {stored.data_hash[:16]}"
    if (found := stored.probabilities.shape[1]) != description.num_classes:
        return f"must have {description.num_classes} classes, got {found}"
    if stored.probabilities.dtype != np.float16:
        return f"must have probabilities in float16, got {stored.probabilities.dtype}"
    return None


def classify_test_images(model: TrainedModel, images: Images) -> Iterator[ClassifiedBatch]:
    """Classify all test images, in their order and in the batches of the test."""
    for start in range(0, len(images), EVALUATION_BATCH):
        pixels = images.pixels[start : start + EVALUATION_BATCH]
        names = [f"{images.name} test, image {row}" for row in range(start, start + len(pixels))]
        yield ClassifiedBatch(images=names, probabilities=model.predict_probabilities(pixels))


class StoredTest:
    """Stored predictions of a replicate, compared batch by batch with new ones."""

    def __init__(self, stored: Predictions, *, precision: UsedPrecision) -> None:
        """Set the stored predictions, and the precision of the model."""
        self._stored = stored
        self._tolerance = TOLERANCES[precision]
        self._identical, self._largest = True, 0.0
        self._num_images, self._num_other, self._num_correct = 0, 0, 0

    def add(self, batch: ClassifiedBatch) -> None:
        """Compare the next images in the order of the test split."""
        rows = slice(self._num_images, self._num_images + len(batch.images))
        predicted, before = batch.probabilities.argmax(axis=1), self._stored.probabilities[rows]
        self._num_other += int((predicted != self._stored.predicted[rows]).sum())
        self._num_correct += int((predicted == self._stored.labels[rows]).sum())
        differs = batch.probabilities.astype(np.float16) != before
        if differs.any():
            self._identical = False
            difference = np.abs(batch.probabilities - before.astype(np.float32))[differs].max()
            self._largest = float(np.maximum(self._largest, difference))  # NaN stays NaN, unlike in max()
        self._num_images = rows.stop

    def result(self) -> StoredComparison:
        """Return the comparison of all images added."""
        is_identical = self._identical and self._num_other == 0
        is_close = self._largest <= self._tolerance
        return StoredComparison(
            verdict="identical" if is_identical else "within tolerance" if is_close else "different",
            num_images=self._num_images,
            num_other_classes=self._num_other,
            max_difference=self._largest,
            tolerance=self._tolerance,
            accuracy=self._num_correct / self._num_images,
            stored_accuracy=float((self._stored.predicted == self._stored.labels).mean()),
        )
