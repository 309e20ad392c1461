"""Tables on learning curves: power laws, data efficiency, and crossovers with and without a difference."""

from collections.abc import Callable
from functools import partial

from benchmarks.truth.findings import Findings, percent
from tests.support.statistics.coverage import RATIOS, Coverage
from tests.support.statistics.curve_studies import crossover_study, efficiency_study, exponents_study, fit_study
from tests.support.statistics.population_studies import (
    efficiency_population_study,
    null_crossover_study,
)

NOISES = (0.012, 0.03)
"""Standard deviation of the error between seeds at the smallest size."""


def show_fits(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    names = ("alpha", "eta", "gamma", "all three", "band at a size", "band between", "band at 4 n", "band at all sizes")
    minimum = {"all three": 0.88, "band at all sizes": 0.7}
    for ratio in RATIOS:
        for noise in NOISES:
            found = fit_study(ratio=ratio, noise=noise, repetitions=repetitions, seed=seed)
            rates = [
                findings.share(f"{name} at {ratio:g}, {noise:g}", found[name].rate, minimum.get(name, 0.925), 0.975)
                for name in names
            ]
            off = found["misfit below 0.05"]
            rows.append((f"{ratio:g}", f"{noise:g}", *rates, percent(off), f"{100 * found['alpha'].missing:.1f}"))
    findings.show(
        "A law alpha + eta n^gamma fitted to 6 sizes from 360 to 18,000 images",
        ("draws / seeds", "noise", *(f"{name} %" for name in names), "misfit p < 0.05 %", "not estimable %"),
        rows,
        "each parameter and the band at each number of images 92.5-97.5%, all three together 88% or more",
    )


def show_comparisons(findings: Findings, repetitions: int, seed: int) -> None:
    studies: dict[str, Callable[..., Coverage]] = {
        "ratio of 1": partial(efficiency_study, shift=1.0),
        "ratio of 3": partial(efficiency_study, shift=3.0),
        "ratio of 3 at 0.4": partial(efficiency_study, shift=3.0, at_error=0.4),
        "ratio of 3, fitted": partial(efficiency_study, shift=3.0, method="fitted"),
        "n* of 3,673": lambda **options: crossover_study(**options).coverage,
        "exponents": exponents_study,
    }
    rows = []
    for ratio in RATIOS:
        for noise in NOISES:
            cells = []
            for name, study in studies.items():
                found = study(ratio=ratio, noise=noise, repetitions=repetitions, seed=seed)
                minimum = 0.91 if name.startswith("n*") else 0.925
                rate = findings.share(f"{name} at {ratio:g}, {noise:g}", found.rate, minimum, 0.975)
                missing = f" ({100 * found.missing:.1f})" if found.missing else ""
                cells.append(f"{rate}{missing}")
            rows.append((f"{ratio:g}", f"{noise:g}", *cells))
    findings.show(
        "Two curves compared: data-efficiency ratio, crossover, difference of exponents",
        ("draws / seeds", "noise", *(f"{name} %" for name in studies)),
        rows,
        "92.5-97.5%, n* 91-97.5%; in brackets the share without an estimate: refused, or no crossover found",
    )


def show_null_crossovers(findings: Findings, repetitions: int, seed: int) -> None:
    found = null_crossover_study(repetitions=max(20, repetitions * 2 // 5), seed=seed)
    rate = findings.share("crossovers of equal families", found["report"], 0.0, 0.05)
    findings.show(
        "Searches of two equal families whose report states a crossover",
        ("decided each way %", "mean curves cross %"),
        [(rate, f"{100 * found['mean curves']:.1f}")],
        "at most 5%; mean curves alone cross in half of the searches",
    )


def show_equal_efficiencies(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for num_images in (359, 1000, 10_000):
        found = efficiency_population_study(num_images=num_images, repetitions=max(20, repetitions // 4), seed=seed)
        rate = findings.share(f"ratio with {num_images} test images", found["with test images"].rate, 0.92, 1.0)
        rows.append((f"{num_images:,}", rate, percent(found["plain"])))
    findings.show(
        "Data-efficiency ratio of two families that are equal on new test images",
        ("test images", "interval %", "without the sampling of test images %"),
        rows,
        "92% or more; without it, too few for small test sets",
    )
