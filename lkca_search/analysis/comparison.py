"""Two searches held against each other: the cells that both have, by the same statistics as two variants of one."""

from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.contrasts import Contrast, contrast_pairs, have_pairs
from lkca_search.analysis.scores import CellScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.errors import SearchError
from lkca_search.records.rounds import Round

_ReplicateKey = tuple[str, int, int]
"""Cell, draw and seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The first search less the second, in every cell that both confirmed on the same images."""

    contrasts: tuple[Contrast, ...]
    left_out: tuple[str, ...]
    """Cells of either that were not compared, and why."""


def compare(a: SearchResults, b: SearchResults) -> Comparison:
    """Compare the latest rounds of two searches, replicates paired by draw and seed.

    A pair must have trained on the same images with the same seed, as searches of one seed do, and both must have been
    tested on the same images. SearchError where one is not confirmed, or their test images differ.
    """
    sealed = _latest(a), _latest(b)
    if sealed[0].test_hash != sealed[1].test_hash:
        raise SearchError(f"searches {a.name!r} and {b.name!r} were tested on other images, so they cannot be compared")
    scores = round_scores(a, sealed[0]), round_scores(b, sealed[1])
    pairs, left_out = [], []
    theirs = {cell.cell: cell for cell in scores[1].cells}
    trained = _trained_on(a), _trained_on(b)
    for ours in scores[0].cells:
        other = theirs.pop(ours.cell, None)
        if other is None:
            left_out.append(f"{ours.cell}: only {a.name} has confirmed it")
            continue
        aligned = _align(ours, other, sealed, trained)
        if have_pairs(*aligned):
            pairs.append(aligned)
        else:
            left_out.append(
                f"{ours.cell}: no replicate of one trained on the same images with the same seed as the other"
            )
    left_out += [f"{cell}: only {b.name} has confirmed it" for cell in theirs]
    found = contrast_pairs(pairs, names=[(a.name, b.name)] * len(pairs))
    return Comparison(contrasts=found, left_out=tuple(left_out))


def _latest(results: SearchResults) -> Round:
    if not results.rounds:
        raise SearchError(f"search {results.name!r} is not confirmed: there is no test accuracy to compare")
    return results.rounds[-1]


def _trained_on(results: SearchResults) -> dict[_ReplicateKey, tuple[str, int]]:
    """Images and seed of each replicate."""
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
    ours: CellScores,
    theirs: CellScores,
    sealed: tuple[Round, Round],
    trained: tuple[dict[_ReplicateKey, tuple[str, int]], dict[_ReplicateKey, tuple[str, int]]],
) -> tuple[CellScores, CellScores]:
    """Both cells on the draws and seeds of either, with scores where both trained on the same images alone."""
    draws = sorted({*sealed[0].draws, *sealed[1].draws})
    num_seeds = max(each.num_seeds for each in sealed)
    shape = len(draws), num_seeds
    accuracies = np.full((2, *shape), np.nan)
    for place, draw in enumerate(draws):
        for seed in range(num_seeds):
            key = ours.cell, draw, seed
            if trained[0].get(key) is not None and trained[0].get(key) == trained[1].get(key):
                accuracies[:, place, seed] = _score(ours, sealed[0], draw, seed), _score(theirs, sealed[1], draw, seed)
    return ours.with_accuracies(accuracies[0]), theirs.with_accuracies(accuracies[1])


def _score(cell: CellScores, sealed: Round, draw: int, seed: int) -> float:
    if draw not in sealed.draws or seed >= sealed.num_seeds:
        return float("nan")
    return float(cell.accuracies[sealed.draws.index(draw), seed])
