"""The law e(n) = alpha + eta n^gamma through one family's errors, and where the points do not support it.

alpha is the error that no number of images takes away, eta what there is to take away at one image, gamma how fast it
goes (Hoiem et al. 2021, Learning Curves for Analysis of Deep Networks, section 3). Hestness et al. 2017 (Deep Learning
Scaling is Predictable, Empirically) find that better models shift the curve more than they change gamma.

The estimates keep alpha at 0 or above. The intervals come from resamples fitted without that bound and are cut at it
afterwards: a bootstrap of an estimate that sits on its bound is inconsistent (Andrews 2000, Econometrica 68), and at 5
draws x 2 seeds covered alpha in 89% where this covers it in 94%.
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
"""A law is not asked beyond this many times the largest number of training images."""
MIN_MISFIT_P = 0.001
"""Points that lie off the law as far as this more rarely, by chance alone, do not follow it."""
BOUND_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerLaw:
    """e(n) = alpha + eta n^gamma for one family, with bootstrap intervals over draws."""

    alpha: Estimate
    """In the errors' units, at least 0. An interval that starts at 0 says that alpha cannot be told from 0."""
    eta: Estimate
    """In the errors' units, at one image: far from the points, so its interval is wide."""
    gamma: Estimate
    """Between -1 and -0.01."""
    misfit_p: float
    """How often points that follow the law lie as far off it as these, by an F test; 1 if they lie on it."""
    num_train_images: tuple[int, int]
    """The smallest and the largest size that was measured."""
    num_draws: int
    num_draws_left_out: int
    """Draws without an error at every size."""
    level: float
    fitted: Fits
    """The law itself, (1,)."""
    resampled: Fits
    """Fits without the bound of alpha, (1 + resamples,): to all draws, then to resampled ones."""

    def predict(self, num_train_images: ArrayLike) -> Floats:
        """Errors at numbers of images, (n,). ValueError below the smallest size, and beyond 4 times the largest."""
        errors: Floats = self.fitted.evaluate(self._log_images(num_train_images))[0]
        return errors

    def band(self, num_train_images: ArrayLike) -> tuple[Floats, Floats]:
        """Lower and upper bound of the error at each number of images, (n,). ValueError as `predict`.

        Each bound holds for its own number; the whole curve lies between them less often: in 75-80% where each is 95%.
        """
        log_images = self._log_images(num_train_images)
        errors = self.resampled.evaluate(log_images)
        lower, upper = widened_bounds(errors[0], errors[1:], num_draws=self.num_draws, level=self.level, least=0.0)
        predicted = self.fitted.evaluate(log_images)[0]
        return np.minimum(lower, predicted), np.maximum(upper, predicted)

    def _log_images(self, num_train_images: ArrayLike) -> Floats:
        images = np.atleast_1d(np.asarray(num_train_images, dtype=np.float64))
        smallest, largest = self.num_train_images
        outside = images[~((images >= smallest) & (images <= MAX_EXTRAPOLATION * largest))]
        if len(outside):
            raise ValueError(
                f"a fitted curve holds from the fewest training images, {smallest}, to {MAX_EXTRAPOLATION} times the most, "
                f"{MAX_EXTRAPOLATION * largest}, got {outside[0]:g}"
            )
        return np.log(images)


def fit_power_law(
    curve: LearningCurve,
    *,
    generator: np.random.Generator,
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> PowerLaw:
    """Fit the law by weighted least squares to a curve of at least 5 sizes and 2 draws that have them all.

    A size weighs as the inverse of its variance between draws, smoothed (`least_squares.smooth_variances`) and the same
    in all resamples. A resample takes the same draws at every size, as subsets of one draw are nested. Refusal with
    the reason for fewer sizes or draws, an error that does not fall significantly, gamma at a bound, and points that
    lie off the law. At 5 draws x 2 seeds `benchmarks/known_truth.py` finds that intervals and band cover 93-96%.
    """
    check_level(level)
    (errors,) = errors_on_common_draws(curve)
    law = fit_supported_law(curve, errors)
    draws = resample_draws(errors.shape[1], num_resamples=num_resamples, generator=generator)
    resampled = law.refit(errors, draws)
    num_draws = errors.shape[1]
    gamma = _estimate(law.fitted.gamma, resampled.gamma, num_draws, level, least=MIN_GAMMA, most=MAX_GAMMA)
    return PowerLaw(
        alpha=_estimate(law.fitted.alpha, resampled.alpha, num_draws, level, least=0.0),
        eta=_exponential(_estimate(law.fitted.log_eta, resampled.log_eta, num_draws, level)),
        gamma=gamma,
        misfit_p=law.misfit_p,
        num_train_images=(int(curve.num_train_images[0]), int(curve.num_train_images[-1])),
        num_draws=num_draws,
        num_draws_left_out=curve.num_draws_left_out,
        level=level,
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
    """Gamma of A minus gamma of B: below 0 where the error of A falls faster. Resampled draws are the same for both.

    Only draws that both families have at every size of theirs count. Refusal where either law is refused.
    """
    check_level(level)
    errors_a, errors_b = errors_on_common_draws(curve_a, curve_b)
    law_a, law_b = fit_supported_law(curve_a, errors_a), fit_supported_law(curve_b, errors_b)
    num_draws = errors_a.shape[1]
    draws = resample_draws(num_draws, num_resamples=num_resamples, generator=generator)
    resampled = law_a.refit(errors_a, draws).gamma - law_b.refit(errors_b, draws).gamma
    most = MAX_GAMMA - MIN_GAMMA
    return _estimate(law_a.fitted.gamma - law_b.fitted.gamma, resampled, num_draws, level, least=-most, most=most)


@dataclass(frozen=True, kw_only=True, eq=False)
class SupportedLaw:
    """A law that the points support, as fitted to all draws."""

    fitted: Fits
    log_images: Floats
    weights: Floats
    """Of each size, (sizes,): the inverse of the variance of its mean error."""
    misfit_p: float

    def refit(self, errors: Floats, draws: NDArray[np.int64], *, alpha_is_bounded: bool = False) -> Fits:
        """Fits with the same weights to all draws, then to resampled ones, `draws` (resamples, draws)."""
        means = resampled_means(errors, draws)
        return fit(self.log_images, means, self.weights, alpha_is_bounded=alpha_is_bounded)


def fit_supported_law(curve: LearningCurve, errors: Floats) -> SupportedLaw:
    """Fit the law to errors, (sizes, draws); Refusal with the reason where they do not support it."""
    if len(errors) < MIN_SIZES:
        raise NotEstimable(
            f"a fitted curve needs at least {MIN_SIZES} numbers of training images, there are {len(errors)}"
        )
    check_error_decreases(curve.log_images, errors)
    if float(np.ptp(errors, axis=1).max()) <= RELATIVE_TOLERANCE * float(errors.max()):
        raise NotEstimable(
            "every draw has the same errors, so there is no spread to weigh them by or to make intervals of"
        )
    variances = smooth_variances(curve.num_train_images.astype(np.float64), errors.var(axis=1, ddof=1))
    weights = errors.shape[1] / variances
    fitted = fit(curve.log_images, errors.mean(axis=1)[None], weights, alpha_is_bounded=True)
    _check_bounds(float(fitted.gamma[0]))
    misfit_p = _misfit(float(fitted.residual[0]), num_sizes=len(errors), num_draws=errors.shape[1])
    if misfit_p < MIN_MISFIT_P:
        raise NotEstimable(
            "the points do not follow alpha + eta n^gamma: they lie off it by more than the spread between draws "
            f"explains (p is {misfit_p:.2g}, at least {MIN_MISFIT_P} is asked for)"
        )
    return SupportedLaw(fitted=fitted, log_images=curve.log_images, weights=weights, misfit_p=misfit_p)


def _check_bounds(gamma: float) -> None:
    if gamma < MIN_GAMMA + BOUND_TOLERANCE:
        raise NotEstimable(
            f"gamma is at its bound {MIN_GAMMA:g}: the error falls faster than 1 / n and then stays, which "
            "alpha + eta n^gamma does not describe"
        )
    if gamma > MAX_GAMMA - BOUND_TOLERANCE:
        raise NotEstimable(
            f"gamma is at its bound {MAX_GAMMA:g}: the error falls as slowly as a logarithm, and alpha "
            "cannot be told from eta n^gamma"
        )


def _misfit(residual: float, *, num_sizes: int, num_draws: int) -> float:
    """P of the weighted residual: F with sizes - 3 degrees of freedom, over those of the variances, pooled."""
    freedom = num_sizes - 3
    return float(special.fdtrc(freedom, num_sizes * (num_draws - 1), residual / freedom))


def _estimate(
    fitted: Floats, resampled: Floats, num_draws: int, level: float, *, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """One parameter: fitted, (1,), and resampled without the bound of alpha, (1 + resamples,)."""
    value = float(fitted[0])
    lower, upper = widened_bounds(resampled[0], resampled[1:], num_draws=num_draws, level=level, least=least, most=most)
    interval = Interval(lower=_finite(min(float(lower), value)), upper=_finite(max(float(upper), value)), level=level)
    return Estimate(value=value, interval=interval)


def _exponential(logarithm: Estimate) -> Estimate:
    """Of an estimate and its interval; what is too large for a number sets no bound."""
    assert logarithm.interval is not None
    lower, upper = (None if end is None else _exp(end) for end in (logarithm.interval.lower, logarithm.interval.upper))
    interval = Interval(lower=lower or 0.0, upper=upper, level=logarithm.interval.level)
    return Estimate(value=math.exp(logarithm.value), interval=interval)


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


def _exp(value: float) -> float | None:
    return math.exp(value) if value < math.log(np.finfo(np.float64).max) else None
