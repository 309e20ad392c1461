"""Decoder of one encoded image to 8-bit gray or RGB; it reports each conversion that changes pixels."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

UPRIGHT = "turned upright by their EXIF orientation"
ON_WHITE = "with transparent pixels, composited on white"
SCALED = "with 16 bits per channel, scaled to 8 and rounded"
COLOR_SPACE = "converted to RGB from CMYK or another color space"
FIRST_FRAME = "with several frames, reduced to the first"
GRAY_TO_RGB = "gray, converted to RGB because others are in color"
CONVERSIONS = (UPRIGHT, ON_WHITE, SCALED, COLOR_SPACE, FIRST_FRAME, GRAY_TO_RGB)
"""Kinds of conversion, as phrases after the noun: images ..."""

DECODING_VERSION = 2
"""Version of the rules of this module. Images that were decoded by other rules are decoded again."""
MAX_PIXELS = 178_956_970
"""Pixels that an image may have unless the user allows more: 0.5 GB as RGB, twice Pillow's limit for a warning.

A file of a few kilobytes can decode to any size, so a file from an unknown source may fill the memory.
"""

_GRAY = ("1", "L", "LA", "La")
_COLOR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Operation that turns an image upright, by its EXIF orientation."""
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_SWAPPED_BYTES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Byte order that reads the low byte, where the key reads the high byte. N is the order of this machine."""


class ImageRuleError(ValueError):
    """Image that breaks a rule of this module. The message has the remedy."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, frozenset[str]]:
    """Decode an image to mode L or RGB; return it with its conversions, each one of the constants above.

    Conversions:
        EXIF orientation: The image is turned or mirrored.
        Transparency: Pixels are composited on white. An alpha channel that is opaque everywhere is no conversion.
        16 bits per channel: round(value / 257), so that 65535 becomes 255.
        Color spaces: Pillow's conversion to RGB. Color profiles (ICC) are not applied.
        Several frames: Only the first is used.

    Raises:
        ImageRuleError: The file is empty or of an unknown format, or the image has more than `max_pixels` pixels,
            32-bit or floating-point pixels, or another depth whose white is not known.
        Exception: Pillow cannot decode it; a broken file can raise any error.
    """
    if not data:
        raise ImageRuleError("the file is empty; remove it, or copy it again")
    try:
        with _pillow_limit(None):
            image = Image.open(BytesIO(data))
    except UnidentifiedImageError as error:
        raise ImageRuleError("unknown format; remove it, or save it again as PNG or JPEG") from error
    with image, _pillow_limit(max_pixels):  # an image may contain a larger one
        _check_size(image, max_pixels)
        raw_mode = _raw_mode(image)  # read now, since loading clears the tiles, and `getexif` may load
        conversions = {FIRST_FRAME} if getattr(image, "n_frames", 1) > 1 else set()
        if image.getexif().get(_ORIENTATION) in _TURNS:
            conversions.add(UPRIGHT)
        decoded = _to_eight_bits(data, image, raw_mode, conversions)
        # Pillow turns a TIFF itself, and removes its tag.
        if (turn := _TURNS.get(image.getexif().get(_ORIENTATION, 1))) is not None:
            decoded = decoded.transpose(turn)
    return decoded, frozenset(conversions)


@contextmanager
def _pillow_limit(max_pixels: int | None) -> Iterator[None]:
    """Set Pillow's limit, which is global, for the block; more pixels are an error and never a warning."""
    earlier = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = earlier


def _check_size(image: ImageFile, max_pixels: int) -> None:
    if (found := image.width * image.height) > max_pixels:
        rule = f"an image must have at most {max_pixels:,} pixels, got {image.width}x{image.height}"
        raise ImageRuleError(
            f"{rule}; if the file is one of yours, set data.max_pixels (`data prepare`, `data check`, `predict`: "
            f"--max-pixels) to {found} or more"
        )


def _to_eight_bits(data: bytes, image: ImageFile, raw_mode: str, conversions: set[str]) -> Image.Image:
    """Return the image in mode L or RGB; add its conversions to `conversions`."""
    mode = image.mode
    if mode.startswith("I;16") or ";16" in raw_mode:
        conversions.add(SCALED)
        values = _read_sixteen_bits(data, image, raw_mode)
    elif mode.startswith(("I", "F")):
        raise ImageRuleError(f"images must have 8 or 16 bits per channel, got mode {mode}; save it again as PNG")
    elif image.has_transparency_data:
        values = np.asarray(image.convert("LA" if mode in _GRAY else "RGBA"))
    else:
        if mode not in (*_GRAY, *_COLOR):
            conversions.add(COLOR_SPACE)
        return image.convert("L" if mode in _GRAY else "RGB")
    if values.shape[2] in (2, 4):
        if values[..., -1].min() < np.iinfo(values.dtype).max:
            conversions.add(ON_WHITE)
        values = _composite_on_white(values)
    pixels = values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _composite_on_white(values: NDArray[Any]) -> NDArray[Any]:
    """Return the color channels of (H, W, C) over white, rounded; the last channel is alpha, not premultiplied."""
    white = int(np.iinfo(values.dtype).max)
    alpha = values[..., -1:].astype(np.uint64)
    exact = values[..., :-1] * alpha + white * (white - alpha)  # times white
    composited: NDArray[Any] = ((exact + white // 2) // white).astype(values.dtype)
    return composited


def _read_sixteen_bits(data: bytes, image: ImageFile, raw_mode: str) -> NDArray[np.uint16]:
    """Return the values of an image with 16 bits per channel, (H, W, C). Of color, Pillow itself keeps the high bytes.

    The image is decoded twice: once with its byte order, and once with the other order for the low bytes.
    """
    if ";16" not in raw_mode:
        raise ImageRuleError(f"images with more than 8 bits must be PNG or TIFF with 16 bits, got {image.format}")
    if image.format == "TIFF" and image.getexif().get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise ImageRuleError("16-bit TIFF must store black as 0, got white as 0")
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)[..., None]
    elif raw_mode.startswith("LA"):
        with Image.open(BytesIO(data)) as pairs:  # two channels of two bytes have the layout of RGBA
            quads = np.asarray(_with_raw_mode(pairs, "RGBA"))
        image.load()
        values = _join_bytes(quads[..., 0::2], quads[..., 1::2])
    else:
        with Image.open(BytesIO(data)) as other:
            low = np.asarray(_with_raw_mode(other, raw_mode[:-1] + _SWAPPED_BYTES[raw_mode[-1]]))
        values = _join_bytes(np.asarray(image), low)
    if (transparent := image.info.get("transparency")) is not None and values.shape[2] in (1, 3):
        opaque = (values != np.asarray(transparent)).any(2, keepdims=True)
        values = np.concatenate([values, np.where(opaque, 65535, 0).astype(np.uint16)], 2)
    return values


def _join_bytes(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    values: NDArray[np.uint16] = high.astype(np.uint16) * np.uint16(256) + low
    return values


def _raw_mode(image: ImageFile) -> str:
    """Return the layout of the encoded bytes as Pillow names it, such as RGB;16B; empty for codecs without one."""
    arguments = image.tile[0].args if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_raw_mode(image: ImageFile, raw_mode: str) -> ImageFile:
    """Return the image, to be decoded as if its bytes had another layout of the same size."""
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]
    return image
