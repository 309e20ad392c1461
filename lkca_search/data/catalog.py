"""Catalog of published datasets: size, files, citation, and reader of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from lkca_search.data.readers.decoded import DecodedImages, Split
from lkca_search.data.readers.download_cache import DownloadCache
from lkca_search.data.readers.official import (
    CIFAIR10,
    CIFAIR100,
    read_cifair10,
    read_cifair100,
    read_cifar10,
    read_cifar100,
    read_fashion_mnist,
    read_svhn,
)
from lkca_search.data.readers.tiny_imagenet import identify_tiny_imagenet, read_tiny_imagenet
from lkca_search.data.subsets import hold_out


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """Properties and reader of a published dataset."""

    num_classes: int
    """Number of classes in each split."""
    num_train: int
    """Number of training images, including those held out for validation."""
    num_test: int
    """Number of test images."""
    balanced: bool
    """True if all classes of a split have the same number of images."""
    image_size: int
    """Height and width in pixels, unless another size is requested."""
    files: tuple[str, ...]
    """Glob patterns of its official files and unpacked folders; empty if it is part of a Python package."""
    citation: str
    """Citation, and the license if it is known."""
    read: Callable[[Split, DownloadCache], DecodedImages]
    """Function that reads a split from the official files."""
    identify: Callable[[DownloadCache], str]
    """Function that returns a text that changes if the images may have changed; it reads no image."""

    @property
    def is_bundled(self) -> bool:
        """True if the dataset is part of a Python package, so that no file is searched or downloaded."""
        return not self.files

    def num_images(self, split: Split) -> int:
        """Return the number of images of a split."""
        return self.num_train if split == "train" else self.num_test


class CatalogSource:
    """Source of a catalog entry: reads its official files."""

    def __init__(self, *, name: str, downloads: DownloadCache, image_size: int | None = None) -> None:
        """Set the catalog entry by its name, and the cache of its files."""
        self.name = name
        self.image_size = image_size
        self._downloads = downloads

    def fingerprint(self, split: Split) -> str:
        """Return the origin and version of the files, without opening them."""
        entry = CATALOG[self.name]
        return f"{self.name}, {entry.identify(self._downloads)}"

    def count(self, split: Split) -> int:
        """Return the published number of images of a split."""
        return CATALOG[self.name].num_images(split)

    def list_labels(self) -> None:
        """Return None: the files may have to be downloaded."""

    def read(self, split: Split) -> DecodedImages:
        """Read a split; download it first if needed. DataError if this fails or the files are not the official ones."""
        return CATALOG[self.name].read(split, self._downloads).sized(self.image_size)

    def locate(self, split: Split) -> None:
        """Return None: a row has no file of its own."""

    def check_test_classes(self) -> None:
        """Do nothing: both splits are the official ones, checked by their hashes."""


def read_digits(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read the 1,797 handwritten digits of scikit-learn: pixels (N, 8, 8, 1).

    They have no official split: `test` is a fixed, stratified 20%. Ink values 0 to 16 become round(ink * 255 / 16).
    """
    from sklearn.datasets import load_digits  # the import takes a second, and only this dataset needs it

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    parts = hold_out(labels, fraction=0.2, seed=0)
    rows = parts.train if split == "train" else parts.validation
    return DecodedImages(
        pixels=np.round(digits.images[rows, :, :, None] * 255 / 16).astype(np.uint8),
        labels=labels[rows],
        class_names=tuple(str(name) for name in digits.target_names),
    )


def _torchvision(downloads: DownloadCache) -> str:
    return f"checksums of torchvision {version('torchvision')}"


CATALOG: Mapping[str, CatalogEntry] = {
    "digits": CatalogEntry(
        num_classes=10,
        num_train=1_438,
        num_test=359,
        balanced=False,
        image_size=8,
        files=(),
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; CC BY 4.0",
        read=read_digits,
        identify=lambda downloads: f"scikit-learn {version('scikit-learn')}, 20% test, seed 0",
    ),
    "cifar10": CatalogEntry(
        num_classes=10,
        num_train=50_000,
        num_test=10_000,
        balanced=True,
        image_size=32,
        files=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no license stated",
        read=read_cifar10,
        identify=_torchvision,
    ),
    "cifar100": CatalogEntry(
        num_classes=100,
        num_train=50_000,
        num_test=10_000,
        balanced=True,
        image_size=32,
        files=("cifar-100-python.tar.gz", "cifar-100-python"),
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no license stated",
        read=read_cifar100,
        identify=_torchvision,
    ),
    "cifair10": CatalogEntry(
        num_classes=10,
        num_train=50_000,
        num_test=10_000,
        balanced=True,
        image_size=32,
        files=("ciFAIR-10.zip", "ciFAIR-10"),
        citation="Barz and Denzler, Do We Train on Test Data?, J. Imaging, 2020, after CIFAR-10; no license stated",
        read=read_cifair10,
        identify=lambda downloads: f"{_torchvision(downloads)}, MD5 {CIFAIR10['tgz_md5']}",
    ),
    "cifair100": CatalogEntry(
        num_classes=100,
        num_train=50_000,
        num_test=10_000,
        balanced=True,
        image_size=32,
        files=("ciFAIR-100.zip", "ciFAIR-100"),
        citation="Barz and Denzler, Do We Train on Test Data?, J. Imaging, 2020, after CIFAR-100; no license stated",
        read=read_cifair100,
        identify=lambda downloads: f"{_torchvision(downloads)}, MD5 {CIFAIR100['tgz_md5']}",
    ),
    "svhn": CatalogEntry(
        num_classes=10,
        num_train=73_257,
        num_test=26_032,
        balanced=False,
        image_size=32,
        files=("train_32x32.mat", "test_32x32.mat"),
        citation="Netzer et al., Reading Digits in Natural Images, 2011; non-commercial use only",
        read=read_svhn,
        identify=_torchvision,
    ),
    "tiny_imagenet": CatalogEntry(
        num_classes=200,
        num_train=100_000,
        num_test=10_000,
        balanced=True,
        image_size=64,
        files=("tiny-imagenet-200.zip", "tiny-imagenet-200"),
        citation="Stanford CS231n, after Deng et al., ImageNet, 2009; non-commercial research and education only",
        read=read_tiny_imagenet,
        identify=identify_tiny_imagenet,
    ),
    "fashion_mnist": CatalogEntry(
        num_classes=10,
        num_train=60_000,
        num_test=10_000,
        balanced=True,
        image_size=28,
        files=("train-*-ubyte.gz", "t10k-*-ubyte.gz"),
        citation="Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv 1708.07747, 2017; MIT",
        read=read_fashion_mnist,
        identify=_torchvision,
    ),
}
