"""Statistics of the report on simulated replicates with a known truth.

Question:  do 95% intervals cover the truth in 95%, does Holm's correction keep 5%, are the needed draws right?
Command:   python -m benchmarks.known_truth [--repetitions 1000] [--seed 0]
Expected:  the caption under each table; exit code 1 if a value is outside its limits. About six minutes on one core.

All studies use the default confirmation, 5 draws x 2 seeds. The variance between draws is 0.25, 1 or 4 times that
between seeds. The studies are in tests/support/statistics/; tests/analysis/test_known_truth.py is the short form. The
standard error of a rate from 1,000 repetitions is 0.7 points.
"""

import argparse
import sys

from benchmarks.truth.aggregate import show_aggregate
from benchmarks.truth.curves import show_comparisons, show_equal_efficiencies, show_fits, show_null_crossovers
from benchmarks.truth.differences import (
    check_against_scipy,
    show_differences,
    show_holm,
    show_power_analysis,
    show_rounds,
    show_search_variance,
)
from benchmarks.truth.findings import Findings
from benchmarks.truth.levels import show_best_levels
from benchmarks.truth.means import show_means, show_others, show_populations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    findings = Findings()
    for show in (
        show_differences,
        show_search_variance,
        show_holm,
        show_rounds,
        show_power_analysis,
        show_others,
        show_aggregate,
        show_fits,
        show_comparisons,
        show_best_levels,
        show_means,
        show_populations,
        show_null_crossovers,
        show_equal_efficiencies,
    ):
        show(findings, options.repetitions, options.seed)
    check_against_scipy(findings, options.seed)
    for line in findings.failed:
        print(line)
    return 1 if findings.failed else 0


if __name__ == "__main__":
    sys.exit(main())
