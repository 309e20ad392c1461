"""Classification of images by a kept model, in batches, so that memory does not grow with their number."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lkca_search.data.readers.decoded import decode_to_shape
from lkca_search.data.readers.image_decoder import MAX_PIXELS
from lkca_search.data.readers.image_files import EncodedImage
from lkca_search.errors import DataError
from lkca_search.spec.base import FrozenModel
from lkca_search.training.evaluation import EVALUATION_BATCH
from lkca_search.training.trained_model import TrainedModel

_MAX_FAULTS = 1000
"""Maximum number of faults in one message."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifiedBatch:
    """Images of a batch, and their probabilities."""

    images: Sequence[str]
    """File of each image, and row of a Parquet file."""
    probabilities: NDArray[np.float32]
    """Probability of each class, (B, K)."""


class ClassProbability(FrozenModel):
    """Class and its probability."""

    name: str
    probability: float


class ImagePrediction(FrozenModel):
    """Prediction of one image."""

    image: str
    """File, and row of a Parquet file."""
    name: str
    """Most probable class."""
    probability: float
    """Its probability."""
    top: tuple[ClassProbability, ...]
    """Most probable classes, the first one included; of equal ones, those with the lower number first."""


def classify_files(
    model: TrainedModel, images: Iterable[EncodedImage], *, max_pixels: int | None = None
) -> Iterator[ClassifiedBatch]:
    """Classify images of any size, each decoded and sized as an image of the training.

    Raises:
        DataError: Images cannot be read or decoded, or have colors that the model does not take; or there is none. It
            is raised after the last image, and lists all of them.
    """
    faults: list[str] = []
    is_empty, left, limit = True, iter(images), max_pixels or MAX_PIXELS
    while batch := list(islice(left, EVALUATION_BATCH)):
        is_empty, decoded = False, []
        for image in batch:
            try:
                decoded.append(
                    decode_to_shape(
                        image.read, shape=model.description.image_shape, location=image.location, max_pixels=limit
                    )
                )
            except DataError as error:
                faults.append(str(error))
        if not faults:
            probabilities = model.predict_probabilities(np.stack(decoded))
            yield ClassifiedBatch(images=[image.location for image in batch], probabilities=probabilities)
    if is_empty:
        raise DataError("there must be at least one image to classify, got Parquet files without rows")
    if faults:
        more = [f"... and {len(faults) - _MAX_FAULTS} more"] if len(faults) > _MAX_FAULTS else []
        raise DataError(*faults[:_MAX_FAULTS], *more)


def list_predictions(batch: ClassifiedBatch, class_names: Sequence[str], *, top: int) -> list[ImagePrediction]:
    """Return the prediction of each image of a batch, with its `top` most probable classes."""
    order = np.argsort(-batch.probabilities, axis=1, kind="stable")[:, :top]
    predictions = []
    for image, classes, values in zip(batch.images, order.tolist(), batch.probabilities, strict=True):
        ranked = [ClassProbability(name=class_names[each], probability=float(values[each])) for each in classes]
        predictions.append(
            ImagePrediction(image=image, name=ranked[0].name, probability=ranked[0].probability, top=tuple(ranked))
        )
    return predictions
