"""Stratified validation holdout, and nested stratified subsets of the remaining training images."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lkca_search.errors import DataError
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.sections import DataSection

Indices = NDArray[np.int64]
"""Row numbers of images in their split, (n,), ascending."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Holdout:
    """Two disjoint parts of a training split."""

    train: Indices
    """Images to train on."""
    validation: Indices
    """Validation images; never trained on."""
    expected_overlap: float
    """Expected share of the images to train on that another draw of the same size has."""


class SmallClassError(DataError):
    """Class with too few images. The message has its label, and `named_rule` returns it with its name."""

    def __init__(self, before: str, label: int, after: str) -> None:
        """Join the message from the texts before and after the label."""
        super().__init__(f"{before}class {label}{after}")
        self.parts = before, label, after


def named_rule(error: DataError, class_names: Sequence[str]) -> str:
    """Return the message of an error, with the name of a small class; with its label if there are no names."""
    if not isinstance(error, SmallClassError) or not class_names:
        return str(error)
    before, label, after = error.parts
    return f"{before}class {class_names[label]}{after}"


def assign_images(
    labels: NDArray[np.int64], data: DataSection, configuration: Configuration, *, split_seed: int
) -> Holdout:
    """Return the training subset and the validation images of a trial.

    The validation images depend on `split_seed` alone, so they are the same for every draw. With `scale_validation`,
    their number shrinks with the training subset.

    Raises:
        DataError: As `hold_out`, `draw_subset` and `draw_per_class`.
    """
    parts = hold_out(labels, fraction=data.validation, seed=derive_seed(split_seed, "validation"))
    seed = derive_seed(split_seed, "draw", configuration.draw)
    if configuration.images_per_class is not None:
        subset = draw_per_class(labels, parts.train, images_per_class=configuration.images_per_class, seed=seed)
    else:
        assert configuration.data_fraction is not None
        subset = draw_subset(labels, parts.train, fraction=configuration.data_fraction, seed=seed)
    validation = parts.validation
    if data.scale_validation:
        share = len(subset) / len(parts.train)
        validation = shrink_validation(labels, validation, share=share, seed=split_seed)
    overlap = _expected_overlap(labels[parts.train], labels[subset])
    return Holdout(train=subset, validation=validation, expected_overlap=overlap)


def hold_out(labels: NDArray[np.int64], *, fraction: float, seed: int) -> Holdout:
    """Hold out round(fraction * count) images of every class: at least one, and all but one at most.

    Raises:
        DataError: `fraction` is not between 0 and 1, or a class has fewer than two images.
    """
    if not 0 < fraction < 1:
        raise DataError(f"validation must be above 0 and below 1, got {fraction}")
    classes, counts = np.unique(labels, return_counts=True)
    for label, count in zip(classes, counts, strict=True):
        if count < 2:
            rule = "every class must have 2 images, one to train and one to validate"
            raise SmallClassError(f"{rule}, got {count} of ", int(label), "")
    shares = np.clip(_rounded_shares(counts, fraction), 1, counts - 1)
    order = _shuffle(np.arange(len(labels)), derive_seed(seed, "hold_out"))
    validation = _first_of_each(labels, order, classes, shares)
    train = np.setdiff1d(np.arange(len(labels)), validation)
    return Holdout(train=train, validation=validation, expected_overlap=1.0)


def draw_subset(labels: NDArray[np.int64], indices: Indices, *, fraction: float, seed: int) -> Indices:
    """Draw fraction * count images of every class from the images `indices`.

    Shares are rounded up in some classes and down in others, so that the total is close to fraction * len(indices):
    within half an image if all classes have equal size. For one seed, the subset of a smaller fraction is contained in
    that of a larger one, and 1.0 is all of `indices`. The number of images per class does not depend on the seed.

    Args:
        labels: Labels of all images of the split, (N,).
        indices: Images to draw from.
        fraction: Share of each class; above 0, at most 1.
        seed: Seed of the order in which images are drawn.

    Raises:
        DataError: `fraction` is out of range, or the share of a class is below half an image.
    """
    if not 0 < fraction <= 1:
        raise DataError(f"data_fraction must be above 0 and at most 1, got {fraction}")
    classes, counts = np.unique(labels[indices], return_counts=True)
    shares = _shares(counts, fraction)
    if shares.min() == 0:
        smallest = int(np.argmin(counts))
        raise SmallClassError(
            f"data_fraction must leave an image per class, got {fraction} of the {counts[smallest]} images of ",
            int(classes[smallest]),
            f"; the smallest fraction is {_smallest_fraction(int(counts[smallest]))}",
        )
    return _first_of_each(labels, _shuffle(np.sort(indices), derive_seed(seed, "draw_subset")), classes, shares)


def draw_per_class(labels: NDArray[np.int64], indices: Indices, *, images_per_class: int, seed: int) -> Indices:
    """Draw the same number of images of every class from the images `indices`.

    For one seed, a smaller subset is contained in a larger one. Each class is drawn in the order of `draw_subset`.
    `labels` are the labels of all images of the split, (N,).

    Raises:
        DataError: A class has fewer images.
    """
    if images_per_class < 1:
        raise DataError(f"images_per_class must be at least 1, got {images_per_class}")
    classes, counts = np.unique(labels[indices], return_counts=True)
    smallest = int(np.argmin(counts))
    if images_per_class > counts[smallest]:
        raise SmallClassError(
            f"images_per_class must be at most {counts[smallest]}, the training images of ",
            int(classes[smallest]),
            f" left after validation, got {images_per_class}",
        )
    order = _shuffle(np.sort(indices), derive_seed(seed, "draw_subset"))
    return _first_of_each(labels, order, classes, np.full_like(counts, images_per_class))


def shrink_validation(labels: NDArray[np.int64], validation: Indices, *, share: float, seed: int) -> Indices:
    """Draw a share of the validation images of every class, at least one image each.

    For one seed, a smaller share is contained in a larger one. Shares are rounded as in `draw_subset`. `labels` are the
    labels of all images of the split, (N,).
    """
    classes, counts = np.unique(labels[validation], return_counts=True)
    order = _shuffle(validation, derive_seed(seed, "shrink_validation"))
    return _first_of_each(labels, order, classes, np.maximum(_shares(counts, share), 1))


def indices_hash(indices: Indices | Sequence[int]) -> str:
    """Return the SHA-256 in hex of the indices as little-endian int64."""
    return hashlib.sha256(np.asarray(indices, dtype="<i8").tobytes()).hexdigest()


def _expected_overlap(available: NDArray[np.int64], drawn: NDArray[np.int64]) -> float:
    """Return the expected share of a draw that another draw has, from the labels of all images and of the draw.

    An image is in another draw with a probability that is the share of its class that a draw has.
    """
    counts, kept = (np.unique(labels, return_counts=True)[1] for labels in (available, drawn))
    return float(np.average(kept / counts, weights=kept))


def _rounded_shares(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return the nearest integer to fraction * count; halves round up, unlike in NumPy."""
    shares: NDArray[np.int64] = np.floor(fraction * counts + 0.5).astype(np.int64)
    return shares


def _shares(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return the integer share of each count, rounded at a different threshold per class.

    One threshold would round equal classes the same way: 2% of 200 classes of 90 would be 400 images, not 360. A share
    never falls as the fraction rises.
    """
    thresholds = (np.arange(len(counts)) + 0.5) / len(counts)
    exact = fraction * counts
    return np.where(exact < 1, exact >= 0.5, np.floor(exact - thresholds) + 1).astype(np.int64)


def _smallest_fraction(count: int) -> float:
    """Return the smallest fraction whose share of `count` images is one image, rounded up to four digits."""
    exact = 0.5 / count
    digits = 3 - math.floor(math.log10(exact))
    return math.ceil(exact * 10.0**digits) / 10.0**digits


def _shuffle(indices: Indices, seed: int) -> Indices:
    return np.random.default_rng(seed).permutation(indices)


def _first_of_each(labels: NDArray[np.int64], order: Indices, classes: Indices, shares: Indices) -> Indices:
    """Return the first `shares[i]` images of class `classes[i]` in `order`, sorted."""
    ordered = labels[order]
    chosen = [order[ordered == label][:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(chosen))
