"""Weighted least squares for alpha + eta n^gamma, for many sets of points at once.

For a fixed gamma the model is linear, and the best alpha and eta have a closed form, bounds included. Only gamma is
searched: over a grid, then by golden section around the best grid point (variable projection, Golub & Pereyra 1973).
`scipy.optimize.curve_fit` fits one set of points per call and may stop in a local minimum; the bootstrap needs
thousands of fits.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from lkca_search.analysis.stats.replicates import Floats

MIN_GAMMA, MAX_GAMMA = -1.0, -0.01
"""Bounds of gamma. The model is constant at gamma = 0, so the search ends at -0.01, as in Hoiem et al. 2021."""
GAMMA_GRID = np.linspace(MIN_GAMMA, MAX_GAMMA, 100)
GOLDEN = (math.sqrt(5) - 1) / 2
NUM_GOLDEN_STEPS = 24
"""Golden section steps; they locate gamma within 2e-7."""
MIN_VARIANCE_SHARE = 0.1
"""Smallest variance of a size, as a share of the mean variance: 5 draws may agree by chance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fits:
    """Fitted curves, one per set of points."""

    alpha: Floats
    """Error that more images do not remove, (fits,)."""
    scale: Floats
    """eta * reference^gamma: the error at the reference size that more images remove, (fits,)."""
    gamma: Floats
    """Exponent, (fits,)."""
    residual: Floats
    """Weighted sum of squared residuals, (fits,)."""
    log_reference: float
    """Logarithm of the reference size of `scale`: the mean of the log sizes. For eta the reference is one image."""

    @property
    def log_eta(self) -> Floats:
        """Logarithm of eta, (fits,); minus infinity for a constant error."""
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(self.scale) - self.gamma * self.log_reference
        return logs

    def evaluate(self, log_images: Floats) -> Floats:
        """Return the errors at `log_images`, (n,): (fits, n)."""
        powers = np.exp(self.gamma[:, None] * (log_images - self.log_reference))
        errors: Floats = self.alpha[:, None] + self.scale[:, None] * powers
        return errors


def fit(log_images: Floats, means: Floats, weights: Floats, *, alpha_is_bounded: bool) -> Fits:
    """Fit each row of `means`, (fits, sizes), at `log_images`, (sizes,), with `weights`, (sizes,).

    eta is at least 0, gamma is within its bounds, and alpha is at least 0 if `alpha_is_bounded`.
    """
    reference = float(log_images.mean())
    logs = log_images - reference

    def solve(points: Floats, gamma: Floats) -> tuple[Floats, Floats, Floats]:
        powers = np.exp(gamma[..., None] * logs)
        return _solve(points, powers, weights, alpha_is_bounded=alpha_is_bounded)

    best = np.argmin(solve(means[:, None], GAMMA_GRID[None])[2], axis=1)
    low, high = GAMMA_GRID[np.maximum(best - 1, 0)], GAMMA_GRID[np.minimum(best + 1, len(GAMMA_GRID) - 1)]
    for _ in range(NUM_GOLDEN_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        is_left = solve(means, left)[2] <= solve(means, right)[2]
        low, high = np.where(is_left, low, left), np.where(is_left, right, high)
    ends = np.stack([(low + high) / 2, low, high], axis=1)  # includes the ends, so a bound of gamma is met exactly
    gamma = np.take_along_axis(ends, np.argmin(solve(means[:, None], ends)[2], axis=1)[:, None], axis=1)[:, 0]
    alpha, scale, residual = solve(means, gamma)
    return Fits(alpha=alpha, scale=scale, gamma=gamma, residual=residual, log_reference=reference)


def smooth_variances(images: Floats, variances: Floats) -> Floats:
    """Return smoothed variances between draws, (sizes,): the average of the model v0 + v1 / n and their mean.

    v0 + v1 / n is the model of Hoiem et al. 2021 (section 3.2), fitted by least squares of relative residuals. A
    variance from 5 draws is uncertain by a factor of 20, so raw variances would give one size nearly all of the weight.
    At least one variance must be above 0.
    """
    mean = float(variances.mean())
    parts = np.stack([np.ones_like(images), images.min() / images], axis=1)
    fitted = np.full_like(variances, mean)
    for _ in range(10):
        coefficients, _ = optimize.nnls(parts / fitted[:, None], variances / fitted)
        fitted = np.maximum(parts @ coefficients, MIN_VARIANCE_SHARE * mean)
    smooth: Floats = (fitted + fitted.mean()) / 2
    return smooth


def _solve(points: Floats, powers: Floats, weights: Floats, *, alpha_is_bounded: bool) -> tuple[Floats, Floats, Floats]:
    """Return the best alpha, scale and weighted residual of points (..., sizes) for powers (..., sizes)."""
    total = weights.sum()
    mean_power = (powers @ weights) / total
    mean_point = (points @ weights) / total
    centered = powers - mean_power[..., None]
    centered_points = points - mean_point[..., None]
    scale = np.maximum(((centered * centered_points) @ weights) / ((centered**2) @ weights), 0.0)
    alpha = mean_point - scale * mean_power
    if alpha_is_bounded:
        # If alpha is below 0, the best alpha is 0: the problem is convex, and at eta = 0 alpha is positive.
        scale_only = np.maximum(((powers * points) @ weights) / ((powers**2) @ weights), 0.0)
        scale, alpha = np.where(alpha < 0, scale_only, scale), np.maximum(alpha, 0.0)
    residual = ((points - alpha[..., None] - scale[..., None] * powers) ** 2) @ weights
    return alpha, scale, residual
