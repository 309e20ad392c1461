"""Numbers of the leading metric as text: percent and points for an accuracy, three decimals for a loss."""

import math
from dataclasses import dataclass

from lkca_search.analysis.stats.estimate import Estimate, Interval
from lkca_search.reporting.values.figure import Bounds
from lkca_search.reporting.values.numbers import format_interval, format_number, format_points
from lkca_search.spec.metrics import Metric


@dataclass(frozen=True)
class MetricFormat:
    """Label, units and number formats of the metric that a search compares trials by."""

    metric: Metric

    @property
    def label(self) -> str:
        """Name of the metric: `validation accuracy`."""
        return self.metric.label

    @property
    def test_label(self) -> str:
        """Name of the same number on test images: `test accuracy`."""
        return self.metric.label.replace("validation", "test")

    @property
    def name(self) -> str:
        """Name without its images: `accuracy`."""
        return self.metric.label.removeprefix("validation ")

    @property
    def error_label(self) -> str:
        """Name of the distance from a perfect classifier on test images: `test error`, or `test loss` itself."""
        is_minimized = self.metric.direction == "minimize"
        if (perfect := self.metric.perfect) is None or (is_minimized and perfect == 0):
            return self.test_label
        if self.name == "accuracy":
            return "test error"
        return f"test error ({f'{self.name} − {perfect:g}' if is_minimized else f'{perfect:g} − {self.name}'})"

    @property
    def error_in_unit(self) -> str:
        """Name of the error with its unit for a sentence: `test error in percent`."""
        return f"{self.error_label} in percent" if self._is_percentage else self.error_label

    @property
    def error_axis_label(self) -> str:
        """Name of the error with its unit for an axis: `test error, %`."""
        return self.header(self.error_label)

    @property
    def test_label_in_unit(self) -> str:
        """Name on test images with the unit for a sentence: `test accuracy in percent`."""
        return f"{self.test_label} in percent" if self._is_percentage else self.test_label

    @property
    def test_difference_label(self) -> str:
        """Unit of differences on test images: `points of test accuracy`."""
        points = f"points of {self.test_label}" if self._is_percentage else self.test_label
        return points if self.metric.direction == "maximize" else f"{points} (lower is better)"

    @property
    def small(self) -> str:
        """Difference that the power analysis is for, with its unit: `0.5 points`."""
        return f"{self.metric.small:g} points" if self._is_percentage else f"{self.metric.small:g}"

    @property
    def best_label(self) -> str:
        """Name of the best value, with its unit: `highest validation accuracy in percent`."""
        return f"{self.metric.best} {self.label_in_unit}"

    @property
    def label_in_unit(self) -> str:
        """Name with the unit for a sentence: `validation accuracy in percent`."""
        return f"{self.label} in percent" if self._is_percentage else self.label

    @property
    def difference_label(self) -> str:
        """Unit of differences for a sentence: `points of validation accuracy`."""
        points = f"points of {self.label}" if self._is_percentage else self.label
        return points if self.metric.direction == "maximize" else f"{points} (lower is better)"

    @property
    def axis_label(self) -> str:
        """Name with the unit for an axis: `validation accuracy, %`."""
        return self.header(self.label)

    @property
    def bounds(self) -> Bounds:
        """Smallest and largest possible value, in its unit; None for an open end."""
        return _closed(*self.metric.bounds)

    @property
    def error_bounds(self) -> Bounds:
        """Smallest and largest possible error."""
        lowest, highest = self.metric.bounds
        return self.bounds if self.metric.perfect is None else _closed(0.0, highest - lowest)

    def header(self, name: str) -> str:
        """Return the header of a column of values: `best, %`."""
        return f"{name}, {self.metric.unit}" if self.metric.unit else name

    def difference_header(self, name: str) -> str:
        """Return the header of a column of differences: `effect, points`."""
        return f"{name}, points" if self._is_percentage else name

    def value(self, value: float) -> str:
        """Return a value: 84.2 or 0.523."""
        return format_number(value, 1 if self._is_percentage else 3)

    def value_with_unit(self, value: float) -> str:
        """Return a value with its unit: 84.2% or 0.523."""
        return f"{self.value(value)}{self.metric.unit}"

    def difference(self, value: float) -> str:
        """Return a difference with its sign: +3.1 or −0.042."""
        return format_points(value) if self._is_percentage else format_points(value, num_decimals=3)

    def signed_with_unit(self, value: float) -> str:
        """Return a difference with its sign and unit: +3.1 points or −0.042."""
        return f"{self.difference(value)} points" if self._is_percentage else self.difference(value)

    def distance(self, value: float) -> str:
        """Return the absolute value of a difference with its unit: 3.1 points or 0.042."""
        return f"{self.value(abs(value))} points" if self._is_percentage else self.value(abs(value))

    def interval(self, interval: Interval | None) -> str:
        """Return the interval of a value."""
        return format_interval(interval, self.value)

    def difference_interval(self, interval: Interval | None) -> str:
        """Return the interval of a difference."""
        return format_interval(interval, self.difference)

    def estimate(self, estimate: Estimate) -> str:
        """Return a value followed by its interval if it has one."""
        return f"{self.value(estimate.value)} {self.interval(estimate.interval)}".rstrip()

    @property
    def _is_percentage(self) -> bool:
        return self.metric.is_percentage


def _closed(lowest: float, highest: float) -> Bounds:
    """Return two ends, with None for an infinite one."""
    return lowest if math.isfinite(lowest) else None, highest if math.isfinite(highest) else None
