"""Scores of a round on one dataset, with the range that normalizes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lkca_search.analysis.aggregate.dataset_range import DatasetRange, dataset_range
from lkca_search.analysis.contrasts import find_pairs
from lkca_search.analysis.scores import CellScores, RoundScores, Unit, by_unit
from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.spec.configuration import SIZE_NAMES

SizeLevel = tuple[float | None, int | None]
"""Data fraction and images per class; at most one of them is a number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetScores:
    """Results of a search on one dataset, and the scores of its cells in a round."""

    dataset: str
    results: SearchResults
    """Results on this dataset alone."""
    scores: RoundScores

    @cached_property
    def range(self) -> DatasetRange:
        """Range of the test score; raises NotEstimable as `dataset_range`."""
        return dataset_range(self.results, self.dataset, self.scores.cells)

    @cached_property
    def unit(self) -> Unit:
        """Unit of all cells: the training if all draws have the same images at every size, else the draw."""
        return "seed" if all(cell.unit == "seed" for cell in self.scores.cells) else "draw"

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest possible normalized score."""
        low, high = sorted(PERCENT * (end - self.range.chance) / self.range.width for end in self.results.metric.bounds)
        return low, high

    def size_of(self, cell: CellScores) -> SizeLevel:
        """Return the level of size of a cell; no level if the size is searched, so that cells of one level differ."""
        is_searched = any(name in self.results.spec.parameters for name in SIZE_NAMES)
        return (None, None) if is_searched else cell.size

    def pairs(self, reference: Variant, other: Variant) -> list[tuple[CellScores, CellScores]]:
        """Return the cells of both variants that have pairs of replicates, from few training images to many."""
        return [pair for pair in find_pairs(self.scores, reference) if pair[1].variant == other]

    def normalize(self, cell: CellScores) -> Floats:
        """Return the scores of a cell in percent of the range, (units, trainings): 0 is chance, 100 the best."""
        return PERCENT * (by_unit(cell.test_values, self.unit) - self.range.chance) / self.range.width

    def normalized_difference(self, a: CellScores, b: CellScores) -> Floats:
        """Return the mean advantage of A over B per unit and its pairs, in percent of the range, (units,); or NaN."""
        differences = by_unit(a.test_values - b.test_values, self.unit)
        counts = np.isfinite(differences).sum(axis=1)
        means = np.where(counts, np.nansum(differences, axis=1) / np.maximum(counts, 1), np.nan)
        normalized: Floats = PERCENT * means / self.range.width
        return normalized


def check_datasets(names: Sequence[str]) -> None:
    """Raise NotEstimable unless there are at least two datasets with scores."""
    if len(names) < 2:
        found = f"only {names[0]} has" if names else "no dataset has"
        raise NotEstimable(f"an aggregate needs at least 2 datasets with test results, {found}")
