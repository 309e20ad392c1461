"""Space file of the tests of plans, and its images."""

from pathlib import Path
from typing import Any

import pytest

from lkca_search.data.store import Images
from lkca_search.spec.space_file import SpaceFile, read_space_file
from lkca_search.training.images import DataDirs, open_train_images

SPACE = """
data: {dataset: digits, validation: 0.2}
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1.0]
parameters:
  kernel_size: {choice: [3, 7, 5], when: {family: [lkca]}}
  depth: {int: [1, 2]}
  width: {choice: [16, 64]}
  patch_size: {value: 2}
  drop_path_rate: {value: 0.0}
training: {epochs: 3, batch_size: 64}
search: {trials_per_cell: 8, sampler: random}
"""


@pytest.fixture
def data_dirs(tmp_path: Path) -> DataDirs:
    return DataDirs(cache=tmp_path / "datasets", data_dir=None)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(*overrides: str) -> SpaceFile:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE)
        return read_space_file(path, overrides)

    return read


@pytest.fixture
def images(data_dirs: DataDirs, read: Any) -> Images:
    return open_train_images(read().spec.data, data_dirs)
