"""A split as arrays: pixels and labels, checked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

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
    num_converted: int = 0
    """Gray images among coloured ones, made RGB."""

    def sized(self, image_size: int | None) -> "DecodedImages":
        """The images as squares of `image_size` pixels, cut and scaled as `decode_images` does; None leaves them."""
        height, width, channels = self.pixels.shape[1:]
        if image_size is None or (height, width) == (image_size, image_size):
            return self
        pixels = np.empty((len(self.pixels), image_size, image_size, channels), np.uint8)
        for i, image in enumerate(self.pixels):
            pixels[i] = _to_array(_sized(Image.fromarray(image[..., 0] if channels == 1 else image), image_size))
        return replace(self, pixels=pixels)


def decode_images(
    encoded: Iterable[bytes], *, num_images: int, place: Callable[[int], str], image_size: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Decode N encoded images to (N, H, W, C), and count the gray ones that were made RGB.

    C is 1 if all have mode L or 1, else all become RGB. `image_size` makes every image a square of that many pixels:
    the middle of its longer side is kept, then it is scaled (bicubic). Without it all must be of one size.
    `place` names where image i came from. DataError at the first image that cannot be decoded or differs in size.
    """
    # Serial: four threads decode 32x32 PNGs no faster than one, since Pillow holds the interpreter lock for most of it.
    pixels = np.empty((0, 0, 0, 3), np.uint8)
    num_gray = 0
    for i, data in enumerate(encoded):
        image = _decode(data, place(i), image_size)
        if i == 0:
            pixels = np.empty((num_images, *image.shape[:2], 3), np.uint8)
        height, width = pixels.shape[1:3]
        if image.shape[:2] != (height, width):
            rule = f"images must all have the size of the first, {width}x{height}, unless an image size is asked for"
            raise DataError(f"{rule}, got {image.shape[1]}x{image.shape[0]} ({place(i)})")
        num_gray += image.shape[2] == 1
        pixels[i] = image
    if num_gray == num_images:
        return np.ascontiguousarray(pixels[..., :1]), 0
    return pixels, num_gray


def _decode(data: bytes, place: str, image_size: int | None) -> NDArray[np.uint8]:
    try:
        with Image.open(BytesIO(data)) as image:
            mode = image.mode
            pixels = _to_array(_sized(image.convert("L" if mode in ("L", "1") else "RGB"), image_size))
    except UnidentifiedImageError as error:
        raise DataError(f"image cannot be decoded: it has no format that Pillow knows ({place})") from error
    except Exception as error:  # a broken file raises whatever its format's parser runs into
        raise DataError(f"image cannot be decoded: {error} ({place})") from error
    if mode.startswith(("I", "F")):
        raise DataError(f"images must have 8 bits a channel, got mode {mode} ({place})")
    return pixels


def _sized(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None:
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, C)."""
    pixels = np.asarray(image)
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
