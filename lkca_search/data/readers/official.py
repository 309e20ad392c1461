"""Readers of official files: each turns one split of a published dataset into arrays, straight from its archive.

Addresses, checksums and class names are torchvision's. It is imported where it is needed, since that takes seconds.
"""

import gzip
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.data.readers.decoded import DecodedImages, Split
from lkca_search.data.readers.download_cache import DownloadCache, OfficialFile, check_md5
from lkca_search.errors import DataError


def read_cifar10(split: Split, shelf: DownloadCache) -> DecodedImages:
    """CIFAR-10 from `cifar-10-python.tar.gz`, or from its folder `cifar-10-batches-py`: pixels (N, 32, 32, 3)."""
    from torchvision.datasets import CIFAR10

    return _read_cifar(CIFAR10, "labels", split, shelf)


def read_cifar100(split: Split, shelf: DownloadCache) -> DecodedImages:
    """CIFAR-100, fine labels, from `cifar-100-python.tar.gz` or its folder: pixels (N, 32, 32, 3)."""
    from torchvision.datasets import CIFAR100

    return _read_cifar(CIFAR100, "fine_labels", split, shelf)


def read_svhn(split: Split, shelf: DownloadCache) -> DecodedImages:
    """SVHN, cropped digits, from `train_32x32.mat` and `test_32x32.mat`: pixels (N, 32, 32, 3); label 10 is digit 0."""
    from scipy.io import loadmat
    from torchvision.datasets import SVHN

    url, name, md5 = SVHN.split_list[split]
    arrays = loadmat(shelf.file(OfficialFile(name=name, urls=[url], md5=md5)))
    return DecodedImages(
        pixels=np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2)),  # (H, W, C, N) -> (N, H, W, C)
        labels=arrays["y"].ravel().astype(np.int64) % 10,
        class_names=tuple("0123456789"),
    )


def read_fashion_mnist(split: Split, shelf: DownloadCache) -> DecodedImages:
    """Fashion-MNIST from its four `.gz` files: pixels (N, 28, 28, 1)."""
    from torchvision.datasets import FashionMNIST

    prefix = {"train": "train-", "test": "t10k-"}[split]
    pixels, labels = (
        _read_idx(shelf, OfficialFile(name=name, urls=[mirror + name for mirror in FashionMNIST.mirrors], md5=md5))
        for name, md5 in FashionMNIST.resources
        if name.startswith(prefix)
    )
    return DecodedImages(
        pixels=pixels[..., None], labels=labels.astype(np.int64), class_names=tuple(FashionMNIST.classes)
    )


def _read_cifar(official: Any, label_key: str, split: Split, shelf: DownloadCache) -> DecodedImages:
    members = [*(official.train_list if split == "train" else official.test_list)]
    members.append((official.meta["filename"], official.meta["md5"]))
    *batches, meta = (pickle.loads(content, encoding="latin1") for content in _cifar_members(official, members, shelf))
    rows = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    return DecodedImages(
        pixels=np.ascontiguousarray(rows.transpose(0, 2, 3, 1)),  # (N, C, H, W) -> (N, H, W, C)
        labels=np.concatenate([np.asarray(batch[label_key], np.int64) for batch in batches]),
        class_names=tuple(meta[official.meta["key"]]),
    )


def _cifar_members(official: Any, members: Sequence[tuple[str, str]], shelf: DownloadCache) -> list[bytes]:
    """What the members hold, each with its right MD5: from the unpacked folder where there is one, else the archive."""
    folder = shelf.find(official.base_folder)
    if folder is not None:
        paths = [folder / name for name, _ in members]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise DataError(f"{folder} must hold {', '.join(name for name, _ in members)}; missing: {missing}")
        contents = {path.name: path.read_bytes() for path in paths}
    else:
        folder = shelf.file(OfficialFile(name=official.filename, urls=[official.url], md5=official.tgz_md5))
        wanted = {f"{official.base_folder}/{name}" for name, _ in members}
        with tarfile.open(folder) as archive:
            found = ((entry, archive.extractfile(entry)) for entry in archive if entry.name in wanted)
            contents = {Path(entry.name).name: file.read() for entry, file in found if file is not None}
    for name, md5 in members:
        check_md5(contents[name], md5, place=f"{folder}, {name}")
    return [contents[name] for name, _ in members]


def _read_idx(shelf: DownloadCache, file: OfficialFile) -> NDArray[np.uint8]:
    """An array of bytes in the IDX format: two zeros, the type, the number of axes, their lengths, the values."""
    content = gzip.decompress(shelf.file(file).read_bytes())
    num_axes = content[3]
    lengths = np.frombuffer(content, ">u4", num_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(lengths)
