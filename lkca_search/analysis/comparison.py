"""Comparison of two searches cell by cell, with the statistics that compare two variants of one search."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from lkca_search.analysis.contrasts import Contrast, Verdict, contrast_pairs, decide, have_pairs
from lkca_search.analysis.scores import CellScores, round_scores
from lkca_search.analysis.search_differences import SearchDifference, find_search_differences
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.p_values import holm
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE
from lkca_search.analysis.stats.student import welch_difference
from lkca_search.errors import SearchError
from lkca_search.records.rounds import Round, correct_for_rounds
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import Metric

_ReplicateKey = tuple[str, int, int]
"""Key of the cell, draw, and seed within the draw."""


class UnpairedContrast(FrozenModel):
    """First search minus second search in one cell without pairs, in the unit of the test score."""

    cell: str
    num_train_images: tuple[int, int]
    """Training images of a replicate in the first and in the second search."""
    num_draws: tuple[int, int]
    """Draws with a score in the first and in the second search; trainings if all draws have the same images."""
    difference: Estimate
    """Difference of the means over draws, with Welch's interval, not corrected for multiple testing.

    The interval does not include the sampling of test images.
    """
    p_value: float | None
    """Two-sided p of Welch's t test over draws, before correction; None if a search has a single draw."""
    adjusted_p: float | None
    """p-value corrected for all tests of the comparison, paired and unpaired, and for the rounds."""
    sign: int = 1
    """1 if a higher score is better, else -1."""

    @property
    def verdict(self) -> Verdict:
        """Result for the first search, at a corrected p of at most 0.05."""
        return decide(self.adjusted_p, self.sign * self.difference.value)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """First search minus second search, in every cell that both confirmed."""

    differences: tuple[SearchDifference, ...]
    """Everything besides the results in which the searches differ."""
    contrasts: tuple[Contrast, ...]
    """Cells with replicates that trained on the same images with the same seed."""
    unpaired: tuple[UnpairedContrast, ...]
    """Cells without such replicates."""
    left_out: tuple[str, ...]
    """Cells of either search that were not compared, each with the reason."""
    alpha: float
    """Level of the tests: the stricter one of the two rounds."""
    metric: Metric
    """Metric of the scores: the leading one of both searches, or accuracy if they differ in it."""
    pairs: tuple[tuple[CellScores, CellScores], ...] = ()
    """Scores of the contrasts, aligned by draw and seed."""


def compare(a: SearchResults, b: SearchResults, *, allow_differences: bool = False) -> Comparison:
    """Compare the latest rounds of two searches: replicates paired by draw and seed, or draws unpaired.

    The tests have the stricter level of the two rounds. Two replicates are a pair if they trained on the same images
    with the same seed; searches with equal seeds do. In a cell without pairs, the means of draws are compared.

    Raises:
        SearchError: The searches are one search, a search is not confirmed, the test images differ, or settings of data
            or training differ and `allow_differences` is False. The message lists the differences.
    """
    if a.name == b.name or (a.uid and a.uid == b.uid):
        raise SearchError(f"compare needs two searches, got {a.name!r} and {b.name!r}, which are one search")
    rounds = _latest_round(a), _latest_round(b)
    if rounds[0].test_hash != rounds[1].test_hash:
        raise SearchError(f"test images of searches {a.name!r} and {b.name!r} differ, so they cannot be compared")
    differences = find_search_differences(a, b)
    if not allow_differences:
        _check_training(a, b, differences)
    if a.metric != b.metric:
        a, b = a.by_accuracy(), b.by_accuracy()
    pairs, unpaired, left_out = _match(a, b, rounds)
    alpha = min(sealed.alpha for sealed in rounds)
    contrasts = contrast_pairs(
        pairs,
        names=[(a.name, b.name)] * len(pairs),
        alpha=alpha,
        num_other_tests=sum(each.p_value is not None for each in unpaired),
    )
    adjusted = holm([*(each.paired.p_value for each in contrasts), *(each.p_value for each in unpaired)])
    corrected = correct_for_rounds(adjusted, alpha)
    return Comparison(
        differences=differences,
        contrasts=tuple(
            each.model_copy(update={"adjusted_p": p}) for each, p in zip(contrasts, corrected, strict=False)
        ),
        unpaired=tuple(
            each.model_copy(update={"adjusted_p": p})
            for each, p in zip(unpaired, corrected[len(contrasts) :], strict=True)
        ),
        left_out=tuple(left_out),
        alpha=alpha,
        metric=a.metric,
        pairs=tuple(pairs),
    )


def _check_training(a: SearchResults, b: SearchResults, differences: Sequence[SearchDifference]) -> None:
    lines = [
        f"  {difference.name}: {difference.one} in {a.name}, {difference.other} in {b.name}"
        for difference in differences
        if difference.kind == "training"
    ]
    if lines:
        raise SearchError(
            "compared searches must have the same data and training, got these differences; with --allow-differences "
            "they are compared nevertheless:\n" + "\n".join(lines)
        )


def _match(
    a: SearchResults, b: SearchResults, rounds: tuple[Round, Round]
) -> tuple[list[tuple[CellScores, CellScores]], list[UnpairedContrast], list[str]]:
    """Return the cells with pairs, aligned by draw and seed, the contrasts of those without, and the cells left out."""
    training_keys = _training_keys(a, rounds[0]), _training_keys(b, rounds[1])
    pairs, unpaired, left_out = [], [], []
    left_b = list(round_scores(b, rounds[1]).cells)
    for cell_a in round_scores(a, rounds[0]).cells:
        alike = [cell for cell in left_b if cell.cell == cell_a.cell]
        if not alike:
            left_out.append(f"{cell_a.cell}: confirmed only by {a.name}")
            continue
        cell_b = next((cell for cell in alike if cell.num_train_images == cell_a.num_train_images), alike[0])
        left_b.remove(cell_b)
        aligned = _align(cell_a, cell_b, rounds, training_keys)
        if have_pairs(*aligned):
            pairs.append(aligned)
        else:
            unpaired.append(_unpaired_contrast(cell_a, cell_b))
    left_out += [f"{cell.cell}: confirmed only by {b.name}" for cell in left_b]
    return pairs, unpaired, left_out


def _unpaired_contrast(a: CellScores, b: CellScores) -> UnpairedContrast:
    means = [cell.unit_means(cell.test_values) for cell in (a, b)]
    tolerance = RELATIVE_TOLERANCE * float(max(np.abs(values).max() for values in means))
    difference, p_value = welch_difference(means[0], means[1], tolerance=tolerance)
    return UnpairedContrast(
        cell=a.cell,
        num_train_images=(a.num_train_images, b.num_train_images),
        num_draws=(len(means[0]), len(means[1])),
        difference=difference.within(*a.metric.difference_bounds),
        p_value=p_value,
        adjusted_p=None,
        sign=a.metric.sign,
    )


def _latest_round(results: SearchResults) -> Round:
    if not results.rounds:
        metric = results.metric.label.removeprefix("validation ")
        remedy = f"`lkca-search confirm {results.name}` tests its best configurations"
        raise SearchError(f"search {results.name!r} is not confirmed, so it has no test {metric} to compare: {remedy}")
    return results.rounds[-1]


def _training_keys(results: SearchResults, sealed: Round) -> dict[_ReplicateKey, tuple[str, int]]:
    """Return the hash of the training images and the seed of each replicate of a best configuration of the round."""
    records = {record.trial_id: record for record in results.replicates}
    keys = {}
    for pick, replication in sealed.replications():
        record = records.get(replication.replicate_id)
        if pick.rank == 1 and record is not None and record.facts:
            where = results.compared_cells[pick.cell].key, replication.draw, replication.seed
            keys[where] = record.facts.subset_hash, record.spec.seed
    return keys


def _align(
    cell_a: CellScores,
    cell_b: CellScores,
    rounds: tuple[Round, Round],
    training_keys: tuple[dict[_ReplicateKey, tuple[str, int]], dict[_ReplicateKey, tuple[str, int]]],
) -> tuple[CellScores, CellScores]:
    """Return both cells with scores over the union of their draws and seeds; NaN unless both have the same training."""
    draws = sorted({*rounds[0].draws, *rounds[1].draws})
    num_seeds = max(sealed.num_seeds for sealed in rounds)
    shared = {
        (draw, seed)
        for draw, seed in product(draws, range(num_seeds))
        if (key := training_keys[0].get((cell_a.cell, draw, seed))) is not None
        and key == training_keys[1].get((cell_a.cell, draw, seed))
    }
    a, b = (
        cell.at_replicates(
            [
                [_position(sealed, draw, seed) if (draw, seed) in shared else None for seed in range(num_seeds)]
                for draw in draws
            ]
        )
        for cell, sealed in zip((cell_a, cell_b), rounds, strict=True)
    )
    return a, b


def _position(sealed: Round, draw: int, seed: int) -> tuple[int, int] | None:
    """Return the index of a replicate in the scores of a round; None if the round has no such replicate."""
    return (sealed.draws.index(draw), seed) if draw in sealed.draws and seed < sealed.num_seeds else None
