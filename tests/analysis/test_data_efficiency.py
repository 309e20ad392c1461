"""The data-efficiency ratio and the crossover."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkca_search.analysis.curves.crossover import Crossover, crossover
from lkca_search.analysis.curves.data_efficiency import BEYOND_SIZES, CurveMethod, DataEfficiency, data_efficiency
from lkca_search.analysis.curves.learning_curve import LearningCurve, learning_curve
from lkca_search.analysis.stats.bootstrap import too_few_draws
from lkca_search.analysis.stats.estimate import Interval, NotEstimable
from lkca_search.analysis.stats.paired import bootstrap_difference
from lkca_search.analysis.stats.student import NO_SPREAD
from tests.support.statistics.simulated import CROSSING_IMAGES, CROSSING_LAWS, SIZES, Law, simulate_curves

METHODS: tuple[CurveMethod, ...] = ("interpolated", "fitted")


def exact(law: Law, sizes: tuple[int, ...] = SIZES) -> LearningCurve:
    """Return a curve of two draws that differ from the law by a factor of 1 +- 1e-5."""
    factors = np.array([[1 - 1e-5], [1 + 1e-5]])
    return learning_curve(list(sizes), [error * factors for error in law.errors(sizes)])


def estimate_ratio(a: LearningCurve, b: LearningCurve, **options: object) -> DataEfficiency:
    return data_efficiency(a, b, generator=np.random.default_rng(0), num_resamples=300, **options)  # type: ignore[arg-type]


def estimate_crossover(a: LearningCurve, b: LearningCurve, **options: object) -> Crossover:
    return crossover(a, b, generator=np.random.default_rng(0), num_resamples=300, **options)  # type: ignore[arg-type]


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    assert interval.lower is not None
    assert interval.upper is not None
    return interval.lower, interval.upper


# The ratio


@pytest.mark.parametrize("method", METHODS)
@given(shift=st.floats(0.15, 7))
def test_the_ratio_of_a_curve_shifted_in_images_is_the_shift(method: CurveMethod, shift: float) -> None:
    found = estimate_ratio(exact(Law()), exact(Law().shifted(shift)), method=method)
    assert found.ratio.value == pytest.approx(shift, rel=0.01 if method == "interpolated" else 1e-3)
    assert found.method == method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at_error", [None, 0.4])
def test_swapping_the_families_inverts_the_ratio_and_its_interval(method: CurveMethod, at_error: float | None) -> None:
    a, b = simulate_curves(Law(), Law().shifted(2), ratio=1.0, generator=np.random.default_rng(0))
    ours, theirs = (estimate_ratio(*pair, method=method, at_error=at_error) for pair in ((a, b), (b, a)))
    assert ours.ratio.value == pytest.approx(1 / theirs.ratio.value)
    assert ours.errors == theirs.errors
    lower, upper = ends(ours.ratio.interval)
    assert (1 / upper, 1 / lower) == pytest.approx(ends(theirs.ratio.interval), rel=0.01)
    assert lower < 2 < upper


def test_the_ratio_at_one_error_uses_both_curves_at_that_error() -> None:
    a = learning_curve([100, 400], [[[0.8], [0.8]], [[0.2], [0.2]]])
    b = learning_curve([100, 1600], [[[0.9], [0.9]], [[0.1], [0.1]]])
    found = estimate_ratio(a, b, at_error=0.3)
    # The error of A is 80 / n, and on logarithmic axes B has 0.3 halfway, at 400.
    assert found.ratio.value == pytest.approx(400 / (80 / 0.3), rel=1e-3)
    assert found.errors == (0.3, 0.3)
    assert estimate_ratio(a, b).errors == pytest.approx((0.2, 0.8))


def test_two_sizes_per_family_are_enough_and_may_differ() -> None:
    found = estimate_ratio(exact(Law()), exact(Law().shifted(2), sizes=(500, 9000)))
    assert found.ratio.value == pytest.approx(2.0, rel=0.1)


def test_a_family_compared_with_itself_has_ratio_1_and_no_interval() -> None:
    curve = simulate_curves(Law(), ratio=1.0, generator=np.random.default_rng(0))[0]
    found = estimate_ratio(curve, curve)
    assert (found.ratio.value, found.ratio.interval) == (1.0, None)


def test_the_ratio_exists_if_mean_errors_rise_between_sizes() -> None:
    bumpy = learning_curve([100, 200, 400], [[[0.5], [0.52]], [[0.53], [0.51]], [[0.2], [0.22]]])
    assert np.isfinite(estimate_ratio(bumpy, bumpy).ratio.value)
    assert estimate_ratio(bumpy, bumpy, at_error=0.3).ratio.value == 1.0


def test_the_interval_is_open_if_few_resamples_overlap() -> None:
    a = learning_curve([100, 400], [[[0.50], [0.44], [0.50], [0.44]], [[0.3]] * 4])
    b = learning_curve([100, 400], [[[0.7]] * 4, [[0.48], [0.44], [0.44], [0.48]]])
    found = estimate_ratio(a, b)
    assert found.ratio.interval is not None
    assert found.ratio.interval.lower is not None
    assert found.ratio.interval.upper is None


def test_equal_draws_give_a_ratio_and_a_crossover_without_intervals() -> None:
    a, b = (learning_curve(list(SIZES), [np.full((3, 1), e) for e in law.errors(SIZES)]) for law in CROSSING_LAWS)
    found = estimate_crossover(a, b).num_train_images
    assert found is not None
    assert (found.interval, found.reason) == (None, NO_SPREAD)
    assert (estimate_ratio(a, b).ratio.interval, estimate_ratio(a, b).ratio.reason) == (None, NO_SPREAD)


def test_resamples_that_are_flat_or_never_reach_the_error_are_allowed() -> None:
    a = learning_curve([100, 400], [[[0.6], [0.4], [0.5], [0.5]], [[0.2], [0.5], [0.3], [0.3]]])
    b = learning_curve([100, 400], [[[0.7], [0.6], [0.5], [0.6]], [[0.3], [0.4], [0.45], [0.4]]])
    for at_error in (None, 0.4, 0.45):
        found = estimate_ratio(a, b, at_error=at_error).ratio
        assert found.value > 0
        assert found.interval is not None or found.reason == BEYOND_SIZES


def few_photos(num_draws: int, seed: int) -> list[LearningCurve]:
    """Return two noisy curves with 18 and 36 images, which can show ratios from 0.5 to 2."""
    generator = np.random.default_rng(seed)
    means = np.array([[0.55, 0.2], [0.35, 0.1]])
    return [
        learning_curve([18, 36], np.clip(mean[:, None, None] + generator.normal(0, 0.1, (2, num_draws, 1)), 0, 1))
        for mean in means
    ]


@pytest.mark.parametrize("seed", range(20))
def test_an_end_that_the_measured_sizes_cannot_show_is_open(seed: int) -> None:
    ratio = estimate_ratio(*few_photos(5, seed)).ratio
    assert 0.5 <= ratio.value <= 2
    if ratio.interval is None:
        assert ratio.reason == BEYOND_SIZES
    else:
        known = [end for end in (ratio.interval.lower, ratio.interval.upper) if end is not None]
        assert known
        assert all(0.5 <= end <= 2 for end in known)


@pytest.mark.parametrize(("num_draws", "is_enough"), [(2, False), (3, False), (4, True), (5, True)])
def test_a_ratio_and_a_crossover_need_as_many_draws_as_the_bootstrap_of_a_difference(
    num_draws: int, is_enough: bool
) -> None:
    curves = simulate_curves(
        *CROSSING_LAWS, ratio=1.0, noise=0.005, num_draws=num_draws, generator=np.random.default_rng(0)
    )
    scores = [curve.draw_errors[0][:, None] for curve in curves]
    difference = bootstrap_difference(*scores, generator=np.random.default_rng(0))
    ratio, images = estimate_ratio(*curves).ratio, estimate_crossover(*curves).num_train_images
    for found in (difference, ratio, images):
        assert (found.interval is not None) is is_enough
        assert found.reason == too_few_draws(num_draws, 0.95)


REFUSED = [
    (exact(Law()), exact(Law().shifted(100)), {}, "so B needs over 50 times the images"),
    (exact(Law().shifted(100)), exact(Law()), {}, "so A needs over 50 times the images"),
    (
        exact(Law()),
        exact(Law().shifted(2)),
        {"at_error": 0.9},
        "within the measured errors of A, 0.2404 to 0.6658, got 0.9",
    ),
    (
        exact(Law()),
        exact(Law().shifted(2)),
        {"at_error": 0.25},
        "within the measured errors of B, 0.2844 to 0.8081, got 0.25",
    ),
    (exact(Law()), exact(Law(), sizes=(500, 9000)), {"method": "fitted"}, "needs at least 5 numbers"),
    (exact(Law()), learning_curve([100, 9000], [[[0.4], [0.4]]] * 2), {}, "the error of a family is 0.4 at every size"),
    (exact(Law()), exact(Law(), sizes=(500,)), {}, "a common range of training images to be compared, got sizes"),
]


@pytest.mark.parametrize(("a", "b", "options", "reason"), REFUSED)
def test_a_ratio_without_a_common_error_is_refused_with_the_reason(
    a: LearningCurve, b: LearningCurve, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(NotEstimable, match=re.escape(reason)):
        estimate_ratio(a, b, **options)


# The crossover


@pytest.mark.parametrize("method", METHODS)
def test_the_crossover_is_the_crossing_of_the_curves(method: CurveMethod) -> None:
    a, b = (exact(law) for law in CROSSING_LAWS)
    found = estimate_crossover(a, b, method=method)
    assert found.num_train_images.value == pytest.approx(
        CROSSING_IMAGES, rel=0.02 if method == "interpolated" else 1e-3
    )
    assert (found.better_below, found.between) == ("b", (SIZES[0], SIZES[-1]))


@pytest.mark.parametrize("method", METHODS)
def test_swapping_the_families_swaps_the_leaders_and_leaves_the_crossover(method: CurveMethod) -> None:
    a, b = simulate_curves(*CROSSING_LAWS, ratio=1.0, noise=0.03, generator=np.random.default_rng(0))
    ours, theirs = estimate_crossover(a, b, method=method), estimate_crossover(b, a, method=method)
    assert (ours.better_below, theirs.better_below) == ("b", "a")
    assert ours.num_train_images.value == pytest.approx(theirs.num_train_images.value)


def test_there_is_no_crossover_if_one_family_is_better_throughout() -> None:
    with pytest.raises(NotEstimable, match="no family is better at one end of the sizes and worse at the other"):
        estimate_crossover(exact(Law()), exact(Law().shifted(2)))


@pytest.mark.parametrize("equal_at", [0, 1, 2])
def test_equal_families_at_either_end_have_no_crossover(equal_at: int) -> None:
    errors = np.full((3, 5, 1), 0.5) - np.array([0.0, 0.1, 0.2])[:, None, None]
    other = errors + np.array([0.01, 0.01, -0.01])[:, None, None]
    other[equal_at if equal_at < 2 else [0, 1, 2]] = errors[equal_at if equal_at < 2 else [0, 1, 2]]
    other[-1 if equal_at == 1 else 0] = errors[-1 if equal_at == 1 else 0]
    with pytest.raises(NotEstimable, match="no family is better at one end"):
        estimate_crossover(learning_curve([10, 20, 40], list(errors)), learning_curve([10, 20, 40], list(other)))


def test_a_crossover_between_two_sizes_is_between_them() -> None:
    a, b = (exact(law) for law in CROSSING_LAWS)
    found = estimate_crossover(a, b, between=(1800, 9000))
    assert found.between == (1800, 9000)
    assert found.num_train_images.value == pytest.approx(CROSSING_IMAGES, rel=0.02)
    with pytest.raises(NotEstimable, match="no family is better at one end"):
        estimate_crossover(a, b, between=(4500, 18_000))


def test_an_uncertain_crossover_has_an_open_end() -> None:
    draws = np.array([[-0.02], [0.03], [0.0], [0.02], [-0.03]])
    a = learning_curve([100, 1000], [0.6 + np.zeros((5, 1)), 0.31 + draws])
    b = learning_curve([100, 1000], [0.5 + np.zeros((5, 1)), 0.32 + np.zeros((5, 1))])
    found = estimate_crossover(a, b)
    assert found.num_train_images.interval is not None
    assert found.num_train_images.interval.upper is None
    assert found.num_train_images.interval.lower is not None


def test_the_crossover_is_the_crossing_that_separates_the_largest_leads() -> None:
    sizes = [100, 200, 400, 800, 1600]
    a = learning_curve(sizes, [[[error]] * 2 for error in (0.9, 0.795, 0.72, 0.5, 0.3)])
    b = learning_curve(sizes, [[[error]] * 2 for error in (0.8, 0.8, 0.7, 0.6, 0.5)])
    found = estimate_crossover(a, b).num_train_images
    assert 400 < found.value < 800


def test_a_crossover_lies_within_the_common_range_of_sizes() -> None:
    a, b = exact(CROSSING_LAWS[0]), exact(CROSSING_LAWS[1], sizes=(9000, 18_000))
    with pytest.raises(NotEstimable, match="no family is better at one end"):
        estimate_crossover(a, b)
    with pytest.raises(NotEstimable, match="a common range of training images"):
        estimate_crossover(exact(Law(), sizes=(10, 20)), exact(Law(), sizes=(30, 40)))
