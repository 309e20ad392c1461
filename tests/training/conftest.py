"""Folder of decoded images per test file, the digits in it, and settings of torch that a test leaves as they were."""

from collections.abc import Iterator

import pytest
import torch

from lkca_search.data.store import Images, open_images
from lkca_search.training.images import DataDirs


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory: pytest.TempPathFactory) -> DataDirs:
    return DataDirs(cache=tmp_path_factory.mktemp("cache"), data_dir=None)


@pytest.fixture(scope="module")
def digits(data_dirs: DataDirs) -> Images:
    return open_images("digits", "train", cache=data_dirs.cache)


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    num_threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(deterministic)
