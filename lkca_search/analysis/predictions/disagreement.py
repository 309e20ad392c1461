"""Test images that some variants classify correctly and others do not, and how many of them chance alone gives."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.spec.base import FrozenModel

NUM_IMAGES = 24
"""Images that are kept."""
LARGE = 0.5
"""Difference between two shares of right replicates from which an image counts as one of disagreement."""
NUM_ASSIGNMENTS = 200
"""Random assignments of trainings to variants."""
_TOLERANCE = 1e-6


class ImageVotes(FrozenModel):
    """Replicates of one variant that classify an image correctly, of those with predictions."""

    variant: str
    num_right: int
    num_replicates: int
    predicted_class: str
    """Class that most of the replicates predict."""


class DisputedImage(FrozenModel):
    """Test image on which variants disagree."""

    index: int
    """Position in the test split, from 0."""
    true_class: str
    votes: tuple[ImageVotes, ...]
    """Votes per variant, in the order of the space file."""


class Disagreement(FrozenModel):
    """Images of disagreement between the variants at one number of training images."""

    variants: tuple[str, ...]
    num_train_images: int
    num_images: int
    """Test images."""
    num_disputed: int
    """Images on which the shares of right replicates of two variants differ by at least a half."""
    by_chance: float
    """The same number if trainings on the same draw are assigned to variants at random: mean over assignments."""
    num_as_many: int
    """Assignments of NUM_ASSIGNMENTS that give at least as many."""
    data_hash: str
    """SHA-256 of the test split's pixels and labels; empty if it is not known."""
    images: tuple[DisputedImage, ...]
    """Images with the largest differences, largest first."""


def disagreement(
    cells: Sequence[CellPredictions], names: Sequence[str], *, generator: np.random.Generator
) -> Disagreement | None:
    """Return the disagreement of the variants at one size, by the first cell of each; None for a single variant."""
    cells = list({cell.variant: cell for cell in reversed(cells)}.values())[::-1]
    if len(cells) < 2:
        return None
    members = [np.argwhere(cell.present) for cell in cells]
    correct = np.concatenate([cell.correct[cell.present] for cell in cells])  # (replicates, images)
    owners = np.repeat(np.arange(len(cells)), [len(each) for each in members])
    draws = np.concatenate(members)[:, 0]
    shares = _shares(correct, owners, len(cells))
    by_chance = _disputed_by_chance(correct, owners, draws, generator)
    order = np.lexsort((-shares.var(axis=0), -np.ptp(shares, axis=0)))[:NUM_IMAGES]
    return Disagreement(
        variants=tuple(cell.variant.label for cell in cells),
        num_train_images=cells[0].num_train_images,
        num_images=correct.shape[1],
        num_disputed=_count(shares),
        by_chance=float(by_chance.mean()),
        num_as_many=int((by_chance >= _count(shares)).sum()),
        data_hash=cells[0].images.data_hash,
        images=tuple(_image(cells, names, int(index)) for index in order if np.ptp(shares[:, index]) > 0),
    )


def _shares(correct: NDArray[np.bool_], owners: NDArray[np.int64], num_variants: int) -> Floats:
    """Return the share of the replicates of each variant that is right per image, (variants, images)."""
    weights = (owners == np.arange(num_variants)[:, None]).astype(np.float32)
    shares: Floats = weights / weights.sum(axis=1, keepdims=True) @ correct.astype(np.float32)
    return shares


def _count(shares: Floats) -> int:
    """Return the number of images of disagreement."""
    return int((np.ptp(shares, axis=0) >= LARGE - _TOLERANCE).sum())


def _disputed_by_chance(
    correct: NDArray[np.bool_], owners: NDArray[np.int64], draws: NDArray[np.int64], generator: np.random.Generator
) -> Floats:
    """Return the number of images of disagreement for random assignments of the trainings on a draw to variants."""
    counts = np.empty(NUM_ASSIGNMENTS)
    groups = [np.flatnonzero(draws == draw) for draw in np.unique(draws)]
    for number in range(NUM_ASSIGNMENTS):
        assigned = owners.copy()
        for group in groups:
            assigned[group] = owners[generator.permutation(group)]
        counts[number] = _count(_shares(correct, assigned, int(owners.max()) + 1))
    return counts


def _image(cells: Sequence[CellPredictions], names: Sequence[str], index: int) -> DisputedImage:
    votes = []
    for cell in cells:
        predicted = cell.predicted[..., index][cell.present]
        votes.append(
            ImageVotes(
                variant=cell.variant.label,
                num_right=int(cell.correct[..., index][cell.present].sum()),
                num_replicates=len(predicted),
                predicted_class=names[int(np.bincount(predicted).argmax())],
            )
        )
    return DisputedImage(index=index, true_class=names[int(cells[0].images.labels[index])], votes=tuple(votes))
