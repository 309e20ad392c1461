"""What a report is made of: everything that a search has left behind, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, read_records, read_replicates
from lkca_search.records.rounds import Round, read_rounds
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.factors import DRAW, repeats_of
from lkca_search.spec.search_spec import SearchSpec

SIZE_NAMES = ("data_fraction", "images_per_class")
"""The names that decide how many images are trained on."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is compared at each size of the data: a family, or another combination of levels."""

    levels: tuple[tuple[str, Scalar], ...]
    """The levels of a cell, without those that decide the images."""
    label: str
    """Short, and unique in its search: `lkca`, `lkca, kernel_size 7`."""


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """A search's spec, records and rounds."""

    name: str
    spec: SearchSpec
    trials: Sequence[Record] = field(repr=False)
    """Finished trials, by cell and number."""
    replicates: Sequence[Record] = field(repr=False)
    """Finished replicates of all rounds."""
    rounds: Sequence[Round] = field(repr=False)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in the order of the space file."""
        return cells(self.spec)

    @cached_property
    def trials_by_cell(self) -> dict[str, list[Record]]:
        """Finished trials by cell."""
        found: dict[str, list[Record]] = {cell.key: [] for cell in self.cells}
        for record in self.trials:
            found[record.cell].append(record)
        return found

    @property
    def repeats(self) -> tuple[Scalar, ...]:
        """The draws on which the search was repeated; none where it was made once."""
        return repeats_of(self.spec.factors, self.spec.exclude)

    @cached_property
    def compared_cells(self) -> dict[str, Cell]:
        """What each cell is compared as: itself, or where the search was repeated, the cell without its draw."""
        left_out = (DRAW,) if self.repeats else ()
        return {cell.key: Cell(levels=dict(_without(cell, left_out))) for cell in self.cells}

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """The variant of each cell."""
        levels = {key: _without(cell, SIZE_NAMES) for key, cell in self.compared_cells.items()}
        distinct = list(dict.fromkeys(levels.values()))
        if self.spec.design == "one_at_a_time":
            labels = {found: _changes(found, self.base) or "base" for found in distinct}
        else:
            values = {name: {dict(found).get(name) for found in distinct} for found in distinct for name, _ in found}
            labels = {
                found: _label([pair for pair in found if len(values[pair[0]]) > 1] or found) for found in distinct
            }
        return {key: Variant(levels=found, label=labels[found]) for key, found in levels.items()}

    @cached_property
    def reference(self) -> Variant:
        """The variant that the others are held against: the base of the design, else the first LKCA, else the first."""
        found = list(dict.fromkeys(self.variants.values()))
        if self.spec.design == "one_at_a_time":
            return next((variant for variant in found if not _changes(variant.levels, self.base)), found[0])
        is_lkca = (variant for variant in found if str(dict(variant.levels).get("family", "")).startswith("lkca"))
        return next(is_lkca, found[0])

    @property
    def base(self) -> dict[str, Scalar]:
        """The base level of each factor: by default its first."""
        return {name: factor.levels[0] for name, factor in self.spec.factors.items()} | dict(self.spec.base)

    def num_train_images(self, cell: str) -> int | None:
        """Training images of a cell's trials and replicates; None where they differ, or none is finished."""
        sizes = {record.facts.num_train_images for record in self.trials_by_cell[cell] if record.facts}
        return sizes.pop() if len(sizes) == 1 else None


def read_search_results(folder: SearchFolder) -> SearchResults:
    """Read all that a search has left so far, whether it runs or not."""
    return SearchResults(
        name=folder.name,
        spec=SearchSpec.model_validate_json(folder.spec.read_bytes()),
        trials=read_records(folder),
        replicates=read_replicates(folder),
        rounds=read_rounds(folder),
    )


def _without(cell: Cell, names: Sequence[str]) -> tuple[tuple[str, Scalar], ...]:
    return tuple((name, level) for name, level in cell.levels.items() if name not in names)


def _changes(levels: Sequence[tuple[str, Scalar]], base: Mapping[str, Scalar]) -> str:
    """What a variant changes about the base; nothing where it is the base."""
    changed = [(name, level) for name, level in levels if base[name] != level]
    return _label(changed) if changed else ""


def _label(levels: Sequence[tuple[str, Scalar]]) -> str:
    """A family by its name alone, another level with the factor's: lkca, kernel_size 7."""
    return ", ".join(_say(level) if name == "family" else f"{name} {_say(level)}" for name, level in levels) or "all"


def _say(level: Scalar) -> str:
    return str(level).lower() if isinstance(level, bool) else str(level)
