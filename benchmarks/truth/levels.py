"""Table on the probability that a level of a hyperparameter is best."""

from itertools import product

from benchmarks.truth.findings import Findings
from tests.support.statistics.level_studies import BINS, Statements, join, replicate_study, trial_study

LEVEL_EFFECTS = (0.0, 0.5, 2.0)
"""Lead of the best level, in standard deviations of the noise: none, small and large."""


def show_best_levels(findings: Findings, repetitions: int, seed: int) -> None:
    studies: dict[str, list[Statements]] = {"surrogate": [], "bootstrap": [], "replicates": []}
    rows = []
    for is_adaptive, num_trials in product((False, True), (8, 24, 64)):
        for effect in LEVEL_EFFECTS:
            found = trial_study(
                effect=effect,
                num_trials=num_trials,
                is_adaptive=is_adaptive,
                repetitions=max(repetitions // 4, 20),
                seed=seed,
            )
            name = f"{num_trials} {'adaptive' if is_adaptive else 'random'} trials"
            rows.append(_best_level_row(findings, name, effect, found["surrogate"], found["bootstrap"]))
            for method, statements in found.items():
                studies[method].append(statements)
    for num_levels, num_draws in ((3, 3), (3, 5), (6, 5)):
        for effect in LEVEL_EFFECTS:
            statements = replicate_study(
                effect=effect,
                num_levels=num_levels,
                num_draws=num_draws,
                repetitions=max(repetitions // 4, 20),
                seed=seed,
            )
            studies["replicates"].append(statements)
            name = f"{num_levels} confirmed levels, {num_draws} draws"
            rows.append(_best_level_row(findings, name, effect, statements, None))
    findings.show(
        f"Level stated as most probably best; {max(repetitions // 4, 20)} repetitions",
        ("design", "lead of one level, noise", "stated %", "right %", "bootstrap of trials: stated %", "right %"),
        rows,
        "without a lead, stated at most 50% for 3 levels and 33% for 6; the bootstrap is no longer used",
    )
    rows = []
    for method, all_studies in studies.items():
        for place, (count, stated, right) in enumerate(join(all_studies).bins()):
            text = f"{100 * right:.1f}"
            if method != "bootstrap" and count >= 50:
                text = findings.share(f"right of those stated at {stated:.2f}, {method}", right, stated - 0.08, 1.0)
            bounds = f"{100 * BINS[place]:g} to {100 * BINS[place + 1]:g}"
            rows.append((method, bounds, str(count), f"{100 * stated:.1f}", text))
    findings.show(
        "Reliability of the stated probabilities, over all rows of the table above",
        ("method", "stated %", "number", "mean stated %", "right %"),
        rows,
        "right at least the mean stated less 8 points, in bins of at least 50",
    )


def _best_level_row(
    findings: Findings, name: str, effect: float, ours: Statements, bootstrap: Statements | None
) -> tuple[str, ...]:
    stated = f"{100 * ours.mean:.1f}"
    if effect == 0:
        most = 0.33 if name.startswith("6 ") else 0.5
        stated = findings.share(f"stated without a lead, {name}", ours.mean, 0.0, most)
    old = (f"{100 * bootstrap.mean:.1f}", f"{100 * bootstrap.rate:.1f}") if bootstrap else ("", "")
    return name, f"{effect:g}", stated, f"{100 * ours.rate:.1f}", *old
