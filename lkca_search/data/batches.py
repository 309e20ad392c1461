"""Batches at the speed of memory: a subset lives on the device as uint8, and a batch depends on (seed, step) alone."""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lkca_search.data.store import Images
from lkca_search.data.subsets import Indices
from lkca_search.errors import DataError
from lkca_search.seeds import derive_seed

Augmentation = Literal["crop", "flip"]
"""`crop`: a random window after padding by black, an eighth of each side; `flip`: left to right, every other image."""

MIN_STD = 1e-3
"""Floor of a channel's standard deviation, so that a channel that never varies is not divided by zero."""


class Batches:
    """The training batches of a subset. Resuming needs the number of the step and nothing else.

    Neither torch's nor numpy's global generator is touched, and the number of threads changes nothing.
    """

    def __init__(
        self,
        *,
        images: Images,
        indices: Indices,
        batch_size: int,
        augment: Sequence[Augmentation],
        seed: int,
        device: torch.device,
    ) -> None:
        """Gather images[indices] onto `device`. DataError if `augment` has an unknown name or there is no image."""
        if unknown := set(augment) - set(get_args(Augmentation)):
            raise DataError(f"augment must be among {', '.join(get_args(Augmentation))}, got {sorted(unknown)}")
        if batch_size < 1 or len(indices) == 0:
            raise DataError(f"a batch must have an image, got batch_size {batch_size} and {len(indices)} images")
        pixels, self._labels = _gather(images, indices, device)
        self.num_images = len(indices)
        """Images in the subset."""
        self.batch_size = min(batch_size, self.num_images)
        """Images in a batch, at most the subset; the last batch of an epoch may be smaller."""
        self.steps_per_epoch = -(-self.num_images // self.batch_size)
        """Batches in which every image comes once."""
        self.mean, self.std = _channel_statistics(pixels)
        """(C,) float32: statistics of this subset's channels on the scale 0 to 1; std is at least MIN_STD."""
        self._normalise = _Normalise(self.mean, self.std)
        self._seed = seed
        self._flip = "flip" in augment
        self._windows = _windows(pixels, padded="crop" in augment)
        self._order = (-1, torch.empty(0))

    def train_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W), float32 and normalised, and labels (B,), int64, of a step counted from 0."""
        assert step >= 0
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        rows = self._epoch_order(epoch)[start : start + self.batch_size]
        return self._normalise(self._augmented(rows, step)), self._labels[rows]

    def samples_before(self, step: int) -> int:
        """Training images seen in the first `step` steps, partial batches counted as they are."""
        epochs, position = divmod(step, self.steps_per_epoch)
        return epochs * self.num_images + position * self.batch_size

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
            order = torch.randperm(self.num_images, generator=generator)
            self._order = (epoch, order.to(self._labels.device))
        return self._order[1]

    def _augmented(self, rows: Tensor, step: int) -> Tensor:
        """Pixels of `rows`, still uint8."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "augment", step))
        tops, lefts = (
            torch.randint(0, places, (len(rows),), generator=generator).to(rows.device)
            for places in self._windows.shape[2:4]
        )
        pixels = self._windows[rows, :, tops, lefts]  # (N, C, tops, lefts, H, W) -> (B, C, H, W)
        if self._flip:
            flipped = torch.randint(0, 2, (len(rows), 1, 1, 1), generator=generator).to(rows.device)
            pixels = torch.where(flipped.bool(), pixels.flip(3), pixels)
        return pixels


class Evaluation:
    """A fixed set of images in their own order, without augmentation; iterate as often as needed."""

    def __init__(
        self,
        *,
        images: Images,
        indices: Indices,
        mean: Tensor,
        std: Tensor,
        batch_size: int,
        device: torch.device,
    ) -> None:
        """Gather images[indices] onto `device`; `mean` and `std`, (C,), are those of the training `Batches`."""
        self._pixels, self._labels = _gather(images, indices, device)
        self._normalise = _Normalise(mean.to(device), std.to(device))
        self._batch_size = batch_size
        self.num_images = len(indices)
        """Images in the set."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W), float32 and normalised, and labels (B,), int64; the last batch may be smaller."""
        for start in range(0, self.num_images, self._batch_size):
            rows = slice(start, start + self._batch_size)
            yield self._normalise(self._pixels[rows]), self._labels[rows]


class _Normalise:
    """Maps uint8 (B, C, H, W) to (pixel / 255 - mean) / std."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self._scale = (1 / (255 * std))[:, None, None]
        self._shift = (-mean / std)[:, None, None]

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.float().mul_(self._scale).add_(self._shift)


def _gather(images: Images, indices: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(images.pixels[indices]).to(device)
    labels = torch.from_numpy(images.labels[indices]).to(device)
    return pixels.permute(0, 3, 1, 2).contiguous(), labels  # (N, H, W, C) -> (N, C, H, W)


def _windows(pixels: Tensor, *, padded: bool) -> Tensor:
    """Every window of the images, padded or not, as a view: (N, C, H, W) -> (N, C, tops, lefts, H, W)."""
    height, width = pixels.shape[2:]
    if padded:
        pad_y, pad_x = max(1, height // 8), max(1, width // 8)
        pixels = torch.nn.functional.pad(pixels, (pad_x, pad_x, pad_y, pad_y))
    return pixels.unfold(2, height, 1).unfold(3, width, 1)


def _channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), from exact counts of the 256 values."""
    counts = torch.stack([channel.flatten().bincount(minlength=256) for channel in pixels.unbind(1)])
    levels = torch.arange(256, dtype=torch.float64, device=pixels.device) / 255
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = (shares * levels).sum(1)
    std = (shares * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), std.float().clamp_min(MIN_STD)
