"""Near-duplicates: test images that show nearly the same as a training image, found by a perceptual descriptor.

The descriptor is the discrete cosine transform of the image, averaged to 8x8 pixels, in one brightness and two color
channels. Its coefficients are weighted by their frequency, so that fine structure counts as much as large areas, and
the mean color does not count. Similarity is the cosine of two descriptors; mirrored images are compared as well.

The threshold was chosen on CIFAR-10. docs/data.md has the measured counts; Barz and Denzler (Do We Train on Test Data?,
J. Imaging 6(6), 2020) published the pairs that they found by eye.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

THRESHOLD = 0.85
"""Similarity from which a test image is a near-duplicate."""
MAX_SHARE = 0.25
"""Largest share of similar test images. Above it, images are alike by nature, as digits are, and none is reported."""

_SIZE = 8
_CHUNK_IMAGES = 1024
_CHANNELS = ((1.0, (1.0, 1.0, 1.0)), (3.0, (1.0, 0.0, -1.0)), (5.0, (1.0, -2.0, 1.0)))
"""Weight and direction of brightness and of two color differences of RGB. The weights give them similar variance."""


def find_most_similar(
    train: NDArray[np.uint8], test: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the most similar training image of each test image, and its similarity, -1 to 1.

    Both splits are (N, H, W, C) with the same C. The cost is 2 x 384 operations per pair of a training and a test
    image with colors: CIFAR-10 takes seconds.
    """
    references = _describe(train)
    rows, similarities = [], []
    for start in range(0, len(test), _CHUNK_IMAGES):
        chunk = test[start : start + _CHUNK_IMAGES]
        best = [(_describe(view) @ references.T).max(1) for view in (chunk, chunk[:, :, ::-1])]
        is_mirrored = best[1].values > best[0].values
        rows.append(torch.where(is_mirrored, best[1].indices, best[0].indices))
        similarities.append(torch.where(is_mirrored, best[1].values, best[0].values))
    return torch.cat(rows).numpy(), torch.cat(similarities).numpy()


def _describe(pixels: NDArray[np.uint8]) -> Tensor:
    """Return the descriptors, (N, 64 C), of length 1; nearly 0 for an image of one color."""
    parts = [_describe_chunk(pixels[start : start + _CHUNK_IMAGES]) for start in range(0, len(pixels), _CHUNK_IMAGES)]
    descriptors: Tensor = functional.normalize(torch.cat(parts), dim=1, eps=1.0)
    return descriptors


def _describe_chunk(pixels: NDArray[np.uint8]) -> Tensor:
    images = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
    small = functional.adaptive_avg_pool2d(images, _SIZE)
    if small.shape[1] == 3:
        mixing = torch.stack([weight * functional.normalize(torch.tensor(row), dim=0) for weight, row in _CHANNELS])
        small = torch.einsum("oc,nchw->nohw", mixing, small)
    position, frequency = torch.arange(_SIZE) + 0.5, torch.arange(_SIZE)
    cosines = torch.cos(torch.pi / _SIZE * frequency[:, None] * position) * (2 / _SIZE) ** 0.5
    cosines[0] /= 2**0.5
    weights = (frequency[:, None] ** 2 + frequency**2).sqrt()  # 0 for the mean
    descriptors: Tensor = (weights * (cosines @ small @ cosines.T)).flatten(1)
    return descriptors
