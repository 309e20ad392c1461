"""Throughput of `Batches`, compared with a torchvision-style dataset and DataLoader.

Question:  is loading + random crop + flip + normalization at least 5 times as fast as the usual way?
Command:   LKCA_DATA_DIR=... python -m benchmarks.data_loading [--threads 2] [--workers 2] [--batch 128] [--epochs 5]
Expected:  5 times or more.

`Batches` is one process with `--threads` threads that reads the memory-mapped file. The usual way is one process that
collects batches from `--workers` running processes, which transform PIL images: RandomCrop(32, 4),
RandomHorizontalFlip, ToTensor, Normalize. Both shuffle. Epochs of both alternate; the median is reported.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lkca_search.data.batches import Batches
from lkca_search.data.store import Images, open_images


class Usual(Dataset[tuple[Tensor, int]]):
    """Dataset like torchvision.datasets.CIFAR10: an array in memory, one PIL image at a time."""

    def __init__(self, images: Images, mean: list[float], std: list[float]) -> None:
        self._pixels, self._labels = np.array(images.pixels), images.labels.tolist()
        side = images.shape.height
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(side, side // 8),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[i])), self._labels[i]


def seconds(work: Callable[[], int], num_images: int) -> float:
    """Return the duration of `work`. Fail unless it processed every image."""
    start = time.perf_counter()
    assert work() == num_images
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    if "LKCA_DATA_DIR" not in os.environ:
        parser.exit(message="skipped: LKCA_DATA_DIR must be set to the folder that holds cifar10/\n")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        images = open_images("cifar10", "train", cache=Path(cache), data_dir=Path(os.environ["LKCA_DATA_DIR"]))
        opening = time.perf_counter()
        batches = Batches(
            images=images,
            indices=np.arange(len(images)),
            batch_size=options.batch,
            augment=("crop", "flip"),
            seed=0,
            device=torch.device("cpu"),
        )
        opening = time.perf_counter() - opening
        loader = DataLoader(
            Usual(images, batches.mean.tolist(), batches.std.tolist()),
            batch_size=options.batch,
            shuffle=True,
            num_workers=options.workers,
            persistent_workers=True,
        )
        works: dict[str, Callable[[], int]] = {
            f"DataLoader, {options.workers} workers": lambda: sum(len(labels) for _, labels in loader),
            f"Batches, {options.threads} threads": lambda: sum(
                len(batches.train_batch(step)[1]) for step in range(batches.steps_per_epoch)
            ),
        }
        for work in works.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.epochs):
            for name, work in works.items():
                times[name].append(seconds(work, len(images)))
    usual, ours = (statistics.median(taken) for taken in times.values())
    table = Table(
        "", "images / s", "seconds per epoch", "ratio", title=f"CIFAR-10, {len(images):,} images, crop + flip"
    )
    for name, taken in zip(works, (usual, ours), strict=True):
        table.add_row(name, f"{len(images) / taken:,.0f}", f"{taken:.3f}", f"{usual / taken:.1f}")
    console = Console(width=140)
    console.print(table)
    console.print(f"opening the subset and computing its mean and deviation, once per trial: {opening:.3f} s")


if __name__ == "__main__":
    main()
