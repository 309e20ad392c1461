"""Axes of parallel coordinates: places follow the scale of the search, and ticks are round numbers inside."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lkca_search.analysis.trials.axes import Axis, count_axis, number_axis, value_axis
from lkca_search.spec.domains import Choice, FloatRange, IntRange

FINITE = st.floats(-1e9, 1e9)


def check(axis: Axis) -> None:
    """Assert the laws of every axis."""
    assert all(0 <= place <= 1 for place in axis.places)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in axis.ticks)
    places = [place for place, _ in axis.ticks]
    assert places == sorted(set(places))
    assert len({label for _, label in axis.ticks}) == len(axis.ticks)


def test_a_logarithmic_range_has_its_geometric_mean_in_the_middle() -> None:
    domain = FloatRange.model_validate({"float": (1e-4, 1e-2), "log": True})
    axis = value_axis("learning_rate", [1e-4, 1e-3, 1e-2], domain)
    assert axis.places == pytest.approx((0, 0.5, 1))
    assert "0.001" in {label for _, label in axis.ticks}
    assert axis.texts[1] == "0.001"
    check(axis)


@given(low=st.floats(1e-12, 1e6), ratio=st.floats(1.001, 1e12))
def test_ticks_of_a_logarithmic_range_are_at_the_places_of_their_numbers(low: float, ratio: float) -> None:
    domain = FloatRange.model_validate({"float": (low, low * ratio), "log": True})
    axis = value_axis("x", [low, low * ratio], domain)
    check(axis)
    assert len(axis.ticks) <= 6
    for place, label in axis.ticks:
        number = float(label.replace(",", ""))
        assert place == pytest.approx(math.log(number / low) / math.log(ratio), abs=0.01 / math.log(ratio))


@given(numbers=st.lists(FINITE, min_size=1, max_size=5))
def test_an_axis_of_numbers_has_them_in_their_order(numbers: list[float]) -> None:
    spread = max(numbers) - min(numbers)
    assume(spread == 0 or spread > 1e-6 * max(map(abs, numbers)))
    axis = number_axis("x", numbers, [str(number) for number in numbers])
    check(axis)
    assert len(axis.ticks) <= 6
    for one, place in zip(numbers, axis.places, strict=True):
        for other, there in zip(numbers, axis.places, strict=True):
            assert one >= other or place <= there


@given(counts=st.lists(st.integers(1, 10**8), min_size=1, max_size=12))
def test_an_axis_of_counts_has_few_ticks_inside(counts: list[int]) -> None:
    axis = count_axis("training images", counts)
    check(axis)
    assert len(axis.ticks) <= 6


def test_whole_numbers_and_texts_keep_the_order_of_the_space_file() -> None:
    whole = value_axis("depth", [2, 4, 3], IntRange.model_validate({"int": (2, 4)}))
    assert whole.ticks == ((0.0, "2"), (0.5, "3"), (1.0, "4"))
    texts = value_axis("pooling", ["class_token", "mean"], Choice(choice=("mean", "class_token")))
    assert texts.ticks == ((0.0, "mean"), (1.0, "class_token"))
    numbers = value_axis("kernel_size", [7, 3, 5], Choice(choice=(7, 3, 5)))
    assert [label for _, label in numbers.ticks] == ["3", "5", "7"]


def test_trials_without_the_hyperparameter_are_below_all_others() -> None:
    axis = value_axis("momentum", [0.5, None, 0.9], FloatRange.model_validate({"float": (0.5, 0.9)}))
    assert axis.places[1] == 0 < axis.places[0] < axis.places[2] == 1
    assert axis.ticks[0] == (0.0, "none")
    assert axis.texts == ("0.5", "none", "0.9")
    check(axis)
