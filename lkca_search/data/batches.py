"""Training and evaluation batches. A training batch depends on (seed, step) alone.

Images stay uint8 until they are normalized. On the CPU a batch is gathered from the mapped file, so a process holds no
copy of the images. For a GPU the subset is copied to it once.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lkca_search.data.augmentation import Augment
from lkca_search.data.store import Images
from lkca_search.data.subsets import Indices
from lkca_search.errors import DataError
from lkca_search.seeds import derive_seed

MIN_STD = 1e-3
"""Smallest standard deviation of a channel, to avoid a division by zero for constant channels."""

_CHUNK = 256


class Batches:
    """Training batches of a subset. To resume, only the step number is needed.

    The global generators of torch and NumPy are not used, and the number of threads has no effect.
    """

    def __init__(
        self,
        *,
        images: Images,
        indices: Indices,
        batch_size: int,
        augment: Sequence[str],
        seed: int,
        device: torch.device,
    ) -> None:
        """Make batches of images[indices] on `device`; DataError if `augment` breaks a rule or there is no image."""
        if batch_size < 1 or len(indices) == 0:
            raise DataError(
                f"a batch must have at least one image, got batch_size {batch_size} and {len(indices)} images"
            )
        self._subset = _Subset(images, indices, device)
        self.num_images = len(indices)
        """Number of images in the subset."""
        self.batch_size = min(batch_size, self.num_images)
        """Images per batch, at most the subset; `last_batch` is the size of an epoch's last one."""
        self.steps_per_epoch = count_batches(self.num_images, self.batch_size)
        """Batches per epoch; every image occurs once per epoch."""
        self.last_batch = self.num_images - (self.steps_per_epoch - 1) * self.batch_size
        """Images in the last batch of an epoch, from 2 to batch_size + 1 if the subset and batch_size allow it."""
        self.mean, self.std = _channel_statistics(self._subset)
        """Mean and standard deviation of the subset's channels, (C,) float32, scale 0 to 1; std is at least MIN_STD."""
        self._normalize = _Normalize(self.mean, self.std)
        gray = (self.mean * 255).round().to(torch.uint8)
        self._augment = Augment(augment, seed=seed, num_classes=len(images.class_names), gray=gray)
        self._seed = seed
        self._order = (-1, torch.empty(0))

    def train_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the normalized images (B, C, H, W), float32, and the labels of a step, counted from 0.

        Labels are int64 (B,), or class probabilities (B, K), float32, if mixup or cutmix is set.
        """
        assert step >= 0
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        size = self.last_batch if position == self.steps_per_epoch - 1 else self.batch_size
        pixels, labels = self._subset.gather(self._epoch_order(epoch)[start : start + size])
        return self._augment.mix(self._normalize(self._augment.distort(pixels, step)), labels, step)

    def samples_before(self, step: int) -> int:
        """Return the number of training images in the first `step` steps; last batches have their own size."""
        epochs, position = divmod(step, self.steps_per_epoch)
        return epochs * self.num_images + position * self.batch_size

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
            self._order = (epoch, torch.randperm(self.num_images, generator=generator))
        return self._order[1]


def count_batches(num_images: int, batch_size: int) -> int:
    """Return the number of batches per epoch. A single image that is left over joins the batch before it.

    BatchNorm cannot normalize one value per channel, and its statistics of one image are poor in any layer.
    """
    full, left = divmod(num_images, min(batch_size, num_images))
    return full + (left > 1)


def largest_batch(num_images: int, batch_size: int) -> int:
    """Return the number of images in the largest batch of an epoch."""
    batch_size = min(batch_size, num_images)
    return max(batch_size, num_images - (count_batches(num_images, batch_size) - 1) * batch_size)


class Evaluation:
    """Evaluation batches of a fixed set of images, in order, without augmentation. Can be iterated repeatedly."""

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
        """Make batches of images[indices] on `device`, normalized with `mean` and `std`, (C,)."""
        self._subset = _Subset(images, indices, device)
        self._normalize = _Normalize(mean.to(device), std.to(device))
        self._batch_size = batch_size
        self.num_images = len(indices)
        """Number of images in the set."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalized images (B, C, H, W), float32, and labels (B,), int64; the last batch may be smaller."""
        for rows in _in_order(self.num_images, self._batch_size):
            pixels, labels = self._subset.gather(rows)
            yield self._normalize(pixels), labels


class _Subset:
    """Images of a subset: on the CPU in the mapped file, on another device as a copy."""

    def __init__(self, images: Images, indices: Indices, device: torch.device) -> None:
        """Select images[indices]; copy them to `device` unless it is the CPU."""
        self._indices = indices
        self._mapped = images.pixels
        self._labels = torch.from_numpy(images.labels[indices]).to(device)
        self._copy = None if device.type == "cpu" else self._read(torch.arange(len(indices))).to(device)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._indices)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels, uint8 (B, C, H, W), and labels (B,) of rows of the subset; `rows` must be on the CPU."""
        if self._copy is None:
            return self._read(rows), self._labels[rows]
        rows = rows.to(self._copy.device)
        return self._copy[rows], self._labels[rows]

    def _read(self, rows: Tensor) -> Tensor:
        pixels = self._mapped.take(self._indices[rows.numpy()], axis=0)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # (B, H, W, C) -> (B, C, H, W)


class _Normalize:
    """Map from uint8 (B, C, H, W) to (pixel / 255 - mean) / std."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics (C,) of the channels, on the scale 0 to 1."""
        self._scale = (1 / (255 * std))[:, None, None]
        self._shift = (-mean / std)[:, None, None]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize: uint8 (B, C, H, W) -> float32 (B, C, H, W)."""
        return pixels.float().mul_(self._scale).add_(self._shift)


def _in_order(count: int, size: int) -> Iterator[Tensor]:
    """Yield the numbers from 0 to `count` in chunks of `size`."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def _channel_statistics(subset: _Subset) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, from exact counts of the 256 values."""
    counts = torch.stack([_count_values(subset.gather(rows)[0]) for rows in _in_order(len(subset), _CHUNK)]).sum(0)
    levels = torch.arange(256, dtype=torch.float64, device=counts.device) / 255
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = (shares * levels).sum(1)
    std = (shares * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), std.float().clamp_min(MIN_STD)


def _count_values(pixels: Tensor) -> Tensor:
    """Count the 256 values of each channel: uint8 (B, C, H, W) -> (C, 256)."""
    return torch.stack([channel.flatten().bincount(minlength=256) for channel in pixels.unbind(1)])
