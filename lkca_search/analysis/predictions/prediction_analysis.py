"""Analysis of the predictions of a round on one dataset, and its rows for Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lkca_search.analysis.datasets import split_by_dataset
from lkca_search.analysis.predictions.agreement import Agreement, agreements
from lkca_search.analysis.predictions.calibration import Calibration, calibrations
from lkca_search.analysis.predictions.cell_predictions import (
    CellPredictions,
    class_names,
    predicted_cells,
)
from lkca_search.analysis.predictions.class_accuracies import (
    ClassAccuracy,
    Confusion,
    class_accuracies,
    confusion,
    frequent_pairs,
)
from lkca_search.analysis.predictions.disagreement import Disagreement, disagreement
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of each table, by the name of its file without extension."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictionAnalysis:
    """Numbers from the predictions of the replicates of a round on the test images of one dataset."""

    cells: tuple[CellPredictions, ...]
    """Cells with predictions, from few training images to many; at least one."""
    class_names: tuple[str, ...]
    classes: tuple[ClassAccuracy, ...]
    """Accuracy of each class in each cell."""
    confusions: tuple[Confusion, ...]
    """Most frequent confusions of each cell."""
    agreements: tuple[Agreement, ...]
    disagreement: Disagreement | None
    """Images of disagreement at the largest number of training images with two variants; None without any."""
    calibrations: tuple[Calibration, ...]

    num_tested: int
    """Tested replicates of all cells."""

    @property
    def num_missing(self) -> int:
        """Tested replicates without predictions."""
        return self.num_tested - sum(int(cell.present.sum()) for cell in self.cells)

    @property
    def sizes(self) -> list[int]:
        """Numbers of training images, sorted."""
        return sorted({cell.num_train_images for cell in self.cells})

    def cells_at(self, num_train_images: int) -> list[CellPredictions]:
        """Return the cells with this number of training images, in the order of the space file."""
        return [cell for cell in self.cells if cell.num_train_images == num_train_images]


def analyze_predictions(results: SearchResults, scores: RoundScores) -> PredictionAnalysis | None:
    """Return the analysis of a round on one dataset; None if no replicate has predictions."""
    cells = predicted_cells(results, scores)
    if not cells:
        return None
    names = class_names(cells)
    return PredictionAnalysis(
        cells=cells,
        class_names=tuple(names),
        classes=tuple(found for cell in cells for found in class_accuracies(cell, names)),
        confusions=tuple(confusion(cell, names, *pair) for cell in cells for pair in frequent_pairs(cell, len(names))),
        agreements=tuple(agreements(cells)),
        disagreement=_disagreement(results, cells, names),
        calibrations=tuple(calibrations(cells)),
        num_tested=sum(1 for cell in scores.cells for _ in results.tested(scores.round, cell.picks)),
    )


def prediction_rows(analyses: Mapping[str | None, PredictionAnalysis]) -> Rows:
    """Return the rows of all numbers, with the dataset of each if there are several; tables without rows are left out.

    An estimate becomes the columns NAME, NAME_lower and NAME_upper.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for dataset, analysis in analyses.items():
        for table, values in _tables(analysis).items():
            first = {} if dataset is None else {"dataset": dataset}
            rows.setdefault(table, []).extend({**first, **row} for row in values)
    return {table: found for table, found in rows.items() if found}


def search_prediction_rows(results: SearchResults) -> Rows:
    """Return the rows of the latest round of a search; none if nothing is confirmed."""
    if not results.rounds:
        return {}
    by_dataset = split_by_dataset(results)
    found = {name: analyze_predictions(part, round_scores(part, part.rounds[-1])) for name, part in by_dataset.items()}
    return prediction_rows({name: each for name, each in found.items() if each is not None})


def _disagreement(
    results: SearchResults, cells: Sequence[CellPredictions], names: Sequence[str]
) -> Disagreement | None:
    by_size: dict[int, list[CellPredictions]] = {}
    for cell in cells:
        by_size.setdefault(cell.num_train_images, []).append(cell)
    several = [size for size, alike in by_size.items() if len({cell.variant for cell in alike}) > 1]
    if not several:
        return None
    generator = np.random.default_rng(derive_seed(results.spec.search.seed, "disagreement"))
    return disagreement(by_size[max(several)], names, generator=generator)


def _tables(analysis: PredictionAnalysis) -> dict[str, Iterator[dict[str, Any]]]:
    votes = () if analysis.disagreement is None else analysis.disagreement.images
    return {
        "class_accuracies": map(_row, analysis.classes),
        "confusions": map(_row, analysis.confusions),
        "agreements": map(_row, analysis.agreements),
        "disputed_images": (
            {"image": image.index, "true_class": image.true_class, **_row(vote)}
            for image in votes
            for vote in image.votes
        ),
        "calibration": (_row(found, without=("bins",)) for found in analysis.calibrations),
        "reliability": (
            {"variant": found.variant, "num_train_images": found.num_train_images, **_row(each)}
            for found in analysis.calibrations
            for each in found.bins
        ),
    }


def _row(value: FrozenModel, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of a value; an estimate has a column for each of its numbers."""
    row: dict[str, Any] = {}
    for name, field in type(value).model_fields.items():
        content = getattr(value, name)
        if name in without:
            continue
        if field.annotation in (Estimate, Estimate | None):
            interval = content.interval if content else None
            row[name] = content.value if content else None
            row[f"{name}_lower"] = interval.lower if interval else None
            row[f"{name}_upper"] = interval.upper if interval else None
        else:
            row[name] = content
    return row
