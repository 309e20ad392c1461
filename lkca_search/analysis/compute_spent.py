"""Compute spent per cell, and deviations from an equal budget among compared cells."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State
from lkca_search.spec.base import FrozenModel

LENGTH_TOLERANCE = 0.02
"""Relative difference in planned images seen per trial that is allowed between cells with equal training images."""


class ComputeSpent(FrozenModel):
    """Compute spent by the trials of one cell."""

    cell: str
    variant: str
    num_train_images: int | None
    """Training images of each trial; None if trials differ in it, or if none is finished."""
    budget: int
    """Trials per cell that the space file sets."""
    complete: int
    pruned: int
    failed: int
    planned_steps: int
    """Optimizer steps that all trials would take without pruning and patience."""
    steps: int
    """Optimizer steps that all trials took."""
    epochs: tuple[float, float] | None
    """Passes over the training images in the shortest and the longest complete trial; None without one."""
    planned_epochs: float | None
    """Fewest passes that a complete trial had without patience; None without one."""
    planned_samples: float
    """Images that a training would see without pruning and patience; mean over trials with a result."""
    samples: int
    """Images seen in training."""
    seconds: float
    """Training time."""
    flops: float
    """FLOPs of training: three forward passes per image, counted as in models/cost.py."""
    num_parameters: tuple[int, int] | None
    """Parameters of the smallest and the largest model."""
    deviations: tuple[str, ...] = ()
    """Differences from the budgets of the compared cells, as phrases."""

    @property
    def num_finished(self) -> int:
        """Finished trials in any state."""
        return self.complete + self.pruned + self.failed

    @property
    def share_saved(self) -> float:
        """Share of the planned steps that pruning and patience saved, 0 to 1."""
        return 1 - self.steps / self.planned_steps if self.planned_steps else 0.0


def compute_spent(results: SearchResults) -> tuple[ComputeSpent, ...]:
    """Return the compute spent per cell, in the order of the space file."""
    per_cell = [_cell_compute(results, cell.key) for cell in results.cells]
    typical = {
        size: statistics.median(spent.planned_samples for spent in per_cell if spent.num_train_images == size)
        for size in {spent.num_train_images for spent in per_cell}
    }
    return tuple(
        spent.model_copy(update={"deviations": tuple(_deviations(spent, typical[spent.num_train_images]))})
        for spent in per_cell
    )


def _cell_compute(results: SearchResults, cell: str) -> ComputeSpent:
    records = results.trials_by_cell[cell]
    states = Counter(record.state for record in records)
    last = [record.curve[-1] for record in records if record.curve]
    sizes = [record.facts.num_parameters for record in records if record.facts]
    complete = [record for record in records if record.state is State.COMPLETE and record.facts]
    epochs = [record.curve[-1].epoch for record in complete]
    planned = [_planned_epochs(record) for record in complete]
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
        epochs=(min(epochs), max(epochs)) if epochs else None,
        planned_epochs=min(planned) if planned else None,
        planned_samples=_planned_samples(records),
        samples=sum(result.samples for result in last),
        seconds=sum(result.seconds for result in last),
        flops=_flops(records),
        num_parameters=(min(sizes), max(sizes)) if sizes else None,
    )


def _flops(records: Sequence[Record]) -> float:
    return float(
        sum(3 * record.facts.flops * record.curve[-1].samples for record in records if record.facts and record.curve)
    )


def _planned_epochs(record: Record) -> float:
    assert record.facts is not None
    return record.curve[-1].epoch * record.facts.planned_steps / record.curve[-1].step


def _planned_samples(records: Sequence[Record]) -> float:
    """Return the mean number of images that a training would see; batch sizes differ, and images are the compute."""
    planned = [
        record.curve[-1].samples * record.facts.planned_steps / record.curve[-1].step
        for record in records
        if record.facts and record.curve
    ]
    return statistics.fmean(planned) if planned else 0.0


def _deviations(spent: ComputeSpent, typical: float) -> Iterator[str]:
    if spent.num_finished < spent.budget:
        yield f"{spent.num_finished} of {spent.budget} trials"
    if spent.failed:
        yield f"{spent.failed} failed"
    planned = spent.planned_samples
    if planned and abs(planned - typical) > LENGTH_TOLERANCE * typical:
        yield f"{planned:,.0f} planned images seen per trial, others of its size {typical:,.0f}"
