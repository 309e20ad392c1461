"""The data-efficiency ratio and the crossover."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkca_search.analysis.curves.crossover import Crossover, crossover
from lkca_search.analysis.curves.data_efficiency import CurveMethod, DataEfficiency, data_efficiency
from lkca_search.analysis.curves.learning_curve import LearningCurve, learning_curve
from lkca_search.analysis.stats.estimate import Interval, NotEstimable
from lkca_search.analysis.stats.student import NO_SPREAD
from tests.support.statistics.simulated import CROSSING_IMAGES, CROSSING_LAWS, SIZES, Law, simulate_curves

METHODS: tuple[CurveMethod, ...] = ("interpolated", "fitted")


def exact(law: Law, sizes: tuple[int, ...] = SIZES) -> LearningCurve:
    """Two draws beside the law, so near that they hardly differ."""
    beside = np.array([[1 - 1e-5], [1 + 1e-5]])
    return learning_curve(list(sizes), [error * beside for error in law.errors(sizes)])


def ratio(a: LearningCurve, b: LearningCurve, **options: object) -> DataEfficiency:
    return data_efficiency(a, b, generator=np.random.default_rng(0), num_resamples=300, **options)  # type: ignore[arg-type]


def crossing(a: LearningCurve, b: LearningCurve, **options: object) -> Crossover:
    return crossover(a, b, generator=np.random.default_rng(0), num_resamples=300, **options)  # type: ignore[arg-type]


def closed(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    assert interval.lower is not None
    assert interval.upper is not None
    return interval.lower, interval.upper


# The ratio


@pytest.mark.parametrize("method", METHODS)
@given(shift=st.floats(0.15, 7))
def test_the_ratio_of_a_shifted_curve_is_the_shift(method: CurveMethod, shift: float) -> None:
    found = ratio(exact(Law()), exact(Law().shifted(shift)), method=method)
    assert found.ratio.value == pytest.approx(shift, rel=0.01 if method == "interpolated" else 1e-3)
    assert found.method == method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at_error", [None, 0.4])
def test_swapping_the_families_inverts_the_ratio_and_its_interval(method: CurveMethod, at_error: float | None) -> None:
    a, b = simulate_curves(Law(), Law().shifted(2), ratio=1.0, generator=np.random.default_rng(0))
    ours, theirs = (ratio(*pair, method=method, at_error=at_error) for pair in ((a, b), (b, a)))
    assert ours.ratio.value == pytest.approx(1 / theirs.ratio.value)
    assert ours.errors == theirs.errors
    lower, upper = closed(ours.ratio.interval)
    assert (1 / upper, 1 / lower) == pytest.approx(closed(theirs.ratio.interval), rel=0.01)
    assert lower < 2 < upper


def test_the_ratio_at_an_error_is_read_off_both_curves_there() -> None:
    a = learning_curve([100, 400], [[[0.8], [0.8]], [[0.2], [0.2]]])
    b = learning_curve([100, 1600], [[[0.9], [0.9]], [[0.1], [0.1]]])
    found = ratio(a, b, at_error=0.3)
    # The error of A is 80 / n, and on logarithmic axes B has 0.3 halfway, at 400.
    assert found.ratio.value == pytest.approx(400 / (80 / 0.3), rel=1e-3)
    assert found.errors == (0.3, 0.3)
    assert ratio(a, b).errors == pytest.approx((0.2, 0.8))


def test_families_need_neither_the_same_sizes_nor_more_than_two() -> None:
    found = ratio(exact(Law()), exact(Law().shifted(2), sizes=(500, 9000)))
    assert found.ratio.value == pytest.approx(2.0, rel=0.1)


def test_a_family_against_itself_has_the_ratio_1_and_no_interval() -> None:
    curve = simulate_curves(Law(), ratio=1.0, generator=np.random.default_rng(0))[0]
    found = ratio(curve, curve)
    assert (found.ratio.value, found.ratio.interval) == (1.0, None)


def test_means_that_rise_by_chance_do_not_break_the_ratio() -> None:
    bumpy = learning_curve([100, 200, 400], [[[0.5], [0.52]], [[0.53], [0.51]], [[0.2], [0.22]]])
    assert np.isfinite(ratio(bumpy, bumpy).ratio.value)
    assert ratio(bumpy, bumpy, at_error=0.3).ratio.value == 1.0


def test_where_few_resamples_overlap_the_interval_is_open_on_the_side_that_cannot_be_told() -> None:
    a = learning_curve([100, 400], [[[0.50], [0.44], [0.50], [0.44]], [[0.3]] * 4])
    b = learning_curve([100, 400], [[[0.7]] * 4, [[0.48], [0.44], [0.44], [0.48]]])
    found = ratio(a, b)
    assert found.ratio.interval is not None
    assert found.ratio.interval.lower is not None
    assert found.ratio.interval.upper is None


def test_draws_that_are_all_alike_have_a_ratio_and_a_crossover_without_intervals() -> None:
    a, b = (learning_curve(list(SIZES), [np.full((3, 1), e) for e in law.errors(SIZES)]) for law in CROSSING_LAWS)
    found = crossing(a, b).num_train_images
    assert found is not None
    assert (found.interval, found.reason) == (None, NO_SPREAD)
    assert (ratio(a, b).ratio.interval, ratio(a, b).ratio.reason) == (None, NO_SPREAD)


def test_a_resample_that_is_flat_or_never_takes_the_error_does_no_harm() -> None:
    a = learning_curve([100, 400], [[[0.6], [0.4], [0.5]], [[0.2], [0.5], [0.3]]])
    b = learning_curve([100, 400], [[[0.7], [0.6], [0.5]], [[0.3], [0.4], [0.45]]])
    for at_error in (None, 0.4, 0.45):
        found = ratio(a, b, at_error=at_error).ratio
        assert found.value > 0
        assert found.interval is not None


REFUSED = [
    (exact(Law()), exact(Law().shifted(100)), {}, "so B needs over 50 times the images"),
    (exact(Law().shifted(100)), exact(Law()), {}, "so A needs over 50 times the images"),
    (exact(Law()), exact(Law().shifted(2)), {"at_error": 0.9}, "family A has errors from 0.2404 to 0.6658 as measured"),
    (
        exact(Law()),
        exact(Law().shifted(2)),
        {"at_error": 0.25},
        "family B has errors from 0.2844 to 0.8081 as measured",
    ),
    (exact(Law()), exact(Law(), sizes=(500, 9000)), {"method": "fitted"}, "needs at least 5 numbers"),
    (exact(Law()), learning_curve([100, 9000], [[[0.4], [0.4]]] * 2), {}, "the error of a family is 0.4 at every size"),
    (exact(Law()), exact(Law(), sizes=(500,)), {}, "a common range of training images, which these lack"),
]


@pytest.mark.parametrize(("a", "b", "options", "reason"), REFUSED)
def test_a_ratio_that_the_curves_do_not_show_is_refused_with_the_reason(
    a: LearningCurve, b: LearningCurve, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(NotEstimable, match=re.escape(reason)):
        ratio(a, b, **options)


# The crossover


@pytest.mark.parametrize("method", METHODS)
def test_the_crossover_is_where_the_curves_cross(method: CurveMethod) -> None:
    a, b = (exact(law) for law in CROSSING_LAWS)
    found = crossing(a, b, method=method)
    assert found.num_train_images is not None
    assert found.num_train_images.value == pytest.approx(
        CROSSING_IMAGES, rel=0.02 if method == "interpolated" else 1e-3
    )
    assert (found.better_at_smallest, found.better_at_largest, found.bootstrap_share) == ("b", "a", 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_swapping_the_families_swaps_the_leaders_and_leaves_the_crossover(method: CurveMethod) -> None:
    a, b = simulate_curves(*CROSSING_LAWS, ratio=1.0, noise=0.03, generator=np.random.default_rng(0))
    ours, theirs = crossing(a, b, method=method), crossing(b, a, method=method)
    assert (
        (ours.better_at_smallest, ours.better_at_largest)
        == (theirs.better_at_largest, theirs.better_at_smallest)
        == ("b", "a")
    )
    assert ours.num_train_images is not None
    assert theirs.num_train_images is not None
    assert ours.num_train_images.value == pytest.approx(theirs.num_train_images.value)
    assert ours.bootstrap_share == theirs.bootstrap_share


def test_a_leader_throughout_has_no_crossover() -> None:
    found = crossing(exact(Law()), exact(Law().shifted(2)))
    assert found.num_train_images is None
    assert (found.better_at_smallest, found.better_at_largest, found.bootstrap_share) == ("a", "a", 0.0)


def test_a_crossover_that_resamples_doubt_has_an_open_end_and_a_share_below_1() -> None:
    draws = np.array([[-0.02], [0.03], [0.0], [0.02], [-0.03]])
    a = learning_curve([100, 1000], [0.6 + np.zeros((5, 1)), 0.31 + draws])
    b = learning_curve([100, 1000], [0.5 + np.zeros((5, 1)), 0.32 + np.zeros((5, 1))])
    found = crossing(a, b)
    assert found.num_train_images is not None
    assert found.num_train_images.interval is not None
    assert found.num_train_images.interval.upper is None
    assert found.num_train_images.interval.lower is not None
    assert 0.5 < found.bootstrap_share < 1


def test_of_several_crossings_the_one_between_the_larger_leads_counts() -> None:
    sizes = [100, 200, 400, 800, 1600]
    a = learning_curve(sizes, [[[error]] * 2 for error in (0.9, 0.795, 0.72, 0.5, 0.3)])
    b = learning_curve(sizes, [[[error]] * 2 for error in (0.8, 0.8, 0.7, 0.6, 0.5)])
    found = crossing(a, b).num_train_images
    assert found is not None
    assert 400 < found.value < 800


def test_a_crossover_lies_within_the_sizes_that_both_span() -> None:
    a, b = exact(CROSSING_LAWS[0]), exact(CROSSING_LAWS[1], sizes=(9000, 18_000))
    found = crossing(a, b)
    assert found.num_train_images is None
    assert found.better_at_smallest == found.better_at_largest == "a"
    with pytest.raises(NotEstimable, match="a common range of training images"):
        crossing(exact(Law(), sizes=(10, 20)), exact(Law(), sizes=(30, 40)))
