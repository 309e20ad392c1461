"""Memory of batches: the CPU uses the mapped file."""

import ctypes
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from lkca_search.data.batches import Batches, Evaluation
from lkca_search.data.store import Images
from tests.support.processes import run_python

SMAPS = Path("/proc/self/smaps_rollup")
CPU = torch.device("cpu")


def private_bytes() -> int:
    """Return the bytes of memory that this process has written to and does not share."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    found = re.search(r"Private_Dirty: +(\d+) kB", SMAPS.read_text())
    assert found
    return 1024 * int(found[1])


def mapped(folder: Path) -> Images:
    """Return 61 MB of black images in a mapped file."""
    np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (20_000, 32, 32, 3)).flush()
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    labels = np.arange(20_000) % 5
    return Images(name="mapped", pixels=pixels, labels=labels, class_names=tuple("abcde"), content_hash="")


def grown_share(folder: Path) -> float:
    """Return the growth of private memory by batches of all images, as a share of the images."""
    images = mapped(folder)

    def iterate(indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Batches, Evaluation]:
        batches = Batches(images=images, indices=indices, batch_size=128, augment=("crop", "flip"), seed=0, device=CPU)
        evaluation = Evaluation(
            images=images, indices=indices, mean=batches.mean, std=batches.std, batch_size=512, device=CPU
        )
        for _ in chain(map(batches.train_batch, range(batches.steps_per_epoch)), evaluation):
            pass
        return batches, evaluation

    iterate(np.arange(2_000))
    before = private_bytes()
    held = iterate(np.arange(len(images)))
    growth = (private_bytes() - before) / images.pixels.nbytes
    del held
    return growth


@pytest.mark.skipif(not SMAPS.exists(), reason="only Linux reports the private memory of a process")
def test_on_the_cpu_there_is_no_copy_of_the_images(tmp_path: Path) -> None:
    """It is measured in a process of its own: threads and garbage of other tests take memory too."""
    program = "import sys; from pathlib import Path; from tests.data.test_memory import grown_share as share"
    assert float(run_python(f"{program}; print(share(Path(sys.argv[1])))", str(tmp_path))) < 1 / 3
