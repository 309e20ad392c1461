"""Predictions of the replicates of a cell on all test images, as arrays by draw and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import Position, SearchResults, Variant
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.predictions import ReplicatePredictions, TestImages
from lkca_search.records.record import Record


@dataclass(frozen=True, kw_only=True, eq=False)
class CellPredictions:
    """Predictions of the best configuration of a cell; values of replicates without predictions mean nothing."""

    scores: CellScores
    """Scores of the same cell, with its unit of analysis."""
    images: TestImages
    """Test images, the same for all cells of a dataset."""
    present: NDArray[np.bool_]
    """True per replicate with predictions, (draws, seeds); at least one."""
    predicted: NDArray[np.uint16]
    """Predicted classes, (draws, seeds, images)."""
    confidences: NDArray[np.float16] | None
    """Probabilities of the predicted classes, (draws, seeds, images); None if a file has no probabilities."""
    image_scores: NDArray[Any] | None
    """Numbers whose mean is the leading metric, (draws, seeds, images); None if it is no mean over images."""
    recorded_errors: Floats | None = None
    """Calibration error of each record in percent, (draws, seeds); NaN, or None, where it is unknown.

    It is from full probabilities. Those of `confidences` have three digits, which moves images between bins.
    """

    @property
    def variant(self) -> Variant:
        """Variant of the cell."""
        return self.scores.variant

    @property
    def num_train_images(self) -> int:
        """Training images of every replicate."""
        return self.scores.num_train_images

    @property
    def by_seed(self) -> bool:
        """True if each training is a unit of analysis, because all draws have the same images."""
        return self.scores.unit == "seed"

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """True per replicate and test image that is classified correctly, (draws, seeds, images)."""
        correct: NDArray[np.bool_] = self.predicted == self.images.labels
        return correct


def predicted_cells(results: SearchResults, scores: RoundScores) -> tuple[CellPredictions, ...]:
    """Return the predictions of every cell that has some, from few training images to many.

    `results` are those of one dataset. Replicates that were tested on other images than the first one are left out,
    as those without predictions.
    """
    tested = [dict(results.tested(scores.round, cell.picks)) for cell in scores.cells]
    ids = [record.trial_id for records in tested for record in records.values()]
    first = next((results.predictions[each] for each in ids if each in results.predictions), None)
    if first is None:
        return ()
    cells = [_cell(results, *each, first.images) for each in zip(scores.cells, tested, strict=True)]
    return tuple(sorted(filter(None, cells), key=lambda cell: cell.num_train_images))


def class_names(cells: Sequence[CellPredictions]) -> list[str]:
    """Return the name of each class; `class 0`, `class 1`, ... if the files have no names."""
    names = cells[0].images.class_names
    last = max(int(cells[0].images.labels.max()), *(int(cell.predicted[cell.present].max()) for cell in cells))
    return [*names, *(f"class {index}" for index in range(len(names), last + 1))]


def _cell(
    results: SearchResults, cell: CellScores, records: Mapping[Position, Record], images: TestImages
) -> CellPredictions | None:
    known = {
        position: each
        for position, record in records.items()
        if (each := results.predictions.get(record.trial_id)) is not None and _is_same(each.images, images)
    }
    if not known:
        return None
    shape = cell.test_values.shape
    present = np.zeros(shape, dtype=np.bool_)
    for position in known:
        present[position] = True
    stacked = {name: _stack(known, name, shape) for name in ("predicted", "confidences", "scores")}
    recorded_errors = np.full(shape, np.nan)
    for position in known:
        test = records[position].test
        error = None if test is None else test.value("calibration_error")
        recorded_errors[position] = np.nan if error is None else PERCENT * error
    predicted = stacked["predicted"]
    assert predicted is not None
    return CellPredictions(
        scores=cell,
        images=images,
        present=present,
        predicted=predicted,
        confidences=stacked["confidences"],
        image_scores=stacked["scores"],
        recorded_errors=recorded_errors,
    )


def _is_same(one: TestImages, other: TestImages) -> bool:
    return one is other or (one.data_hash == other.data_hash and np.array_equal(one.labels, other.labels))


def _stack(
    known: Mapping[tuple[int, int], ReplicatePredictions], name: str, shape: tuple[int, ...]
) -> NDArray[Any] | None:
    """Return a field of the predictions, (draws, seeds, images); None if one replicate lacks it."""
    values = {position: getattr(each, name) for position, each in known.items()}
    if any(value is None for value in values.values()):
        return None
    first = next(iter(values.values()))
    array = np.zeros((*shape, len(first)), dtype=first.dtype)
    for position, value in values.items():
        array[position] = value
    return array
