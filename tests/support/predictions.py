"""Made-up predictions on test images, with classes, errors and probabilities that a test chooses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.scores import CellScores, Unit
from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.records.predictions import ReplicatePredictions, TestImages
from lkca_search.spec.metrics import METRICS

Indices = NDArray[np.int64]


def make_cell(
    predicted: NDArray[Any],
    labels: NDArray[Any],
    *,
    confidences: NDArray[Any] | None = None,
    variant: str = "lkca",
    num_train_images: int = 1000,
    unit: Unit = "draw",
    present: NDArray[np.bool_] | None = None,
    names: Sequence[str] = (),
) -> CellPredictions:
    """Return the predictions of a cell, (draws, seeds, images)."""
    present = np.ones(predicted.shape[:2], dtype=np.bool_) if present is None else present
    values = np.where(present, 100 * (predicted == labels).mean(axis=2), np.nan)
    scores = CellScores(
        cell=variant,
        variant=Variant(levels=(("family", variant),), label=variant),
        metric=METRICS["val_accuracy"],
        num_train_images=num_train_images,
        num_replicates=present.size,
        picks=(),
        val_values=values,
        test_values=values,
        num_failed=0,
        unit=unit,
    )
    return CellPredictions(
        scores=scores,
        images=TestImages(labels=labels.astype(np.uint16), data_hash="t" * 64, class_names=tuple(names)),
        present=present,
        predicted=predicted.astype(np.uint16),
        confidences=None if confidences is None else confidences.astype(np.float16),
        image_scores=None,
    )


def wrong_class(labels: Indices, num_classes: int, generator: np.random.Generator, size: tuple[int, ...]) -> Indices:
    """Return another class than that of each image, at random."""
    shift: Indices = generator.integers(1, num_classes, size=size)
    return (labels + shift) % num_classes


def with_class_predictions(
    results: SearchResults,
    num_classes: int,
    *,
    num_images: int = 1000,
    names: Sequence[str] = (),
    data_hash: str = "t" * 64,
) -> SearchResults:
    """Return results with predictions whose accuracy is that of the replicate.

    Families share most of the difficulty of an image, and trainings of a family a part of the rest. Wrong images are
    mostly taken for the next class. Probabilities are too high.
    """
    labels = np.random.default_rng(1).permutation(np.arange(num_images) % num_classes)
    images = TestImages(labels=labels.astype(np.uint16), data_hash=data_hash, class_names=tuple(names))
    difficulty = np.random.default_rng(2).standard_normal(num_images)
    predictions, correct = {}, {}
    for record in results.replicates:
        if record.test is None:
            continue
        family = record.spec.configuration.family
        own = np.random.default_rng([3, len(family)]).standard_normal(num_images)
        generator = np.random.default_rng([record.spec.seed, len(record.trial_id)])
        noise = difficulty + 0.5 * own + 0.6 * generator.standard_normal(num_images)
        is_right = np.argsort(np.argsort(noise)) < round(record.test.accuracy * num_images)
        is_next = generator.random(num_images) < 0.6
        other = np.where(
            is_next, (labels + 1) % num_classes, wrong_class(labels, num_classes, generator, (num_images,))
        )
        margin = np.quantile(noise, record.test.accuracy) - noise + 0.8 * generator.standard_normal(num_images)
        confidences = np.clip(1 / (1 + np.exp(-1.5 * margin)) + 0.1, 1 / num_classes, 1)
        predictions[record.trial_id] = ReplicatePredictions(
            predicted=np.where(is_right, labels, other).astype(np.uint16),
            images=images,
            scores=is_right,
            confidences=confidences.astype(np.float16),
        )
        correct[record.trial_id] = is_right
    return replace(results, predictions=predictions, correct=correct)
