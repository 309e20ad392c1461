"""Scores of a round by cell, draw and seed.

The score of a replicate is its test accuracy, for every metric of the search. Differences, learning curves, data
efficiency and crossover are defined for accuracy. Validation values and their test counterparts follow the leading
metric: a search by `val_loss` compares the validation loss with the test loss.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.record import Record, State
from lkca_search.records.rounds import Pick, Round

PERCENT = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CellScores:
    """Scores of the best configuration of one cell; for a repeated search, of the best configuration per repeat."""

    cell: str
    """Key of the cell, without the draw if the search was repeated."""
    variant: Variant
    num_train_images: int
    picks: tuple[Pick, ...]
    """The best configuration, or one per repeat."""
    accuracies: Floats
    """Test accuracy in percent, (draws, seeds); NaN for a missing or failed replicate."""
    val_values: Floats
    """Leading metric on validation images, in its unit, (draws, seeds), at the end of the same trainings."""
    test_values: Floats
    """Leading metric on test images, in its unit, (draws, seeds): accuracy or loss."""
    num_failed: int
    """Replicates that failed with an error of their own."""

    @property
    def errors(self) -> Floats:
        """Test error in percent, (draws, seeds)."""
        return PERCENT - self.accuracies

    def with_accuracies(self, accuracies: Floats) -> "CellScores":
        """Return a copy with other test accuracies, (draws, seeds)."""
        return replace(self, accuracies=accuracies)

    @property
    def num_missing(self) -> int:
        """Replicates without a score, failed ones included."""
        return int(np.isnan(self.accuracies).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundScores:
    """Scores of the best configurations of a round, for all cells with at least one score."""

    round: Round
    cells: tuple[CellScores, ...]

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Variants with scores, in the order of the space file."""
        return tuple(dict.fromkeys(scores.variant for scores in self.cells))

    def cells_of_variant(self, variant: Variant) -> list[CellScores]:
        """Return the cells of a variant, from few training images to many."""
        return sorted((cell for cell in self.cells if cell.variant == variant), key=lambda cell: cell.num_train_images)

    def find_cell(self, variant: Variant, num_train_images: int) -> CellScores | None:
        """Return the cell of a variant with this number of training images; None if it has no scores."""
        matching = (cell for cell in self.cells if (cell.variant, cell.num_train_images) == (variant, num_train_images))
        return next(matching, None)


def round_scores(results: SearchResults, sealed: Round) -> RoundScores:
    """Return the scores of a round. Only the best configuration of each cell (rank 1) counts."""
    replicates = {record.trial_id: record for record in results.replicates}
    compared_keys = {key: cell.key for key, cell in results.compared_cells.items()}
    best: dict[str, list[Pick]] = {}
    for pick in sealed.picks:
        if pick.rank == 1:
            best.setdefault(compared_keys[pick.cell], []).append(pick)
    draw_indices = {draw: index for index, draw in enumerate(sealed.draws)}
    scores = {name: np.full((3, len(sealed.draws), sealed.num_seeds), np.nan) for name in best}
    failed = dict.fromkeys(best, 0)
    for pick, replication in sealed.replications():
        record = replicates.get(replication.replicate_id)
        if pick.rank == 1 and record is not None:
            failed[compared_keys[pick.cell]] += record.state is State.FAIL
            if record.test is not None:
                scores[compared_keys[pick.cell]][:, draw_indices[replication.draw], replication.seed] = _scores(
                    results, record
                )
    sizes = {compared_keys[record.cell]: record.facts.num_train_images for record in results.replicates if record.facts}
    return RoundScores(
        round=sealed,
        cells=tuple(
            CellScores(
                cell=name,
                variant=results.variants[picks[0].cell],
                num_train_images=sizes[name],
                picks=tuple(picks),
                accuracies=scores[name][0],
                val_values=scores[name][1],
                test_values=scores[name][2],
                num_failed=failed[name],
            )
            for name, picks in best.items()
            if np.isfinite(scores[name]).any()
        ),
    )


def _scores(results: SearchResults, replicate: Record) -> tuple[float, float, float]:
    """Return test accuracy in percent, then the leading metric on validation and on test images, in its unit."""
    assert replicate.test is not None
    test_value = float(getattr(replicate.test, results.metric.test_field or ""))
    return PERCENT * replicate.test.accuracy, results.metric_value(replicate), results.metric.scale * test_value
