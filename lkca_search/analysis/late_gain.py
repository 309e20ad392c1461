"""Late gain: improvement of the leading metric at the end of training. Trainings that still improve were too short."""

from collections.abc import Sequence

import numpy as np

from lkca_search.analysis.scores import RoundScores, Unit
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE
from lkca_search.analysis.stats.student import student_mean
from lkca_search.records.record import Record, Result
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import Metric

LATE_SHARE = 0.2
"""Last share of the steps over which the gain is measured."""
MIN_REPORTS = 3
"""Minimum number of reports in the last share: two give no line through noise."""


class LateGain(FrozenModel):
    """Improvement of the leading metric of one cell over the last steps of its replicates."""

    cell: str
    variant: str
    num_train_images: int
    metric: str
    """Leading metric."""
    min_gain: float
    """Gain, in the unit of the metric, above which the cell is reported: a smaller one changes few comparisons."""
    epochs: tuple[float, float] | None
    """Fewest and most epochs of a replicate; None if no replicate is finished."""
    gain: Estimate | None
    """Gain in the unit of the metric, above 0 if it improves; mean over units. None if there are too few reports."""

    @property
    def is_improving(self) -> bool:
        """True if the gain is above its minimum and its interval above 0: flat curves get there in 2.5% of cases."""
        if self.gain is None or self.gain.interval is None or self.gain.interval.lower is None:
            return False
        return self.gain.value > self.min_gain and self.gain.interval.lower > 0


def late_gains(results: SearchResults, scores: RoundScores) -> tuple[LateGain, ...]:
    """Return the late gain of every cell that has scores, from the replicates of its best configuration."""
    replicates = {record.trial_id: record for record in results.replicates if record.test is not None}
    trained: dict[str, list[Record]] = {}
    for pick, replication in scores.round.replications():
        record = replicates.get(replication.replicate_id)
        if record is not None and record.curve:
            trained.setdefault(pick.trial_id, []).append(record)
    # Repeats that chose different numbers of images share the key of their cell, but not their picks.
    by_cell = [
        (cell, [record for pick in cell.picks for record in trained.get(pick.trial_id, ())]) for cell in scores.cells
    ]
    return tuple(
        LateGain(
            cell=cell.cell,
            variant=cell.variant.label,
            num_train_images=cell.num_train_images,
            metric=results.metric_name,
            min_gain=results.metric.small,
            epochs=_epochs(records),
            gain=_mean_gain(results, records, cell.unit),
        )
        for cell, records in by_cell
    )


def curve_gain(curve: Sequence[Result], name: str, metric: Metric) -> float | None:
    """Return the gain of a least-squares line through the last reports; None if there are too few.

    The line uses all reports of the last LATE_SHARE of the steps, so that one noisy report decides little.
    """
    length = LATE_SHARE * curve[-1].step
    late = [result for result in curve if result.step >= curve[-1].step - length]
    if len(late) < MIN_REPORTS:
        return None
    steps = np.array([result.step for result in late], dtype=float)
    values = np.array([metric.sign * metric.scale * result.value(name) for result in late])
    centered = steps - steps.mean()
    return length * float(centered @ values) / float(centered @ centered)


def _mean_gain(results: SearchResults, replicates: Sequence[Record], unit: Unit) -> Estimate | None:
    """Return the mean over units of the mean over their trainings, with its t interval over units."""
    of_unit: dict[tuple[int, int], list[float]] = {}
    for record in replicates:
        gain = curve_gain(record.curve, results.metric_name, results.metric)
        if record.replicate is not None and gain is not None:
            seed = record.replicate.seed if unit == "seed" else 0
            of_unit.setdefault((record.replicate.draw, seed), []).append(gain)
    if not of_unit:
        return None
    lowest, highest = results.metric.difference_bounds
    means = np.clip([np.mean(gains) for gains in of_unit.values()], lowest, highest)
    # Gains are differences of values, so their rounding errors are as large as those of the values.
    tolerance = RELATIVE_TOLERANCE * max(abs(results.metric_value(record)) for record in replicates)
    return student_mean(means, tolerance=tolerance).within(lowest, highest)


def _epochs(replicates: Sequence[Record]) -> tuple[float, float] | None:
    epochs = [record.curve[-1].epoch for record in replicates]
    return (min(epochs), max(epochs)) if epochs else None
