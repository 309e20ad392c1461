"""Agreement of the predictions of two variants, compared with that of independent errors and of two trainings.

Error consistency is Cohen's kappa of the two values right and wrong (Geirhos et al. 2020, Beyond accuracy: quantifying
trial-by-trial behaviour of CNNs and humans by measuring error consistency, section 2). Two accurate classifiers are
often right on the same images; kappa removes what independent errors with the same accuracies would give. It is 0 for
independent and 1 for equal errors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.scores import shared_unit
from lkca_search.analysis.search_results import Position
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.percentage_mean import PERCENT, mean_percentage
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.analysis.stats.variance import image_variance
from lkca_search.spec.base import FrozenModel

NO_ERRORS = "the accuracies leave no error to compare"
"""Reason why there is no error consistency: every classifier is always right, or always wrong."""

Pairs = list[tuple[Position, Position]]


class Agreement(FrozenModel):
    """Agreement of two variants at one number of training images, or of two trainings of one variant."""

    one: str
    other: str
    """The other variant; the same one for two trainings of it."""
    num_train_images: int
    num_pairs: int
    """Pairs of trainings: on the same draw with any seeds, or by training if all draws have the same images."""
    equal_predictions: Estimate
    """Share of the test images with the same predicted class, in percent."""
    consistent: float
    """Share of the test images on which both are right or both are wrong, in percent."""
    consistent_by_chance: float
    """The same share for independent errors with the same accuracies, in percent."""
    error_consistency: Estimate | None
    """Cohen's kappa of right and wrong; None if no pair of trainings has one."""
    beyond_retraining: Estimate | None = None
    """Error consistency minus the mean of that of two trainings of each variant, over the draws that have both.

    If all draws have the same images, it is over groups of two trainings of each variant.
    """

    @property
    def is_retraining(self) -> bool:
        """True for two trainings of one variant."""
        return self.one == self.other


@dataclass(frozen=True, kw_only=True, eq=False)
class _Units:
    """Mean over the pairs of each unit."""

    keys: tuple[int, ...]
    """Index of the draw; where all draws have the same images, of the training, or of the group of two."""
    equal: Floats
    """Share with the same predicted class per image, (units, images)."""
    shares: Floats
    """Share of both right or both wrong, and the same by chance, (units, 2)."""
    kappas: Floats
    """Error consistency, (units,); NaN if no pair has one."""
    influences: Floats
    """Values per image whose mean varies with the test images as kappa does (delta method), (units, images)."""
    num_pairs: int


def agreements(cells: Sequence[CellPredictions]) -> list[Agreement]:
    """Return the agreement of all pairs of variants at each size, then that of two trainings of each variant.

    A pair are two trainings on the same draw, with any seeds. If all draws have the same images, each training is a
    unit, as in contrasts: a pair of two variants has the same draw and seed. Two trainings of one variant then form
    groups of two, as each training may be in one pair only. The difference of both is over groups of two, too.
    """
    found = []
    for size in dict.fromkeys(cell.num_train_images for cell in cells):
        alike = [cell for cell in cells if cell.num_train_images == size]
        own = {index: _units(cell, cell, group_size=2) for index, cell in enumerate(alike)}
        for (i, one), (j, other) in combinations(enumerate(alike), 2):
            if one.variant != other.variant and (units := _units(one, other)) is not None:
                found.append(_agreement(one, other, units, _beyond(one, other, units, [own[i], own[j]])))
        found += [_agreement(alike[index], alike[index], units) for index, units in own.items() if units is not None]
    return found


def _agreement(
    one: CellPredictions, other: CellPredictions, units: _Units, beyond: Estimate | None = None
) -> Agreement:
    equal = PERCENT * units.equal
    return Agreement(
        one=one.variant.label,
        other=other.variant.label,
        num_train_images=one.num_train_images,
        num_pairs=units.num_pairs,
        equal_predictions=mean_percentage(equal.mean(axis=1), sampling_variance=image_variance(equal)),
        consistent=PERCENT * float(units.shares[:, 0].mean()),
        consistent_by_chance=PERCENT * float(units.shares[:, 1].mean()),
        error_consistency=_mean(units.kappas, units.influences, largest=1.0),
        beyond_retraining=beyond,
    )


def _beyond(
    one: CellPredictions, other: CellPredictions, units: _Units, retrained: Sequence[_Units | None]
) -> Estimate | None:
    """Return kappa minus the mean kappa of two trainings of each variant, on the units that have all three."""
    known = [each for each in retrained if each is not None]
    if len(known) < 2 or one.by_seed != other.by_seed:
        return None
    if one.by_seed and (grouped := _units(one, other, group_size=2)) is not None:
        units = grouped
    common = sorted(set(units.keys).intersection(*(each.keys for each in known)))
    if not common:
        return None
    picked = [[each.keys.index(key) for key in common] for each in (units, *known)]
    kappas = [each.kappas[rows] for each, rows in zip((units, *known), picked, strict=True)]
    influences = [each.influences[rows] for each, rows in zip((units, *known), picked, strict=True)]
    beyond = kappas[0] - np.mean(kappas[1:], axis=0)
    return _mean(beyond, influences[0] - np.mean(influences[1:], axis=0), largest=2.0)


def _mean(values: Floats, influences: Floats, *, largest: float) -> Estimate | None:
    """Return the mean over units with a t interval that includes the sampling of test images; None without values.

    No value is below -`largest` or above it: kappa is from -1 to 1.
    """
    known = np.isfinite(values)
    if not known.any():
        return None
    variance = image_variance(influences[known])
    estimate = student_mean(values[known], tolerance=RELATIVE_TOLERANCE, sampling_variance=variance)
    return estimate.within(-largest, largest)


def _units(one: CellPredictions, other: CellPredictions, *, group_size: int = 1) -> _Units | None:
    """Return the means over the pairs of each unit; None without a pair.

    Where trainings are the units, `group_size` of each variant form one.
    """
    units = dict(_pairs_by_unit(one, other, group_size))
    if not units:
        return None
    rows = [_mean_of_pairs(one, other, pairs) for pairs in units.values()]
    return _Units(
        keys=tuple(units),
        equal=np.stack([row[0] for row in rows]),
        shares=np.stack([row[1] for row in rows]),
        kappas=np.array([row[2] for row in rows]),
        influences=np.stack([row[3] for row in rows]),
        num_pairs=sum(map(len, units.values())),
    )


def _pairs_by_unit(one: CellPredictions, other: CellPredictions, group_size: int) -> Iterator[tuple[int, Pairs]]:
    """Yield each unit with its pairs of trainings, each by draw and seed."""
    num_seeds = one.present.shape[1]
    by_seed = shared_unit(one.scores, other.scores) == "seed"

    def positions(cell: CellPredictions) -> dict[int, list[Position]]:
        found: dict[int, list[Position]] = {}
        for draw, seed in np.argwhere(cell.present).tolist():
            found.setdefault((draw * num_seeds + seed) // group_size if by_seed else draw, []).append((draw, seed))
        return found

    first, second = positions(one), positions(other)
    for unit in sorted(first.keys() & second.keys()):
        pairs = list(combinations(first[unit], 2) if one is other else product(first[unit], second[unit]))
        if pairs:
            yield unit, pairs


def _mean_of_pairs(one: CellPredictions, other: CellPredictions, pairs: Pairs) -> tuple[Floats, Floats, float, Floats]:
    """Return the means over pairs: equal predictions per image, shares, kappa, and its influences per image."""
    equal = np.mean([one.predicted[a] == other.predicted[b] for a, b in pairs], axis=0)
    rows = [_kappa(one.correct[a], other.correct[b]) for a, b in pairs]
    shares = np.mean([row[0] for row in rows], axis=0)
    known = [row for row in rows if np.isfinite(row[1])]
    if not known:
        return equal, shares, np.nan, np.zeros(equal.shape)
    return equal, shares, float(np.mean([row[1] for row in known])), np.mean([row[2] for row in known], axis=0)


def _kappa(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[tuple[float, float], float, Floats]:
    """Return the share of both right or both wrong with that by chance, kappa, and its influences per image."""
    is_same = a == b
    p, q, observed = float(a.mean()), float(b.mean()), float(is_same.mean())
    chance = p * q + (1 - p) * (1 - q)
    if chance == 1:
        return (observed, chance), np.nan, np.zeros(a.shape)
    kappa = (observed - chance) / (1 - chance)
    moved = (2 * q - 1) * a + (2 * p - 1) * b
    return (observed, chance), kappa, (is_same - (1 - kappa) * moved) / (1 - chance)
