"""Metrics of an evaluation, from the probabilities of all images, (N, K), and their labels, (N,).

The definitions are those of scikit-learn; the calibration error is that of Guo et al. 2017 (On Calibration of Modern
Neural Networks, section 2). They are written here because scikit-learn's take many times as long: an evaluation at
every report must cost next to nothing. `tests/training/test_metrics.py` shows that both agree.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lkca_search.data.store import Images
from lkca_search.errors import Problem, UserError
from lkca_search.own_code import describe_error, load_own
from lkca_search.records.predictions import is_among_top
from lkca_search.spec.metrics import NUM_CALIBRATION_BINS, VALIDATION, Metric, OwnMetric, find_metric, name_of
from lkca_search.spec.space_file import SpaceFile

Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]
Function = Callable[[Probabilities, Labels], float]
TOP = 5


class UndefinedMetric(ValueError):
    """Metric without a value for these images; the message is the reason."""


def top5_accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Return the share of images whose class is among the 5 most probable; of equal classes, the first ones count.

    Raises:
        UndefinedMetric: There are 5 classes or fewer, so that every image is right.
    """
    num_classes = probabilities.shape[1]
    if num_classes <= TOP:
        raise UndefinedMetric(f"top-5 accuracy needs more than {TOP} classes, the data has {num_classes}")
    return float(is_among_top(probabilities, labels, number=TOP).mean())


def balanced_accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean of the accuracies of the classes that have an image."""
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    correct = np.bincount(labels[probabilities.argmax(axis=1) == labels], minlength=num_classes)
    present = counts > 0
    return float((correct[present] / counts[present]).mean())


def calibration_error(probabilities: Probabilities, labels: Labels) -> float:
    """Return the expected calibration error over 15 bins (0, 1/15], (1/15, 2/15], ... of the largest probability.

    It is the mean over images of |accuracy - mean confidence| of the image's bin.
    """
    confidences = probabilities.max(axis=1).astype(np.float64)
    is_correct = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidences * NUM_CALIBRATION_BINS).astype(np.int64) - 1, 0, NUM_CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, is_correct, NUM_CALIBRATION_BINS) - np.bincount(bins, confidences, NUM_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def macro_auroc(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean over classes of the area under the ROC curve of the class against all others; ties count half.

    Raises:
        UndefinedMetric: A class has no image, or every image is of one class.
    """
    num_images, num_classes = probabilities.shape
    counts = np.bincount(labels, minlength=num_classes)
    if absent := np.flatnonzero(counts == 0).tolist():
        named = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        raise UndefinedMetric(f"macro AUROC needs an image of every class, none is of class {named}")
    if num_classes == 1:
        raise UndefinedMetric("macro AUROC needs at least 2 classes, the data has 1")
    # Sorting values is several times as fast as sorting indices; the ranks of the positives then follow by bisection.
    ordered = np.sort(probabilities.T, axis=1)
    areas = np.empty(num_classes)
    for index, (values, count) in enumerate(zip(ordered, counts.tolist(), strict=True)):
        positives = probabilities[labels == index, index]
        ends = (np.searchsorted(values, positives, side=side) for side in ("left", "right"))
        ranks = (sum(end.astype(np.float64) for end in ends) + 1) / 2
        areas[index] = (ranks.sum() - count * (count + 1) / 2) / (count * (num_images - count))
    return float(areas.mean())


FUNCTIONS: Mapping[str, Function] = {
    "top5_accuracy": top5_accuracy,
    "balanced_accuracy": balanced_accuracy,
    "calibration_error": calibration_error,
    "macro_auroc": macro_auroc,
}
"""Function of each metric besides loss and accuracy, by its name on test images."""
ROUNDING = 1e-5
"""Distance beyond the range of an own metric, relative to its end, that sums of float32 numbers may reach."""
AT_EVERY_REPORT = ("top5_accuracy", "balanced_accuracy", "calibration_error")
"""Metrics of every evaluation: on 10,000 images of 200 classes they take 8 ms together, and macro AUROC 40 ms. The
latter is computed at reports only if the search names it, and once on the test images."""


def check_metrics(space_file: SpaceFile, images: Images) -> None:
    """Compute every metric that a search names, on made outputs for the classes of a dataset that have images.

    Raises:
        SpaceFileError: A metric cannot be imported, raises an error, returns no finite number or not the same one
            twice, or is undefined for the classes of the dataset.
    """
    labels = np.repeat(np.unique(images.labels), 2).astype(np.int64)
    logits = np.random.default_rng(0).standard_normal((len(labels), len(images.class_names)))
    exponentials = np.exp(logits).astype(np.float32)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    search = space_file.spec.search
    for choices, field in ((search.metric_choices, "metric"), (search.also_measure, "also_measure")):
        for choice in choices:
            try:
                first, second = (MetricSet([choice]).of_validation(probabilities, labels) for _ in range(2))
            except UserError as error:
                raise space_file.error([Problem(("search", field), str(error))]) from error
            except Exception as error:  # an own metric may raise anything
                reason = str(error) if isinstance(error, UndefinedMetric) else describe_error(error)
                rule = f"metric {name_of(choice)} must have a value for {len(images.class_names)} classes: {reason}"
                raise space_file.error([Problem(("search", field), rule)]) from error
            if first != second:
                rule = f"metric {name_of(choice)} must return the same number for the same images, got two"
                raise space_file.error([Problem(("search", field), rule)])


class MetricSet:
    """Metrics that evaluations compute besides loss and accuracy."""

    def __init__(self, chosen: Sequence[str | OwnMetric]) -> None:
        """Take the metrics that the search names; own ones are imported.

        Raises:
            UserError: An own metric cannot be imported.
        """
        own = {metric.name: load_own("metric", metric.name) for metric in chosen if isinstance(metric, OwnMetric)}
        named = [find_metric(metric).test_field or "" for metric in chosen]
        self._required = [name for name in named if name in FUNCTIONS or name in own]
        """Metrics without which an evaluation fails."""
        self._functions: Mapping[str, Function] = {**FUNCTIONS, **own}
        self._own = {choice.name: choice.metric for choice in chosen if isinstance(choice, OwnMetric)}

    def of_validation(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        """Return the metrics of a report, by their names on validation images.

        Raises:
            UndefinedMetric: A metric that the search names has no value.
        """
        names = dict.fromkeys([*AT_EVERY_REPORT, *self._required])
        values = self._compute(names, probabilities, labels)
        return {name if name in self._own else f"{VALIDATION}{name}": value for name, value in values.items()}

    def of_test(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        """Return all metrics of a test, by their names on test images; one without a value is left out."""
        return self._compute(self._functions, probabilities, labels, may_lack=self._functions)

    def _compute(
        self,
        names: Sequence[str] | Mapping[str, object],
        probabilities: Probabilities,
        labels: Labels,
        *,
        may_lack: Mapping[str, object] | None = None,
    ) -> dict[str, float]:
        values = {}
        for array in (probabilities, labels):
            array.flags.writeable = False  # an own metric must not change what the next one reads
        for name in names:
            try:
                value = _finite(name, self._functions[name](probabilities, labels))
                values[name] = _in_range(name, value, self._own[name]) if name in self._own else value
            except UndefinedMetric:
                if name in self._required and may_lack is None:
                    raise
        return values


def _finite(name: str, value: object) -> float:
    """Return a metric as a float; UndefinedMetric unless it is a finite number."""
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UndefinedMetric(f"metric {name} must return a finite number, got {value!r}")
    return float(value)


def _in_range(name: str, value: float, metric: Metric) -> float:
    """Return an own metric without its rounding error beyond an end of its range; UndefinedMetric further outside."""
    inside = min(max(value, metric.lowest), metric.highest)
    if abs(value - inside) > ROUNDING * max(1.0, abs(inside)):
        raise UndefinedMetric(f"metric {name} must be in [{metric.lowest:g}, {metric.highest:g}], got {value:g}")
    return inside
