"""Datasets of your own: a callable `(split, home)` by its dotted path, whose result is decoded once into the store."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lkca_search.data.readers.decoded import DecodedImages, ListedLabels, Split, decode_images, name_classes
from lkca_search.data.readers.image_decoder import DECODING_VERSION, MAX_PIXELS
from lkca_search.errors import DataError, UserError
from lkca_search.own_code import code_hashes, describe_code, describe_error, load_own, signature_of

_Rows = Sequence[Any] | NDArray[Any]
_RULE = "must return images and labels as arrays, or a dataset of (image, label)"
_AS_PNG = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")
"""Modes of Pillow that a PNG can have; an image of another one is converted to RGB."""


class OwnDataset:
    """Source that calls your own code: `load(split, home)`, with a split of `train` and `test` and a folder for files.

    It returns `(images, labels)` or `(images, labels, class_names)` as arrays, or a dataset like torchvision's: a
    sequence of (Pillow image or uint8 array, label), with the names of the classes in `classes` if it has them.
    """

    def __init__(self, *, name: str, home: Path, image_size: int | None = None, max_pixels: int | None = None) -> None:
        """Import the code; DataError if that fails, or if it does not take (split, home)."""
        self.name = name
        self.image_size = image_size
        self._max_pixels = max_pixels or MAX_PIXELS
        self._home = home
        try:
            self._load = load_own("dataset", name)
            signature = signature_of("dataset", name, self._load)
        except UserError as error:
            raise DataError(str(error)) from error
        try:
            signature.bind("train", home)
        except TypeError as error:
            raise DataError(
                f"dataset {name} must take (split, home), got {name.rpartition('.')[2]}{signature}"
            ) from error

    def fingerprint(self, split: Split) -> str:
        """Return the hash of the code, its arguments, and the version of the decoder."""
        code = describe_code(code_hashes([self.name]))
        return f"decoding {DECODING_VERSION}\n{self.name}({split!r}, {str(self._home)!r}) of {code}"

    def count(self, split: Split) -> None:
        """Return None: the code would have to load the images."""

    def list_labels(self) -> None:
        """Return None: the code would have to load the images."""

    def read(self, split: Split) -> DecodedImages:
        """Call the code and decode every image; DataError if it raises an error, or its images or labels break a rule.

        The file of `data_dir` is not watched: change the code, if only a constant, when the files of a dataset change.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        try:
            loaded = self._load(split, self._home)
        except Exception as error:  # the user's code may raise anything
            raise DataError(f"dataset {self.name} failed for split {split}: {describe_error(error)}") from error
        images, labels, names = self._unpack(loaded)
        if len(labels) == 0:
            raise DataError(f"a split must have at least one image, got none of {self._place(split)}")
        if len(images) != len(labels):
            rule = "images and labels must have the same length"
            raise DataError(f"{rule}, got {len(images)} images and {len(labels)} labels ({self._place(split)})")
        checked = self._check_labels(labels, split)
        if names is not None and len(names) <= int(checked.max()):
            rule = f"class_names must have a name per label, up to {int(checked.max())}"
            raise DataError(f"{rule}, got {len(names)} names ({self._place(split)})")
        texts = [str(label if names is None else names[label]) for label in checked.tolist()]
        class_names = name_classes(checked, texts, location=lambda row: self._place(split, row))
        pixels, notes = decode_images(
            lambda row: self._encode(images[row], self._place(split, row)),
            listed=ListedLabels(checked, class_names),
            location=lambda row: self._place(split, row),
            image_size=self.image_size,
            max_pixels=self._max_pixels,
        )
        return DecodedImages(pixels=pixels, labels=checked, class_names=class_names, notes=notes)

    def locate(self, split: Split) -> None:
        """Return None: a row has no file of its own."""

    def check_test_classes(self) -> None:
        """Do nothing: the code would have to make every test image."""

    def _unpack(self, loaded: Any) -> tuple[_Rows, _Rows, Sequence[str] | None]:
        """Return images, labels and class names of what the code has returned."""
        if isinstance(loaded, tuple | list) and len(loaded) in (2, 3):
            images, labels, *names = loaded
            if not (_has_rows(images) and _has_rows(labels)):
                raise DataError(f"dataset {self.name} {_RULE}, got {type(images).__name__} and {type(labels).__name__}")
            return _check_images(np.asarray(images), self.name), np.asarray(labels), names[0] if names else None
        if not (hasattr(loaded, "__getitem__") and hasattr(loaded, "__len__")):
            raise DataError(f"dataset {self.name} {_RULE}, got {type(loaded).__name__}")
        items = self._read_items(loaded)
        return [image for image, _ in items], [label for _, label in items], getattr(loaded, "classes", None)

    def _read_items(self, dataset: Any) -> list[tuple[Any, Any]]:
        items = []
        for row in range(len(dataset)):
            try:
                image, label = dataset[row]
            except Exception as error:  # the user's code may raise anything
                raise DataError(f"item {row} of dataset {self.name} {_RULE}: {describe_error(error)}") from error
            items.append((image, label))
        return items

    def _check_labels(self, labels: _Rows, split: Split) -> NDArray[np.int64]:
        array = np.asarray(labels)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            rule = "labels must be integers of shape (images,)"
            raise DataError(f"{rule}, got {array.dtype} of shape {array.shape} ({self._place(split)})")
        return array.astype(np.int64)

    def _encode(self, image: Any, place: str) -> bytes:
        """Return an image as PNG, for the decoder that reads every other dataset too."""
        if not isinstance(image, Image.Image):
            array = np.asarray(image)
            if (
                array.dtype != np.uint8
                or array.ndim not in (2, 3)
                or (array.ndim == 3 and array.shape[2] not in (1, 3))
            ):
                rule = "an image must be a Pillow image, or a uint8 array (H, W) or (H, W, C) with 1 or 3 channels"
                raise DataError(f"{rule}, got {array.dtype} of shape {array.shape}: remove transforms ({place})")
            image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
        if image.mode not in _AS_PNG:
            image = image.convert("RGB")
        stream = io.BytesIO()
        image.save(stream, format="PNG", compress_level=0)
        return stream.getvalue()

    def _place(self, split: Split, row: int | None = None) -> str:
        return f"{self.name}, {split}{'' if row is None else f', image {row}'}"


def _has_rows(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes | dict)


def _check_images(images: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return the images (N, H, W) or (N, H, W, C); DataError if their shape or type breaks a rule."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        rule = f"images of dataset {name} must be uint8, 0 to 255, of shape (N, H, W) or (N, H, W, C) with C 1 or 3"
        raise DataError(f"{rule}, got {images.dtype} of shape {images.shape}")
    return images
