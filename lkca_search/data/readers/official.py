"""Readers of the official files of CIFAR-10, CIFAR-100, ciFAIR, SVHN and Fashion-MNIST.

URLs, checksums and class names come from torchvision, and those of ciFAIR from its authors. A pickle is opened only if
its checksum is the official one. torchvision is imported only when needed: the import takes seconds.
"""

import gzip
import pickle
import tarfile
import zipfile
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.data.readers.decoded import DecodedImages, Split
from lkca_search.data.readers.download_cache import DownloadCache, OfficialFile, check_md5
from lkca_search.errors import DataError

CIFAIR10: Mapping[str, Any] = {
    "base_folder": "ciFAIR-10",
    "url": "https://github.com/cvjena/cifair/releases/download/v1.0/ciFAIR-10.zip",
    "filename": "ciFAIR-10.zip",
    "tgz_md5": "ca08fd390f0839693d3fc45c4e49585f",
    "test_list": [["test_batch", "01290e6b622a1977a000eff13650aca2"]],
}
"""Files of ciFAIR-10 that differ from CIFAR-10, as its authors list them (cvjena/cifair, loaders/pytorch/cifair.py)."""
CIFAIR100: Mapping[str, Any] = {
    "base_folder": "ciFAIR-100",
    "url": "https://github.com/cvjena/cifair/releases/download/v1.0/ciFAIR-100.zip",
    "filename": "ciFAIR-100.zip",
    "tgz_md5": "ddc236ab4b12eeb8b20b952614861a33",
    "test_list": [["test", "8130dae8d6fc6a436437f0ebdb801df1"]],
}
"""Files of ciFAIR-100 that differ from CIFAR-100, from the same list."""


def read_cifar10(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read CIFAR-10 from `cifar-10-python.tar.gz` or its folder `cifar-10-batches-py`: pixels (N, 32, 32, 3)."""
    from torchvision.datasets import CIFAR10

    return _read_cifar(CIFAR10, "labels", split, downloads)


def read_cifar100(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read CIFAR-100 with fine labels from `cifar-100-python.tar.gz` or its folder: pixels (N, 32, 32, 3)."""
    from torchvision.datasets import CIFAR100

    return _read_cifar(CIFAR100, "fine_labels", split, downloads)


def read_cifair10(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read ciFAIR-10 from `ciFAIR-10.zip` or its folder: CIFAR-10 with other images for near-duplicates in `test`."""
    from torchvision.datasets import CIFAR10

    return _read_cifar(_with_cifair_files(CIFAR10, CIFAIR10), "labels", split, downloads)


def read_cifair100(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read ciFAIR-100 with fine labels from `ciFAIR-100.zip` or its folder, as `read_cifair10`."""
    from torchvision.datasets import CIFAR100

    return _read_cifar(_with_cifair_files(CIFAR100, CIFAIR100), "fine_labels", split, downloads)


def _with_cifair_files(cifar: Any, files: Mapping[str, Any]) -> Any:
    """Return CIFAR's list of files with the archive and the test batch of ciFAIR; its training batches are CIFAR's."""
    return SimpleNamespace(**{"train_list": cifar.train_list, "meta": cifar.meta, **files})


def read_svhn(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read SVHN (cropped digits) from its `.mat` files: pixels (N, 32, 32, 3); label 10 becomes digit 0."""
    from scipy.io import loadmat
    from torchvision.datasets import SVHN

    url, name, md5 = SVHN.split_list[split]
    arrays = loadmat(downloads.file(OfficialFile(name=name, urls=[url], md5=md5)))
    return DecodedImages(
        pixels=np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2)),  # (H, W, C, N) -> (N, H, W, C)
        labels=arrays["y"].ravel().astype(np.int64) % 10,
        class_names=tuple("0123456789"),
    )


def read_fashion_mnist(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read Fashion-MNIST from its four `.gz` files: pixels (N, 28, 28, 1)."""
    from torchvision.datasets import FashionMNIST

    prefix = {"train": "train-", "test": "t10k-"}[split]
    pixels, labels = (
        _read_idx(downloads, OfficialFile(name=name, urls=[mirror + name for mirror in FashionMNIST.mirrors], md5=md5))
        for name, md5 in FashionMNIST.resources
        if name.startswith(prefix)
    )
    return DecodedImages(
        pixels=pixels[..., None], labels=labels.astype(np.int64), class_names=tuple(FashionMNIST.classes)
    )


def _read_cifar(official: Any, label_key: str, split: Split, downloads: DownloadCache) -> DecodedImages:
    members = [*(official.train_list if split == "train" else official.test_list)]
    members.append((official.meta["filename"], official.meta["md5"]))
    *batches, meta = (
        pickle.loads(content, encoding="latin1") for content in _cifar_members(official, members, downloads)
    )
    rows = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    return DecodedImages(
        pixels=np.ascontiguousarray(rows.transpose(0, 2, 3, 1)),  # (N, C, H, W) -> (N, H, W, C)
        labels=np.concatenate([np.asarray(batch[label_key], np.int64) for batch in batches]),
        class_names=tuple(meta[official.meta["key"]]),
    )


def _cifar_members(official: Any, members: Sequence[tuple[str, str]], downloads: DownloadCache) -> list[bytes]:
    """Return the content of members, checked by MD5, from the unpacked folder if it exists, else the archive."""
    folder = downloads.find(official.base_folder)
    if folder is not None:
        paths = [folder / name for name, _ in members]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise DataError(f"{folder} must contain {', '.join(name for name, _ in members)}; missing: {missing}")
        contents = {path.name: path.read_bytes() for path in paths}
    else:
        folder = downloads.file(OfficialFile(name=official.filename, urls=[official.url], md5=official.tgz_md5))
        paths_in_archive = {f"{official.base_folder}/{name}" for name, _ in members}
        contents = _read_archive(folder, paths_in_archive)
    for name, md5 in members:
        if name not in contents:
            raise DataError(f"{folder} must contain {name} in its folder {official.base_folder}")
        check_md5(contents[name], md5, location=f"{folder}, {name}")
    return [contents[name] for name, _ in members]


def _read_archive(path: Path, names: Set[str]) -> dict[str, bytes]:
    """Return the content of files in a zip or tar archive, by their names without folders."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as zipped:
            return {Path(name).name: zipped.read(name) for name in zipped.namelist() if name in names}
    with tarfile.open(path) as archive:
        files = ((entry, archive.extractfile(entry)) for entry in archive if entry.name in names)
        return {Path(entry.name).name: file.read() for entry, file in files if file is not None}


def _read_idx(downloads: DownloadCache, file: OfficialFile) -> NDArray[np.uint8]:
    """Read an array in IDX format: two zeros, type, number of axes, lengths of the axes, values."""
    content = gzip.decompress(downloads.file(file).read_bytes())
    num_axes = content[3]
    lengths = np.frombuffer(content, ">u4", num_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(lengths)
