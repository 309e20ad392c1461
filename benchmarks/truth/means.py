"""Tables on single families: means, populations, probability of improvement, best of k trials."""

from benchmarks.truth.findings import Findings, percent
from tests.support.statistics.coverage import RATIOS
from tests.support.statistics.population_studies import (
    SKEWED,
    mean_study,
    population_study,
)
from tests.support.statistics.score_studies import (
    best_of_k_study,
    improvement_study,
    interquartile_mean_study,
)


def show_means(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for name in SKEWED:
        cells = []
        for num_draws in (3, 5, 10):
            found = mean_study(name=name, num_draws=num_draws, repetitions=2 * repetitions, seed=seed)
            minimum = 0.86 if num_draws == 3 else 0.9
            rate = findings.share(f"mean of {num_draws}, {name}", found["percentage"].rate, minimum, 0.99)
            ratio = found["percentage"].width / found["t"].width
            cells += [rate, percent(found["t"]), f"{ratio:.2f}"]
        rows.append((name, *cells))
    findings.show(
        f"Mean accuracy of 3, 5 and 10 draws; {2 * repetitions} repetitions",
        ("accuracies", *(text for n in (3, 5, 10) for text in (f"{n} draws: %", "t %", "width / t"))),
        rows,
        "90-99%, from 3 draws 86-99%; Student's t covers 80-90% of skewed values",
    )


def show_populations(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for fraction in (0.02, 0.1, 0.25, 0.5, 0.9, 1.0):
        found = population_study(fraction=fraction, repetitions=2 * repetitions, seed=seed)
        rates = [
            findings.share(f"{name} at a fraction of {fraction:g}", found[name].rate, 0.92, 0.99)
            for name in ("mean", "difference")
        ]
        rows.append((f"{fraction:g}", *rates, percent(found["plain"]), percent(found["plain, new pool"])))
    findings.show(
        f"Accuracy and difference on new test images, for one pool of training images; {2 * repetitions} repetitions",
        ("data fraction", "mean %", "difference %", "t over draws alone %", "the same, for new pools %"),
        rows,
        "mean and difference 92-99% at every fraction; the report claims nothing about new pools",
    )


def show_others(findings: Findings, repetitions: int, seed: int) -> None:
    probabilities = (0.5, 0.7, 0.9, 0.97)
    rows = []
    for ratio in RATIOS:
        rates = [
            findings.share(
                f"P(A > B) = {probability:g} at a ratio of {ratio:g}",
                improvement_study(ratio=ratio, probability=probability, repetitions=repetitions, seed=seed).rate,
                0.9,
                0.99,
            )
            for probability in probabilities
        ]
        mean = interquartile_mean_study(ratio=ratio, repetitions=repetitions, seed=seed)
        name = f"interquartile mean at a ratio of {ratio:g}"
        rows.append((f"{ratio:g}", *rates, findings.share(name, mean.rate, 0.93, 0.975)))
    findings.show(
        "Probability of improvement, and interquartile mean",
        ("draws / seeds", *(f"P = {probability:g}: %" for probability in probabilities), "interquartile mean %"),
        rows,
        "P 90-99% for every P; interquartile mean 93-97.5%",
    )
    rows = []
    for num_trials in (24, 64):
        for k in (1, 2, num_trials // 8, num_trials // 4):
            found = best_of_k_study(num_trials=num_trials, k=k, repetitions=repetitions, seed=seed)
            name = f"best of {k} from {num_trials} trials"
            findings.check(f"bias of the {name}, in standard errors", found.bias, -3.5, 3.5)
            rate = findings.share(name, found.coverage.rate, 0.87, 0.975)
            rows.append((str(num_trials), str(k), f"{found.bias:.1f}", f"{found.bias_with_replacement:.1f}", rate))
    findings.show(
        "Expected best of k trials of skewed values",
        ("trials", "k", "bias, standard errors", "bias with replacement", "interval %"),
        rows,
        "bias within 3.5 standard errors; interval 87-97.5%, lower for larger k",
    )
