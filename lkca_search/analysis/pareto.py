"""Pareto fronts of the leading metric against parameters, FLOPs or training images."""

from collections.abc import Sequence
from typing import Literal

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.objectives import rank_trials
from lkca_search.spec.base import FrozenModel

CostName = Literal["num_parameters", "flops", "num_train_images"]


class CostPoint(FrozenModel):
    """Leading metric and costs of one complete trial."""

    family: str
    trial_id: str
    num_train_images: int
    metric: str
    """Leading metric of the search."""
    sign: int
    """1 if a higher value of the metric is better, else -1."""
    metric_value: float
    """Value on validation images, in the unit of the metric: percent for `val_accuracy`."""
    num_parameters: int
    flops: int
    """FLOPs of the forward pass of one image."""
    rank: int
    """Position in `rank_trials` of all complete trials, best first; it decides between equal points."""


def cost_points(results: SearchResults) -> tuple[CostPoint, ...]:
    """Return one point per complete trial, ordered by training images, family and trial id."""
    points = [
        CostPoint(
            family=record.spec.configuration.family,
            trial_id=record.trial_id,
            num_train_images=record.facts.num_train_images,
            metric=results.metric_name,
            sign=results.metric.sign,
            metric_value=results.metric_value(record),
            num_parameters=record.facts.num_parameters,
            flops=record.facts.flops,
            rank=rank,
        )
        for rank, record in enumerate(rank_trials(results.trials, results.spec.search))
        if record.facts
    ]
    return tuple(sorted(points, key=lambda point: (point.num_train_images, point.family, point.trial_id)))


def cost_front(points: Sequence[CostPoint], cost: CostName) -> list[CostPoint]:
    """Return the Pareto front of metric and cost: the points that no other point dominates, cheapest first.

    A point dominates another if it is better in one of the two and at least equal in the other. Of points that are
    equal in both, the front has the one of the lowest rank.
    """

    def score(point: CostPoint) -> float:
        return point.sign * point.metric_value

    front: list[CostPoint] = []
    for point in sorted(points, key=lambda point: (getattr(point, cost), point.rank)):
        if not front or score(point) > score(front[-1]):
            front.append(point)
    return front
