"""Additive Gaussian process with a noise term, whose scales are averaged over their posterior.

    value = offset of the block + sum over hyperparameters of f_j(x_j) + noise

A hyperparameter with a few values has independent effects, f_j ~ N(0, a_j^2) per value. For a number on a range, f_j is
a smooth function: a squared-exponential Gaussian process written in cosines (Solin & Särkkä 2020, Hilbert space methods
for reduced-rank Gaussian process regression). Interactions count as noise.

The scale a_j, in standard deviations of the noise, is the positive part of a Cauchy variable. The prior probability
that a hyperparameter has no effect is therefore one half; else its scale is half-Cauchy (Gelman 2006, Prior
distributions for variance parameters in hierarchical models). With flat priors on effects, noise alone would give a
high probability to the level that happens to lead: a mean of 65% for three equal levels.

Offsets have flat priors, and the noise variance has the prior 1 / variance, so effects have Student's t distributions.
Scales are sampled by sequential Monte Carlo with preconditioned Crank-Nicolson steps (Cotter et al. 2013, MCMC methods
for functions). The cost of a step does not depend on the number of trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats

NUM_FREQUENCIES = 6
"""Cosines of a smooth function."""
MARGIN = 0.1
"""Distance of a range from the ends of the cosines' interval, where slopes are zero."""
MEDIAN_LENGTH = 0.4
"""Prior median of the length scale of a smooth function, in ranges; its logarithm has standard deviation 0.5."""
NUM_PARTICLES = 256
TEMPERATURES = (0.03, 0.1, 0.3, 1.0)
"""Powers of the likelihood, from near the prior to the posterior."""
NUM_STEPS = 4
"""Crank-Nicolson steps per temperature, and between the states that are kept."""
STEP_SIZE = 0.4
NUM_KEPT = 4
"""States kept of every particle."""
MAX_SCALE = 1000.0
"""Largest scale, in standard deviations of the noise; larger ones exceed the precision of floats."""
MIN_RESIDUAL = 1e-10
"""Smallest share of the sum of squares that counts as noise: values without any noise are fitted exactly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Term:
    """One hyperparameter of the surrogate."""

    features: Floats
    """Features of every trial, (n, m): indicators of values, or cosines."""
    frequencies: Floats | None = None
    """Frequency of each cosine, (m,); None for indicators."""

    def weights(self, lengths: Floats) -> Floats:
        """Return the prior standard deviation of each coefficient at a scale of 1, (len(lengths), m)."""
        if self.frequencies is None:
            return np.ones((len(lengths), self.features.shape[1]))
        spectrum: Floats = np.exp(-0.25 * (lengths[:, None] * self.frequencies) ** 2)
        spectrum /= np.sqrt(0.5 * (spectrum**2).sum(axis=1, keepdims=True))
        return spectrum


def indicator_term(indices: NDArray[np.int64]) -> Term:
    """Return the term of a hyperparameter with a few values, given by their indices, (n,)."""
    return Term(features=(indices[:, None] == np.arange(indices.max() + 1)).astype(np.float64))


def smooth_term(positions: Floats) -> Term:
    """Return the term of a number on a range; positions, (n,), are from 0 to 1, or NaN for a trial without it."""
    frequencies: Floats = np.pi * np.arange(1.0, NUM_FREQUENCIES + 1)
    scale = 1 - 2 * MARGIN
    features = np.cos((MARGIN + scale * np.clip(positions, 0, 1))[:, None] * frequencies)
    return Term(features=np.nan_to_num(features), frequencies=scale * frequencies)


def sample_coefficients(
    values: Floats, blocks: NDArray[np.int64], terms: Sequence[Term], generator: np.random.Generator
) -> list[Floats]:
    """Return posterior samples of the coefficients of each term, (samples, m); f_j is their product with features.

    Coefficients are exactly 0 in samples without an effect of the term. `values` and `blocks` are (n,).

    Raises:
        NotEstimable: Every block has a single value, or equal values.
    """
    if np.abs(_center(values[:, None], blocks)).max() <= RELATIVE_TOLERANCE * np.abs(values).max():
        raise NotEstimable("all values are equal, so they have no noise to compare levels with")
    model = _Model(values, blocks, terms)
    states = generator.standard_normal((4 * NUM_PARTICLES, model.num_scales))
    log_likelihoods = model.log_likelihood(states)
    samples: list[Floats] = []
    for temperature, previous in zip(TEMPERATURES, (0.0, *TEMPERATURES), strict=False):
        weights = np.exp((temperature - previous) * (log_likelihoods - log_likelihoods.max()))
        chosen = _resample(weights, generator)
        states, log_likelihoods = states[chosen], log_likelihoods[chosen]
        for _ in range(NUM_STEPS):
            states, log_likelihoods = _move(model, states, log_likelihoods, temperature, generator)
    for _ in range(NUM_KEPT):
        for _ in range(NUM_STEPS):
            states, log_likelihoods = _move(model, states, log_likelihoods, 1.0, generator)
        samples.append(model.sample_coefficients(states, generator))
    return np.split(np.concatenate(samples), np.cumsum([term.features.shape[1] for term in terms])[:-1], axis=1)


def _resample(weights: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the indices of NUM_PARTICLES states by systematic resampling."""
    points = (np.arange(NUM_PARTICLES) + generator.uniform()) / NUM_PARTICLES
    return np.minimum(np.searchsorted(np.cumsum(weights) / weights.sum(), points), len(weights) - 1)


def _move(
    model: "_Model", states: Floats, log_likelihoods: Floats, temperature: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the states and their log likelihoods after one step, which leaves the tempered posterior unchanged."""
    proposed = np.sqrt(1 - STEP_SIZE**2) * states + STEP_SIZE * generator.standard_normal(states.shape)
    proposed_log_likelihoods = model.log_likelihood(proposed)
    ratios = temperature * (proposed_log_likelihoods - log_likelihoods)
    accepted = np.log(generator.uniform(size=len(states))) < ratios
    return (
        np.where(accepted[:, None], proposed, states),
        np.where(accepted, proposed_log_likelihoods, log_likelihoods),
    )


class _Model:
    """Likelihood of scales and length scales; a state has independent standard normal values of both."""

    def __init__(self, values: Floats, blocks: NDArray[np.int64], terms: Sequence[Term]) -> None:
        self._terms = terms
        features = _center(np.concatenate([term.features for term in terms], axis=1), blocks)
        residuals = _center(values[:, None], blocks)[:, 0]
        self._gram, self._projection = features.T @ features, features.T @ residuals
        self._total = float(residuals @ residuals)
        self._degrees = len(values) - len(np.unique(blocks))
        self.num_scales = 2 * len(terms)

    def log_likelihood(self, states: Floats) -> Floats:
        """Return the log likelihood of each state up to a constant, (states,); noise variance integrated out."""
        _, factors, _, squares = self._factorize(states)
        determinants: Floats = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)  # of the factors
        return -determinants - 0.5 * self._degrees * np.log(squares)

    def sample_coefficients(self, states: Floats, generator: np.random.Generator) -> Floats:
        """Return one posterior sample of all coefficients per state, (states, m)."""
        deviations, factors, whitened, squares = self._factorize(states)
        noise = np.sqrt(squares / generator.chisquare(self._degrees, size=len(states)))
        whitened = whitened + noise[:, None] * generator.standard_normal(whitened.shape)
        coefficients: Floats = deviations * np.linalg.solve(np.swapaxes(factors, 1, 2), whitened[..., None])[..., 0]
        return coefficients

    def _factorize(self, states: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return prior deviations, Cholesky factors of the precision, whitened means, and residual sums of squares."""
        deviations = self._deviations(states)
        precisions = deviations[:, :, None] * self._gram * deviations[:, None, :] + np.eye(len(self._gram))
        factors = np.asarray(np.linalg.cholesky(precisions), dtype=np.float64)
        whitened = deviations * self._projection
        for row in range(whitened.shape[1]):  # forward substitution; np.linalg.solve takes ten times as long
            whitened[:, row] -= (factors[:, row, :row] * whitened[:, :row]).sum(axis=1)
            whitened[:, row] /= factors[:, row, row]
        squares: Floats = np.maximum(self._total - (whitened**2).sum(axis=1), MIN_RESIDUAL * self._total)
        return deviations, factors, whitened, squares

    def _deviations(self, states: Floats) -> Floats:
        """Return the prior standard deviation of every coefficient in units of the noise, (states, m)."""
        num_terms = len(self._terms)
        scales = np.clip(np.tan(np.pi * (special.ndtr(states[:, :num_terms]) - 0.5)), 0, MAX_SCALE)
        lengths = MEDIAN_LENGTH * np.exp(0.5 * states[:, num_terms:])
        weights = [scales[:, [i]] * term.weights(lengths[:, i]) for i, term in enumerate(self._terms)]
        return np.concatenate(weights, axis=1)


def _center(array: Floats, blocks: NDArray[np.int64]) -> Floats:
    """Return the rows of an array, (n, m), less the mean of their block."""
    members = (blocks[:, None] == np.unique(blocks)).astype(np.float64)
    centered: Floats = array - members @ (members.T @ array / members.sum(axis=0)[:, None])
    return centered
