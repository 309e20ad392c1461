"""Scores of a round by cell, draw and seed.

The score of a replicate is the leading metric on test images: test accuracy for a search by `val_accuracy`, test loss
for one by `val_loss`. Differences, learning curves, data efficiency and crossover are computed from it.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.variance import difference_variance, sampling_variance
from lkca_search.records.record import Record, State
from lkca_search.records.rounds import Pick, Round
from lkca_search.spec.metrics import Metric

Unit = Literal["draw", "seed"]
"""Unit of analysis of a cell.

It is the subset draw, and seeds of one draw are averaged. If all draws have the same images, as at a data fraction of
1.0, each training is a unit: the trainings differ by seed alone, and draws are not a sample of subsets.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellScores:
    """Scores of the best configuration of one cell; for a repeated search, of the best configuration per repeat."""

    cell: str
    """Key of the cell, without the draw if the search was repeated."""
    variant: Variant
    metric: Metric
    """Leading metric of the search."""
    num_train_images: int
    """Training images of every replicate. Repeats that chose different numbers are separate scores of one cell."""
    num_replicates: int
    """Replicates of the round, with and without a score."""
    picks: tuple[Pick, ...]
    """The best configuration, or one per repeat."""
    val_values: Floats
    """Leading metric on validation images, in its unit, (draws, seeds), at the end of the same trainings."""
    test_values: Floats
    """Score: leading metric on test images, in its unit, (draws, seeds); NaN for a missing or failed replicate."""
    num_failed: int
    """Replicates that failed with an error of their own."""
    unit: Unit = "draw"
    overlap: float | None = None
    """Expected share of the training images of one draw that are in another draw; None if it is unknown."""
    has_predictions: bool = False
    """True if the predictions of every tested replicate are known."""
    image_scores: NDArray[Any] | None = None
    """Numbers per replicate and test image whose mean times `metric.scale` is the score, (draws, seeds, images). None
    if any is unknown, or if the metric is no mean over images.

    Values of missing replicates mean nothing.
    """

    def unit_means(self, values: Floats) -> Floats:
        """Return the mean of values, (draws, seeds), over the trainings of each unit with a value, (units,)."""
        units = by_unit(values, self.unit)
        means: Floats = np.nanmean(units[np.isfinite(units).any(axis=1)], axis=1)
        return means

    @cached_property
    def score_variance(self) -> float | None:
        """Variance of the mean score from the sampling of test images, in squared units; None if unknown."""
        if self.image_scores is None:
            return None
        present, by_seed = np.isfinite(self.test_values), self.unit == "seed"
        return sampling_variance(self.metric.scale * self.image_scores, present, by_seed=by_seed)

    @property
    def image_errors(self) -> Floats | None:
        """Mean error per test image over all replicates, in the unit of `errors`, (images,); None if it is unknown."""
        if self.image_scores is None:
            return None
        return self._error_of(self.metric.scale * self.image_scores[np.isfinite(self.test_values)].mean(axis=0))

    @property
    def errors(self) -> Floats:
        """Distance of the score from that of a perfect classifier; without a best possible score, the score itself."""
        return self._error_of(self.test_values)

    def _error_of(self, values: Floats) -> Floats:
        perfect = self.metric.perfect
        return values if perfect is None else np.abs(perfect - values)

    def at_replicates(self, positions: Sequence[Sequence[tuple[int, int] | None]]) -> "CellScores":
        """Return a copy with the scores at other positions, (draws, seeds); None is a missing replicate."""

        def moved(values: NDArray[Any], empty: float) -> NDArray[Any]:
            shape = len(positions), len(positions[0]), *values.shape[2:]
            result = np.full(shape, empty, dtype=values.dtype)
            for (draw, row), seed in product(enumerate(positions), range(shape[1])):
                if (position := row[seed]) is not None:
                    result[draw, seed] = values[position]
            return result

        return replace(
            self,
            test_values=moved(self.test_values, np.nan),
            image_scores=None if self.image_scores is None else moved(self.image_scores, 0),
        )

    @property
    def num_scored(self) -> int:
        """Replicates with a score."""
        return int(np.isfinite(self.test_values).sum())

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


def score_difference_variance(a: CellScores, b: CellScores) -> float | None:
    """Return the variance of the mean of A - B, over pairs, from the sampling of test images, in squared units.

    Both cells have the same test images, so their difficulty largely cancels. None without predictions per image.
    """
    present, scale = np.isfinite(a.test_values - b.test_values), a.metric.scale
    return difference_variance(
        a.image_scores, b.image_scores, present, scale=scale, by_seed=shared_unit(a, b) == "seed"
    )


def by_unit(values: Floats, unit: Unit) -> Floats:
    """Return values, (draws, seeds), as (units, trainings per unit)."""
    return values.reshape(-1, 1) if unit == "seed" else values


def shared_unit(a: CellScores, b: CellScores) -> Unit:
    """Return the unit of a contrast of two cells."""
    return "seed" if a.unit == b.unit == "seed" else "draw"


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
    scores = np.full((2, len(sealed.draws), sealed.num_seeds), np.nan)
    trained: dict[tuple[int, int], Record] = {}
    num_failed = 0
    for replication in planned:
        record = replicates.get(replication.replicate_id)
        if record is not None:
            num_failed += record.state is State.FAIL
            if record.test is not None:
                position = draw_indices[replication.draw], replication.seed
                scores[:, *position] = _scores(results, record)
                trained[position] = record
    return CellScores(
        cell=key[0],
        variant=results.variants[picks[0].cell],
        metric=results.metric,
        num_train_images=key[1],
        num_replicates=len(planned),
        picks=tuple(picks),
        val_values=scores[0],
        test_values=scores[1],
        num_failed=num_failed,
        unit="draw" if sealed.repeats else _unit(trained.values()),
        overlap=_overlap(trained.values()),
        has_predictions=bool(trained) and all(record.trial_id in results.correct for record in trained.values()),
        image_scores=_per_image(results.leading_image_scores, trained, scores.shape[1:]),
    )


def _unit(replicates: Collection[Record]) -> Unit:
    """Return `seed` if every draw has the same training images, else `draw`."""
    draws = {record.spec.configuration.draw for record in replicates}
    subsets = {record.facts.subset_hash for record in replicates if record.facts}
    has_all_images = _overlap(replicates) == 1
    return "seed" if has_all_images or (len(draws) > 1 and len(subsets) == 1) else "draw"


def _overlap(replicates: Collection[Record]) -> float | None:
    """Return the expected share of a draw's images that another draw has; old records show it for fractions alone."""
    first = next(iter(replicates), None)
    if first is None:
        return None
    if first.facts is not None and first.facts.expected_overlap is not None:
        return first.facts.expected_overlap
    fraction = first.spec.configuration.data_fraction
    return None if fraction is None else float(fraction)


def _per_image(
    values: Mapping[str, NDArray[Any]], replicates: Mapping[tuple[int, int], Record], shape: tuple[int, ...]
) -> NDArray[Any] | None:
    """Return values per test image of replicates, (draws, seeds, images); None if one has no predictions."""
    known = {position: values[record.trial_id] for position, record in replicates.items() if record.trial_id in values}
    if not known or len(known) < len(replicates):
        return None
    array = np.zeros((*shape, len(first := next(iter(known.values())))), dtype=first.dtype)
    for position, of_images in known.items():
        array[position] = of_images
    return array


def _scores(results: SearchResults, replicate: Record) -> tuple[float, float]:
    """Return the leading metric on validation and on test images, in its unit."""
    assert replicate.test is not None
    test_value = replicate.test.value(results.metric.test_field or "")
    score = np.nan if test_value is None else results.metric.scale * test_value
    return results.metric_value(replicate), score
