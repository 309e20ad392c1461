"""Power law e(n) = alpha + eta n^gamma of the error of one family against training images n.

alpha is the error that no number of images removes, eta the removable error at one image, and gamma its rate
(Hoiem et al. 2021, Learning Curves for Analysis of Deep Networks, section 3). Better models shift the curve more than
they change gamma (Hestness et al. 2017, Deep Learning Scaling is Predictable, Empirically).

Estimates keep alpha at 0 or above. Intervals use resamples fitted without this bound and are clipped afterwards: the
bootstrap of an estimate on its bound is inconsistent (Andrews 2000, Econometrica 68). At 5 draws x 2 seeds it covers
alpha in 89%, the method used here in 94%.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lkca_search.analysis.curves.learning_curve import (
    LearningCurve,
    check_error_decreases,
    errors_on_common_draws,
    resampled_means,
)
from lkca_search.analysis.curves.least_squares import MAX_GAMMA, MIN_GAMMA, Fits, fit, smooth_variances
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES, resample_draws, widened_bounds
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, NotEstimable, check_level
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats

MIN_SIZES = 5
MAX_EXTRAPOLATION = 4
"""Largest number of images for a prediction, as a multiple of the largest measured size."""
MIN_MISFIT_P = 0.001
"""Smallest p of the lack-of-fit test at which the points count as following the law."""
BOUND_TOLERANCE = 1e-4
"""Distance from a bound of gamma within which gamma counts as on the bound."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerLaw:
    """Fitted power law of one family, with bootstrap intervals over draws."""

    alpha: Estimate
    """In the unit of the errors, at least 0. An interval from 0 means that alpha may be 0."""
    eta: Estimate
    """In the unit of the errors, at one image: far from the points, so the interval is wide."""
    gamma: Estimate
    """Between -1 and -0.01."""
    misfit_p: float
    """p of the F test for lack of fit; 1 for points exactly on the law."""
    num_train_images: tuple[int, int]
    """Smallest and largest measured size."""
    num_draws: int
    """Draws with an error at every size."""
    num_draws_left_out: int
    """Draws without an error at every size."""
    level: float
    """Confidence level of the intervals and the band."""
    maximum: float
    """Largest possible error; intervals of errors end there."""
    fitted: Fits
    """Fit to all draws with alpha bounded, (1,)."""
    resampled: Fits
    """Fits without the bound of alpha, (1 + resamples,): to all draws, then to resampled draws."""

    def predict(self, num_train_images: ArrayLike) -> Floats:
        """Return errors, (n,); raise ValueError below the smallest size or above 4 times the largest."""
        errors: Floats = self.fitted.evaluate(self._log_images(num_train_images))[0]
        return errors

    def band(self, num_train_images: ArrayLike) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of the error at each number of images, (n,); raise ValueError as `predict`.

        The level holds per number of images. A 95% band contains the entire curve in only 75-80%.
        """
        log_images = self._log_images(num_train_images)
        errors = self.resampled.evaluate(log_images)
        lower, upper = widened_bounds(
            errors[0], errors[1:], num_draws=self.num_draws, level=self.level, minimum=0.0, maximum=self.maximum
        )
        predicted = self.fitted.evaluate(log_images)[0]
        return np.minimum(lower, predicted), np.maximum(upper, predicted)

    def _log_images(self, num_train_images: ArrayLike) -> Floats:
        images = np.atleast_1d(np.asarray(num_train_images, dtype=np.float64))
        smallest, largest = self.num_train_images
        outside = images[~((images >= smallest) & (images <= MAX_EXTRAPOLATION * largest))]
        if len(outside):
            raise ValueError(
                f"num_train_images must be from {smallest}, the smallest measured size, to "
                f"{MAX_EXTRAPOLATION * largest}, {MAX_EXTRAPOLATION} times the largest, got {outside[0]:g}"
            )
        return np.log(images)


def fit_power_law(
    curve: LearningCurve,
    *,
    generator: np.random.Generator,
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    maximum: float = math.inf,
) -> PowerLaw:
    """Fit the law by weighted least squares to a curve with at least 5 sizes and 2 complete draws.

    The weight of a size is the inverse of its variance between draws, smoothed by `least_squares.smooth_variances`.
    Weights are equal in all resamples. A resample has the same draws at every size, because subsets of one draw are
    nested. `maximum` is the largest possible error, 100 for percentages. Intervals and band cover 93-96% at 5 draws x 2
    seeds (`benchmarks/known_truth.py`).

    Raises:
        NotEstimable: There are too few sizes or draws, or the points do not support the law: no significant decrease,
            gamma at a bound, or lack of fit.
    """
    check_level(level)
    (errors,) = errors_on_common_draws(curve)
    law = fit_supported_law(curve, errors)
    draws = resample_draws(errors.shape[1], num_resamples=num_resamples, generator=generator)
    resampled = law.refit(errors, draws)
    num_draws = errors.shape[1]
    gamma = _estimate(law.fitted.gamma, resampled.gamma, num_draws, level, minimum=MIN_GAMMA, maximum=MAX_GAMMA)
    return PowerLaw(
        alpha=_estimate(law.fitted.alpha, resampled.alpha, num_draws, level, minimum=0.0, maximum=maximum),
        eta=_exponential(_estimate(law.fitted.log_eta, resampled.log_eta, num_draws, level)),
        gamma=gamma,
        misfit_p=law.misfit_p,
        num_train_images=(int(curve.num_train_images[0]), int(curve.num_train_images[-1])),
        num_draws=num_draws,
        num_draws_left_out=curve.num_draws_left_out,
        level=level,
        maximum=maximum,
        fitted=law.fitted,
        resampled=resampled,
    )


def compare_exponents(
    curve_a: LearningCurve,
    curve_b: LearningCurve,
    *,
    generator: np.random.Generator,
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Return gamma of A minus gamma of B; it is below 0 if the error of A decreases faster.

    Only draws that are complete in both curves count, and both share the resampled draws.

    Raises:
        NotEstimable: The points of either curve do not support the law.
    """
    check_level(level)
    errors_a, errors_b = errors_on_common_draws(curve_a, curve_b)
    law_a, law_b = fit_supported_law(curve_a, errors_a), fit_supported_law(curve_b, errors_b)
    num_draws = errors_a.shape[1]
    draws = resample_draws(num_draws, num_resamples=num_resamples, generator=generator)
    resampled = law_a.refit(errors_a, draws).gamma - law_b.refit(errors_b, draws).gamma
    largest = MAX_GAMMA - MIN_GAMMA
    difference = law_a.fitted.gamma - law_b.fitted.gamma
    return _estimate(difference, resampled, num_draws, level, minimum=-largest, maximum=largest)


@dataclass(frozen=True, kw_only=True, eq=False)
class SupportedLaw:
    """Law that the points support, fitted to all draws."""

    fitted: Fits
    log_images: Floats
    """Natural logarithms of the sizes, (sizes,)."""
    weights: Floats
    """Inverse variance of the mean error per size, (sizes,)."""
    misfit_p: float
    """p of the F test for lack of fit."""

    def refit(
        self,
        errors: Floats,
        draws: NDArray[np.int64],
        *,
        alpha_is_bounded: bool = False,
        shifts: Floats | float = 0.0,
    ) -> Fits:
        """Fit all draws, then the resampled `draws`, (resamples, draws), with the same weights: (1 + resamples,).

        `shifts`, (resamples, sizes), are added to the resampled means.
        """
        means = resampled_means(errors, draws, shifts)
        return fit(self.log_images, means, self.weights, alpha_is_bounded=alpha_is_bounded)


def fit_supported_law(curve: LearningCurve, errors: Floats) -> SupportedLaw:
    """Fit the law to errors, (sizes, draws); raise NotEstimable if they do not support it."""
    if len(errors) < MIN_SIZES:
        raise NotEstimable(
            f"a fitted curve needs at least {MIN_SIZES} numbers of training images, there are {len(errors)}"
        )
    check_error_decreases(curve.log_images, errors)
    if float(np.ptp(errors, axis=1).max()) <= RELATIVE_TOLERANCE * float(errors.max()):
        raise NotEstimable("every draw has the same errors, so there is no spread for weights and intervals")
    variances = smooth_variances(curve.num_train_images.astype(np.float64), errors.var(axis=1, ddof=1))
    weights = errors.shape[1] / variances
    fitted = fit(curve.log_images, errors.mean(axis=1)[None], weights, alpha_is_bounded=True)
    _check_bounds(float(fitted.gamma[0]))
    misfit_p = _misfit(float(fitted.residual[0]), num_sizes=len(errors), num_draws=errors.shape[1])
    if misfit_p < MIN_MISFIT_P:
        raise NotEstimable(
            "the points do not follow alpha + eta n^gamma: their distance from it exceeds the spread between draws "
            f"(p is {misfit_p:.2g}, it must be at least {MIN_MISFIT_P})"
        )
    return SupportedLaw(fitted=fitted, log_images=curve.log_images, weights=weights, misfit_p=misfit_p)


def _check_bounds(gamma: float) -> None:
    if gamma < MIN_GAMMA + BOUND_TOLERANCE:
        raise NotEstimable(
            f"gamma is at its bound {MIN_GAMMA:g}: the error falls faster than 1 / n and then stays constant, which "
            "alpha + eta n^gamma does not describe"
        )
    if gamma > MAX_GAMMA - BOUND_TOLERANCE:
        raise NotEstimable(
            f"gamma is at its bound {MAX_GAMMA:g}: the error falls as slowly as a logarithm, and alpha "
            "cannot be separated from eta n^gamma"
        )


def _misfit(residual: float, *, num_sizes: int, num_draws: int) -> float:
    """Return p of the F test: weighted residual (sizes - 3 degrees of freedom) against the pooled draw variance."""
    freedom = num_sizes - 3
    return float(special.fdtrc(freedom, num_sizes * (num_draws - 1), residual / freedom))


def _estimate(
    fitted: Floats,
    resampled: Floats,
    num_draws: int,
    level: float,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> Estimate:
    """Return the estimate of one parameter from its fit, (1,), and its fits without a bound, (1 + resamples,)."""
    value = float(fitted[0])
    lower, upper = widened_bounds(
        resampled[0], resampled[1:], num_draws=num_draws, level=level, minimum=minimum, maximum=maximum
    )
    interval = Interval(lower=_finite(min(float(lower), value)), upper=_finite(max(float(upper), value)), level=level)
    return Estimate(value=value, interval=interval)


def _exponential(logarithm: Estimate) -> Estimate:
    """Return the exponential of an estimate and its interval; an end beyond the range of floats becomes None."""
    assert logarithm.interval is not None
    lower, upper = (None if end is None else _exp(end) for end in (logarithm.interval.lower, logarithm.interval.upper))
    interval = Interval(lower=lower or 0.0, upper=upper, level=logarithm.interval.level)
    return Estimate(value=math.exp(logarithm.value), interval=interval)


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


def _exp(value: float) -> float | None:
    return math.exp(value) if value < math.log(np.finfo(np.float64).max) else None
