"""Table on the aggregate over several datasets: coverage of its interval, and false claims of equal families."""

from benchmarks.truth.findings import Findings
from tests.support.statistics.aggregate_studies import Design, coverage_study, false_claims_study

DESIGNS = {
    "3 datasets, no difference": ((0, 0, 0), (1, 1, 1)),
    "3 datasets, unequal spread": ((0, 0, 0), (0.3, 1, 3)),
    "2 datasets, equal difference": ((2, 2), (1, 1)),
    "4 datasets, different differences": ((-2, 0, 1, 4), (1, 1, 1, 1)),
}
"""True differences and standard deviations per dataset, in percent of the range."""


def show_aggregate(findings: Findings, repetitions: int, seed: int) -> None:
    rows = []
    for name, (effects, deviations) in DESIGNS.items():
        for num_draws in (3, 5):
            design = Design(effects=effects, deviations=deviations, num_draws=num_draws, num_sizes=2)
            coverage = coverage_study(design, repetitions=repetitions, seed=seed)
            claims = "" if any(effects) else _false_claims(findings, name, design, repetitions, seed)
            rows.append(
                (
                    name,
                    str(num_draws),
                    findings.share(f"aggregate, {name}, {num_draws} draws", coverage, 0.93, 0.99),
                    claims,
                )
            )
    findings.show(
        f"Interquartile mean of normalized differences over datasets, 2 sizes; {repetitions} repetitions",
        ("truth", "draws", "interval %", "rounds with a false claim %"),
        rows,
        "interval 93-99%; false claims of any contrast or aggregate at most 5%",
    )


def _false_claims(findings: Findings, name: str, design: Design, repetitions: int, seed: int) -> str:
    share = false_claims_study(design, repetitions=repetitions, seed=seed)
    return findings.share(f"false claims, {name}, {design.num_draws} draws", share, 0.0, 0.055)
