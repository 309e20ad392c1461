"""Images in memory, as arrays or images of Pillow, encoded without loss, so that they are decoded as files are."""

from collections.abc import Iterable, Iterator
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from lkca_search.data.readers.image_files import EncodedImage
from lkca_search.errors import DataError

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Modes of Pillow that PNG stores without loss."""


def encode_values(images: Iterable[Any]) -> Iterator[EncodedImage]:
    """Yield images in memory, named `image 0`, `image 1` and so on.

    Args:
        images: Images of Pillow, or uint8 arrays (H, W), (H, W, 1) or (H, W, 3).

    Raises:
        DataError: An image is none of these.
    """
    for number, image in enumerate(images):
        location = f"image {number}"
        opened = image if isinstance(image, Image.Image) else _from_array(image, location)
        if opened.mode not in _MODES:
            rule = f"an image of Pillow must have one of the modes {', '.join(_MODES)}, got {opened.mode}"
            raise DataError(f"{rule}: convert it first by image.convert('RGB') ({location})")
        yield EncodedImage(location=location, read=partial(_to_png, opened))


def _from_array(image: Any, location: str) -> Image.Image:
    if not isinstance(image, np.ndarray):
        rule = "an image must be a path, an image of Pillow or a uint8 array (H, W, C)"
        raise DataError(f"{rule}, got {type(image).__name__} ({location})")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)) or not image.size:
        rule = "an array must be uint8 of shape (H, W), (H, W, 1) or (H, W, 3), with values from 0 to 255"
        raise DataError(f"{rule}, got {image.dtype} of shape {image.shape} ({location})")
    return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _to_png(image: Image.Image) -> bytes:
    stream = BytesIO()
    ImageOps.exif_transpose(image).save(stream, format="PNG", compress_level=0)
    return stream.getvalue()
