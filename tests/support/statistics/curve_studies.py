"""Seeded simulation studies of learning curves: power law, exponents, data efficiency and crossover."""

from typing import NamedTuple

import numpy as np

from lkca_search.analysis.curves.crossover import crossover
from lkca_search.analysis.curves.data_efficiency import CurveMethod, data_efficiency
from lkca_search.analysis.curves.power_law import compare_exponents, fit_power_law
from lkca_search.analysis.stats.estimate import NotEstimable
from tests.support.statistics.coverage import NUM_RESAMPLES, Coverage, Tally
from tests.support.statistics.simulated import (
    CROSSING_IMAGES,
    CROSSING_LAWS,
    SIZES,
    Law,
    simulate_curves,
)


def fit_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of each parameter, of all three, and of the band at, between and beyond the sizes."""
    generator, tally = np.random.default_rng(seed), Tally()
    law = Law()
    images = np.array([*SIZES, 700, 6000, 4 * SIZES[-1]], dtype=np.float64)
    for _ in range(repetitions):
        (curve,) = simulate_curves(law, ratio=ratio, noise=noise, generator=generator)
        try:
            found = fit_power_law(curve, generator=generator, num_resamples=NUM_RESAMPLES)
        except NotEstimable:
            tally.add("alpha", None, 0.0)
            continue
        covered = [tally.add(name, getattr(found, name), getattr(law, name)) for name in law._fields]
        tally.count("all three", all(covered))
        lower, upper = found.band(images)
        inside = (lower <= law.errors(images)) & (law.errors(images) <= upper)
        for index in range(len(SIZES)):
            tally.count("band at a size", bool(inside[index]))
        tally.count("band between", bool(inside[-3]))
        tally.count("band between", bool(inside[-2]))
        tally.count("band at 4 n", bool(inside[-1]))
        tally.count("band at all sizes", bool(inside[: len(SIZES)].all()))
        tally.count("misfit below 0.05", found.misfit_p < 0.05)
    return tally.coverages()


def exponents_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> Coverage:
    """Return the coverage of the interval of the exponent difference."""
    generator, tally = np.random.default_rng(seed), Tally()
    laws = Law(), Law(0.05, 2.5, -0.25)
    for _ in range(repetitions):
        curves = simulate_curves(*laws, ratio=ratio, noise=noise, generator=generator)
        try:
            found = compare_exponents(*curves, generator=generator, num_resamples=NUM_RESAMPLES)
        except NotEstimable:
            found = None
        tally.add("", found, laws[0].gamma - laws[1].gamma)
    return tally.coverages()[""]


def efficiency_study(
    *,
    ratio: float,
    shift: float,
    repetitions: int,
    noise: float = 0.012,
    method: CurveMethod = "interpolated",
    at_error: float | None = None,
    seed: int = 0,
) -> Coverage:
    """Return the coverage of the data-efficiency ratio; the second family needs `shift` times the images."""
    generator, tally = np.random.default_rng(seed), Tally()
    laws = Law(), Law().shifted(shift)
    for _ in range(repetitions):
        a, b = simulate_curves(*laws, ratio=ratio, noise=noise, generator=generator)
        try:
            found = data_efficiency(
                a, b, generator=generator, method=method, at_error=at_error, num_resamples=NUM_RESAMPLES
            ).ratio
        except NotEstimable:
            found = None
        tally.add("", found, shift)
    return tally.coverages()[""]


class CrossoverStudy(NamedTuple):
    """Crossovers found and their coverage."""

    found: float
    """Share of repetitions that find a crossover in the right direction."""
    coverage: Coverage
    """Coverage of n* among these repetitions."""


def crossover_study(
    *, ratio: float, noise: float, repetitions: int, method: CurveMethod = "interpolated", seed: int = 0
) -> CrossoverStudy:
    """Return the coverage of the crossover of two laws that cross once."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_curves(*CROSSING_LAWS, ratio=ratio, noise=noise, generator=generator)
        try:
            found = crossover(a, b, generator=generator, method=method, num_resamples=NUM_RESAMPLES)
        except NotEstimable:
            tally.add("", None, CROSSING_IMAGES)
            continue
        tally.add("", found.num_train_images if found.better_below == "b" else None, CROSSING_IMAGES)
    coverage = tally.coverages()[""]
    return CrossoverStudy(found=1 - coverage.missing, coverage=coverage)
