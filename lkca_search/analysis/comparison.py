"""Comparison of two searches cell by cell, with the statistics that compare two variants of one search."""

from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.contrasts import Contrast, contrast_pairs, have_pairs
from lkca_search.analysis.scores import CellScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.errors import SearchError
from lkca_search.records.rounds import Round

_ReplicateKey = tuple[str, int, int]
"""Key of the cell, draw, and seed within the draw."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """First search minus second search, in every cell that both confirmed on the same images."""

    contrasts: tuple[Contrast, ...]
    left_out: tuple[str, ...]
    """Cells of either search that were not compared, each with the reason."""
    alpha: float
    """Level of the tests: the stricter one of the two rounds."""


def compare(a: SearchResults, b: SearchResults) -> Comparison:
    """Compare the latest rounds of two searches, replicates paired by draw and seed.

    The tests have the stricter level of the two rounds.

    Two replicates are a pair if they trained on the same images with the same seed; searches with equal seeds do.

    Raises:
        SearchError: A search is not confirmed, or the two searches have different test images.
    """
    rounds = _latest_round(a), _latest_round(b)
    if rounds[0].test_hash != rounds[1].test_hash:
        raise SearchError(f"test images of searches {a.name!r} and {b.name!r} differ, so they cannot be compared")
    scores_a, scores_b = round_scores(a, rounds[0]), round_scores(b, rounds[1])
    training_keys = _training_keys(a), _training_keys(b)
    pairs, left_out = [], []
    cells_b = {cell.cell: cell for cell in scores_b.cells}
    for cell_a in scores_a.cells:
        cell_b = cells_b.pop(cell_a.cell, None)
        if cell_b is None:
            left_out.append(f"{cell_a.cell}: confirmed only by {a.name}")
            continue
        aligned = _align(cell_a, cell_b, rounds, training_keys)
        if have_pairs(*aligned):
            pairs.append(aligned)
        else:
            left_out.append(f"{cell_a.cell}: no two replicates trained on the same images with the same seed")
    left_out += [f"{cell}: confirmed only by {b.name}" for cell in cells_b]
    alpha = min(sealed.alpha for sealed in rounds)
    contrasts = contrast_pairs(pairs, names=[(a.name, b.name)] * len(pairs), alpha=alpha)
    return Comparison(contrasts=contrasts, left_out=tuple(left_out), alpha=alpha)


def _latest_round(results: SearchResults) -> Round:
    if not results.rounds:
        raise SearchError(f"search {results.name!r} is not confirmed, so it has no test accuracy to compare")
    return results.rounds[-1]


def _training_keys(results: SearchResults) -> dict[_ReplicateKey, tuple[str, int]]:
    """Return the hash of the training images and the seed of each replicate."""
    names = results.compared_cells
    return {
        (names[record.cell].key, record.replicate.draw, record.replicate.seed): (
            record.facts.subset_hash,
            record.spec.seed,
        )
        for record in results.replicates
        if record.replicate and record.facts
    }


def _align(
    cell_a: CellScores,
    cell_b: CellScores,
    rounds: tuple[Round, Round],
    training_keys: tuple[dict[_ReplicateKey, tuple[str, int]], dict[_ReplicateKey, tuple[str, int]]],
) -> tuple[CellScores, CellScores]:
    """Return both cells with scores over the union of their draws and seeds; NaN unless both have the same training."""
    draws = sorted({*rounds[0].draws, *rounds[1].draws})
    num_seeds = max(sealed.num_seeds for sealed in rounds)
    accuracies = np.full((2, len(draws), num_seeds), np.nan)
    for index, draw in enumerate(draws):
        for seed in range(num_seeds):
            key = cell_a.cell, draw, seed
            if training_keys[0].get(key) is not None and training_keys[0].get(key) == training_keys[1].get(key):
                accuracies[:, index, seed] = (
                    _score(cell_a, rounds[0], draw, seed),
                    _score(cell_b, rounds[1], draw, seed),
                )
    return cell_a.with_accuracies(accuracies[0]), cell_b.with_accuracies(accuracies[1])


def _score(cell: CellScores, sealed: Round, draw: int, seed: int) -> float:
    if draw not in sealed.draws or seed >= sealed.num_seeds:
        return float("nan")
    return float(cell.accuracies[sealed.draws.index(draw), seed])
