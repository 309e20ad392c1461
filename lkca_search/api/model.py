"""Functions `load_model` and `predict`: a kept model from a folder, an object store or MLflow, applied to images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lkca_search.api.home import open_home
from lkca_search.data.readers.image_files import find_image_files
from lkca_search.data.readers.image_values import encode_values
from lkca_search.errors import DataError, UserError
from lkca_search.faults import explained_faults
from lkca_search.inference.classification import ClassifiedBatch, classify_files
from lkca_search.inference.loading import find_device
from lkca_search.inference.model_place import ModelPlace, located_model
from lkca_search.records.model_description import read_description
from lkca_search.training.trained_model import TrainedModel, load_trained
from lkca_search.user import expand_user

Images = Any
"""Paths, images of Pillow or arrays, as `predict` takes them."""


@explained_faults()
def load_model(
    model: str | Path,
    *,
    device: str = "auto",
    trust_own_code: bool = False,
    home: str | Path | None = None,
) -> TrainedModel:
    """Load a kept model. Its files are checked, and nothing in them is executed.

    On the device of its training and with as many threads, it predicts what its test predicted, bit for bit. No setting
    of torch is changed.

    Args:
        model: Folder of an attempt, or another folder with `model.json` and `model.safetensors`: a path, or the URL of
            one in an object store. Or an MLflow URI: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID`. Or
            NAME, NAME/CELL or NAME/REPLICATE of a search in the home.
        device: `cpu`, `cuda` or `cuda:N`. `auto` is the kind of device of the training, or the CPU where it is missing.
        trust_own_code: True to import the module of a family of your own. For a search in the home, this is not needed.
        home: Folder of searches; by default LKCA_SEARCH_HOME, else `./lkca_runs`.

    Raises:
        UserError: There is no such model, its files are damaged, or its family is your own and not trusted.
    """
    text = str(model)
    is_path = isinstance(model, Path) or text.startswith(("/", ".", "~"))
    place = str(expand_user(text).absolute()) if is_path and "://" not in text else text
    with located_model(place, open_home(home)) as located:
        return load_located(located, device=device, trust_own_code=trust_own_code or located.search is not None)


def load_located(located: ModelPlace, *, device: str, trust_own_code: bool) -> TrainedModel:
    """Load the model at a place, on a device as `load_model` names it."""
    found = find_device(device, read_description(located.folder))
    return load_trained(located.folder, device=found, trust_own_code=trust_own_code)


@explained_faults()
def predict(model: TrainedModel, images: Images) -> pd.DataFrame:
    """Classify images of any size, preprocessed as in the training of the model.

    An image of another shape than the training images is center-cropped to their aspect ratio and scaled.

    Args:
        model: Model of `load_model` or `Search.model`.
        images: A path, or a list of paths: image files, folders, Parquet files with a column `image`. Or one image or a
            list of images in memory: of Pillow, or uint8 arrays (H, W) or (H, W, C). Or one array (N, H, W, C).

    Returns:
        One row per image: `image` (the file, or `image 0`, ...), `name` and `probability` of the most probable class,
        `predicted` (its number), and `probabilities` of all classes, (K,), float32, in the order of
        `model.description.class_names`.

    Raises:
        DataError: An image cannot be read, or has colors and the training images are gray. The message lists all.
    """
    if not isinstance(model, TrainedModel):
        raise UserError(f"model must be a loaded model, got {type(model).__name__}; load it by load_model({model!r})")
    return _to_frame(list(_classify(model, images)), model.description.class_names)


def _classify(model: TrainedModel, images: Images) -> Iterable[ClassifiedBatch]:
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[1:] == tuple(model.description.image_shape):
        names = [f"image {number}" for number in range(len(images))]
        return [ClassifiedBatch(images=names, probabilities=model.predict_probabilities(images))]
    several = images if isinstance(images, list | tuple) or _is_batch(images) else [images]
    if len(several) == 0:
        raise DataError("images must have at least one image, got none")
    if any(isinstance(each, str | Path) for each in several):
        paths = [str(expand_user(str(each))) for each in several]
        return classify_files(model, find_image_files(paths).images())
    return classify_files(model, encode_values(several))


def _is_batch(images: Images) -> bool:
    return isinstance(images, np.ndarray) and images.ndim == 4


def _to_frame(batches: Sequence[ClassifiedBatch], class_names: Sequence[str]) -> pd.DataFrame:
    empty = np.empty((0, len(class_names)), dtype=np.float32)
    probabilities: NDArray[np.float32] = np.concatenate([empty, *(batch.probabilities for batch in batches)])
    predicted = probabilities.argmax(axis=1)
    return pd.DataFrame(
        {
            "image": [image for batch in batches for image in batch.images],
            "name": [class_names[each] for each in predicted],
            "probability": probabilities.max(axis=1, initial=0),
            "predicted": predicted.astype(np.uint16),
            "probabilities": pd.Series(list(probabilities), dtype=object),
        }
    )
