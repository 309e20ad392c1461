"""Accuracy per class and confusions of pairs of classes, with intervals for new draws, seeds and test images."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.percentage_mean import PERCENT, student_percentage
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.analysis.stats.variance import image_means, image_variance
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import Metric

NUM_CONFUSIONS = 20
"""Most frequent confusions of a cell that are kept."""


class ClassAccuracy(FrozenModel):
    """Test images of one class: the share that is classified correctly, and the leading metric."""

    variant: str
    num_train_images: int
    class_index: int
    class_name: str
    num_images: int
    """Test images of the class."""
    accuracy: Estimate
    """Share of the images of the class that are classified correctly, in percent."""
    score: Estimate | None
    """Leading metric on the images of the class, in its unit; None if it is an accuracy, or no mean over images."""


class Confusion(FrozenModel):
    """Share of the test images of one class that are predicted as another one."""

    variant: str
    num_train_images: int
    true_class: str
    predicted_class: str
    share: Estimate
    """Share of the images of the true class, in percent."""
    images: float
    """Images per replicate."""


def class_accuracies(cell: CellPredictions, names: Sequence[str]) -> list[ClassAccuracy]:
    """Return the accuracy of each class that has test images, in the order of the classes."""
    metric = cell.scores.metric
    has_score = cell.image_scores is not None and metric.test_field not in ("accuracy", "balanced_accuracy")
    found = []
    for index, images in _images_by_class(cell, len(names)):
        score = None
        if has_score and cell.image_scores is not None:
            score = _mean(cell, metric.scale * cell.image_scores[..., images], metric)
        found.append(
            ClassAccuracy(
                variant=cell.variant.label,
                num_train_images=cell.num_train_images,
                class_index=index,
                class_name=names[index],
                num_images=len(images),
                accuracy=_mean(cell, PERCENT * cell.correct[..., images]),
                score=score,
            )
        )
    return found


def confusion_shares(cell: CellPredictions, num_classes: int) -> Floats:
    """Return the mean share, in percent, of each class that is predicted as each class, (classes, classes).

    The mean is over units. Rows of classes without test images are 0.
    """
    shares = np.zeros((num_classes, num_classes))
    for index, images in _images_by_class(cell, num_classes):
        predicted = cell.predicted[..., images].astype(np.int64)
        position = np.arange(predicted.shape[0] * predicted.shape[1]).reshape(*predicted.shape[:2], 1)
        counts = np.bincount((position * num_classes + predicted).ravel(), minlength=position.size * num_classes)
        by_replicate = counts.reshape(*predicted.shape[:2], num_classes) / len(images)
        shares[index] = PERCENT * image_means(by_replicate, cell.present, by_seed=cell.by_seed).mean(axis=0)
    return shares


def confusion(cell: CellPredictions, names: Sequence[str], true: int, predicted: int) -> Confusion:
    """Return the share of the images of one class that are predicted as another, or as the same one."""
    images = np.flatnonzero(cell.images.labels == true)
    share = _mean(cell, PERCENT * (cell.predicted[..., images] == predicted))
    return Confusion(
        variant=cell.variant.label,
        num_train_images=cell.num_train_images,
        true_class=names[true],
        predicted_class=names[predicted],
        share=share,
        images=share.value / PERCENT * len(images),
    )


def frequent_pairs(cell: CellPredictions, num_classes: int, *, number: int = NUM_CONFUSIONS) -> list[tuple[int, int]]:
    """Return the confusions with the most images, most frequent first: pairs of true and predicted class."""
    counts = np.bincount(cell.images.labels, minlength=num_classes)[:, None] * confusion_shares(cell, num_classes)
    np.fill_diagonal(counts, 0.0)
    order = np.argsort(-counts, axis=None, kind="stable")[:number]
    return [divmod(int(position), num_classes) for position in order if counts.flat[position] > 0]


def _images_by_class(cell: CellPredictions, num_classes: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each class with the indices of its test images; classes without images are left out."""
    labels = cell.images.labels
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    for index, images in enumerate(np.split(order, ends[:-1])):
        if len(images):
            yield index, images


def _mean(cell: CellPredictions, values: NDArray[Any], metric: Metric | None = None) -> Estimate:
    """Return the mean of values of a metric, or of percentages, (draws, seeds, images), with that of test images."""
    units = image_means(values, cell.present, by_seed=cell.by_seed)
    means, variance = units.mean(axis=1), image_variance(units)
    if metric is None or metric.is_percentage:
        return student_percentage(means, sampling_variance=variance)
    tolerance = RELATIVE_TOLERANCE * float(np.abs(means).max())
    return student_mean(means, tolerance=tolerance, sampling_variance=variance).within(*metric.bounds)
