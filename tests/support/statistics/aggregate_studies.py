"""Simulated differences on several datasets: coverage of the aggregate, and false claims of a round."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lkca_search.analysis.aggregate.stratified import stratified_mean
from lkca_search.analysis.stats.p_values import holm, two_sided_p
from lkca_search.analysis.stats.replicates import Floats

ALPHA = 0.04
"""Level of the first round."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Datasets with their true differences and standard deviations, in percent of the range."""

    effects: Sequence[float]
    deviations: Sequence[float]
    num_draws: int
    num_sizes: int

    def simulate(self, generator: np.random.Generator) -> list[Floats]:
        """Return differences per dataset, (draws, sizes); half of their variance is common to the sizes of a draw."""
        return [
            effect
            + deviation
            * np.sqrt(0.5)
            * (
                generator.standard_normal((self.num_draws, 1))
                + generator.standard_normal((self.num_draws, self.num_sizes))
            )
            for effect, deviation in zip(self.effects, self.deviations, strict=True)
        ]

    def truth(self, generator: np.random.Generator) -> float:
        """Return the interquartile mean of all datasets, from many draws."""
        many = [
            generator.normal(effect, deviation, 50_000)
            for effect, deviation in zip(self.effects, self.deviations, strict=True)
        ]
        return float(stats.trim_mean(np.concatenate(many), 0.25))


def coverage_study(design: Design, *, repetitions: int, seed: int) -> float:
    """Return the share of the intervals of the aggregate that contain the truth."""
    generator = np.random.default_rng(seed)
    truth = design.truth(generator)
    found = [
        stratified_mean(design.simulate(generator), generator=generator, num_resamples=300)[0]
        for _ in range(repetitions)
    ]
    return float(np.mean([each.interval is not None and each.interval.contains(truth) for each in found]))


def false_claims_study(design: Design, *, repetitions: int, seed: int) -> float:
    """Return the share of rounds of equal families that claim any difference: of a dataset, at a size, or over all."""
    assert not any(design.effects)
    generator = np.random.default_rng(seed)
    claims = [
        any(p is not None and p <= ALPHA for p in holm(list(_p_values(design.simulate(generator), generator))))
        for _ in range(repetitions)
    ]
    return float(np.mean(claims))


def _p_values(strata: Sequence[Floats], generator: np.random.Generator) -> Iterator[float | None]:
    """Yield p of every contrast, then of the aggregate over all sizes and at each size."""
    for stratum in strata:
        yield from (two_sided_p(column) for column in stratum.T)
    yield stratified_mean(strata, generator=generator, num_resamples=300)[1]
    for size in range(strata[0].shape[1]):
        yield stratified_mean([stratum[:, [size]] for stratum in strata], generator=generator, num_resamples=300)[1]
