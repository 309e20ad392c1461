"""Curves of the leading metric on validation images, per cell: its trials, and the mean over its replicates."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.objectives import rank_trials
from lkca_search.records.record import Record, State

T = TypeVar("T")

MAX_TRIALS = 12
"""Maximum number of trials of a cell whose curves are kept, besides the best one."""
MAX_POINTS = 40
"""Maximum number of reports of a curve that are kept."""


@dataclass(frozen=True, kw_only=True)
class TrialCurve:
    """Reports of one trial, thinned to MAX_POINTS."""

    trial_id: str
    number: int
    state: State
    steps: tuple[int, ...]
    values: tuple[float, ...]
    """Leading metric, in its unit."""
    last: float
    """Value of the last report, by which trials are compared."""


@dataclass(frozen=True, kw_only=True)
class MeanCurve:
    """Mean over the units of a cell at each step, with the lowest and the highest unit. Seeds of a unit are averaged.

    Units are draws or, if the search was repeated, its repeats.
    """

    steps: tuple[int, ...]
    means: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    num_units: int
    num_replicates: int
    of: tuple[str, ...]
    """Ids of the replicated trials: one, or one per repeat."""


@dataclass(frozen=True, kw_only=True)
class CellCurves:
    """Curves of one cell; cells that differ in the repeat of the search are one cell."""

    cell: str
    family: str
    variant: Variant
    num_train_images: tuple[int, int]
    """Fewest and most training images of a trial."""
    best: tuple[TrialCurve, ...]
    """Best complete trial, or that of each repeat; empty if no trial is complete."""
    others: tuple[TrialCurve, ...]
    """Other trials: all, or MAX_TRIALS that are evenly spaced in order of their numbers."""
    num_trials: int
    """Trials with a curve: complete and pruned ones."""
    num_failed: int
    replicates: MeanCurve | None
    """None if no replicate was tested."""


def training_curves(results: SearchResults, scores: RoundScores | None) -> tuple[CellCurves, ...]:
    """Return the curves of every cell with a trial that has one; replicates are those of a round."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key, cell in results.compared_cells.items():
        groups[cell.key].append(key)
    found = (_cell_curves(results, scores, cell, keys) for cell, keys in groups.items())
    return tuple(curves for curves in found if curves is not None)


def evenly_spaced(items: Sequence[T], limit: int) -> list[T]:
    """Return at most `limit` items in their order, the first and the last included. `limit` is at least 2."""
    if len(items) <= limit:
        return list(items)
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]


def mean_curve_rows(cells: Iterable[CellCurves]) -> list[dict[str, object]]:
    """Return one row per cell and step of the curves of replicates, for `training_curves.parquet`."""
    return [
        {
            "cell": cell.cell,
            "step": step,
            "mean": mean,
            "lowest": lowest,
            "highest": highest,
            "num_units": curve.num_units,
            "num_replicates": curve.num_replicates,
        }
        for cell in cells
        if (curve := cell.replicates) is not None
        for step, mean, lowest, highest in zip(curve.steps, curve.means, curve.lowest, curve.highest, strict=True)
    ]


def _cell_curves(
    results: SearchResults, scores: RoundScores | None, cell: str, keys: Sequence[str]
) -> CellCurves | None:
    records = [record for key in keys for record in results.trials_by_cell[key]]
    trained = [record for record in records if record.state is not State.FAIL and record.curve and record.facts]
    if not trained:
        return None
    best = [ranked[0] for key in keys if (ranked := rank_trials(results.trials_by_cell[key], results.spec.search))]
    best_ids = {record.trial_id for record in best}
    others = [record for record in trained if record.trial_id not in best_ids]
    sizes = [record.facts.num_train_images for record in trained if record.facts]
    return CellCurves(
        cell=cell,
        family=trained[0].spec.configuration.family,
        variant=results.variants[keys[0]],
        num_train_images=(min(sizes), max(sizes)),
        best=tuple(_curve(results, record) for record in best),
        others=tuple(_curve(results, record) for record in evenly_spaced(others, MAX_TRIALS)),
        num_trials=len(trained),
        num_failed=sum(record.state is State.FAIL for record in records),
        replicates=_mean_curve(results, scores, cell),
    )


def _curve(results: SearchResults, record: Record) -> TrialCurve:
    steps, values = _points(results, record)
    kept = evenly_spaced(range(len(steps)), MAX_POINTS)
    return TrialCurve(
        trial_id=record.trial_id,
        number=record.number,
        state=record.state,
        steps=tuple(int(steps[index]) for index in kept),
        values=tuple(float(values[index]) for index in kept),
        last=results.metric_value(record),
    )


def _points(results: SearchResults, record: Record) -> tuple[Floats, Floats]:
    """Return the steps and the values of a curve."""
    values = [results.metric.scale * result.value(results.metric_name) for result in record.curve]
    return np.array([float(result.step) for result in record.curve]), np.array(values)


def _mean_curve(results: SearchResults, scores: RoundScores | None, cell: str) -> MeanCurve | None:
    picks = [pick for each in scores.cells if each.cell == cell for pick in each.picks] if scores else []
    units: dict[int, list[Record]] = defaultdict(list)
    if scores is not None:
        for (draw, _), record in results.tested(scores.round, picks):
            if record.curve:
                units[draw].append(record)  # in a repeated search, each repeat has a draw of its own
    curves = {unit: [_points(results, record) for record in records] for unit, records in units.items()}
    every = [curve for of_unit in curves.values() for curve in of_unit]
    if not every:
        return None
    steps = _shared_steps([steps for steps, _ in every])
    means = np.array([np.mean([np.interp(steps, *curve) for curve in of_unit], axis=0) for of_unit in curves.values()])
    return MeanCurve(
        steps=tuple(map(int, steps)),
        means=tuple(means.mean(axis=0).tolist()),
        lowest=tuple(means.min(axis=0).tolist()),
        highest=tuple(means.max(axis=0).tolist()),
        num_units=len(means),
        num_replicates=len(every),
        of=tuple(pick.trial_id for pick in picks),
    )


def _shared_steps(every: Sequence[Floats]) -> Floats:
    """Return the steps of the shortest curve that all curves have passed, at most MAX_POINTS.

    Replicates of one configuration report at the same steps. Those of several repeats may not, and are interpolated.
    """
    first = max(float(steps[0]) for steps in every)
    shortest = min(every, key=lambda steps: (float(steps[-1]), len(steps)))
    inside = shortest[shortest >= first]
    return np.array(evenly_spaced((inside if len(inside) else shortest[-1:]).tolist(), MAX_POINTS))
