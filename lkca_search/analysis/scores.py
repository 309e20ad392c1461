"""The scores of a round: test accuracies of replicates by cell, draw and seed."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.record import State
from lkca_search.records.rounds import Pick, Round

PERCENT = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CellScores:
    """What one cell's best configuration is worth on the test images, or the best of each repeat on a draw."""

    cell: str
    """Its key, without the draw where the search was repeated."""
    variant: Variant
    num_train_images: int
    picks: tuple[Pick, ...]
    """What was retrained: the best configuration, or where the search was repeated, that of each repeat."""
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

    def with_accuracies(self, accuracies: Floats) -> "CellScores":
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

    def cells_of_variant(self, variant: Variant) -> list[CellScores]:
        """A variant's cells, from few images to many."""
        return sorted((cell for cell in self.cells if cell.variant == variant), key=lambda cell: cell.num_train_images)

    def find_cell(self, variant: Variant, num_train_images: int) -> CellScores | None:
        """A variant's cell of one size, if it has scores."""
        found = (cell for cell in self.cells if (cell.variant, cell.num_train_images) == (variant, num_train_images))
        return next(found, None)


def round_scores(results: SearchResults, sealed: Round) -> RoundScores:
    """Gather the scores of a round; of the configurations of a cell those of the best."""
    replicates = {record.trial_id: record for record in results.replicates}
    names = {key: cell.key for key, cell in results.compared_cells.items()}
    best: dict[str, list[Pick]] = {}
    for pick in sealed.picks:
        if pick.rank == 1:
            best.setdefault(names[pick.cell], []).append(pick)
    places = {draw: place for place, draw in enumerate(sealed.draws)}
    scores = {name: np.full((2, len(sealed.draws), sealed.num_seeds), np.nan) for name in best}  # test, validation
    failed = dict.fromkeys(best, 0)
    for pick, replication in sealed.replications():
        record = replicates.get(replication.replicate_id)
        if pick.rank == 1 and record is not None:
            failed[names[pick.cell]] += record.state is State.FAIL
            if record.test is not None:
                place = places[replication.draw], replication.seed
                found = record.test.accuracy, record.curve[-1].val_accuracy
                scores[names[pick.cell]][:, *place] = [PERCENT * accuracy for accuracy in found]
    sizes = {names[record.cell]: record.facts.num_train_images for record in results.replicates if record.facts}
    return RoundScores(
        round=sealed,
        cells=tuple(
            CellScores(
                cell=name,
                variant=results.variants[picks[0].cell],
                num_train_images=sizes[name],
                picks=tuple(picks),
                accuracies=scores[name][0],
                val_accuracies=scores[name][1],
                num_failed=failed[name],
            )
            for name, picks in best.items()
            if np.isfinite(scores[name]).any()
        ),
    )
