"""Search over digits and a folder of color photos: images of other size, channels and number of classes."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lkca_search.spec.space_file import SpaceFile, read_space_file

SPACE = """
data: {validation: 0.25, sources: {photos: "folder:photos"}}
factors:
  dataset: [digits, photos]
  images_per_class: [2, 4]
parameters:
  family:        {value: pool}
  patch_size:    {choice: [2, 4], when: {dataset: [digits]}}
  depth:         {value: 1}
  width:         {value: 16}
  learning_rate: {float: [1.0e-3, 1.0e-2], log: true}
training: {steps: 4, reports: 2, batch_size: 4}
search: {trials_per_cell: 2, sampler: random, checkpoint_seconds: 0}
confirm: {draws: 1, seeds: 1}
"""
CELLS = [f"dataset={dataset},images_per_class={count}" for dataset in ("digits", "photos") for count in (2, 4)]


def write_photos(folder: Path, *, seed: int = 0, side: int = 12, num_train: int = 8) -> Path:
    """Write three classes of random color images of a side in pixels."""
    for split, count in (("train", num_train), ("test", 3)):
        for label, name in enumerate(("cat", "cow", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng([seed, label, i, count]).integers(
                    0, 256, (side, side, 3), dtype=np.uint8
                )
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def read_space(folder: Path, *overrides: str) -> SpaceFile:
    """Write the space file into a folder, unless it exists, and read it with overrides."""
    path = folder / "two.yaml"
    if not path.exists():
        path.write_text(SPACE)
    return read_space_file(path, overrides)


def problems_of(error: Any) -> str:
    """Return the lines of an error of a space file."""
    return "\n".join(error.value.lines)
