"""What each cell really spent, and where cells that are compared were not given the same."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State
from lkca_search.spec.base import FrozenModel

STEP_TOLERANCE = 0.02
"""Share by which the planned steps of cells of one size may differ."""


class ComputeSpent(FrozenModel):
    """The trials of one cell."""

    cell: str
    variant: str
    num_train_images: int | None
    """None where trials differ in it, or none is finished."""
    budget: int
    complete: int
    pruned: int
    failed: int
    planned_steps: int
    """Optimiser steps that its trials had to spend: the cap, pruned or not."""
    steps: int
    """Steps that they spent."""
    samples: int
    seconds: float
    flops: float
    """Of training: three forward passes an image, as models/cost.py counts one."""
    num_parameters: tuple[int, int] | None
    """The smallest and the largest model."""
    deviations: tuple[str, ...] = ()
    """In what its budget was not that of the cells it is compared with."""

    @property
    def num_finished(self) -> int:
        return self.complete + self.pruned + self.failed

    @property
    def share_saved(self) -> float:
        """Share of the planned steps that pruning and patience saved."""
        return 1 - self.steps / self.planned_steps if self.planned_steps else 0.0


def compute_spent(results: SearchResults) -> tuple[ComputeSpent, ...]:
    """What each cell spent, in the order of the space file."""
    found = [_spending(results, cell.key) for cell in results.cells]
    typical = {
        size: statistics.median(_planned_a_trial(each) for each in found if each.num_train_images == size)
        for size in {each.num_train_images for each in found}
    }
    return tuple(
        each.model_copy(update={"deviations": tuple(_deviations(each, typical[each.num_train_images]))})
        for each in found
    )


def _spending(results: SearchResults, cell: str) -> ComputeSpent:
    records = results.trials_by_cell[cell]
    states = Counter(record.state for record in records)
    last = [record.curve[-1] for record in records if record.curve]
    sizes = [record.facts.num_parameters for record in records if record.facts]
    return ComputeSpent(
        cell=cell,
        variant=results.variants[cell].label,
        num_train_images=results.num_train_images(cell),
        budget=results.spec.search.trials_per_cell,
        complete=states[State.COMPLETE],
        pruned=states[State.PRUNED],
        failed=states[State.FAIL],
        planned_steps=sum(record.facts.planned_steps for record in records if record.facts),
        steps=sum(result.step for result in last),
        samples=sum(result.samples for result in last),
        seconds=sum(result.seconds for result in last),
        flops=_flops(records),
        num_parameters=(min(sizes), max(sizes)) if sizes else None,
    )


def _flops(records: Sequence[Record]) -> float:
    return float(
        sum(3 * record.facts.flops * record.curve[-1].samples for record in records if record.facts and record.curve)
    )


def _planned_a_trial(spending: ComputeSpent) -> float:
    return spending.planned_steps / spending.num_finished if spending.num_finished else 0.0


def _deviations(spending: ComputeSpent, typical: float) -> Iterator[str]:
    if spending.num_finished < spending.budget:
        yield f"{spending.num_finished} of {spending.budget} trials"
    if spending.failed:
        yield f"{spending.failed} failed"
    planned = _planned_a_trial(spending)
    if spending.num_finished and abs(planned - typical) > STEP_TOLERANCE * typical:
        yield f"{planned:,.0f} planned steps a trial, others of its size {typical:,.0f}"
