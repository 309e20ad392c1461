"""Power law alpha + eta n^gamma: fitted if the points support it, else refused with the reason."""

import re

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy import optimize

from lkca_search.analysis.curves.learning_curve import LearningCurve, learning_curve
from lkca_search.analysis.curves.least_squares import fit, smooth_variances
from lkca_search.analysis.curves.power_law import PowerLaw, compare_exponents, fit_power_law
from lkca_search.analysis.stats.estimate import NotEstimable
from tests.support.statistics.given_scores import NAN
from tests.support.statistics.simulated import SIZES, Law, simulate_curves

LOGS = np.log(SIZES)


def fit_law(curve: LearningCurve, *, seed: int = 0) -> PowerLaw:
    return fit_power_law(curve, generator=np.random.default_rng(seed), num_resamples=300)


def noisy(law: Law, *, noise: float = 0.01, seed: int = 0) -> LearningCurve:
    return simulate_curves(law, ratio=1.0, noise=noise, generator=np.random.default_rng(seed))[0]


# Least squares


@given(st.floats(0, 0.3), st.floats(0.1, 1), st.floats(-0.95, -0.05))
def test_points_on_a_law_recover_it(alpha: float, reach: float, gamma: float) -> None:
    law = Law(alpha, reach * SIZES[0] ** -gamma, gamma)
    found = fit(LOGS, law.errors(SIZES)[None], np.ones(len(SIZES)), alpha_is_bounded=True)
    assert found.gamma[0] == pytest.approx(gamma, abs=1e-4)
    assert found.alpha[0] == pytest.approx(alpha, abs=1e-3)
    assert found.evaluate(LOGS)[0] == pytest.approx(law.errors(SIZES), abs=1e-6)
    assert np.exp(found.log_eta[0]) == pytest.approx(law.eta, rel=1e-2)


@pytest.mark.parametrize("alpha_is_bounded", [True, False])
@given(seed=st.integers(0, 10_000))
@example(seed=268)  # the best gamma is on its bound
def test_no_optimizer_finds_a_better_fit(alpha_is_bounded: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    law = Law(generator.uniform(0, 0.1), generator.uniform(1, 5), generator.uniform(-0.6, -0.1))
    points = law.errors(SIZES) + 0.05 * generator.standard_normal(len(SIZES))
    weights = generator.uniform(0.5, 5, len(SIZES))
    found = fit(LOGS, points[None], weights, alpha_is_bounded=alpha_is_bounded)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        alpha, scale, gamma = parameters
        return np.sqrt(weights) * (alpha + scale * np.exp(gamma * (LOGS - LOGS.mean())) - points)

    lower = 0.0 if alpha_is_bounded else -np.inf
    for gamma in (-0.9, -0.5, -0.2, -0.05):
        other = optimize.least_squares(
            residuals, [0.05, 0.3, gamma], bounds=([lower, 0.0, -1.0], [np.inf, np.inf, -0.01]), x_scale=0.1
        )
        assert found.residual[0] <= 2 * other.cost * (1 + 1e-6) + 1e-12


def test_a_batch_of_fits_equals_single_fits() -> None:
    points = np.stack([noisy(Law(), seed=seed).draw_errors.mean(axis=1) for seed in range(20)])
    weights = np.arange(1.0, 7.0)
    together = fit(LOGS, points, weights, alpha_is_bounded=False)
    for row, point in enumerate(points):
        alone = fit(LOGS, point[None], weights, alpha_is_bounded=False)
        assert (alone.alpha[0], alone.gamma[0]) == pytest.approx((together.alpha[row], together.gamma[row]), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=8), st.floats(0.01, 100))
def test_smoothed_variances_are_positive_nonincreasing_and_scale_with_the_unit(
    variances: list[float], unit: float
) -> None:
    assume(max(variances) > 1e-6)
    sizes, given_variances = np.geomspace(100, 10_000, len(variances)), np.array(variances)
    smooth = smooth_variances(sizes, given_variances)
    assert (smooth > 0.2 * given_variances.mean()).all()
    assert (np.diff(smooth) <= 1e-12).all()
    assert smooth_variances(sizes, unit * given_variances) == pytest.approx(unit * smooth, rel=1e-6)


# The law


def test_the_law_of_noisy_points_is_near_the_truth_and_its_intervals_contain_it() -> None:
    found, truth = fit_law(noisy(Law())), Law()
    for name in truth._fields:
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx(getattr(truth, name), rel=0.6)
        assert estimate.interval.contains(estimate.value)
        assert estimate.interval.contains(getattr(truth, name))
    assert found.num_train_images == (SIZES[0], SIZES[-1])
    assert (found.num_draws, found.num_draws_left_out) == (5, 0)


def test_the_band_contains_the_law_and_is_narrower_near_the_points() -> None:
    found = fit_law(noisy(Law()))
    images = [SIZES[0], 5000, SIZES[-1], 4 * SIZES[-1]]
    predicted = found.predict(images)
    lower, upper = found.band(images)
    assert (lower <= predicted).all()
    assert (predicted <= upper).all()
    assert (np.diff(predicted) < 0).all()
    assert upper[3] - lower[3] > upper[1] - lower[1]


@pytest.mark.parametrize("images", [SIZES[0] - 1, 4 * SIZES[-1] + 1, 0, -5, NAN])
def test_predictions_below_the_smallest_size_or_above_4_times_the_largest_are_an_error(images: float) -> None:
    found = fit_law(noisy(Law()))
    rule = re.escape(f"must be from 360, the smallest measured size, to 72000, 4 times the largest, got {images:g}")
    with pytest.raises(ValueError, match=rule):
        found.predict(images)
    with pytest.raises(ValueError, match=rule):
        found.band([SIZES[0], images])


def test_errors_as_shares_and_in_percent_give_the_same_law() -> None:
    curve = noisy(Law())
    percent = learning_curve(list(SIZES), [100 * errors[:, None] for errors in curve.draw_errors])
    shares, percents = fit_law(curve), fit_law(percent)
    assert percents.gamma.value == pytest.approx(shares.gamma.value, abs=1e-6)
    assert percents.alpha.value == pytest.approx(100 * shares.alpha.value, abs=1e-4)
    assert percents.misfit_p == pytest.approx(shares.misfit_p)


def test_an_incomplete_draw_is_left_out_of_the_law_and_counted() -> None:
    curve = noisy(Law())
    errors = [curve.draw_errors[place][:, None].copy() for place in range(len(SIZES))]
    errors[2][4] = NAN
    found = fit_law(learning_curve(list(SIZES), errors))
    assert (found.num_draws, found.num_draws_left_out) == (4, 1)


def _points(*errors: float, sizes: tuple[int, ...] = SIZES, spread: float = 0.002) -> LearningCurve:
    noise = spread * np.array([-1.0, 0.5, 0.0, -0.5, 1.0])
    return learning_curve(list(sizes), [(error + np.roll(noise, place))[:, None] for place, error in enumerate(errors)])


REFUSED = [
    (_points(0.6, 0.5, 0.4, 0.3, sizes=SIZES[:4]), "needs at least 5 numbers of training images, there are 4"),
    (_points(0.5, 0.51, 0.49, 0.5, 0.51, 0.5, spread=0.02), "does not fall significantly"),
    (_points(0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "does not fall significantly with more images: p is 1"),
    (_points(0.9, 0.25, 0.2, 0.2, 0.2, 0.2), "gamma is at its bound -1: the error falls faster than 1 / n"),
    (
        _points(*(0.9 - 0.004 * np.log(np.array(SIZES) / SIZES[0])).tolist(), spread=0.0005),
        "gamma is at its bound -0.01: the error falls as slowly as a logarithm",
    ),
    (_points(0.9, 0.9, 0.9, 0.89, 0.5, 0.1), "do not follow alpha + eta n^gamma"),
    (_points(0.9, 0.5, 0.6, 0.3, 0.4, 0.2), "do not follow alpha + eta n^gamma"),
    (_points(0.6, 0.5, 0.4, 0.3, 0.25, 0.2, spread=0.0), "every draw has the same errors"),
    (learning_curve(list(SIZES), [[[0.5]]] * 6), "at least 2 draws must have an error at every size, 1 of 1 have"),
]


@pytest.mark.parametrize(("curve", "reason"), REFUSED, ids=[reason[:30] for _, reason in REFUSED])
def test_points_that_do_not_support_a_law_are_refused_with_the_reason(curve: LearningCurve, reason: str) -> None:
    with pytest.raises(NotEstimable, match=re.escape(reason)):
        fit_law(curve)
    with pytest.raises(NotEstimable, match=re.escape(reason)):
        compare_exponents(curve, curve, generator=np.random.default_rng(0))


def test_the_lack_of_fit_test_rejects_at_most_5_percent_of_true_laws() -> None:
    generator = np.random.default_rng(0)
    num_rejected = num_refused = 0
    for _ in range(300):
        (curve,) = simulate_curves(Law(), ratio=0.25, generator=generator)
        try:
            num_rejected += fit_power_law(curve, generator=generator, num_resamples=2).misfit_p < 0.05
        except NotEstimable:
            num_refused += 1
    assert num_rejected + num_refused < 0.05 * 300
    assert num_refused <= 2


# Difference of exponents


def test_swapping_families_negates_the_exponent_difference_and_equal_families_have_0() -> None:
    a, b = simulate_curves(Law(), Law(0.05, 2.5, -0.25), ratio=1.0, generator=np.random.default_rng(0))
    forward, backward = (compare_exponents(*pair, generator=np.random.default_rng(1)) for pair in ((a, b), (b, a)))
    assert forward.value == -backward.value
    assert forward.interval is not None
    assert backward.interval is not None
    assert forward.interval.contains(-0.05)
    assert forward.interval.lower == pytest.approx(-(backward.interval.upper or NAN), abs=0.01)
    same = compare_exponents(a, a, generator=np.random.default_rng(1))
    assert same.value == 0
    assert same.interval is not None
    assert (same.interval.lower, same.interval.upper) == (0, 0)
