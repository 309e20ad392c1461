"""Results of a search with several datasets, split into the results on each of them.

Accuracies on different datasets are never averaged, fitted or compared with each other: each analysis of a search reads
the results on one dataset. `aggregate` combines normalized differences of all of them.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.rounds import Round
from lkca_search.spec.cells import dataset_levels, spec_of_dataset


def split_by_dataset(results: SearchResults) -> Mapping[str | None, SearchResults]:
    """Return the results on each dataset, by its level of the factor `dataset`; the results themselves for one dataset.

    The level is None in a search without this factor. Rounds have only the configurations of the dataset.
    """
    levels = dataset_levels(results.spec)
    if len(levels) == 1:
        return {levels[0]: results}
    return {level: _results_on(results, level) for level in levels}


def _results_on(results: SearchResults, level: str | None) -> SearchResults:
    keys = {cell.key for cell in results.cells if cell.dataset == level}
    return replace(
        results,
        spec=spec_of_dataset(results.spec, level),
        trials=[record for record in results.trials if record.cell in keys],
        replicates=[record for record in results.replicates if record.cell in keys],
        rounds=[_round_on(sealed, level, keys) for sealed in results.rounds],
        datasets={level: results.datasets[level]} if level in results.datasets else {},
        findings=(),
        whole=results,
    )


def _round_on(sealed: Round, level: str | None, keys: Collection[str]) -> Round:
    """Return a round with the picks and the test images of one dataset; other fields are those of the whole round."""
    return sealed.model_copy(
        update={
            "test_hash": sealed.hash_by_dataset.get(level, sealed.test_hash),
            "picks": tuple(pick for pick in sealed.picks if pick.cell in keys),
            "cells_without": tuple(key for key in sealed.cells_without if key in keys),
        }
    )
