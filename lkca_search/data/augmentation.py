"""Augmentation of batches on their device. All randomness is a function of (seed, step).

The global generators of torch and NumPy are not used, and the number of threads has no effect.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lkca_search.augmentations import augment_rule
from lkca_search.data.own_augmentation import OwnAugmentation
from lkca_search.errors import DataError
from lkca_search.own_code import is_dotted
from lkca_search.recipe import CROP_DIVISOR, ERASE_AREA, ERASE_ASPECT, ERASE_CHANCE, POLICY_GROUP
from lkca_search.seeds import derive_seed


class Augment:
    """Augmentation of the batches of one training."""

    def __init__(self, names: Sequence[str], *, seed: int, num_classes: int, gray: Tensor) -> None:
        """Set the augmentations by name; DataError if they break a rule.

        `gray`, (C,) uint8, is the color of the boxes that `erase` draws.
        """
        if rule := augment_rule(names):
            raise DataError(rule)
        self._names = frozenset(names)
        self._own = [OwnAugmentation(name) for name in names if is_dotted(name)]
        self._seed = seed
        self._num_classes = num_classes
        self._gray = gray

    def distort(self, pixels: Tensor, step: int) -> Tensor:
        """Apply the augmentations that change single images: uint8 (B, C, H, W) -> the same shape.

        Your own are applied last, in the order of their list.
        """
        if self._names & {"crop", "crop_reflect", "flip"}:
            # Crop numbers are drawn without crop too, so `flip` mirrors the same images with and without it.
            generator = self._generator("augment", step)
            padding = "reflect" if "crop_reflect" in self._names else "black" if "crop" in self._names else None
            pixels = shift(pixels, padding=padding, flip="flip" in self._names, generator=generator)
        for policy in ("trivial_augment", "rand_augment"):
            if policy in self._names:
                pixels = apply_policy(pixels, policy, seed=derive_seed(self._seed, policy, step))
        if "erase" in self._names:
            pixels = erase(pixels, self._gray, generator=self._generator("erase", step))
        for own in self._own:
            pixels = own(pixels, seed=derive_seed(self._seed, own.name, step))
        return pixels

    def mix(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mix images (B, C, H, W), float32, in pairs if mixup or cutmix is set; return images and labels.

        Mixed labels are class probabilities (B, K), float32. Without mixing, both are returned unchanged.
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
    """Crop a random window of each padded image, and mirror each image with probability 1/2 if `flip`.

    Args:
        pixels: Images, uint8 (B, C, H, W).
        padding: `black` or `reflect`, by an eighth of each side and at least one pixel; None for no crop.
        flip: True to mirror images.
        generator: Generator of the random numbers.
    """
    count, channels, height, width = pixels.shape
    pad_y, pad_x = (max(1, height // CROP_DIVISOR), max(1, width // CROP_DIVISOR)) if padding else (0, 0)
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
    offsets = (rows[:, :, None] * pixels.shape[3] + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return pixels.flatten(2).gather(2, offsets).view(count, channels, height, width)  # crop and mirror in one gather


def erase(pixels: Tensor, gray: Tensor, *, generator: torch.Generator) -> Tensor:
    """Erase a random box of each image with probability 1/2: random erasing (arXiv 1708.04896).

    A box covers 2% to 33% of the area. Its aspect ratio is 0.3 to 3.3, uniform on a logarithmic scale. A side longer
    than the image is cut.
    """
    count, _, height, width = pixels.shape
    draws = torch.rand(5, count, 1, generator=generator, dtype=torch.float64)
    area = height * width * (ERASE_AREA[0] + draws[0] * (ERASE_AREA[1] - ERASE_AREA[0]))
    low, high = (math.log(aspect) for aspect in ERASE_ASPECT)
    aspect = torch.exp(low + draws[1] * (high - low))
    inside_y = _inside(height, (area * aspect).sqrt(), draws[2])
    inside_x = _inside(width, (area / aspect).sqrt(), draws[3])
    chosen = draws[4] < ERASE_CHANCE
    inside = (chosen & inside_y)[:, None, :, None] & inside_x[:, None, None, :]  # (B, 1, H, W)
    return torch.where(inside.to(pixels.device), gray[:, None, None], pixels)


def apply_policy(pixels: Tensor, name: str, *, seed: int) -> Tensor:
    """Apply TrivialAugment (arXiv 2103.10158) or RandAugment (arXiv 1909.13719, 2 operations, magnitude 9).

    One draw of the policy is applied to POLICY_GROUP consecutive images of the shuffled batch.
    """
    from torchvision.transforms import v2  # the import takes seconds, and few searches need it

    policy = v2.TrivialAugmentWide() if name == "trivial_augment" else v2.RandAugment()
    with torch.random.fork_rng(devices=[]):  # torchvision uses the CPU's global generator
        torch.default_generator.manual_seed(seed)
        return torch.cat([policy(pixels[i : i + POLICY_GROUP]) for i in range(0, len(pixels), POLICY_GROUP)])


def mixup(images: Tensor, labels: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with another one of the batch, by one uniform weight: mixup (arXiv 1710.09412), alpha 1."""
    share = float(torch.rand((), generator=generator, dtype=torch.float64))  # Beta(1, 1) is uniform
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    return images.lerp(images[partner], 1 - share), labels.lerp(labels[partner], 1 - share)


def cutmix(images: Tensor, labels: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a box of each image by that of another image of the batch: CutMix (arXiv 1905.04899), alpha 1.

    All images have the same box. It covers a uniform share of the area and is clipped to the image. Its clipped area
    weights the labels.
    """
    height, width = images.shape[2:]
    share, center_y, center_x = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    (top, bottom), (left, right) = (
        (round(max(0.0, center - side / 2) * length), round(min(1.0, center + side / 2) * length))
        for center, side, length in ((center_y, math.sqrt(share), height), (center_x, math.sqrt(share), width))
    )
    images = images.clone()
    images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return images, labels.lerp(labels[partner], (bottom - top) * (right - left) / (height * width))


def _reflection(length: int, pad: int) -> Tensor:
    """Return the source index of each element of a line of `length`, padded by reflection."""
    return torch.from_numpy(np.pad(np.arange(length), pad, mode="reflect"))


def _inside(length: int, side: Tensor, position: Tensor) -> Tensor:
    """Return a mask (B, length) of intervals of length `side` (B, 1), at relative position 0 to 1 (B, 1)."""
    side = side.round().clamp(1, length)
    start = (position * (length - side + 1)).floor()
    line = torch.arange(length)
    return (line >= start) & (line < start + side)
