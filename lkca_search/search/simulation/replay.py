"""Replay of a finished search with another pruner or sampler, from its recorded curves.

By default, the replay uses the recorded suggestions, in their order or shuffled, and each trial repeats its own curve.
With another sampler, a trial repeats the curve of the nearest recorded configuration of its cell.
"""

import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lkca_search.errors import SearchError, UserError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State, read_records
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.simulation.recorded_training import RecordedTraining, sampled_values
from lkca_search.search.simulation.replay_results import (
    CellReplay,
    Replay,
    combine_cells,
    compare_cell,
    summarize_cell,
)
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.search.studies.study import Study, open_in_memory_storage
from lkca_search.seeds import derive_seed
from lkca_search.spec.cells import cells
from lkca_search.spec.components import PRUNERS, SAMPLERS, ComponentConfig, name_rule
from lkca_search.spec.configuration import ImageShape, Scalar
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import LimitsSection
from lkca_search.tracking.tracker import Tracker


def replay(
    folder: SearchFolder,
    *,
    pruner: str | ComponentConfig,
    sampler: str | None = None,
    num_slots: int = 1,
    num_seeds: int = 0,
) -> Replay:
    """Simulate a search with another pruner: once as recorded, and `num_seeds` times in a shuffled order.

    With a `sampler`, the additional simulations have other seeds.

    Raises:
        UserError: The search has no complete curve or several metrics, or a name is unknown.
    """
    pruner = ComponentConfig.model_validate(pruner)
    recorded = _RecordedSearch.read(folder, pruner=pruner, sampler=sampler)
    as_recorded, *others = (recorded.simulate(seed=seed, num_slots=num_slots) for seed in (None, *range(num_seeds)))
    return Replay(
        search=folder.name,
        metric=recorded.spec.search.metrics[0],
        pruner=str(pruner),
        sampler=sampler,
        num_slots=num_slots,
        num_seeds=num_seeds,
        num_recorded_pruned=sum(
            record.state is State.PRUNED for records in recorded.cells.values() for record in records
        ),
        cells=as_recorded,
        spreads=tuple(summarize_cell(replays) for replays in zip(*others, strict=True)),
    )


@dataclass(frozen=True, kw_only=True)
class _RecordedSearch:
    """Recorded search, and the spec of its simulations."""

    name: str
    spec: SearchSpec
    cells: Mapping[str, tuple[Record, ...]]
    """Records of each cell by number, without those that repeat an earlier configuration."""
    has_sampler: bool
    """True if a sampler makes the suggestions, False if they are the recorded ones."""

    @classmethod
    def read(cls, folder: SearchFolder, *, pruner: ComponentConfig, sampler: str | None) -> "_RecordedSearch":
        spec = read_spec(folder)
        if len(spec.search.metrics) > 1:
            raise SearchError(
                f"search {folder.name!r} has several metrics and cannot be simulated: a pruner needs one value"
            )
        by_cell: dict[str, dict[tuple[Scalar | None, ...], Record]] = {cell.key: {} for cell in cells(spec)}
        for record in read_records(folder):
            by_cell[record.cell].setdefault(
                tuple(getattr(record.spec.configuration, name) for name in spec.parameters), record
            )
        records = {cell: tuple(by_suggestion.values()) for cell, by_suggestion in by_cell.items()}
        if not any(record.state is State.COMPLETE for cell in records.values() for record in cell):
            raise SearchError(
                f"search {folder.name!r} has no complete trial and cannot be simulated: a replay needs complete curves"
            )
        return cls(
            name=folder.name,
            spec=_simulated_spec(spec, pruner, sampler, trials_per_cell=max(map(len, records.values()))),
            cells=records,
            has_sampler=sampler is not None,
        )

    def simulate(self, *, seed: int | None, num_slots: int) -> tuple[CellReplay, ...]:
        """Simulate the search as recorded or, with a seed, in a shuffled order or with that seed for the sampler."""
        spec, order = self.spec, dict(self.cells)
        if seed is not None and self.has_sampler:
            search_seed = derive_seed(spec.search.seed, "replay", seed)
            spec = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": search_seed})})
        elif seed is not None:
            order = {
                cell: tuple(random.Random(derive_seed(seed, cell)).sample(records, len(records)))
                for cell, records in order.items()
            }
        with tempfile.TemporaryDirectory() as temporary:
            folder = SearchFolder(root=Path(temporary) / self.name)
            storage = open_in_memory_storage()
            # No model is built, so the shape of the images and the number of classes do not matter.
            ledger = Ledger(folder, spec, ImageShape(1, 1, 1), 2, Tracker(), storage=storage)
            for key, records in order.items():
                if not records:
                    ledger.exhaust(key)
            if not self.has_sampler:
                for cell in cells(spec):
                    study = Study(storage, spec, cell)
                    for record in order[cell.key]:
                        study.enqueue_trial(sampled_values(record.spec.configuration, spec))
            training = RecordedTraining(spec, self.cells, ledger.exhaust)
            simulated = simulate(ledger, training, num_slots=num_slots).records
        compared = [
            compare_cell(
                key,
                recorded=records,
                simulated=[record for record in simulated if record.cell == key],
                used=training.used,
                search=spec.search,
            )
            for key, records in self.cells.items()
            if records
        ]
        return (*compared, combine_cells(compared))


def _simulated_spec(
    spec: SearchSpec, pruner: ComponentConfig, sampler: str | None, *, trials_per_cell: int
) -> SearchSpec:
    """Return the spec with another pruner and sampler; the sampler is unused if recorded suggestions are replayed."""
    if sampler == "grid":
        raise UserError("sampler grid cannot be simulated: most points of a grid were not recorded")
    rules = [name_rule("pruner", pruner.name, PRUNERS), name_rule("sampler", sampler or "random", SAMPLERS)]
    if broken := [rule for rule in rules if rule]:
        raise UserError(*broken)
    changes = {
        "pruner": pruner,
        "sampler": ComponentConfig(name=sampler or "random"),
        "trials_per_cell": trials_per_cell,
        **({"start": ()} if sampler is None else {}),  # the recorded suggestions have the starts
    }
    search = spec.search.model_copy(update=changes)
    simulated = spec.model_copy(update={"search": search, "limits": LimitsSection()})
    if problems := list(find_sampler_problems(simulated)):
        raise UserError(*(problem.rule for problem in problems))
    return simulated
