"""Training curves: means and bands with known answers, thinned curves, and the trials that are kept."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.trials.training_curves import MAX_POINTS, MAX_TRIALS, evenly_spaced, training_curves
from lkca_search.records.record import Record, State
from tests.support.records import make_result
from tests.support.search_results import law, make_search_results

CONFIRMED = make_search_results(law(), fractions=(0.02, 0.1))


def changed(results: SearchResults, change: Callable[[Record], Record]) -> SearchResults:
    return replace(
        results,
        trials=[change(each) for each in results.trials],
        replicates=[change(each) for each in results.replicates],
    )


def test_the_mean_is_over_draws_of_means_over_seeds_and_the_band_has_the_extreme_draws() -> None:
    curves = training_curves(CONFIRMED, round_scores(CONFIRMED, CONFIRMED.rounds[-1]))
    assert [cell.cell for cell in curves] == [cell.key for cell in CONFIRMED.cells]
    for cell in curves:
        records = [record for record in CONFIRMED.replicates if record.cell == cell.cell]
        by_draw: dict[int, list[float]] = {}
        for record in records:
            assert record.replicate is not None
            by_draw.setdefault(record.replicate.draw, []).append(100 * record.curve[0].val_accuracy)
        draws = [np.mean(values) for values in by_draw.values()]
        mean = cell.replicates
        assert mean is not None
        assert (mean.steps, mean.num_units, mean.num_replicates) == ((10, 20), 5, 10)
        assert mean.means[0] == pytest.approx(np.mean(draws))
        assert (mean.lowest[0], mean.highest[0]) == pytest.approx((min(draws), max(draws)))
        assert mean.of == (f"{cell.cell}/1",)


def test_failed_trials_are_counted_and_pruned_ones_are_never_the_best() -> None:
    def change(record: Record) -> Record:
        if record.replicate is not None or record.number == 2:
            return record
        if record.number == 0:
            return record.model_copy(update={"state": State.FAIL, "error": "broken", "value": None})
        return record.model_copy(update={"state": State.PRUNED})  # the best by its last value

    for cell in training_curves(changed(CONFIRMED, change), None):
        assert [curve.number for curve in cell.best] == [2]
        assert [(curve.number, curve.state) for curve in cell.others] == [(1, State.PRUNED)]
        assert (cell.num_trials, cell.num_failed, cell.replicates) == (2, 1, None)


def test_of_many_trials_the_best_and_evenly_spaced_others_are_kept() -> None:
    results = make_search_results(None, fractions=(0.1,), trials=50)
    for cell in training_curves(results, None):
        assert cell.num_trials == 50
        assert [curve.number for curve in cell.best] == [1]
        numbers = [curve.number for curve in cell.others]
        assert len(numbers) == MAX_TRIALS
        assert (numbers[0], numbers[-1]) == (0, 49)
        assert set(np.diff(numbers)) <= {4, 5}


def test_a_long_curve_keeps_its_ends_and_only_reports_that_were_made() -> None:
    reports = {step: (step % 7) / 10 for step in range(1, 501)}
    curve = tuple(make_result(step, accuracy) for step, accuracy in reports.items())
    results = changed(CONFIRMED, lambda record: record.model_copy(update={"curve": curve}))
    cell = training_curves(results, round_scores(results, results.rounds[-1]))[0]
    assert cell.replicates is not None
    for steps, values in (
        *((each.steps, each.values) for each in (*cell.best, *cell.others)),
        (cell.replicates.steps, cell.replicates.means),
    ):
        assert len(steps) == MAX_POINTS
        assert (steps[0], steps[-1]) == (1, 500)
        assert values == pytest.approx([100 * reports[step] for step in steps])


def test_repeats_of_a_search_share_one_panel_with_the_best_trial_of_each() -> None:
    results = make_search_results(law(), fractions=(0.1,), search={"trials_per_cell": 3, "repeats": 5})
    cells = training_curves(results, round_scores(results, results.rounds[-1]))
    assert len(cells) == len(results.cells) / 5
    for cell in cells:
        assert len({curve.trial_id for curve in cell.best}) == 5
        assert cell.replicates is not None
        assert cell.replicates.num_units == 5
        assert len(cell.replicates.of) == 5


@pytest.mark.parametrize(("count", "limit"), [(0, 2), (1, 2), (2, 2), (3, 2), (40, 40), (41, 40), (1000, 7)])
def test_evenly_spaced_items_are_distinct_in_order_and_have_both_ends(count: int, limit: int) -> None:
    kept = evenly_spaced(range(count), limit)
    assert len(kept) == min(count, limit)
    assert kept == sorted(set(kept))
    assert not count or (kept[0], kept[-1]) == (0, count - 1)
