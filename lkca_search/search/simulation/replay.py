"""What another pruner, or sampler, would have saved and lost: a finished search, simulated from its recorded curves.

With the search's own suggestions, each cell is asked for the trials it was recorded to have, in their order or in a
shuffled one, and each is answered by its own curve. With another sampler, a suggestion is answered by the curve of the
nearest recorded configuration of its cell.
"""

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lkca_search.errors import SearchError, UserError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.simulation.recorded_curves import CUT_SHORT, RecordedCurves, sampled
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.state.resume import read_spec
from lkca_search.search.state.status import best_record
from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.search.studies.study import Study, open_memory_storage
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import cells
from lkca_search.spec.components import PRUNERS, SAMPLERS, ComponentConfig, name_rule
from lkca_search.spec.configuration import ImageShape, Scalar
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import LimitsSection
from lkca_search.tracking.tracker import Tracker

ALL = "all cells"


class CellReplay(FrozenModel):
    """A cell as it would have gone."""

    cell: str
    num_trials: int
    num_pruned: int
    num_cut_short: int
    """Trials that were pruned when recorded, and would have gone on here: their steps end with their curve."""
    num_steps: int
    """Optimiser steps spent."""
    num_recorded_steps: int
    """Optimiser steps spent when recorded."""
    share_saved: float
    """Of the recorded steps."""
    best_value: float | None
    """None where no trial would have been complete, and for all cells together."""
    recorded_best: float | None
    regret: float | None
    """By how much the best value is worse than the recorded one; for all cells the largest."""
    best_pruned: float
    """1 if the best recorded trial would have been pruned; for all cells the share of the cells."""


class Spread(FrozenModel):
    """How a number is spread over shuffled orders."""

    mean: float
    low: float
    high: float
    """From low to high lie 95% of the orders."""


class CellSpread(FrozenModel):
    """A cell over shuffled orders."""

    cell: str
    num_pruned: Spread
    share_saved: Spread
    regret: Spread | None
    """None where no order had a complete trial; for all cells of the largest."""
    best_pruned: float
    """Share of the orders in which the best recorded trial would have been pruned."""


class Replay(FrozenModel):
    """What another pruner, or sampler, would have saved and lost."""

    search: str
    metric: str
    pruner: str
    sampler: str | None
    """None where the recorded suggestions were replayed."""
    num_slots: int
    num_seeds: int
    """Shuffled orders, or other seeds, that were tried besides."""
    num_recorded_pruned: int
    """Recorded trials whose curves are not whole."""
    cells: tuple[CellReplay, ...]
    """In the recorded order, or with the search's own seed; the last one is all cells together."""
    spreads: tuple[CellSpread, ...]
    """Over shuffled orders, or other seeds; empty where none were asked for."""


def replay(
    folder: SearchFolder, *, pruner: str, sampler: str | None = None, num_slots: int = 1, num_seeds: int = 0
) -> Replay:
    """Simulate a search with another pruner, once as recorded and once for each of so many shuffled orders.

    UserError for a search without complete curves, with several goals, or for a name that is not known.
    """
    recorded = _Recorded.read(folder, pruner=pruner, sampler=sampler)
    outcomes = [recorded.simulated(seed=seed, num_slots=num_slots) for seed in (None, *range(num_seeds))]
    first, *others = outcomes
    return Replay(
        search=folder.name,
        metric=recorded.spec.search.metrics[0],
        pruner=pruner,
        sampler=sampler,
        num_slots=num_slots,
        num_seeds=num_seeds,
        num_recorded_pruned=sum(record.state is State.PRUNED for record in recorded.all_records),
        cells=first,
        spreads=tuple(_cell_spread(cell) for cell in zip(*others, strict=True)),
    )


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """A recorded search, and the spec that it is simulated with."""

    name: str
    spec: SearchSpec
    cells: Mapping[str, tuple[Record, ...]]
    """Each cell's records by number, those that repeat an earlier configuration left out."""
    suggests: bool
    """Whether a sampler suggests, and not the records."""

    @classmethod
    def read(cls, folder: SearchFolder, *, pruner: str, sampler: str | None) -> "_Recorded":
        spec = read_spec(folder)
        if len(spec.search.metrics) > 1:
            raise SearchError(f"search {folder.name!r} has several goals, and a pruner compares one value a step")
        found: dict[str, dict[tuple[Scalar | None, ...], Record]] = {cell.key: {} for cell in cells(spec)}
        for record in read_records(folder):
            found[record.cell].setdefault(
                tuple(getattr(record.spec.configuration, name) for name in spec.parameters), record
            )
        records = {cell: tuple(by_suggestion.values()) for cell, by_suggestion in found.items()}
        if not any(record.state is State.COMPLETE for cell in records.values() for record in cell):
            raise SearchError(
                f"search {folder.name!r} has no complete trial: what a pruner saves and loses is read from whole curves"
            )
        return cls(
            name=folder.name,
            spec=_simulated_spec(spec, pruner, sampler, most=max(map(len, records.values()))),
            cells=records,
            suggests=sampler is not None,
        )

    @property
    def all_records(self) -> list[Record]:
        """Every record, cell by cell."""
        return [record for records in self.cells.values() for record in records]

    def simulated(self, *, seed: int | None, num_slots: int) -> tuple[CellReplay, ...]:
        """Simulate the search in the recorded order, or in one drawn from the seed."""
        spec, order = self.spec, dict(self.cells)
        if seed is not None and self.suggests:
            own = derive_seed(spec.search.seed, "replay", seed)
            spec = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": own})})
        elif seed is not None:
            order = {
                cell: tuple(random.Random(derive_seed(seed, cell)).sample(records, len(records)))
                for cell, records in order.items()
            }
        with tempfile.TemporaryDirectory() as temporary:
            folder = SearchFolder(root=Path(temporary) / self.name)
            storage = open_memory_storage()
            # No model is built, so what the images are does not matter; names that are not searched may stay open.
            ledger = Ledger(folder, spec, ImageShape(1, 1, 1), 2, Tracker(), storage=storage)
            for cell in (cell for cell, records in order.items() if not records):
                ledger.exhaust(cell)
            if not self.suggests:
                for suggesting in cells(spec):
                    study = Study(storage, spec, suggesting)
                    for record in order[suggesting.key]:
                        study.enqueue(sampled(record.spec.configuration, spec))
            curves = RecordedCurves(spec, self.cells, ledger.exhaust)
            simulated = simulate(ledger, curves, num_slots=num_slots).records
        found = [self._cell_replay(cell, simulated, curves.answers) for cell, records in self.cells.items() if records]
        return (*found, _together(found))

    def _cell_replay(self, cell: str, simulated: Sequence[Record], answers: Mapping[str, Record]) -> CellReplay:
        ours = [record for record in simulated if record.cell == cell]
        best = best_record(ours, self.spec.search)
        was = best_record(self.cells[cell], self.spec.search)
        regret = None
        if best is not None and was is not None and best.value is not None and was.value is not None:
            regret = self.spec.search.signs[0] * (was.value - best.value)
        num_steps, was_steps = _num_steps(ours), _num_steps(self.cells[cell])
        fates = {record.state for record in ours if was is not None and answers[record.trial_id] is was}
        return CellReplay(
            cell=cell,
            num_trials=len(ours),
            num_pruned=sum(record.state is State.PRUNED for record in ours),
            num_cut_short=sum(record.error == CUT_SHORT for record in ours),
            num_steps=num_steps,
            num_recorded_steps=was_steps,
            share_saved=_share_saved(num_steps, was_steps),
            best_value=best.value if best else None,
            recorded_best=was.value if was else None,
            regret=regret,
            best_pruned=float(fates == {State.PRUNED}),
        )


def _simulated_spec(spec: SearchSpec, pruner: str, sampler: str | None, *, most: int) -> SearchSpec:
    """The spec with another pruner, and a sampler that is not asked where the recorded suggestions are replayed."""
    if sampler == "grid":
        raise UserError("sampler grid cannot be simulated: most points of a grid were not recorded")
    rules = [name_rule("pruner", pruner, PRUNERS), name_rule("sampler", sampler or "random", SAMPLERS)]
    if broken := [rule for rule in rules if rule]:
        raise UserError("\n".join(broken))
    named = {
        "pruner": ComponentConfig(name=pruner),
        "sampler": ComponentConfig(name=sampler or "random"),
        "trials_per_cell": most,
    }
    search = spec.search.model_copy(update=named)
    simulated = spec.model_copy(update={"search": search, "limits": LimitsSection()})
    if problems := list(find_sampler_problems(simulated)):
        raise UserError("\n".join(problem.rule for problem in problems))
    return simulated


def _num_steps(records: Sequence[Record]) -> int:
    return sum(record.curve[-1].step for record in records if record.curve)


def _together(found: Sequence[CellReplay]) -> CellReplay:
    num_steps = sum(cell.num_steps for cell in found)
    was_steps = sum(cell.num_recorded_steps for cell in found)
    regrets = [cell.regret for cell in found if cell.regret is not None]
    return CellReplay(
        cell=ALL,
        num_trials=sum(cell.num_trials for cell in found),
        num_pruned=sum(cell.num_pruned for cell in found),
        num_cut_short=sum(cell.num_cut_short for cell in found),
        num_steps=num_steps,
        num_recorded_steps=was_steps,
        share_saved=_share_saved(num_steps, was_steps),
        best_value=None,
        recorded_best=None,
        regret=max(regrets, default=None),
        best_pruned=statistics.fmean(cell.best_pruned for cell in found),
    )


def _share_saved(num_steps: int, was_steps: int) -> float:
    return 1 - num_steps / was_steps if was_steps else 0.0


def _cell_spread(orders: Sequence[CellReplay]) -> CellSpread:
    """One cell, in each of several orders."""
    regrets = [cell.regret for cell in orders if cell.regret is not None]
    return CellSpread(
        cell=orders[0].cell,
        num_pruned=_spread([cell.num_pruned for cell in orders]),
        share_saved=_spread([cell.share_saved for cell in orders]),
        regret=_spread(regrets) if regrets else None,
        best_pruned=statistics.fmean(cell.best_pruned for cell in orders),
    )


def _spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(mean=values[0], low=values[0], high=values[0])
    low, *_, high = statistics.quantiles(values, n=40, method="inclusive")
    return Spread(mean=statistics.fmean(values), low=low, high=high)
