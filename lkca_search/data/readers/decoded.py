"""Decoded split: arrays of pixels and labels, checked."""

import math
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lkca_search.data.readers.image_decoder import CONVERSIONS, GRAY_TO_RGB, MAX_PIXELS, ImageRuleError, decode_image
from lkca_search.errors import DataError

Split = Literal["train", "test"]
"""Split of a dataset. Validation images are held out of `train`; `test` is for the confirmation only."""

_MAX_FAULTS = 1000
"""Maximum number of faults in one message."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """Images of a split that were converted in one way, or files that were skipped."""

    kind: str
    """Conversion or reason, as a phrase after the noun."""
    count: int
    """Number of images or files."""
    first: str
    """File and row of the first one."""


class ListedLabels(NamedTuple):
    """Labels of a split whose images are not decoded."""

    labels: NDArray[np.int64]
    """(N,), 0 to the number of classes - 1."""
    class_names: tuple[str, ...]
    """Class name of each label."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImages:
    """Split in memory."""

    pixels: NDArray[np.uint8]
    """(N, H, W, C), 0 to 255; C is 1 if every image is gray, else 3 (RGB)."""
    labels: NDArray[np.int64]
    """(N,), 0 to the number of classes - 1, each at least once."""
    class_names: tuple[str, ...]
    """Class name of each label."""
    notes: tuple[Note, ...] = ()
    """Converted images and skipped files."""

    @property
    def num_converted(self) -> int:
        """Number of gray images converted to RGB, in a split with color images."""
        return sum(note.count for note in self.notes if note.kind == GRAY_TO_RGB)

    def sized(self, image_size: int | None) -> "DecodedImages":
        """Return the images as squares of `image_size` pixels, center-cropped and scaled; None keeps them."""
        height, width, channels = self.pixels.shape[1:]
        if image_size is None or (height, width) == (image_size, image_size):
            return self
        pixels = np.empty((len(self.pixels), image_size, image_size, channels), np.uint8)
        for i, image in enumerate(self.pixels):
            pixels[i] = _to_array(_sized(Image.fromarray(image[..., 0] if channels == 1 else image), image_size))
        return replace(self, pixels=pixels)


class FaultyImagesError(DataError):
    """Split with images that cannot be read or decoded, or that differ in size, and the intact ones among them."""

    def __init__(self, text: str, *, intact: DecodedImages, rows: NDArray[np.int64]) -> None:
        """Set the message, the intact images, and their rows in the split."""
        super().__init__(text)
        self.intact, self.rows = intact, rows


def decode_images(
    read: Callable[[int], bytes],
    *,
    listed: ListedLabels,
    location: Callable[[int], str],
    image_size: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[NDArray[np.uint8], tuple[Note, ...]]:
    """Decode images to (N, H, W, C), as `decode_image` describes; return them and the notes of their conversions.

    Args:
        read: Function that returns encoded image i.
        listed: Label of each of N images.
        location: Function that returns the file and row of image i, for errors and notes.
        image_size: Side of the square that every image is center-cropped and scaled to (bicubic). None keeps the size;
            all images must then have one size.
        max_pixels: Pixels that an encoded image may have.

    C is 1 if every image is gray; otherwise every image is converted to RGB.

    Raises:
        DataError: Images cannot be read or decoded, or differ in size from the first. The message lists all of them. If
            others are intact, it is a FaultyImagesError.
    """
    num_images = len(listed.labels)
    # Serial: threads do not decode small PNGs faster, since Pillow holds the interpreter lock most of the time.
    pixels: NDArray[np.uint8] | None = None
    rows_of: dict[str, list[int]] = {kind: [] for kind in CONVERSIONS}
    faults, intact = list[str](), list[int]()
    other_sizes: list[tuple[int, str]] = []
    for row in range(num_images):
        try:
            image, conversions = _decode(read, row, location, max_pixels)
        except DataError as error:
            faults.append(str(error))
            continue
        array = _to_array(_sized(image, image_size))
        if pixels is None:
            pixels = _allocate((num_images, *array.shape[:2], 3))
        if array.shape[:2] != pixels.shape[1:3]:
            other_sizes.append((row, f"{array.shape[1]}x{array.shape[0]}"))
            continue
        pixels[row] = array
        intact.append(row)
        for kind in (*conversions, *([GRAY_TO_RGB] if array.shape[2] == 1 else [])):
            rows_of[kind].append(row)
    if pixels is not None and other_sizes:
        faults.append(_size_fault(pixels, other_sizes, location))
    if faults:
        raise _with_intact(_join(faults), pixels, np.array(intact, dtype=np.int64), rows_of, listed)
    assert pixels is not None, "no image"
    if len(rows_of[GRAY_TO_RGB]) == num_images:
        pixels, rows_of[GRAY_TO_RGB] = np.ascontiguousarray(pixels[..., :1]), []
    return pixels, tuple(
        Note(kind=kind, count=len(rows), first=location(rows[0])) for kind, rows in rows_of.items() if rows
    )


def _with_intact(
    text: str,
    pixels: NDArray[np.uint8] | None,
    rows: NDArray[np.int64],
    rows_of: Mapping[str, Sequence[int]],
    listed: ListedLabels,
) -> DataError:
    """Return the error about faulty images, with the intact ones if there are any."""
    if pixels is None:
        return DataError(text)
    kept = pixels[rows]
    if len(rows_of[GRAY_TO_RGB]) == len(rows):
        kept = np.ascontiguousarray(kept[..., :1])
    intact = DecodedImages(pixels=kept, labels=listed.labels[rows], class_names=listed.class_names)
    return FaultyImagesError(text, intact=intact, rows=rows)


def decode_to_shape(
    read: Callable[[], bytes], *, shape: tuple[int, int, int], location: str, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode one image to the shape (H, W, C) of a split, as `decode_images` does for its images.

    An image of another size is center-cropped and scaled (bicubic). For C = 3, a gray image is converted to RGB. For
    C = 1, an image in color must have three equal channels.

    Raises:
        DataError: The image cannot be read or decoded, or it has colors and C is 1.
    """
    height, width, channels = shape
    image, _ = _decode(lambda row: read(), 0, lambda row: location, max_pixels)
    array = _to_array(_fitted(image, height=height, width=width))
    if channels == 1 and array.shape[2] == 3:
        if (array != array[..., :1]).any():
            rule = "an image must be gray (1 channel), as the images of the training, got one in color (3 channels)"
            raise DataError(f"{rule}: convert it first, in Pillow by Image.open(FILE).convert('L') ({location})")
        array = array[..., :1]
    return np.ascontiguousarray(np.broadcast_to(array, shape))


def _decode(
    read: Callable[[int], bytes], row: int, location: Callable[[int], str], max_pixels: int
) -> tuple[Image.Image, Set[str]]:
    try:
        data = read(row)
    except (OSError, LookupError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"image cannot be read: {reason} ({location(row)})") from error
    try:
        return decode_image(data, max_pixels=max_pixels)
    except ImageRuleError as error:
        raise DataError(f"image cannot be decoded: {error} ({location(row)})") from error
    except Exception as error:  # a broken file can raise any error
        raise DataError(f"image cannot be decoded: {error}; remove it, or copy it again ({location(row)})") from error


def _allocate(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        count, height, width, _ = shape
        need = f"{count:,} images of {width}x{height} pixels need {math.prod(shape) / 1e9:,.0f} GB of memory"
        raise DataError(f"{need}, more than is free: set data.image_size") from error


def _size_fault(pixels: NDArray[np.uint8], others: Sequence[tuple[int, str]], location: Callable[[int], str]) -> str:
    height, width = pixels.shape[1:3]
    row, size = others[0]
    more = f", and {len(others) - 1} more of other sizes" if len(others) > 1 else ""
    option = "data.image_size, in `data` commands --image-size"
    rule = f"images must have the size of the first, {width}x{height}, unless you set {option}"
    return f"{rule}, got {size}{more} ({location(row)})"


def _join(faults: Sequence[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    more = len(faults) - _MAX_FAULTS
    return "\n".join([f"{len(faults)} faults:", *faults[:_MAX_FAULTS], *([f"... and {more} more"] if more > 0 else [])])


def _sized(image: Image.Image, image_size: int | None) -> Image.Image:
    return image if image_size is None else _fitted(image, height=image_size, width=image_size)


def _fitted(image: Image.Image, *, height: int, width: int) -> Image.Image:
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels, (H, W, C)."""
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def name_classes(labels: NDArray[np.int64], names: Sequence[str], *, location: Callable[[int], str]) -> tuple[str, ...]:
    """Return the class name of each label in Unicode's form NFC, from label and class name of every image.

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
    class_names = tuple(normalize_name(names[row]) for row in first_rows)
    for row, (label, name) in enumerate(zip(labels.tolist(), names, strict=True)):
        if name != class_names[label] and normalize_name(name) != class_names[label]:
            first = f"{class_names[label]!r} ({location(int(first_rows[label]))})"
            raise DataError(
                f"a label must have one label_name, got {name!r} for label {label} ({location(row)}) and {first}"
            )
    return class_names


def check_num_classes(names: Collection[str], place: str) -> None:
    """Raise DataError unless there are two classes or more."""
    if len(names) < 2:
        raise DataError(f"a dataset must have at least two classes, got only {', '.join(names)} ({place})")


def check_same_classes(train: Sequence[str], test: Sequence[str], place: str) -> None:
    """Raise DataError unless both splits have the same classes under the same labels."""
    rule = "train and test must have the same classes"
    only_test, only_train = (", ".join(sorted({*one} - {*other})) for one, other in ((test, train), (train, test)))
    if only_test or only_train:
        raise DataError(
            f"{rule}, got only in test: {only_test or 'none'}; only in train: {only_train or 'none'} ({place})"
        )
    for label, (name, other) in enumerate(zip(train, test, strict=True)):
        if name != other:
            names = f"{name!r} in train and {other!r} in test"
            raise DataError(f"{rule} under the same labels, got {names} for label {label} ({place})")


def normalize_name(name: str) -> str:
    """Return a class name in Unicode's form NFC; file systems and editors write an accented letter in two ways."""
    return unicodedata.normalize("NFC", name)
