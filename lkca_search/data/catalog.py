"""The datasets that have a name: what each holds, where it is from, and what reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from lkca_search.data.readers.decoded import DecodedImages, Split
from lkca_search.data.readers.download_cache import DownloadCache
from lkca_search.data.readers.official import read_cifar10, read_cifar100, read_fashion_mnist, read_svhn
from lkca_search.data.readers.tiny_imagenet import identify_tiny_imagenet, read_tiny_imagenet
from lkca_search.data.subsets import hold_out


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """A published dataset as its makers describe it."""

    num_classes: int
    """Classes, the same in both splits."""
    num_train: int
    """Images to train on; validation is held out of them."""
    num_test: int
    """Images to test on."""
    balanced: bool
    """Whether all classes of a split have the same number of images."""
    image_size: int
    """Height and width in pixels, where no other is asked for."""
    files: tuple[str, ...]
    """Patterns of its official files and of what they unpack to; none where it comes with a package."""
    citation: str
    """Whom to cite, and the terms where they are known."""
    read: Callable[[Split, DownloadCache], DecodedImages]
    """Reads a split from the official files."""
    identify: Callable[[DownloadCache], str]
    """A text that costs little and changes when the images may have changed."""

    def num_images(self, split: Split) -> int:
        """Images of a split."""
        return self.num_train if split == "train" else self.num_test


class CatalogSource:
    """An entry of the catalogue, read from its official files."""

    def __init__(self, *, name: str, shelf: DownloadCache, image_size: int | None = None) -> None:
        self.name = name
        self.image_size = image_size
        self._shelf = shelf

    def fingerprint(self, split: Split) -> str:
        """Where the files are from, and their version; no file is opened."""
        entry = CATALOG[self.name]
        return f"{self.name}, {entry.identify(self._shelf)}"

    def read(self, split: Split) -> DecodedImages:
        """Read the split, downloading what is not there; DataError if it cannot be had or is not the official one."""
        return CATALOG[self.name].read(split, self._shelf).sized(self.image_size)


def read_digits(split: Split, shelf: DownloadCache) -> DecodedImages:
    """1,797 handwritten digits that come with scikit-learn: pixels (N, 8, 8, 1).

    They have no official split: a fixed, seeded, stratified 20% are `test`. Ink 0 to 16 becomes round(ink * 255 / 16).
    """
    from sklearn.datasets import load_digits  # a second to import, and only this dataset needs it

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    parts = hold_out(labels, fraction=0.2, seed=0)
    rows = parts.train if split == "train" else parts.validation
    return DecodedImages(
        pixels=np.round(digits.images[rows, :, :, None] * 255 / 16).astype(np.uint8),
        labels=labels[rows],
        class_names=tuple(str(name) for name in digits.target_names),
    )


def _torchvision(shelf: DownloadCache) -> str:
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
        identify=lambda shelf: f"scikit-learn {version('scikit-learn')}, 20% test, seed 0",
    ),
    "cifar10": CatalogEntry(
        num_classes=10,
        num_train=50_000,
        num_test=10_000,
        balanced=True,
        image_size=32,
        files=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no licence stated",
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
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no licence stated",
        read=read_cifar100,
        identify=_torchvision,
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
