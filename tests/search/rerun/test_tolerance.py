"""The tolerance of a rerun holds another training in 95% of the cases, and there is none from too few replicates."""

import math

import numpy as np
import pytest
from scipy.stats import t

from lkca_search.records.rerun import Tolerance
from lkca_search.search.rerun.tolerance import (
    ReplicateValue,
    bounds_of,
    cut_to_bounds,
    describe_tolerance,
    tolerance_of_fresh,
    tolerance_of_repeat,
)

FRESH_DRAW = 500_000


def replicates(values: list[list[float]]) -> list[ReplicateValue]:
    """Return replicates with the given values, one list per draw."""
    return [
        ReplicateValue(draw=draw, seed=seed, value=value)
        for draw, row in enumerate(values, start=1)
        for seed, value in enumerate(row)
    ]


def test_the_spread_of_a_repeat_is_that_of_the_seeds_within_its_draw() -> None:
    found = tolerance_of_repeat(0.5, replicates([[0.4, 0.6], [1.4, 1.6]]))
    assert isinstance(found, Tolerance)
    half = t.ppf(0.975, 2) * math.sqrt(2) * math.sqrt(0.02)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert (found.num_replicates, found.num_draws, found.degrees_of_freedom) == (4, 2, 2)
    assert found.spread == "seeds within a draw"


def test_with_one_seed_per_draw_the_spread_of_a_repeat_is_that_of_the_draws() -> None:
    found = tolerance_of_repeat(0.5, replicates([[0.4], [0.5], [0.6]]))
    assert isinstance(found, Tolerance)
    half = t.ppf(0.975, 2) * math.sqrt(2) * 0.1
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert found.spread == "draws and seeds"


def test_a_new_draw_is_predicted_around_the_mean_of_the_replicates() -> None:
    found = tolerance_of_fresh(FRESH_DRAW, replicates([[0.4], [0.5], [0.6]]))
    assert isinstance(found, Tolerance)
    half = t.ppf(0.975, 2) * 0.1 * math.sqrt(1 + 1 / 3)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_fresh_seeds_are_predicted_around_the_mean_of_the_replicates_and_not_around_a_selected_value() -> None:
    of_trial = tolerance_of_fresh(0, replicates([[0.4], [0.5], [0.6]]))  # the trial's draw has no replicate
    assert isinstance(of_trial, Tolerance)
    assert (of_trial.low + of_trial.high) / 2 == pytest.approx(0.5)
    assert of_trial.around == "the mean of the replicates"
    of_replicate = tolerance_of_fresh(2, replicates([[0.4, 0.6], [1.4, 1.6]]))
    assert isinstance(of_replicate, Tolerance)
    half = t.ppf(0.975, 2) * math.sqrt(0.02) * math.sqrt(1 + 1 / 2)
    assert (of_replicate.low, of_replicate.high) == pytest.approx((1.5 - half, 1.5 + half))
    assert of_replicate.around == "the mean of the replicates on draw 2"


@pytest.mark.parametrize("values", [[[0.0], [0.0], [0.0]], [[0.7], [0.1 * 7], [0.7]], [[0.3, 0.3]] * 3])
def test_replicates_without_spread_give_no_interval(values: list[list[float]]) -> None:
    for found in (tolerance_of_repeat(1 / 3, replicates(values)), tolerance_of_fresh(FRESH_DRAW, replicates(values))):
        assert str(found).startswith("no 95% interval: ")
        assert "no spread over" in str(found)


def test_an_interval_has_only_possible_values_and_states_if_it_decides_nothing() -> None:
    bounds = bounds_of("val_accuracy", ())
    assert bounds == (0.0, 1.0)
    wide = tolerance_of_repeat(0.5, replicates([[0.3], [0.6], [0.7]]))
    assert isinstance(wide, Tolerance)
    assert (wide.low < 0, wide.high > 1) == (True, True)
    cut = cut_to_bounds(wide, bounds)
    assert (cut.low, cut.high) == (0.0, 1.0)
    text = describe_tolerance(cut, bounds)
    assert text.startswith(
        "95% interval of another training 0.0000 to 1.0000 around the recorded value, "
        "from the spread over draws and seeds of 3"
    )
    assert text.endswith("; it holds 100% of all possible values, so it decides nothing: more replicates narrow it")
    narrow = tolerance_of_repeat(0.5, replicates([[0.49], [0.5], [0.51]]))
    assert isinstance(narrow, Tolerance)
    assert cut_to_bounds(narrow, bounds) == narrow
    assert "decides nothing" not in describe_tolerance(narrow, bounds)


def test_a_metric_without_bounds_has_the_whole_interval() -> None:
    wide = tolerance_of_repeat(0.5, replicates([[0.3], [0.6], [0.7]]))
    assert isinstance(wide, Tolerance)
    assert bounds_of("val_loss", ()) == (0.0, math.inf)
    cut = cut_to_bounds(wide, bounds_of("val_loss", ()))
    assert (cut.low, cut.high) == (0.0, wide.high)
    assert "decides nothing" not in describe_tolerance(cut, bounds_of("val_loss", ()))
    assert cut_to_bounds(wide, bounds_of("mylab.unknown", ())) == wide


@pytest.mark.parametrize("values", [[], [[0.5]], [[0.4, 0.6]], [[0.4], [0.5]]])
def test_too_few_replicates_give_a_reason(values: list[list[float]]) -> None:
    few = replicates(values)
    assert "too few replicates for a tolerance" in str(tolerance_of_fresh(FRESH_DRAW, few))
    assert f"{len(few)} replicates on {len(values)} draws" in str(tolerance_of_repeat(0.5, few))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_interval_holds_95_percent_of_further_trainings(seeds: int) -> None:
    generator = np.random.default_rng(5)
    inside = {"repeat": 0, "draw": 0, "seed": 0}
    rounds = 1_000
    for _ in range(rounds):
        means = generator.normal(0.5, 0.02, 6)
        values = means[:, None] + generator.normal(0, 0.01, (6, seeds + 1))
        made = replicates(values[:5, :seeds].tolist())
        repeat, drawn = tolerance_of_repeat(values[0, 0], made), tolerance_of_fresh(FRESH_DRAW, made)
        assert isinstance(repeat, Tolerance)
        assert isinstance(drawn, Tolerance)
        inside["repeat"] += repeat.contains(values[0, seeds])
        inside["draw"] += drawn.contains(values[5, 0])
        fresh = tolerance_of_fresh(1, made)
        assert isinstance(fresh, Tolerance)
        inside["seed"] += fresh.contains(values[0, seeds])
    assert inside["draw"] / rounds == pytest.approx(0.95, abs=0.025)
    assert seeds == 1 or inside["seed"] / rounds == pytest.approx(0.95, abs=0.025)
    # With one seed per draw, the interval is that of draws, which is wider than that of seeds.
    assert inside["repeat"] / rounds == pytest.approx(0.95, abs=0.025) or (seeds == 1 and inside["repeat"] > 950)
