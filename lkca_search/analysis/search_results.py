"""Everything that the analysis of one search needs: its spec, its records and its rounds, read once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.layout import SearchFolder
from lkca_search.records.finding import Finding
from lkca_search.records.inspection.inspection import Inspection
from lkca_search.records.inspection.inspection_file import scan_inspections
from lkca_search.records.predictions import ReplicatePredictions, scan_predictions
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Pick, Round, scan_rounds
from lkca_search.records.search.dataset import SearchDataset, scan_search_datasets
from lkca_search.records.search.uid import read_uid
from lkca_search.records.stored_spec import read_spec
from lkca_search.spec.cells import Cell, cells, compared_cells
from lkca_search.spec.configuration import SIZE_NAMES, Scalar
from lkca_search.spec.factors import DATASET, repeats_of
from lkca_search.spec.metrics import Metric
from lkca_search.spec.search_spec import SearchSpec

Position = tuple[int, int]
"""Index of the draw in its round, and seed within the draw."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A family or another combination of factor levels, compared with others at each number of training images."""

    levels: tuple[tuple[str, Scalar], ...]
    """Levels of a cell, without the dataset and those that set the number of training images."""
    label: str
    """Short name, unique in its search: `lkca` or `lkca, kernel_size 7`."""


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """Spec, records and rounds of one search."""

    name: str
    spec: SearchSpec
    trials: Sequence[Record] = field(repr=False)
    """Finished trials, ordered by cell and number."""
    replicates: Sequence[Record] = field(repr=False)
    """Finished replicates of all rounds."""
    rounds: Sequence[Round] = field(repr=False)
    correct: Mapping[str, NDArray[np.bool_]] = field(repr=False, default_factory=dict)
    """True per test image that a replicate classifies correctly, (images,), by replicate id; not in old records."""
    image_scores: Mapping[str, NDArray[Any]] | None = field(repr=False, default=None)
    """Numbers per test image whose mean is the leading metric of a replicate, (images,), by replicate id. None if they
    are `correct`, as for accuracy; empty for a metric that is no mean over images."""
    predictions: Mapping[str, ReplicatePredictions] = field(repr=False, default_factory=dict)
    """Predicted and true classes of the test images, by replicate id; not in old records."""
    inspections: Mapping[str, Inspection] = field(repr=False, default_factory=dict)
    """Kernels, attention and receptive field, by replicate id; not in old records."""
    uid: str = ""
    """Unique id; empty if it is not known."""
    datasets: Mapping[str | None, SearchDataset] = field(default_factory=dict)
    """Training images per level of the factor `dataset`; empty if an older version started the search. The level is
    None in a search without this factor."""
    findings: Sequence[Finding] = ()
    """Damaged records and rounds, which are left out of all numbers."""
    whole: "SearchResults | None" = field(repr=False, default=None)
    """Results on all datasets, if these are the results on one of several; they have the names of the variants."""

    @property
    def metric_name(self) -> str:
        """Name of the leading metric: the first metric of the search, by which the best trial of a cell is picked."""
        return self.spec.search.metrics[0]

    @property
    def metric(self) -> Metric:
        """Direction, label, unit and scale of the leading metric."""
        return self.spec.search.definitions[0]

    def metric_value(self, record: Record) -> float:
        """Return the leading metric after the last result of a trial or replicate, in the unit of the metric."""
        return self.metric.scale * record.curve[-1].value(self.metric_name)

    def by_accuracy(self) -> "SearchResults":
        """Return the same results, scored by accuracy."""
        search = self.spec.search.model_copy(update={"metric": "val_accuracy", "goal": "maximize"})
        return replace(self, spec=self.spec.model_copy(update={"search": search}), image_scores=None)

    @property
    def leading_image_scores(self) -> Mapping[str, NDArray[Any]]:
        """Numbers per test image whose mean is the leading metric, by replicate id."""
        return self.correct if self.image_scores is None else self.image_scores

    def tested(self, sealed: Round, picks: Iterable[Pick]) -> Iterator[tuple[Position, Record]]:
        """Yield the position and the record of each replicate of some picks of a round that was tested."""
        records = {record.trial_id: record for record in self.replicates if record.test is not None}
        ids = {pick.trial_id for pick in picks}
        draws = {draw: index for index, draw in enumerate(sealed.draws)}
        for pick, replication in sealed.replications():
            record = records.get(replication.replicate_id)
            if pick.trial_id in ids and record is not None:
                yield (draws[replication.draw], replication.seed), record

    @cached_property
    def shortages(self) -> list[str]:
        """Phrases on missing images of an official dataset, such as `20,000 of the 50,000 official training images`."""
        return [phrase for level in self.datasets for phrase in self._shortages_of(level)]

    def _shortages_of(self, level: str | None) -> Iterator[str]:
        dataset = self.datasets[level]
        replicates = [record for record in self.replicates if record.spec.configuration.dataset == level]
        num_tested = sorted({record.test.num_images for record in replicates if record.test})
        for phrase in (dataset.shortage, *(dataset.test_shortage(count) for count in num_tested)):
            if phrase is not None:
                yield phrase if level is None else f"{phrase} of {level}"

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order of the space file."""
        return cells(self.spec)

    @cached_property
    def trials_by_cell(self) -> dict[str, list[Record]]:
        """Finished trials of each cell, by the key of the cell."""
        by_cell: dict[str, list[Record]] = {cell.key: [] for cell in self.cells}
        for record in self.trials:
            by_cell[record.cell].append(record)
        return by_cell

    @property
    def repeats(self) -> tuple[Scalar, ...]:
        """Draws on which the search was repeated; empty if it was not repeated."""
        return repeats_of(self.spec.factors, self.spec.exclude)

    @cached_property
    def compared_cells(self) -> dict[str, Cell]:
        """Cell to compare, per cell key: the cell itself, but without its draw if the search was repeated."""
        return compared_cells(self.spec)

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """Variant of each cell, by the key of the cell; cells of two datasets may have the same variant."""
        if self.whole is not None:
            return {cell.key: self.whole.variants[cell.key] for cell in self.cells}
        levels = {key: _without(cell, (DATASET, *SIZE_NAMES)) for key, cell in self.compared_cells.items()}
        distinct = list(dict.fromkeys(levels.values()))
        if self.spec.design == "one_at_a_time":
            labels = {combination: _changes(combination, self.base_levels) or "base" for combination in distinct}
        else:
            values = {
                name: {dict(combination).get(name) for combination in distinct}
                for combination in distinct
                for name, _ in combination
            }
            labels = {
                combination: _label([pair for pair in combination if len(values[pair[0]]) > 1] or combination)
                for combination in distinct
            }
        return {key: Variant(levels=combination, label=labels[combination]) for key, combination in levels.items()}

    @cached_property
    def reference(self) -> Variant:
        """Variant that all others are compared with: the base of the design, else the first LKCA, else the first."""
        if self.whole is not None:
            return self.whole.reference
        variants = list(dict.fromkeys(self.variants.values()))
        if self.spec.design == "one_at_a_time":
            return next(
                (variant for variant in variants if not _changes(variant.levels, self.base_levels)), variants[0]
            )
        is_lkca = (variant for variant in variants if str(dict(variant.levels).get("family", "")).startswith("lkca"))
        return next(is_lkca, variants[0])

    @property
    def base_levels(self) -> dict[str, Scalar]:
        """Base level of each factor; by default its first level."""
        return {name: factor.levels[0] for name, factor in self.spec.factors.items()} | dict(self.spec.base)

    def num_train_images(self, cell: str) -> int | None:
        """Return the number of training images in a cell; None if its trials differ in it or none is finished."""
        sizes = {record.facts.num_train_images for record in self.trials_by_cell[cell] if record.facts}
        return sizes.pop() if len(sizes) == 1 else None


def read_search_results(folder: SearchFolder) -> SearchResults:
    """Read all results of a finished or running search."""
    reader = RecordReader(folder)
    with reader.listed_once():
        trials, replicates = reader.trials(), reader.replicates()
    rounds, damaged_rounds = scan_rounds(folder)
    datasets, damaged_datasets = scan_search_datasets(folder)
    spec = read_spec(folder)
    leading = spec.search.definitions[0].test_field or ""
    predictions, damaged_predictions = scan_predictions(folder, replicates, metric=leading)
    inspections, damaged_inspections = scan_inspections(folder, replicates)
    return SearchResults(
        name=folder.name,
        spec=spec,
        trials=trials,
        replicates=replicates,
        rounds=rounds,
        correct={replicate: each.correct for replicate, each in predictions.items()},
        image_scores=None if leading == "accuracy" else _known_scores(predictions),
        predictions=predictions,
        inspections=inspections,
        uid=read_uid(folder) or "",
        datasets=datasets,
        findings=(
            *(*reader.findings, *damaged_rounds, *damaged_datasets, *damaged_predictions),
            *damaged_inspections,
        ),
    )


def _known_scores(predictions: Mapping[str, ReplicatePredictions]) -> dict[str, NDArray[Any]]:
    return {replicate: each.scores for replicate, each in predictions.items() if each.scores is not None}


def _without(cell: Cell, names: Sequence[str]) -> tuple[tuple[str, Scalar], ...]:
    return tuple((name, level) for name, level in cell.levels.items() if name not in names)


def _changes(levels: Sequence[tuple[str, Scalar]], base: Mapping[str, Scalar]) -> str:
    """Return a label of the levels that differ from the base; empty for the base itself."""
    changed = [(name, level) for name, level in levels if base[name] != level]
    return _label(changed) if changed else ""


def _label(levels: Sequence[tuple[str, Scalar]]) -> str:
    """Return a label such as `lkca, kernel_size 7`; the family needs no factor name."""
    texts = [_format_level(level) if name == "family" else f"{name} {_format_level(level)}" for name, level in levels]
    return ", ".join(texts) or "all"


def _format_level(level: Scalar) -> str:
    return str(level).lower() if isinstance(level, bool) else str(level)
