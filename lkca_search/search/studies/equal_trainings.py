"""Cells that train the same way under other levels or datasets, and values of a parameter without effect."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from lkca_search.data.store import Images
from lkca_search.data.subsets import Indices, assign_images
from lkca_search.errors import DataError, Problem
from lkca_search.search.studies.effective_training import SCHEDULE_NAMES, Subset, count_steps, effective_training
from lkca_search.spec.cells import Cell, cells, dataset_location
from lkca_search.spec.configuration import (
    OPTIMIZER_NAMES,
    SECTIONS,
    SIZE_NAMES,
    Configuration,
    Scalar,
    without_own_names,
)
from lkca_search.spec.domains import Domain
from lkca_search.spec.search_spec import SearchSpec

_COMPARED = (*SECTIONS, *OPTIMIZER_NAMES)
"""Names that decide a training beside its model and its images."""
_MAX_CONFIGURATIONS = 2_000
"""Maximum number of configurations per cell that are compared."""
_MAX_TOTAL = 100_000
"""Maximum number of configurations of all cells that are compared: about 10 seconds."""
_Levels = tuple[tuple[str, Scalar], ...]


def find_equal_datasets(spec: SearchSpec, images: Mapping[str | None, Images]) -> Iterator[Problem]:
    """Yield a problem per dataset whose training images are those of an earlier one: their cells would be equal."""
    first_of: dict[str, str | None] = {}
    for level, opened in images.items():
        first = first_of.setdefault(opened.content_hash, level)
        if level is not None and first != level:
            rule = f"levels of dataset must have different training images, got the same for {first} and {level}"
            yield Problem(dataset_location(spec, level), rule)


def find_equal_trainings(spec: SearchSpec, labels: Indices, *, started: SearchSpec | None = None) -> Iterator[Problem]:
    """Yield a problem per cell, and per value of a parameter, that trains as an earlier one; each rule once.

    A set of augmentations equals the list of its names. On 100 images, batch sizes of 128 and 256 are one batch of
    100, and a floor or a cap makes lengths in epochs equal. In 12 steps, warm-ups over 1% and 2% of them are none.

    Args:
        spec: Spec of a search on one dataset.
        labels: Labels of its training images.
        started: Spec of the search that is resumed. What it has was accepted by an earlier version.
    """
    trainings = _Trainings(spec, labels)
    seen: set[str] = set()
    for problem in (*_equal_cells(trainings, started), *_values_without_effect(trainings, started)):
        if problem.rule not in seen:
            seen.add(problem.rule)
            yield problem


def list_partly_equal_values(spec: SearchSpec, labels: Indices) -> list[str]:
    """Return a line per two values of a parameter that are one training in some cells, and not in all."""
    lines = []
    for pair, equal, present in _equal_values(_Trainings(spec, labels)):
        if 0 < len(equal) < present:
            some = f"in {len(equal)} of {present} cells, such as {equal[0].key}"
            lines.append(f"{pair.name} {pair.first} and {pair.second} are one training {some}, and two trials")
    return lines


class _Compared(NamedTuple):
    """Configuration of a cell at the edges of its parameters."""

    values: Mapping[str, Scalar]
    configuration: Configuration
    training: Hashable
    """Effective training on the images of the cell."""


class _Pair(NamedTuple):
    """Parameter, and two of its values."""

    name: str
    first: Scalar
    second: Scalar


@dataclass
class _Trainings:
    """Effective trainings of a search, each computed once."""

    spec: SearchSpec
    labels: Indices

    def __post_init__(self) -> None:
        self._of_levels: dict[_Levels, list[_Compared]] = {}
        self._subsets: dict[_Levels, Subset | None] = {}

    @cached_property
    def combined(self) -> frozenset[str]:
        """Names that are combined: those of a training, and those on which a parameter depends."""
        return frozenset(_COMPARED).union(*(domain.when for domain in self.spec.parameters.values()))

    @cached_property
    def maximum(self) -> int:
        """Maximum number of configurations per cell."""
        relevant = {self._relevant(cell) for cell in cells(self.spec)}
        return max(1, min(_MAX_CONFIGURATIONS, _MAX_TOTAL // max(1, len(relevant))))

    def of_cell(self, cell: Cell) -> list[_Compared]:
        """Return the configurations of a cell at the edges of its parameters."""
        levels = self._relevant(cell)
        if levels not in self._of_levels:
            subset = self.subset(cell)
            branches = islice(self.spec.space.branch(self._edges, dict(levels)), self.maximum)
            compared = [(values, without_own_names(values)) for values in branches]
            self._of_levels[levels] = [
                _Compared(values, configuration, effective_training(self.spec, configuration, subset))
                for values, configuration in compared
            ]
        return self._of_levels[levels]

    def subset(self, cell: Cell) -> Subset | None:
        """Return the training images of a cell; None if their number is searched or not valid."""
        size = {name: cell.levels[name] for name in SIZE_NAMES if name in cell.levels}
        if (key := tuple(size.items())) not in self._subsets:
            self._subsets[key] = _make_subset(self.spec, self.labels, size)
        return self._subsets[key]

    def reason(self, cell: Cell, names: Sequence[str], one: _Compared, other: _Compared) -> str:
        """Return the phrase on the images or steps that make two trainings equal; empty if they always are."""
        subset = self.subset(cell)
        sides = [effective_training(self.spec, each.configuration, None) for each in (one, other)]
        if subset is None or sides[0] == sides[1]:
            return ""
        if names == ["class_weights"]:
            return ": every class has as many training images"
        if set(names) <= set(SCHEDULE_NAMES):
            return f" in {count_steps(self.spec, one.configuration, subset):,} steps"
        return f" on {subset.num_images:,} images"

    def _edges(self, name: str, domain: Domain) -> tuple[Scalar, ...]:
        return domain.edges() if name in self.combined else domain.edges()[:1]

    def _relevant(self, cell: Cell) -> _Levels:
        return tuple(pair for pair in cell.levels.items() if pair[0] in self.combined or pair[0] in SIZE_NAMES)


def _equal_cells(trainings: _Trainings, started: SearchSpec | None) -> Iterator[Problem]:
    """Yield a problem per cell that trains as an earlier one, in which only names of a training differ."""
    varied = [name for name in trainings.spec.factors if name in _COMPARED]
    known = {cell.key for cell in cells(started)} if started is not None else set()
    groups: dict[_Levels, list[Cell]] = defaultdict(list)
    for cell in cells(trainings.spec) if varied else ():
        groups[tuple(pair for pair in cell.levels.items() if pair[0] not in varied)].append(cell)
    for group in groups.values():
        first_of: dict[Hashable, Cell] = {}
        for cell in group if len(group) > 1 else ():
            compared = trainings.of_cell(cell)
            first = first_of.setdefault(frozenset(each.training for each in compared), cell)
            if first is cell or {first.key, cell.key} <= known:
                continue
            names = [name for name in varied if first.levels.get(name) != cell.levels.get(name)]
            sides = (",".join(f"{name}={side.levels.get(name)}" for name in names) for side in (first, cell))
            rule = f"a factor level must change the training, got equal trainings for {' and '.join(sides)}"
            reason = trainings.reason(cell, names, trainings.of_cell(first)[0], compared[0])
            yield Problem(("factors", names[0]), f"{rule}{reason}; remove or `exclude` one of them")


def _values_without_effect(trainings: _Trainings, started: SearchSpec | None) -> Iterator[Problem]:
    """Yield a problem per two values of a parameter that are one training in every cell that has it."""
    for pair, equal, present in _equal_values(trainings):
        is_known = started is not None and started.parameters.get(pair.name) == trainings.spec.parameters[pair.name]
        if is_known or len(equal) < present:
            continue
        by_value = _by_value(trainings.of_cell(equal[0]), pair.name)
        reason = trainings.reason(equal[0], [pair.name], by_value[pair.first][0], by_value[pair.second][0])
        sides = f"{pair.name}={pair.first} and {pair.name}={pair.second}"
        rule = f"values of a parameter must change the training, got equal trainings for {sides}{reason}"
        yield Problem(("parameters", pair.name), f"{rule}; remove one of them, or search another parameter")


def _equal_values(trainings: _Trainings) -> Iterator[tuple[_Pair, list[Cell], int]]:
    """Yield each two values of a parameter, the cells in which both are one training, and the number that have it."""
    searched = [name for name in trainings.spec.parameters if name in _COMPARED]
    for name in searched:
        equal: dict[tuple[Scalar, Scalar], list[Cell]] = defaultdict(list)
        present = 0
        for cell in cells(trainings.spec):
            compared = trainings.of_cell(cell)
            by_value = _by_value(compared, name)
            if len(by_value) < 2 or len(compared) == trainings.maximum:  # combinations may be left out
                continue
            present += 1
            first_of: dict[Hashable, Scalar] = {}
            for value, having in by_value.items():
                first = first_of.setdefault(frozenset(each.training for each in having), value)
                if first != value:
                    equal[first, value].append(cell)
        for (first, second), in_cells in equal.items():
            yield _Pair(name, first, second), in_cells, present


def _by_value(compared: Sequence[_Compared], name: str) -> dict[Scalar, list[_Compared]]:
    by_value: dict[Scalar, list[_Compared]] = defaultdict(list)
    for each in compared:
        if name in each.values:
            by_value[each.values[name]].append(each)
    return by_value


def _make_subset(spec: SearchSpec, labels: Indices, levels: Mapping[str, Scalar]) -> Subset | None:
    if any(name in spec.parameters for name in SIZE_NAMES):
        return None
    try:
        # The seed does not matter: only the numbers of images are used.
        train = assign_images(labels, spec.data, without_own_names(levels), split_seed=0).train
    except DataError:
        return None  # another check reports it
    counts = Counter(labels[train].tolist())
    is_balanced = len(counts) == len(set(labels.tolist())) and len(set(counts.values())) == 1
    return Subset(len(train), is_balanced)
