"""What a search of another length would have found: the expected best of k trials of each cell."""

import numpy as np

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.best_of_k import BestOfK, expected_best
from lkca_search.records.record import State
from lkca_search.report.values.numbers import NO_VALUE, format_estimate
from lkca_search.report.values.table import Field, Table, number, text
from lkca_search.seeds import derive_seed

INDEPENDENT = ("random", "qmc")
"""Samplers whose trials do not depend on the ones before."""


def best_of_k_table(results: SearchResults) -> Table | None:
    """The expected best validation accuracy of 1, 2, 4, ... trials; None where the sampler learns from trials."""
    if results.spec.search.sampler.name not in INDEPENDENT or results.spec.search.pruner.name != "none":
        return None
    budget = results.spec.search.trials_per_cell
    ks = sorted({*(2**power for power in range(budget.bit_length()) if 2**power <= budget), budget})
    return Table(
        name="best_of_k",
        title="Expected best of k trials",
        caption=(
            "Mean best validation accuracy of k trials of a cell, in percent, over all subsets of its complete trials "
            "(Tang et al. 2020), with 95% bootstrap intervals where there are four times as many trials as k. It "
            "rests on trials that do not depend on each other."
        ),
        columns=("cell", "complete trials", *(f"k = {k}" for k in ks)),
        rows=tuple(_row(results, cell.key, ks) for cell in results.cells),
    )


def _row(results: SearchResults, cell: str, ks: list[int]) -> tuple[Field, ...]:
    complete = [record for record in results.trials_by_cell[cell] if record.state is State.COMPLETE]
    values = [results.metric_value(record) for record in complete]
    reached = [k for k in ks if k <= len(values)]
    generator = np.random.default_rng(derive_seed(results.spec.search.seed, "best of k", cell))
    goal = results.metric.direction
    best = expected_best(values, ks=reached, goal=goal, generator=generator) if reached else ()
    found = {each.k: each for each in best}
    return (text(cell), number(len(values), f"{len(values)}"), *(_field(found.get(k)) for k in ks))


def _field(found: BestOfK | None) -> Field:
    return text(NO_VALUE) if found is None else number(found.expected.value, format_estimate(found.expected))
