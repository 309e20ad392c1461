"""The leading metric of a search and its direction are used in every statistic on trials; and on replicates."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from lkca_search.analysis.ablation.ablations import compute_ablations
from lkca_search.analysis.importance import compute_importances
from lkca_search.analysis.pareto import cost_front, cost_points
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import compute_selection_effects, mean_error, mean_score
from lkca_search.analysis.stats.student import student_mean
from lkca_search.records.record import Record
from lkca_search.reporting.sections.search_length import best_of_k_table
from lkca_search.spec.metrics import METRICS, Metric, OwnMetric
from tests.support.search_results import law, make_search_results

NUM_TRIALS = 12
PARAMETERS = {
    "patch_size": {"value": 2},
    "depth": {"int": (2, 4)},
    "learning_rate": {"float": (1e-4, 1e-1), "log": True},
}
VAL_LOSSES = {2: 0.9, 3: 0.4, 4: 0.6}
"""Validation loss by depth. Validation accuracies have another order: depth 2 is the best by accuracy."""
TEST_LOSS = 0.7
SEARCH = {
    "trials_per_cell": NUM_TRIALS,
    "metric": "val_loss",
    "goal": "minimize",
    "sampler": "random",
    "pruner": "none",
}


def own_metric(direction: Literal["maximize", "minimize"], **choice: Any) -> Metric:
    return OwnMetric(name="mylab.metrics.score", direction=direction, **choice).metric


def searched_by_loss() -> SearchResults:
    """Return a confirmed search by validation loss; the best trial of each cell, number 1, has depth 3."""
    results = make_search_results(law(), trials=NUM_TRIALS, parameters=PARAMETERS, search=SEARCH)
    replicates = [
        with_result(record, val_loss=0.5, val_accuracy=0.3).model_copy(
            update={"test": record.test.model_copy(update={"loss": TEST_LOSS}) if record.test else None}
        )
        for record in results.replicates
    ]
    return replace(results, trials=[by_depth(record) for record in results.trials], replicates=replicates)


def by_depth(record: Record) -> Record:
    depth = 2 + record.number % 3
    configuration = record.spec.configuration.model_copy(update={"depth": depth})
    changed = record.model_copy(update={"spec": record.spec.model_copy(update={"configuration": configuration})})
    loss = VAL_LOSSES[depth] + 0.01 * (record.number // 3)
    return with_result(changed, val_loss=loss, val_accuracy=1 / depth)


def with_result(record: Record, *, val_loss: float, val_accuracy: float) -> Record:
    last = record.curve[-1].model_copy(update={"val_loss": val_loss, "val_accuracy": val_accuracy})
    return record.model_copy(update={"curve": (*record.curve[:-1], last)})


def test_effects_and_best_levels_are_those_of_the_loss() -> None:
    found = compute_ablations(searched_by_loss(), None, generator=np.random.default_rng(0))
    depths = [each for each in found if each.hyperparameter == "depth"]
    assert {each.family for each in depths} == {"lkca", "vit"}
    for each in depths:
        assert each.metric == "val_loss"
        mean = np.mean(list(VAL_LOSSES.values()))
        assert [effect.effect.value for effect in each.effects] == pytest.approx(
            [loss - mean for loss in VAL_LOSSES.values()]
        )
        assert min(best.probabilities[1] or 0 for best in each.best_levels) > 0.95
        assert {entry.level.label: entry.best for entry in each.heat_map} == pytest.approx(
            {"2": 0.9, "3": 0.4, "4": 0.6}
        )


def test_a_pareto_front_has_the_lowest_loss_at_each_cost() -> None:
    points = cost_points(searched_by_loss())
    assert {point.metric for point in points} == {"val_loss"}
    costly = [
        point.model_copy(update={"num_parameters": size, "metric_value": loss})
        for point, (size, loss) in zip(points, [(10, 0.9), (20, 0.95), (20, 0.5), (30, 0.5), (40, 0.4)], strict=False)
    ]
    front = cost_front(costly, "num_parameters")
    assert [(point.num_parameters, point.metric_value) for point in front] == [(10, 0.9), (20, 0.5), (40, 0.4)]


def test_the_selection_effect_compares_losses_and_is_positive_for_a_lucky_pick() -> None:
    results = searched_by_loss()
    for effect in compute_selection_effects(results, round_scores(results, results.rounds[-1])):
        assert effect.metric == "val_loss"
        assert (effect.picked, effect.validation.value, effect.test.value) == pytest.approx((0.4, 0.5, TEST_LOSS))
        assert effect.selection_bias == pytest.approx(0.1)
        assert effect.test_gap == pytest.approx(0.3)


def test_the_scores_of_a_confirmation_are_the_leading_metric_on_test_images() -> None:
    by_loss, by_accuracy = searched_by_loss(), make_search_results(law())
    ours, theirs = (round_scores(results, results.rounds[-1]).cells for results in (by_loss, by_accuracy))
    assert {value for cell in ours for value in cell.test_values.flat} == {TEST_LOSS}
    accuracies = sorted(100 * record.test.accuracy for record in by_accuracy.replicates if record.test)
    assert sorted(value for cell in theirs for value in cell.test_values.flat) == accuracies


def test_importances_are_those_for_the_loss() -> None:
    for each in compute_importances(searched_by_loss(), seed=0):
        assert dict(each.shares)["depth"] > 0.9


def test_the_expected_best_of_k_trials_is_the_lowest_loss() -> None:
    results = searched_by_loss()
    table = best_of_k_table(results)
    assert table is not None
    values = [results.metric_value(record) for record in results.trials_by_cell[results.cells[0].key]]
    assert (table.rows[0][2].number, table.rows[0][-1].number) == pytest.approx((np.mean(values), min(values)))


def test_accuracies_are_in_percent_and_losses_are_not() -> None:
    record = searched_by_loss().trials[0]
    assert searched_by_loss().metric_value(record) == record.curve[-1].val_loss
    assert make_search_results(law()).metric_value(record) == 100 * record.curve[-1].val_accuracy


@pytest.mark.parametrize(
    ("metric", "values", "interval", "errors"),
    [
        (METRICS["val_loss"], [0.01, 0.3], (0.0, None), (0.01, 0.3)),
        (own_metric("minimize", range=(1, None)), [1.01, 1.3], (1.0, None), (0.01, 0.3)),
        (own_metric("maximize", range=(-1, 1)), [0.99, 0.1], (-1.0, 1.0), (0.01, 0.9)),
        (own_metric("maximize"), [0.99, 0.1], (None, None), (0.99, 0.1)),
    ],
)
def test_intervals_of_a_score_and_its_error_are_within_the_range_of_the_metric(
    metric: Metric, values: list[float], interval: tuple[float | None, float | None], errors: tuple[float, ...]
) -> None:
    cell = replace(
        round_scores(make_search_results(law()), make_search_results(law()).rounds[-1]).cells[0],
        metric=metric,
        test_values=np.array(values)[:, None],
        image_scores=None,
    )
    score, error = mean_score(cell), mean_error(cell)
    uncut = student_mean(np.array(values)).interval
    assert score.interval is not None
    assert uncut is not None
    assert error.interval is not None
    assert score.interval.lower == (uncut.lower if interval[0] is None else interval[0])
    assert score.interval.upper == (uncut.upper if interval[1] is None else interval[1])
    assert cell.errors[:, 0] == pytest.approx(errors)
    assert error.value == pytest.approx(np.mean(errors))
    if metric.perfect is not None:
        assert error.interval.lower == 0.0
        assert error.interval.upper is not None
        assert error.interval.upper > error.value
