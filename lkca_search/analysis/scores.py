"""Scores of a round by cell, draw and seed.

The score of a replicate is its test accuracy, for every metric of the search. Differences, learning curves, data
efficiency and crossover are defined for accuracy. Validation values and their test counterparts follow the leading
metric: a search by `val_loss` compares the validation loss with the test loss.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
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
    """Training images of every replicate. Repeats that chose different numbers are separate scores of one cell."""
    num_replicates: int
    """Replicates of the round, with and without a score."""
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
    def num_scored(self) -> int:
        """Replicates with a score."""
        return int(np.isfinite(self.accuracies).sum())

    @property
    def num_missing(self) -> int:
        """Replicates without a score, failed ones included."""
        return self.num_replicates - self.num_scored

    @property
    def size(self) -> tuple[float | None, int | None]:
        """Data fraction and images per class of the first pick; one of them is None."""
        configuration = self.picks[0].configuration
        return configuration.data_fraction, configuration.images_per_class


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

    def find_partner(self, variant: Variant, other: CellScores) -> CellScores | None:
        """Return the cell of a variant with as many training images as another cell; None if it has no scores.

        If several levels give the same number of images, the cell with the same level is preferred.
        """
        alike = [cell for cell in self.cells_of_variant(variant) if cell.num_train_images == other.num_train_images]
        return next((cell for cell in alike if cell.size == other.size), alike[0] if alike else None)

    @property
    def equal_sizes(self) -> dict[int, list[str]]:
        """Keys of the cells of one variant with the same number of training images, by that number."""
        found: dict[int, list[str]] = {}
        for variant in self.variants:
            numbers = Counter(cell.num_train_images for cell in self.cells_of_variant(variant))
            for number in (number for number, count in numbers.items() if count > 1):
                found.setdefault(number, []).extend(
                    cell.cell for cell in self.cells_of_variant(variant) if cell.num_train_images == number
                )
        return found


def round_scores(results: SearchResults, sealed: Round) -> RoundScores:
    """Return the scores of a round. Only the best configuration of each cell (rank 1) counts."""
    compared_keys = {key: cell.key for key, cell in results.compared_cells.items()}
    images = {
        record.replicate.of if record.replicate else record.trial_id: record.facts.num_train_images
        for record in (*results.trials, *results.replicates)
        if record.facts
    }
    groups: dict[tuple[str, int], list[Pick]] = {}
    for pick in sealed.picks:
        if pick.rank == 1 and pick.trial_id in images:
            groups.setdefault((compared_keys[pick.cell], images[pick.trial_id]), []).append(pick)
    replicates = {record.trial_id: record for record in results.replicates}
    cells = [_cell_scores(results, sealed, key, group, replicates) for key, group in groups.items()]
    return RoundScores(round=sealed, cells=tuple(cell for cell in cells if cell.num_scored))


def _cell_scores(
    results: SearchResults,
    sealed: Round,
    key: tuple[str, int],
    picks: Sequence[Pick],
    replicates: Mapping[str, Record],
) -> CellScores:
    """Return the scores of the picks of one cell with the same number of training images."""
    draw_indices = {draw: index for index, draw in enumerate(sealed.draws)}
    trial_ids = {pick.trial_id for pick in picks}
    planned = [replication for pick, replication in sealed.replications() if pick.trial_id in trial_ids]
    scores = np.full((3, len(sealed.draws), sealed.num_seeds), np.nan)
    num_failed = 0
    for replication in planned:
        record = replicates.get(replication.replicate_id)
        if record is not None:
            num_failed += record.state is State.FAIL
            if record.test is not None:
                scores[:, draw_indices[replication.draw], replication.seed] = _scores(results, record)
    return CellScores(
        cell=key[0],
        variant=results.variants[picks[0].cell],
        num_train_images=key[1],
        num_replicates=len(planned),
        picks=tuple(picks),
        accuracies=scores[0],
        val_values=scores[1],
        test_values=scores[2],
        num_failed=num_failed,
    )


def _scores(results: SearchResults, replicate: Record) -> tuple[float, float, float]:
    """Return test accuracy in percent, then the leading metric on validation and on test images, in its unit."""
    assert replicate.test is not None
    test_value = float(getattr(replicate.test, results.metric.test_field or ""))
    return PERCENT * replicate.test.accuracy, results.metric_value(replicate), results.metric.scale * test_value
