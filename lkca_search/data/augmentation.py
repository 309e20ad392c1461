"""Augmentation of whole batches on their device. Everything random is a function of (seed, step).

Neither torch's nor numpy's global generator is moved, and the number of threads changes nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lkca_search.errors import DataError
from lkca_search.seeds import derive_seed
from lkca_search.spec.sections import Augmentation, augment_rule

POLICY_GROUP = 4
"""Images of a batch that share one draw of a policy: torchvision applies one draw to all that it is given."""

_ERASE_CHANCE = 0.5
_ERASE_AREA = (0.02, 0.33)
_ERASE_ASPECT = (0.3, 3.3)


class Augment:
    """What is done to the batches of one training."""

    def __init__(self, names: Sequence[Augmentation], *, seed: int, num_classes: int, grey: Tensor) -> None:
        """`grey`, (C,) uint8, is what is put in the place of what `erase` takes. DataError if names break a rule."""
        if rule := augment_rule(names):
            raise DataError(rule)
        self._names = frozenset(names)
        self._seed = seed
        self._num_classes = num_classes
        self._grey = grey

    def distort(self, pixels: Tensor, step: int) -> Tensor:
        """Images changed one by one: uint8 (B, C, H, W) -> the same."""
        if self._names & {"crop", "crop_reflect", "flip"}:
            # One stream for both, drawn from whether used or not: `flip` mirrors the same images with and without crop.
            generator = self._generator("augment", step)
            padding = "reflect" if "crop_reflect" in self._names else "black" if "crop" in self._names else None
            pixels = shift(pixels, padding=padding, flip="flip" in self._names, generator=generator)
        for policy in ("trivial_augment", "rand_augment"):
            if policy in self._names:
                pixels = apply_policy(pixels, policy, seed=derive_seed(self._seed, policy, step))
        if "erase" in self._names:
            pixels = erase(pixels, self._grey, generator=self._generator("erase", step))
        return pixels

    def mix(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W), float32, mixed in pairs where mixup or cutmix is asked for.

        Labels (B,) then become probabilities of the classes, (B, K) float32; else both are returned as they are.
        """
        names = [name for name in ("cutmix", "mixup") if name in self._names]
        if not names:
            return images, labels
        generator = self._generator("mix", step)
        name = names[int(torch.randint(0, len(names), (), generator=generator))]
        mixed = cutmix if name == "cutmix" else mixup
        classes = torch.arange(self._num_classes, device=labels.device)
        return mixed(images, (labels[:, None] == classes).float(), generator=generator)

    def _generator(self, use: str, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self._seed, use, step))


def shift(pixels: Tensor, *, padding: str | None, flip: bool, generator: torch.Generator) -> Tensor:
    """A random window of each image after padding by an eighth of each side, at least a pixel; every other mirrored.

    `padding` is black, reflect, or None for no window but the image itself.
    """
    count, channels, height, width = pixels.shape
    pad_y, pad_x = (max(1, height // 8), max(1, width // 8)) if padding else (0, 0)
    tops, lefts = (torch.randint(0, 2 * pad + 1, (count, 1), generator=generator) for pad in (pad_y, pad_x))
    columns = torch.arange(width).expand(count, width)
    if flip:
        columns = torch.where(torch.randint(0, 2, (count, 1), generator=generator).bool(), columns.flip(1), columns)
    rows, columns = tops + torch.arange(height), lefts + columns  # (B, H), (B, W)
    if padding == "black":
        pixels = torch.nn.functional.pad(pixels, (pad_x, pad_x, pad_y, pad_y))
    elif padding == "reflect":
        rows, columns = _reflection(height, pad_y)[rows], _reflection(width, pad_x)[columns]
    rows, columns = rows.to(pixels.device), columns.to(pixels.device)
    places = (rows[:, :, None] * pixels.shape[3] + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return pixels.flatten(2).gather(2, places).view(count, channels, height, width)  # window and mirror in one go


def erase(pixels: Tensor, grey: Tensor, *, generator: torch.Generator) -> Tensor:
    """Random erasing (arXiv 1708.04896): in half of the images a box becomes grey.

    It covers 2% to 33% of the area, at an aspect of 0.3 to 3.3 drawn on a logarithmic scale; a side longer than the
    image's is cut to it.
    """
    count, _, height, width = pixels.shape
    draws = torch.rand(5, count, 1, generator=generator, dtype=torch.float64)
    area = height * width * (_ERASE_AREA[0] + draws[0] * (_ERASE_AREA[1] - _ERASE_AREA[0]))
    low, high = (math.log(aspect) for aspect in _ERASE_ASPECT)
    aspect = torch.exp(low + draws[1] * (high - low))
    inside_y = _inside(height, (area * aspect).sqrt(), draws[2])
    inside_x = _inside(width, (area / aspect).sqrt(), draws[3])
    chosen = draws[4] < _ERASE_CHANCE
    inside = (chosen & inside_y)[:, None, :, None] & inside_x[:, None, None, :]  # (B, 1, H, W)
    return torch.where(inside.to(pixels.device), grey[:, None, None], pixels)


def apply_policy(pixels: Tensor, name: str, *, seed: int) -> Tensor:
    """TrivialAugment (arXiv 2103.10158) or RandAugment (arXiv 1909.13719: 2 operations of magnitude 9) of torchvision.

    What a policy draws holds for POLICY_GROUP images at a time, which are neighbours in a shuffled order.
    """
    from torchvision.transforms import v2  # seconds to import, and few searches need it

    policy = v2.TrivialAugmentWide() if name == "trivial_augment" else v2.RandAugment()
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's global generator: lend it one
        torch.default_generator.manual_seed(seed)
        return torch.cat([policy(pixels[i : i + POLICY_GROUP]) for i in range(0, len(pixels), POLICY_GROUP)])


def mixup(images: Tensor, labels: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (arXiv 1710.09412) with alpha 1: a batch and its own permutation, weighed by one uniform number."""
    share = float(torch.rand((), generator=generator, dtype=torch.float64))  # Beta(1, 1) is uniform
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    return images.lerp(images[partner], 1 - share), labels.lerp(labels[partner], 1 - share)


def cutmix(images: Tensor, labels: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """CutMix (arXiv 1905.04899) with alpha 1: one box, of a uniform share of the area, out of a permutation.

    The box is cut where it leaves the image; labels are weighed by the area that it has then.
    """
    height, width = images.shape[2:]
    share, centre_y, centre_x = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    (top, bottom), (left, right) = (
        (round(max(0.0, centre - side / 2) * length), round(min(1.0, centre + side / 2) * length))
        for centre, side, length in ((centre_y, math.sqrt(share), height), (centre_x, math.sqrt(share), width))
    )
    images = images.clone()
    images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return images, labels.lerp(labels[partner], (bottom - top) * (right - left) / (height * width))


def _reflection(length: int, pad: int) -> Tensor:
    """Where in a line of `length` each place of the padded line is found."""
    return torch.from_numpy(np.pad(np.arange(length), pad, mode="reflect"))


def _inside(length: int, side: Tensor, place: Tensor) -> Tensor:
    """Whether each place of a line is in an interval of length `side` (B, 1), put at `place` in 0 to 1: (B, length)."""
    side = side.round().clamp(1, length)
    start = (place * (length - side + 1)).floor()
    line = torch.arange(length)
    return (line >= start) & (line < start + side)
