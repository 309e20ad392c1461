"""Which images are trained on: validation held out, then nested subsets of the rest, class by class."""

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
"""Positions of images in their split, (n,), ascending."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Holdout:
    """Two disjoint parts of a training split."""

    train: Indices
    """Images that may be trained on."""
    validation: Indices
    """Images held out; never trained on."""


def assign_images(
    labels: NDArray[np.int64], data: DataSection, configuration: Configuration, *, split_seed: int
) -> Holdout:
    """The images of a split that a trial trains on, and those that it is validated on.

    What is held out depends on `split_seed` alone, so it is the same for every draw, and so is the part of it that
    `scale_validation` leaves. DataError as `hold_out`, `draw_subset` and `draw_per_class`.
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
    return Holdout(train=subset, validation=validation)


def hold_out(labels: NDArray[np.int64], *, fraction: float, seed: int) -> Holdout:
    """Hold out round(fraction * count) images of every class, at least one, and leave at least one to train.

    DataError unless 0 < fraction < 1 and every class has two images.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction held out must be above 0 and below 1, got {fraction}")
    classes, counts = np.unique(labels, return_counts=True)
    for label, count in zip(classes, counts, strict=True):
        if count < 2:
            raise DataError(f"every class must have 2 images, one to train and one to hold out, got {count} of {label}")
    shares = np.clip(_nearest(counts, fraction), 1, counts - 1)
    order = _shuffle(np.arange(len(labels)), derive_seed(seed, "hold_out"))
    validation = _first_of_each(labels, order, classes, shares)
    return Holdout(train=np.setdiff1d(np.arange(len(labels)), validation), validation=validation)


def draw_subset(labels: NDArray[np.int64], indices: Indices, *, fraction: float, seed: int) -> Indices:
    """Draw every class's share, fraction * count, of the images `indices`; `labels` are those of the whole split.

    A share is rounded to a whole number beside it, up in some classes and down in others, so that the total comes close
    to fraction * len(indices): within half an image where classes are equally large. With one seed a smaller fraction's
    subset is inside a larger one's, and 1.0 is all of `indices`. How many of each class does not depend on the seed.
    DataError unless 0 < fraction <= 1 and every class's share is at least half an image.
    """
    if not 0 < fraction <= 1:
        raise DataError(f"a data fraction must be above 0 and at most 1, got {fraction}")
    classes, counts = np.unique(labels[indices], return_counts=True)
    shares = _spread(counts, fraction)
    if shares.min() == 0:
        smallest = int(np.argmin(counts))
        raise DataError(
            f"a data fraction must leave every class an image: {fraction} of the {counts[smallest]} images of class "
            f"{classes[smallest]} is none; the smallest that works is {_smallest_fraction(int(counts[smallest]))}"
        )
    return _first_of_each(labels, _shuffle(np.sort(indices), derive_seed(seed, "draw_subset")), classes, shares)


def draw_per_class(labels: NDArray[np.int64], indices: Indices, *, images_per_class: int, seed: int) -> Indices:
    """Draw equally many images of every class from the images `indices`; `labels` are those of the whole split.

    With one seed fewer images are inside more, and the order in which a class is drawn is that of `draw_subset`.
    DataError unless every class has that many.
    """
    if images_per_class < 1:
        raise DataError(f"a subset must have at least 1 image of every class, got {images_per_class}")
    classes, counts = np.unique(labels[indices], return_counts=True)
    smallest = int(np.argmin(counts))
    if images_per_class > counts[smallest]:
        raise DataError(
            f"every class must have the images to be drawn: {images_per_class} of the {counts[smallest]} images of "
            f"class {classes[smallest]} cannot be had; the largest that works is {counts[smallest]}"
        )
    order = _shuffle(np.sort(indices), derive_seed(seed, "draw_subset"))
    return _first_of_each(labels, order, classes, np.full_like(counts, images_per_class))


def shrink_validation(labels: NDArray[np.int64], validation: Indices, *, share: float, seed: int) -> Indices:
    """Draw every class's share of the images held out, at least one; with one seed a smaller share is inside a larger.

    `labels` are those of the whole split; shares are rounded as by `draw_subset`.
    """
    classes, counts = np.unique(labels[validation], return_counts=True)
    order = _shuffle(validation, derive_seed(seed, "shrink_validation"))
    return _first_of_each(labels, order, classes, np.maximum(_spread(counts, share), 1))


def indices_hash(indices: Indices | Sequence[int]) -> str:
    """SHA-256, in hex, of the indices as little-endian int64."""
    return hashlib.sha256(np.asarray(indices, dtype="<i8").tobytes()).hexdigest()


def _nearest(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Nearest whole share of each count; halves round up, where numpy would round them to even."""
    shares: NDArray[np.int64] = np.floor(fraction * counts + 0.5).astype(np.int64)
    return shares


def _spread(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Whole share of each count, rounded at a threshold of its own; it never falls as the fraction rises.

    One threshold for all would round equal classes all the same way: 2% of 200 classes of 90 would be 400, not 360.
    """
    thresholds = (np.arange(len(counts)) + 0.5) / len(counts)
    exact = fraction * counts
    return np.where(exact < 1, exact >= 0.5, np.floor(exact - thresholds) + 1).astype(np.int64)


def _smallest_fraction(count: int) -> float:
    """The smallest fraction whose share of `count` images is one, rounded up to four digits."""
    exact = 0.5 / count
    digits = 3 - math.floor(math.log10(exact))
    return math.ceil(exact * 10.0**digits) / 10.0**digits


def _shuffle(indices: Indices, seed: int) -> Indices:
    return np.random.default_rng(seed).permutation(indices)


def _first_of_each(labels: NDArray[np.int64], order: Indices, classes: Indices, shares: Indices) -> Indices:
    """The first `shares[i]` images of class `classes[i]` in `order`, sorted."""
    ordered = labels[order]
    chosen = [order[ordered == label][:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(chosen))
