"""Decoded split: arrays of pixels and labels, checked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lkca_search.errors import DataError

Split = Literal["train", "test"]
"""Split of a dataset. Validation images are held out of `train`; `test` is for the confirmation only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImages:
    """Split in memory."""

    pixels: NDArray[np.uint8]
    """(N, H, W, C), 0 to 255; C is 1 if every image is gray, else 3 (RGB)."""
    labels: NDArray[np.int64]
    """(N,), 0 to the number of classes - 1, each at least once."""
    class_names: tuple[str, ...]
    """Class name of each label."""
    num_converted: int = 0
    """Number of gray images converted to RGB, in a split with color images."""

    def sized(self, image_size: int | None) -> "DecodedImages":
        """Return the images as squares of `image_size` pixels, center-cropped and scaled; None keeps them."""
        height, width, channels = self.pixels.shape[1:]
        if image_size is None or (height, width) == (image_size, image_size):
            return self
        pixels = np.empty((len(self.pixels), image_size, image_size, channels), np.uint8)
        for i, image in enumerate(self.pixels):
            pixels[i] = _to_array(_sized(Image.fromarray(image[..., 0] if channels == 1 else image), image_size))
        return replace(self, pixels=pixels)


def decode_images(
    encoded: Iterable[bytes], *, num_images: int, location: Callable[[int], str], image_size: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Decode images to (N, H, W, C); return them and the number of gray images converted to RGB.

    Args:
        encoded: Encoded images, N of them.
        num_images: N.
        location: Function that returns the file and row of image i, for errors.
        image_size: Side of the square that every image is center-cropped and scaled to (bicubic). None keeps the size;
            all images must then have one size.

    C is 1 if every image has mode L or 1; otherwise every image is converted to RGB.

    Raises:
        DataError: An image cannot be decoded, or differs in size from the first.
    """
    # Serial: threads do not decode small PNGs faster, since Pillow holds the interpreter lock most of the time.
    pixels = np.empty((0, 0, 0, 3), np.uint8)
    num_gray = 0
    for i, data in enumerate(encoded):
        image = _decode(data, location(i), image_size)
        if i == 0:
            pixels = np.empty((num_images, *image.shape[:2], 3), np.uint8)
        height, width = pixels.shape[1:3]
        if image.shape[:2] != (height, width):
            rule = f"images must have the size of the first, {width}x{height}, unless you set data.image_size"
            raise DataError(f"{rule}, got {image.shape[1]}x{image.shape[0]} ({location(i)})")
        num_gray += image.shape[2] == 1
        pixels[i] = image
    if num_gray == num_images:
        return np.ascontiguousarray(pixels[..., :1]), 0
    return pixels, num_gray


def _decode(data: bytes, location: str, image_size: int | None) -> NDArray[np.uint8]:
    try:
        with Image.open(BytesIO(data)) as image:
            mode = image.mode
            pixels = _to_array(_sized(image.convert("L" if mode in ("L", "1") else "RGB"), image_size))
    except UnidentifiedImageError as error:
        raise DataError(f"image cannot be decoded: unknown format ({location})") from error
    except Exception as error:  # a broken file can raise any error
        raise DataError(f"image cannot be decoded: {error} ({location})") from error
    if mode.startswith(("I", "F")):
        raise DataError(f"images must have 8 bits per channel, got mode {mode} ({location})")
    return pixels


def _sized(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None:
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels, (H, W, C)."""
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def name_classes(labels: NDArray[np.int64], names: Sequence[str], *, location: Callable[[int], str]) -> tuple[str, ...]:
    """Return the class name of each label, from label and class name of every image.

    Raises:
        DataError: The labels are not 0 to C - 1 without a gap, or a label has two names.
    """
    rule = "labels must be 0 to the number of classes - 1, without a gap"
    if labels.min() < 0:
        row = int(np.argmax(labels < 0))
        raise DataError(f"{rule}, got {labels[row]} ({location(row)})")
    present, first_rows = np.unique(labels, return_index=True)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        row = int(first_rows[gaps[0]])
        raise DataError(f"{rule}, got {labels[row]} but never {gaps[0]} ({location(row)})")
    class_names = tuple(names[row] for row in first_rows)
    for row, (label, name) in enumerate(zip(labels.tolist(), names, strict=True)):
        if name != class_names[label]:
            first = f"{class_names[label]!r} ({location(int(first_rows[label]))})"
            raise DataError(
                f"a label must have one label_name, got {name!r} for label {label} ({location(row)}) and {first}"
            )
    return class_names
