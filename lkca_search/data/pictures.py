"""Small pictures of test images as PNG, for a report."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lkca_search.data.store import find_by_hash
from lkca_search.errors import SearchError
from lkca_search.layout import Home

MAX_SIDE = 96
"""Largest height and width of a picture in pixels; larger images are reduced, smaller ones keep their size."""


def find_test_pictures(content_hash: str, indices: Sequence[int], *, home: Home) -> Mapping[int, bytes]:
    """Return PNG files of test images, by their index in the split with this hash.

    The result is empty if this machine has no decoded split with the hash; nothing is downloaded or decoded.
    """
    try:
        images = find_by_hash(content_hash, "test", cache=home.datasets)
    except (SearchError, OSError):  # no folder of decoded images, or one that cannot be read
        return {}
    if images is None:
        return {}
    return {index: _to_png(images.pixels[index]) for index in indices if index < len(images)}


def _to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image, (H, W, C), as PNG."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()
