"""Memory of a dataset when several processes of one machine train on it.

Question:  do four processes share one copy of the dataset?
Command:   LKCA_DATA_DIR=... python -m benchmarks.data_memory [--processes 4] [--dataset cifar10]
Expected:  each process adds less than 40% of the size of the dataset, all together less than 1.3 times one copy.

Each process opens the dataset and iterates over one epoch with crop and flip. Then all pause and are measured. `mapped`
is the proportional set size (PSS) of the mapped file, from /proc/PID/smaps: a page of n processes counts 1/n in each.
`own` is the growth of the private memory since an epoch over a tenth of the images; a copy of the dataset would show
here. Linux with glibc only.
"""

import argparse
import ctypes
import multiprocessing
import os
import re
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from lkca_search.data.batches import Batches
from lkca_search.data.store import Images, open_images

MB = 1e6


def mapped_bytes(folder: Path) -> int:
    """Return the PSS of the files in `folder` that this process has mapped."""
    blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    found = [re.search(r"^Pss: +(\d+) kB", block, re.MULTILINE) for block in blocks if str(folder) in block]
    return sum(1024 * int(match[1]) for match in found if match)


def private_bytes() -> int:
    """Return the private dirty memory of this process, without freed memory."""
    ctypes.CDLL(None).malloc_trim(0)
    match = re.search(r"^Private_Dirty: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert match
    return 1024 * int(match[1])


def iterate(images: Images, count: int) -> Batches:
    """Iterate over one epoch of the first `count` images and return the open batches."""
    batches = Batches(
        images=images,
        indices=np.arange(count),
        batch_size=128,
        augment=("crop", "flip"),
        seed=os.getpid(),
        device=torch.device("cpu"),
    )
    for step in range(batches.steps_per_epoch):
        batches.train_batch(step)
    return batches


def child(dataset: str, cache: Path, data_dir: Path, barrier: Barrier, answer: Connection) -> None:
    """Send the mapped bytes and the growth of private memory."""
    torch.set_num_threads(1)
    images = open_images(dataset, "train", cache=cache, data_dir=data_dir)
    iterate(images, len(images) // 10)
    before = private_bytes()
    batches = iterate(images, len(images))
    barrier.wait()
    answer.send((mapped_bytes(cache), private_bytes() - before))
    barrier.wait()
    del batches


def measure(dataset: str, cache: Path, data_dir: Path, count: int) -> list[tuple[int, int]]:
    """Return mapped bytes and growth of private memory for each of `count` parallel processes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=child, args=(dataset, cache, data_dir, barrier, send), daemon=True) for _, send in pipes
    ]
    for process in processes:
        process.start()
    found = [receive.recv() for receive, _ in pipes]
    for process in processes:
        process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--dataset", default="cifar10")
    options = parser.parse_args()
    if "LKCA_DATA_DIR" not in os.environ:
        parser.exit(message="skipped: LKCA_DATA_DIR must be set to the folder that holds the dataset\n")
    data_dir = Path(os.environ["LKCA_DATA_DIR"]).absolute()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        size = open_images(options.dataset, "train", cache=cache, data_dir=data_dir).pixels.nbytes
        found = measure(options.dataset, cache, data_dir, options.processes)
    title = f"{options.dataset}, {size / MB:.1f} MB of pixels, {options.processes} processes"
    table = Table("process", "mapped, MB", "own, MB", "mapped + own / dataset", title=title)
    rows = [(str(number), *each) for number, each in enumerate(found, start=1)]
    for name, mapped, own in [*rows, ("all", sum(each[0] for each in found), sum(each[1] for each in found))]:
        table.add_row(name, f"{mapped / MB:.1f}", f"{own / MB:.1f}", f"{(mapped + own) / size:.0%}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
