"""Calibration of the probability of the predicted class: reliability by bins, calibration error and overconfidence.

Bins and calibration error are those of Guo et al. 2017 (On Calibration of Modern Neural Networks, section 2). On a
finite test set, the error of a calibrated classifier is above 0. It is the expected error if each prediction is right
with exactly its probability (consistency resampling, Bröcker and Smith 2007, in its normal approximation).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.percentage_mean import PERCENT, mean_percentage, student_percentage
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.analysis.stats.variance import image_means, image_variance
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import NUM_CALIBRATION_BINS


class CalibrationBin(FrozenModel):
    """Test images whose predicted class has a probability in one range."""

    lower: float
    """Largest probability, in percent, that is below the bin."""
    upper: float
    """Largest probability in the bin, in percent."""
    confidence: float
    """Mean probability of the predicted class, in percent."""
    accuracy: Estimate
    """Share of images that are classified correctly, in percent."""
    num_images: float
    """Test images per replicate."""


class Calibration(FrozenModel):
    """Calibration of the replicates of one cell."""

    variant: str
    num_train_images: int
    error: Estimate
    """Expected calibration error of a replicate, in percent, as in its record if that has one."""
    calibrated_error: float
    """Expected calibration error of a calibrated classifier with the same probabilities, in percent."""
    overconfidence: Estimate
    """Mean probability of the predicted class minus accuracy, in points."""
    bins: tuple[CalibrationBin, ...]
    """Bins with images, from low to high probabilities."""


def calibration(cell: CellPredictions) -> Calibration | None:
    """Return the calibration of a cell; None if probabilities are not known."""
    if cell.confidences is None:
        return None
    confidences = cell.confidences.astype(np.float64)
    bins = np.clip(np.ceil(confidences * NUM_CALIBRATION_BINS).astype(np.int8) - 1, 0, NUM_CALIBRATION_BINS - 1)
    gaps = PERCENT * (confidences - cell.correct)
    over = image_means(gaps, cell.present, by_seed=cell.by_seed)
    errors, calibrated_errors, influences = _errors(gaps, confidences, bins, cell.present)
    if cell.recorded_errors is not None:
        errors = np.where(np.isfinite(cell.recorded_errors), cell.recorded_errors, errors)
    by_unit = image_means(influences, cell.present, by_seed=cell.by_seed)
    return Calibration(
        variant=cell.variant.label,
        num_train_images=cell.num_train_images,
        error=mean_percentage(cell.scores.unit_means(errors), sampling_variance=image_variance(by_unit)),
        calibrated_error=float(np.nanmean(calibrated_errors)),
        overconfidence=student_mean(
            over.mean(axis=1), tolerance=RELATIVE_TOLERANCE * PERCENT, sampling_variance=image_variance(over)
        ).within(-PERCENT, PERCENT),
        bins=tuple(
            found
            for index in range(NUM_CALIBRATION_BINS)
            if (found := _bin(cell, confidences, bins == index, index)) is not None
        ),
    )


def _errors(
    gaps: Floats, confidences: Floats, bins: NDArray[np.int8], present: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Return errors and those of calibrated classifiers, (draws, seeds), and influences, (draws, seeds, images).

    The mean of the influences varies with the test images as the error does. Values of missing replicates are NaN.
    """
    errors, calibrated = (np.full(present.shape, np.nan) for _ in range(2))
    influences = np.zeros(gaps.shape)
    for position in map(tuple, np.argwhere(present)):
        sums = np.bincount(bins[position], gaps[position], NUM_CALIBRATION_BINS)
        variances = confidences[position] * (1 - confidences[position])
        spread = np.sqrt(np.bincount(bins[position], variances, NUM_CALIBRATION_BINS))
        num_images = gaps.shape[2]
        errors[position] = np.abs(sums).sum() / num_images
        calibrated[position] = PERCENT * math.sqrt(2 / math.pi) * spread.sum() / num_images
        influences[position] = np.sign(sums)[bins[position]] * gaps[position]
    return errors, calibrated, influences


def _bin(cell: CellPredictions, confidences: Floats, inside: NDArray[np.bool_], index: int) -> CalibrationBin | None:
    """Return a bin; None without images. A unit's accuracy is a ratio of means, with the influence of each image."""
    within = inside & cell.present[..., None]
    if not within.any():
        return None
    counts, hits = (
        image_means(values, cell.present, by_seed=cell.by_seed) for values in (within, within & cell.correct)
    )
    shares = counts.mean(axis=1)  # (units,)
    known = shares > 0
    accuracies = hits[known].mean(axis=1) / shares[known]
    influences = PERCENT * (hits[known] - accuracies[:, None] * counts[known]) / shares[known][:, None]
    return CalibrationBin(
        lower=PERCENT * index / NUM_CALIBRATION_BINS,
        upper=PERCENT * (index + 1) / NUM_CALIBRATION_BINS,
        confidence=PERCENT * float(confidences[within].mean()),
        accuracy=student_percentage(PERCENT * accuracies, sampling_variance=image_variance(influences)),
        num_images=float(within.sum() / cell.present.sum()),
    )


def calibrations(cells: Sequence[CellPredictions]) -> list[Calibration]:
    """Return the calibration of every cell with probabilities."""
    return [found for cell in cells if (found := calibration(cell)) is not None]
