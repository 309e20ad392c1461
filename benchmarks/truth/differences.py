"""Tables on differences of two families: intervals, Holm's correction, rounds and power."""

import numpy as np
from scipy import stats

from benchmarks.truth.findings import Findings, percent
from lkca_search.analysis.stats.replicates import Floats
from tests.support.statistics.coverage import RATIOS
from tests.support.statistics.power_studies import estimated_variances_study, known_variances_study
from tests.support.statistics.round_studies import ALPHAS, DRAWS, stopping_study
from tests.support.statistics.score_studies import (
    difference_study,
    holm_study,
    search_variance_study,
)
from tests.support.statistics.simulated import simulate_scores

CELLS = {
    "6 cells, no difference": np.zeros(6),
    "6 cells, 3 with 2, 3 and 4 points": np.array([0.0, 0.0, 0.0, 2.0, 3.0, 4.0]),
}


def show_differences(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for ratio in RATIOS:
        for index, difference in enumerate((0.0, 2.0)):
            truth = {"ratio": ratio, "difference": difference, "repetitions": 4 * repetitions, "seed": seed + index}
            found = difference_study(**truth)
            t, bootstrap = found["t"], found["hierarchical bootstrap"]
            plain = plain_bootstraps(**truth)
            name = f"difference of {difference:g} at a ratio of {ratio:g}"
            rows.append(
                (
                    f"{ratio:g}",
                    f"{difference:g}",
                    findings.share(f"t, {name}", t.rate, 0.93, 0.97),
                    f"{t.width:.2f}",
                    findings.share(f"hierarchical bootstrap, {name}", bootstrap.rate, 0.92, 0.97),
                    f"{bootstrap.width:.2f}",
                    *(f"{100 * rate:.1f}" for rate in plain),
                )
            )
    columns = ("draws / seeds", "difference", "t %", "width", "hierarchical bootstrap-t %", "width")
    findings.show(
        f"A known difference of two families, in points; {4 * repetitions} repetitions",
        (*columns, "percentile, draws and seeds %", "percentile, draws %", "BCa, draws %"),
        rows,
        "t 93-97%, hierarchical bootstrap 92-97%; the last three methods cover too little and are not used",
    )


def show_search_variance(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for ratio in RATIOS:
        for spread in (0.5, 1.0, 2.0):
            found = search_variance_study(spread=spread, ratio=ratio, repetitions=4 * repetitions, seed=seed)
            once, repeats = found["one search"], found["repeats"]
            rows.append(
                (
                    f"{ratio:g}",
                    f"{spread:g}",
                    findings.share(f"repeats, spread of {spread:g} at a ratio of {ratio:g}", repeats.rate, 0.93, 0.97),
                    f"{repeats.width:.2f}",
                    percent(once),
                    f"{once.width:.2f}",
                )
            )
    findings.show(
        f"Standard deviation between searches, in points; {4 * repetitions} repetitions",
        ("draws / seeds", "deviation", "one search per draw %", "width", "one search %", "width"),
        rows,
        "one search per draw (`repeats`) 93-97%; one search covers less, because its result is conditional on it",
    )


def plain_bootstraps(*, ratio: float, difference: float, repetitions: int, seed: int) -> tuple[float, float, float]:
    """Return the coverage of plain bootstraps: percentiles over draws and seeds, over draws, and scipy's BCa."""
    generator = np.random.default_rng(seed)
    pairs = [simulate_scores(difference=difference, ratio=ratio, generator=generator) for _ in range(repetitions)]
    differences = np.stack([a - b for a, b in pairs])  # (repetitions, draws, seeds)
    means, covered = differences.mean(axis=2), np.zeros(2)
    for replicates, draw_means in zip(differences, means, strict=True):
        draws = generator.integers(5, size=(400, 5))
        seeds = generator.integers(2, size=(400, 5, 2))
        for index, resampled in enumerate((replicates[draws[..., None], seeds].mean(axis=2), draw_means[draws])):
            low, high = np.quantile(resampled.mean(axis=1), [0.025, 0.975])
            covered[index] += low <= difference <= high
    bca = stats.bootstrap((means,), np.mean, axis=1, n_resamples=400, method="BCa", rng=generator).confidence_interval
    return (
        covered[0] / repetitions,
        covered[1] / repetitions,
        float(np.mean((bca.low <= difference) & (difference <= bca.high))),
    )


def show_holm(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for cells, differences in CELLS.items():
        for is_shared in (False, True):
            found = holm_study(
                differences=differences, ratio=1.0, is_shared=is_shared, repetitions=4 * repetitions, seed=seed
            )
            allowed = 0.05 + 2 * np.sqrt(0.05 * 0.95 / (4 * repetitions))
            name = f"{cells}, draws {'shared' if is_shared else 'independent'}"
            rows.append(
                (
                    name,
                    findings.share(f"Holm, {name}", found.holm, 0.0, allowed),
                    f"{100 * found.uncorrected:.1f}",
                    "" if np.isnan(found.power) else f"{100 * found.power:.1f}",
                )
            )
    findings.show(
        f"False rejections in any cell; {4 * repetitions} repetitions",
        ("cells", "Holm %", "uncorrected %", "differences found by Holm %"),
        rows,
        "Holm at most 5% plus two standard errors of the simulation",
    )


def show_rounds(findings: Findings, repetitions: int, seed: int) -> None:
    allowed = 0.05 + 2 * np.sqrt(0.05 * 0.95 / (4 * repetitions))
    for difference, expected in (
        (0.0, "with the levels of rounds at most 5% plus two standard errors of the simulation, after every round"),
        (
            1.5,
            "the first round at its level finds 80% or more of what it finds at 5%; later rounds add far less",
        ),
    ):
        rows = []
        for ratio in RATIOS:
            for is_shared in (False, True):
                study = {"ratio": ratio, "is_shared": is_shared, "repetitions": 4 * repetitions, "seed": seed}
                found = stopping_study(difference=difference, **study)
                name = f"{ratio:g}, draws {'shared' if is_shared else 'independent'}"
                if difference:
                    findings.check(f"power of round 1, {name}", found.levels.each[0] / found.naive.each[0], 0.78, 1.0)
                    shares = [f"{100 * share:.1f}" for share in (*found.naive.each, *found.levels.each)]
                else:
                    shares = [f"{100 * share:.1f}" for share in found.naive.any]
                    shares += [findings.share(f"rounds, {name}", share, 0.0, allowed) for share in found.levels.any]
                rows.append((name, *shares))
        findings.show(
            f"Six contrasts with a difference of {difference:g}, tested in up to four rounds until one is significant; "
            f"{'contrasts found' if difference else 'searches with a false claim'}, in %; {4 * repetitions} runs",
            (
                "draws / seeds",
                *(f"{draws} draws at 5%" for draws in DRAWS),
                *(f"{draws} draws at {100 * alpha:.2g}%" for draws, alpha in zip(DRAWS, ALPHAS, strict=True)),
            ),
            rows,
            expected,
        )


def show_power_analysis(findings: Findings, repetitions: int, seed: int) -> None:
    known, estimated = [], []
    for ratio in RATIOS:
        for difference in (0.75, 1.5):
            name = f"a difference of {difference:g} at a ratio of {ratio:g}"
            found = known_variances_study(ratio=ratio, difference=difference, repetitions=20 * repetitions, seed=seed)
            findings.check(f"draws computed for {name}, per draw needed", found.computed / found.needed, 0.8, 1.2)
            power = findings.share(f"power of the draws computed for {name}", found.power, 0.79, 0.9)
            known.append((f"{ratio:g}", f"{difference:g}", str(found.computed), str(found.needed), power))
            guess = estimated_variances_study(ratio=ratio, difference=difference, repetitions=repetitions, seed=seed)
            first, median, third = guess.quartiles
            findings.check(f"median of the draws estimated for {name}, per draw needed", median, 0.8, 1.2)
            covered = findings.share(f"interval of draws for {name}", guess.coverage, 0.93, 1.0)
            quartiles = f"{first:.2f}  {median:.2f}  {third:.2f}"
            row = (f"{ratio:g}", f"{difference:g}", str(guess.needed), quartiles, covered, f"{100 * guess.power:.0f}")
            estimated.append(row)
    findings.show(
        "Draws of 2 seeds needed for a power of 80%, from known variances",
        ("draws / seeds", "difference", "computed", "needed, simulated", "power of computed %"),
        known,
        "computed within 20% of needed; power 79% or more, well above it only if one draw changes it a lot",
    )
    findings.show(
        "Draws of 2 seeds needed for a power of 80%, from variances estimated on 5 draws x 2 seeds",
        (
            "draws / seeds",
            "difference",
            "needed",
            "estimated / needed: quartiles",
            "interval covers needed %",
            "mean power %",
        ),
        estimated,
        "median within 20% of needed, interval 93% or more; the mean power with the estimated draws is below 80%",
    )


def check_against_scipy(findings: Findings, seed: int) -> None:
    """Check that percentiles of the bootstrap over 5 draws are those of scipy."""
    generator = np.random.default_rng(seed)
    values: Floats = generator.standard_normal(5)
    ours = np.quantile(values[generator.integers(5, size=(100_000, 5))].mean(axis=1), [0.025, 0.975])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=100_000, method="percentile", rng=generator)
    interval = theirs.confidence_interval
    for end, our, their in zip(("lower", "upper"), ours.tolist(), (interval.low, interval.high), strict=True):
        findings.check(f"{end} percentile less scipy's", our - float(their), -0.02, 0.02)
