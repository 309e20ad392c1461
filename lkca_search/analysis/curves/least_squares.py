"""Weighted least squares for alpha + eta n^gamma, for many sets of points at once.

For a fixed gamma the form is linear, and its best alpha and eta are known exactly, bounds included. So gamma is
searched alone: over a grid, then by golden section around its best (variable projection, Golub & Pereyra 1973).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from lkca_search.analysis.stats.replicates import Floats

MIN_GAMMA, MAX_GAMMA = -1.0, -0.01
"""Bounds of gamma. At 0 the form is constant, so the search ends at -0.01, as that of Hoiem et al. 2021 does."""
GAMMA_GRID = np.linspace(MIN_GAMMA, MAX_GAMMA, 100)
GOLDEN = (math.sqrt(5) - 1) / 2
NUM_GOLDEN_STEPS = 24
"""Of golden section: gamma is found within 2e-7."""
MIN_VARIANCE_SHARE = 0.1
"""No size is given less than this share of the mean variance: 5 draws may agree by luck."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fits:
    """Fitted curves, one a set of points."""

    alpha: Floats
    """(fits,)."""
    scale: Floats
    """eta * reference^gamma, the part of the error at the reference that more images take away, (fits,)."""
    gamma: Floats
    """(fits,)."""
    residual: Floats
    """Weighted sum of squared residuals, (fits,)."""
    log_reference: float
    """Logarithm of the number of images at which `scale` is counted: the middle of the sizes. eta is at one image."""

    @property
    def log_eta(self) -> Floats:
        """Logarithm of eta, (fits,); minus infinity where the error does not fall at all."""
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(self.scale) - self.gamma * self.log_reference
        return logs

    def evaluate(self, log_images: Floats) -> Floats:
        """Errors at logarithms of numbers of images, (n,): (fits, n)."""
        powers = np.exp(self.gamma[:, None] * (log_images - self.log_reference))
        errors: Floats = self.alpha[:, None] + self.scale[:, None] * powers
        return errors


def fit(log_images: Floats, means: Floats, weights: Floats, *, alpha_is_bounded: bool) -> Fits:
    """Fit every row of `means`, (fits, sizes), at sizes of these logarithms, (sizes,), with weights (sizes,).

    eta is at least 0, gamma between its bounds, and alpha at least 0 where it is bounded.
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
    ends = np.stack([(low + high) / 2, low, high], axis=1)  # a bound of gamma is an end, and met exactly
    gamma = np.take_along_axis(ends, np.argmin(solve(means[:, None], ends)[2], axis=1)[:, None], axis=1)[:, 0]
    alpha, scale, residual = solve(means, gamma)
    return Fits(alpha=alpha, scale=scale, gamma=gamma, residual=residual, log_reference=reference)


def smooth_variances(images: Floats, variances: Floats) -> Floats:
    """Variances between draws, (sizes,), as a law of the size: halfway from v0 + v1 / n to their mean.

    v0 + v1 / n is the model of Hoiem et al. 2021 (section 3.2), with both found by least squares of relative residuals;
    a variance from 5 draws is known within a factor of 20 only, and taken by itself would let one size decide. One
    of them must be above 0.
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
    """Best alpha, scale and weighted residual of points (..., sizes) on 1 and powers (..., sizes)."""
    total = weights.sum()
    mean_power = (powers @ weights) / total
    mean_point = (points @ weights) / total
    centered = powers - mean_power[..., None]
    away = points - mean_point[..., None]
    scale = np.maximum(((centered * away) @ weights) / ((centered**2) @ weights), 0.0)
    alpha = mean_point - scale * mean_power
    if alpha_is_bounded:
        # Below the bound of one the best lies on it: the problem is convex, and eta = 0 has a positive alpha.
        alone = np.maximum(((powers * points) @ weights) / ((powers**2) @ weights), 0.0)
        scale, alpha = np.where(alpha < 0, alone, scale), np.maximum(alpha, 0.0)
    residual = ((points - alpha[..., None] - scale[..., None] * powers) ** 2) @ weights
    return alpha, scale, residual
