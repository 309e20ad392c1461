"""Pareto fronts: what accuracy is bought with how many parameters, operations or training images."""

from collections.abc import Sequence
from typing import Literal

from lkca_search.analysis.scores import PERCENT
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State
from lkca_search.spec.base import FrozenModel

CostName = Literal["num_parameters", "flops", "num_train_images"]


class CostPoint(FrozenModel):
    """One complete trial: an accuracy, and what it costs."""

    family: str
    trial_id: str
    num_train_images: int
    accuracy: float
    """On validation images, in percent."""
    num_parameters: int
    flops: int
    """Of one image's forward pass."""


def cost_points(results: SearchResults) -> tuple[CostPoint, ...]:
    """Every complete trial, by size and family."""
    found = [
        CostPoint(
            family=record.spec.configuration.family,
            trial_id=record.trial_id,
            num_train_images=record.facts.num_train_images,
            accuracy=PERCENT * record.curve[-1].val_accuracy,
            num_parameters=record.facts.num_parameters,
            flops=record.facts.flops,
        )
        for record in _complete(results.trials)
        if record.facts
    ]
    return tuple(sorted(found, key=lambda offer: (offer.num_train_images, offer.family, offer.trial_id)))


def front(found: Sequence[CostPoint], price: CostName) -> list[CostPoint]:
    """The offers that no other beats in accuracy or price and equals in the other, cheapest first."""
    best: list[CostPoint] = []
    for offer in sorted(found, key=lambda offer: (getattr(offer, price), -offer.accuracy)):
        if not best or offer.accuracy > best[-1].accuracy:
            best.append(offer)
    return best


def _complete(trials: Sequence[Record]) -> list[Record]:
    return [record for record in trials if record.state is State.COMPLETE and record.curve]
