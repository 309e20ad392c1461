"""Comparison of two searches over their datasets, with the aggregate of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lkca_search.analysis.aggregate.dataset_scores import DatasetScores
from lkca_search.analysis.aggregate.differences import AggregateDifference, Pair, difference_of_pairs
from lkca_search.analysis.comparison import Comparison, compare
from lkca_search.analysis.datasets import split_by_dataset
from lkca_search.analysis.scores import CellScores, RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.p_values import holm
from lkca_search.records.rounds import correct_for_rounds


@dataclass(frozen=True, kw_only=True)
class SearchComparison:
    """Comparison cell by cell, and over all datasets."""

    comparison: Comparison
    aggregate: AggregateDifference | NotEstimable | None
    """First search minus second search over all datasets, or the reason why there is none; None for one dataset."""


def compare_searches(a: SearchResults, b: SearchResults, *, allow_differences: bool = False) -> SearchComparison:
    """Compare two searches, as `compare`, and over their datasets if both have the factor `dataset`.

    Holm's correction is over all tests of the cells and the test over the datasets.

    Raises:
        SearchError: As for `compare`.
    """
    comparison = compare(a, b, allow_differences=allow_differences)
    if len(split_by_dataset(a)) < 2:
        return SearchComparison(comparison=comparison, aggregate=None)
    if a.metric != comparison.metric:
        a, b = a.by_accuracy(), b.by_accuracy()
    try:
        aggregate = _aggregate(a, b, comparison.pairs)
    except NotEstimable as reason:
        return SearchComparison(comparison=comparison, aggregate=reason)
    tests = (*comparison.contrasts, *comparison.unpaired)
    p_values = [
        *(each.paired.p_value for each in comparison.contrasts),
        *(each.p_value for each in comparison.unpaired),
    ]
    *corrected, last = correct_for_rounds(holm([*p_values, aggregate.p_value]), comparison.alpha)
    adjusted = {id(each): {"adjusted_p": p} for each, p in zip(tests, corrected, strict=True)}
    return SearchComparison(
        comparison=replace(
            comparison,
            contrasts=tuple(each.model_copy(update=adjusted[id(each)]) for each in comparison.contrasts),
            unpaired=tuple(each.model_copy(update=adjusted[id(each)]) for each in comparison.unpaired),
        ),
        aggregate=aggregate.model_copy(update={"adjusted_p": last}),
    )


def _aggregate(a: SearchResults, b: SearchResults, pairs: Sequence[Pair]) -> AggregateDifference:
    by_dataset: dict[str, list[Pair]] = {}
    names = {cell.key: str(cell.dataset) for cell in a.compared_cells.values()}
    for pair in pairs:
        by_dataset.setdefault(names[pair[0].cell], []).append(pair)
    if len(by_dataset) < 2:
        raise NotEstimable(f"pairs of replicates are on {' '.join(by_dataset) or 'no dataset'}, 2 datasets are needed")
    parts = {str(name): part for name, part in split_by_dataset(a).items()}
    cells = _cells_by_dataset((*round_scores(a, a.rounds[-1]).cells, *round_scores(b, b.rounds[-1]).cells), names)
    scored = {
        name: DatasetScores(
            dataset=name, results=parts[name], scores=RoundScores(round=a.rounds[-1], cells=tuple(cells[name]))
        )
        for name in by_dataset
    }
    return difference_of_pairs(
        {scored[name]: found for name, found in by_dataset.items()}, reference=a.name, other=b.name, size=None
    )


def _cells_by_dataset(cells: Sequence[CellScores], names: Mapping[str, str]) -> dict[str, list[CellScores]]:
    """Return the cells of both searches per dataset, without those that the first search does not have."""
    result: dict[str, list[CellScores]] = {}
    for cell in cells:
        if cell.cell in names:
            result.setdefault(names[cell.cell], []).append(cell)
    return result
