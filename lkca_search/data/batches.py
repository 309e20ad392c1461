"""Batches at the speed of memory: images stay uint8 until the last moment, and a batch depends on (seed, step) alone.

On the CPU a batch is gathered out of the mapped file, so a process holds no copy of the images. On another device the
subset is copied to it once.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lkca_search.data.augmentation import Augment
from lkca_search.data.store import Images
from lkca_search.data.subsets import Indices
from lkca_search.errors import DataError
from lkca_search.seeds import derive_seed
from lkca_search.spec.sections import Augmentation

MIN_STD = 1e-3
"""Floor of a channel's standard deviation, so that a channel that never varies is not divided by zero."""

_CHUNK = 256


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
        """Batches of images[indices] on `device`. DataError if `augment` breaks a rule or there is no image."""
        if batch_size < 1 or len(indices) == 0:
            raise DataError(f"a batch must have an image, got batch_size {batch_size} and {len(indices)} images")
        self._subset = _Subset(images, indices, device)
        self.num_images = len(indices)
        """Images in the subset."""
        self.batch_size = min(batch_size, self.num_images)
        """Images in a batch, at most the subset; the last batch of an epoch may be smaller."""
        self.steps_per_epoch = -(-self.num_images // self.batch_size)
        """Batches in which every image comes once."""
        self.mean, self.std = _channel_statistics(self._subset)
        """(C,) float32: statistics of this subset's channels on the scale 0 to 1; std is at least MIN_STD."""
        self._normalise = _Normalize(self.mean, self.std)
        grey = (self.mean * 255).round().to(torch.uint8)
        self._augment = Augment(augment, seed=seed, num_classes=len(images.class_names), grey=grey)
        self._seed = seed
        self._order = (-1, torch.empty(0))

    def train_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W), float32 and normalised, and labels of a step counted from 0.

        Labels are int64 (B,), or, where mixup or cutmix mixes them, float32 probabilities of the classes (B, K).
        """
        assert step >= 0
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        pixels, labels = self._subset.gather(self._epoch_order(epoch)[start : start + self.batch_size])
        return self._augment.mix(self._normalise(self._augment.distort(pixels, step)), labels, step)

    def samples_before(self, step: int) -> int:
        """Training images seen in the first `step` steps, partial batches counted as they are."""
        epochs, position = divmod(step, self.steps_per_epoch)
        return epochs * self.num_images + position * self.batch_size

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
            self._order = (epoch, torch.randperm(self.num_images, generator=generator))
        return self._order[1]


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
        """Batches of images[indices] on `device`; `mean` and `std`, (C,), are those of the training `Batches`."""
        self._subset = _Subset(images, indices, device)
        self._normalise = _Normalize(mean.to(device), std.to(device))
        self._batch_size = batch_size
        self.num_images = len(indices)
        """Images in the set."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W), float32 and normalised, and labels (B,), int64; the last batch may be smaller."""
        for rows in _in_order(self.num_images, self._batch_size):
            pixels, labels = self._subset.gather(rows)
            yield self._normalise(pixels), labels


class _Subset:
    """Images to be gathered: on the CPU those of the mapped file, on another device a copy made there."""

    def __init__(self, images: Images, indices: Indices, device: torch.device) -> None:
        self._indices = indices
        self._mapped = images.pixels
        self._labels = torch.from_numpy(images.labels[indices]).to(device)
        self._copy = None if device.type == "cpu" else self._read(torch.arange(len(indices))).to(device)

    def __len__(self) -> int:
        return len(self._indices)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels, uint8 (B, C, H, W), and labels (B,) of the given rows of the subset; `rows` are on the CPU."""
        if self._copy is None:
            return self._read(rows), self._labels[rows]
        rows = rows.to(self._copy.device)
        return self._copy[rows], self._labels[rows]

    def _read(self, rows: Tensor) -> Tensor:
        pixels = self._mapped.take(self._indices[rows.numpy()], axis=0)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # (B, H, W, C) -> (B, C, H, W)


class _Normalize:
    """Maps uint8 (B, C, H, W) to (pixel / 255 - mean) / std."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self._scale = (1 / (255 * std))[:, None, None]
        self._shift = (-mean / std)[:, None, None]

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.float().mul_(self._scale).add_(self._shift)


def _in_order(count: int, size: int) -> Iterator[Tensor]:
    """The numbers from 0 to `count`, `size` at a time."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def _channel_statistics(subset: _Subset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, from exact counts of the 256 values."""
    counts = torch.stack([_count_values(subset.gather(rows)[0]) for rows in _in_order(len(subset), _CHUNK)]).sum(0)
    levels = torch.arange(256, dtype=torch.float64, device=counts.device) / 255
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = (shares * levels).sum(1)
    std = (shares * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), std.float().clamp_min(MIN_STD)


def _count_values(pixels: Tensor) -> Tensor:
    """How often each channel of uint8 (B, C, H, W) has each of the 256 values: (C, 256)."""
    return torch.stack([channel.flatten().bincount(minlength=256) for channel in pixels.unbind(1)])
