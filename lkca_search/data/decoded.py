"""A split as arrays: pixels and labels, checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lkca_search.errors import DataError

Split = Literal["train", "test"]
"""The two halves of a dataset. Validation images are held out of `train`; `test` is opened for confirmation only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImages:
    """One split in memory."""

    pixels: NDArray[np.uint8]
    """(N, H, W, C), 0 to 255; C is 1 where every image is gray, else 3 (RGB)."""
    labels: NDArray[np.int64]
    """(N,), 0 to the number of classes - 1, each at least once."""
    class_names: tuple[str, ...]
    """The name of each label."""


def decode_images(encoded: Sequence[bytes], *, place: Callable[[int], str]) -> NDArray[np.uint8]:
    """Decode N encoded images of one size to (N, H, W, C); C is 1 if all have mode L or 1, else all become RGB.

    `place` names where image i came from. DataError at the first image that cannot be decoded or differs in size.
    """
    # Serial: four threads decode 32x32 PNGs no faster than one, since Pillow holds the interpreter lock for most of it.
    first = _decode(encoded[0], place(0))
    height, width = first.shape[:2]
    pixels = np.empty((len(encoded), height, width, 3), np.uint8)
    all_gray = True
    for i, data in enumerate(encoded):
        image = _decode(data, place(i))
        if image.shape[:2] != (height, width):
            got = f"{image.shape[1]}x{image.shape[0]}"
            raise DataError(f"images must all have the size of the first, {width}x{height}, got {got} ({place(i)})")
        all_gray &= image.shape[2] == 1
        pixels[i] = image
    return np.ascontiguousarray(pixels[..., :1]) if all_gray else pixels


def _decode(data: bytes, place: str) -> NDArray[np.uint8]:
    try:
        with Image.open(BytesIO(data)) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("L" if mode in ("L", "1") else "RGB"))
    except Exception as error:  # a broken file raises whatever its format's parser runs into
        raise DataError(f"image cannot be decoded: {error} ({place})") from error
    if mode.startswith(("I", "F")):
        raise DataError(f"images must have 8 bits a channel, got mode {mode} ({place})")
    return pixels.reshape(*pixels.shape[:2], -1)


def name_classes(labels: NDArray[np.int64], names: Sequence[str], *, place: Callable[[int], str]) -> tuple[str, ...]:
    """Return the name of each label, given the label and the label's name of every image.

    DataError unless the labels are 0 to C - 1 without a gap and each has one name throughout.
    """
    rule = "labels must be 0 to the number of classes - 1, without a gap"
    if labels.min() < 0:
        row = int(np.argmax(labels < 0))
        raise DataError(f"{rule}, got {labels[row]} ({place(row)})")
    present, first_rows = np.unique(labels, return_index=True)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        row = int(first_rows[gaps[0]])
        raise DataError(f"{rule}, got {labels[row]} but never {gaps[0]} ({place(row)})")
    class_names = tuple(names[row] for row in first_rows)
    for row, (label, name) in enumerate(zip(labels.tolist(), names, strict=True)):
        if name != class_names[label]:
            first = f"{class_names[label]!r} ({place(int(first_rows[label]))})"
            raise DataError(
                f"a label must have one label_name, got {name!r} for label {label} ({place(row)}), but {first}"
            )
    return class_names
