"""The scores of a round: test accuracies of replicates by cell, draw and seed."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lkca_search.analysis.material import Material, Variant
from lkca_search.analysis.replicates import Floats
from lkca_search.records import State
from lkca_search.rounds import Pick, Round

PERCENT = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CellScores:
    """What one cell's best configuration is worth on the test images."""

    cell: str
    variant: Variant
    num_train_images: int
    pick: Pick
    accuracies: Floats
    """Test accuracy in percent, (draws, seeds); NaN where a replicate is missing or failed."""
    val_accuracies: Floats
    """Validation accuracy in percent at the end of the same trainings."""
    num_failed: int
    """Replicates that failed by their own fault."""

    @property
    def errors(self) -> Floats:
        """Test error in percent, (draws, seeds)."""
        return PERCENT - self.accuracies

    def on(self, accuracies: Floats) -> "CellScores":
        """The same cell with other test accuracies, (draws, seeds)."""
        return replace(self, accuracies=accuracies)

    @property
    def num_missing(self) -> int:
        """Replicates without a score, failed ones included."""
        return int(np.isnan(self.accuracies).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundScores:
    """The scores of a round's best configurations, those of cells that have any."""

    round: Round
    cells: tuple[CellScores, ...]

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that have scores, in the order of the space file."""
        return tuple(dict.fromkeys(scores.variant for scores in self.cells))

    def of_variant(self, variant: Variant) -> list[CellScores]:
        """A variant's cells, from few images to many."""
        return sorted((cell for cell in self.cells if cell.variant == variant), key=lambda cell: cell.num_train_images)

    def at(self, variant: Variant, num_train_images: int) -> CellScores | None:
        """A variant's cell of one size, if it has scores."""
        found = (cell for cell in self.cells if (cell.variant, cell.num_train_images) == (variant, num_train_images))
        return next(found, None)


def round_scores(material: Material, sealed: Round) -> RoundScores:
    """Gather the scores of a round; of the configurations of a cell those of the best."""
    replicates = {record.trial_id: record for record in material.replicates}
    places = {draw: place for place, draw in enumerate(sealed.draws)}
    shape = (2, len(sealed.draws), sealed.num_seeds)
    scores = {pick.cell: np.full(shape, np.nan) for pick in sealed.picks}  # test, validation
    failed = dict.fromkeys(scores, 0)
    for pick, replication in sealed.replications():
        record = replicates.get(replication.replicate_id)
        if pick.rank == 1 and record is not None:
            failed[pick.cell] += record.state is State.FAIL
            if record.test is not None:
                place = places[replication.draw], replication.seed
                found = record.test.accuracy, record.curve[-1].val_accuracy
                scores[pick.cell][:, *place] = [PERCENT * accuracy for accuracy in found]
    sizes = {record.cell: record.facts.num_train_images for record in material.replicates if record.facts}
    return RoundScores(
        round=sealed,
        cells=tuple(
            CellScores(
                cell=pick.cell,
                variant=material.variants[pick.cell],
                num_train_images=sizes[pick.cell],
                pick=pick,
                accuracies=scores[pick.cell][0],
                val_accuracies=scores[pick.cell][1],
                num_failed=failed[pick.cell],
            )
            for pick in sealed.picks
            if pick.rank == 1 and np.isfinite(scores[pick.cell]).any()
        ),
    )
