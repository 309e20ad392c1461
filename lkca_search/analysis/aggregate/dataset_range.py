"""Range of the leading metric on a dataset, by which scores and differences are normalized.

A difference of a point means little on an easy dataset and much on a difficult one. Agarwal et al. 2021 (Deep
Reinforcement Learning at the Edge of the Statistical Precipice, section 2) therefore normalize the score of each task:
0 is a random agent, 1 a reference score. Here 0 is a classifier that gives all classes equal probabilities, and 1 is
the best mean test score of a cell in the round. The range is a constant of the dataset: all variants and sizes are
divided by it. A metric without a value for such a classifier, as a calibration error, has no range.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from lkca_search.analysis.scores import CellScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.spec.base import FrozenModel

CHANCE: Mapping[str, Callable[[int], float]] = {
    "accuracy": lambda num_classes: PERCENT / num_classes,
    "balanced_accuracy": lambda num_classes: PERCENT / num_classes,
    "top5_accuracy": lambda num_classes: PERCENT * min(5, num_classes) / num_classes,
    "macro_auroc": lambda num_classes: PERCENT / 2,
    "loss": math.log,
}
"""Expected score, by metric and number of classes, of a classifier that gives all classes equal probabilities."""


class DatasetRange(FrozenModel):
    """Test score of one dataset from chance to the best cell, in the unit of the metric."""

    dataset: str
    num_classes: int
    chance: float
    """Score of a classifier that gives all classes equal probabilities."""
    best: float
    """Best mean test score of a cell in the round."""
    best_cell: str
    """Key of that cell."""

    @property
    def width(self) -> float:
        """Best minus chance; below 0 if a lower score is better."""
        return self.best - self.chance


def dataset_range(results: SearchResults, dataset: str, cells: Sequence[CellScores]) -> DatasetRange:
    """Return the range of a dataset from the scores of all its cells; `results` are those on this dataset.

    Raises:
        NotEstimable: The metric has no value for chance, the number of classes is unknown, or no cell is better.
    """
    metric = results.metric
    chance = CHANCE.get(metric.test_field or "")
    if chance is None:
        raise NotEstimable(f"{metric.label} has no value for chance, by which datasets could be normalized")
    numbers = {record.facts.num_classes for record in (*results.trials, *results.replicates) if record.facts}
    number = numbers.pop() if len(numbers) == 1 else None
    if number is None:
        raise NotEstimable(f"the records do not have the number of classes of {dataset}")
    best = max(cells, key=lambda cell: metric.sign * mean_score(cell).value)
    found = DatasetRange(
        dataset=dataset,
        num_classes=number,
        chance=chance(number),
        best=mean_score(best).value,
        best_cell=best.cell,
    )
    if metric.sign * found.width <= 0:
        raise NotEstimable(f"no cell of {dataset} is better than chance, {found.chance:.3g}{metric.unit}")
    return found
