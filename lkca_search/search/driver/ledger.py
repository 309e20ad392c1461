"""The ledger: what of a search is done, running and due, exact at whatever moment its driver dies.

A trial is finished when its record is durable (see `queue`); opening the ledger tells the studies what was recorded but
not told, and lines up what was running for its next attempt.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from lkca_search.errors import UserError
from lkca_search.layout import SearchFolder
from lkca_search.models.registry import resolve
from lkca_search.records.objectives import trial_values
from lkca_search.records.record import Record, State
from lkca_search.records.trial import TrialSpec
from lkca_search.search.driver.limits import Budget
from lkca_search.search.driver.messages import Assignment
from lkca_search.search.driver.queue import RunningTrial, TrialQueue
from lkca_search.search.state.database import find_database
from lkca_search.search.state.manifests import Manifest, split_seed
from lkca_search.search.studies.study import Params, Storage, Study, open_storage
from lkca_search.seeds import derive_seed
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Configuration, ImageShape, Scalar
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart

_MOST_REPEATS = 32
"""Suggestions in a row that repeat earlier ones, after which a cell counts as exhausted."""


class Ledger(TrialQueue):
    """The book of a search's trials: its studies say what to train."""

    def __init__(
        self,
        folder: SearchFolder,
        spec: SearchSpec,
        shape: ImageShape,
        num_classes: int,
        tracker: Tracker,
        *,
        manifests: Sequence[Manifest] = (),
        driver: int = 1,
        ensure_lease: Callable[[], None] = lambda: None,
        opened: float | None = None,
        storage: Storage | None = None,
    ) -> None:
        """As `TrialQueue`; `storage` is the Optuna storage, by default the one in the ledger's own database."""
        super().__init__(
            folder, spec, tracker, manifests=manifests, driver=driver, ensure_lease=ensure_lease, opened=opened
        )
        self._shape = shape
        self._num_classes = num_classes
        storage = storage or open_storage(find_database(folder))
        self._studies = {cell.key: Study(storage, spec, cell) for cell in cells(spec)}
        self._budget = Budget(folder, spec)
        self._first_of: dict[str, dict[Params, int]] = {cell: {} for cell in self._studies}
        self._recover()

    @property
    def num_due(self) -> int:
        """Trials that are not finished yet, those that have not started included."""
        return self._budget.num_unstarted + len(self._waiting) + len(self._live)

    def exhaust(self, cell: str) -> None:
        """Give a cell no new trial from now on, whoever drives it."""
        self._budget.exhaust(cell)

    def assign(self) -> Assignment | None:
        """Hand out the next trial: one that was cut off, else a new one of the cell that has started fewest."""
        self._ensure_lease()
        self._check_limits()
        while self.halt_reason is None:
            if self._waiting:
                return self._assign(self._waiting.popleft())
            cell = self._budget.neediest_cell
            if cell is None:
                return None
            start = self._ask(cell)
            if start is not None:
                return self._assign(start)
            self.exhaust(cell)
        return None

    def _ask(self, cell: str) -> TrialStart | None:
        """A new trial of a cell; None if its sampler keeps to what it has suggested before."""
        for _ in range(_MOST_REPEATS):
            if self._studies[cell].is_exhausted:
                return None
            number, chosen = self._studies[cell].ask()
            if not self._repeats(cell, number):
                self._budget.start(cell)
                return self._start(cell, number, chosen, time.time())
        return None

    def _repeats(self, cell: str, number: int) -> bool:
        """Whether a trial has the suggestion of an earlier one of its cell; it is then ended, and never trained."""
        study = self._studies[cell]
        first = self._first_of[cell].setdefault(study.params(number), number)
        if first != number:
            study.tell_duplicate(number, of=first)
        return first != number

    def _prunes(self, live: RunningTrial) -> bool:
        _, value = self._value(live)
        assert value is not None
        return self._studies[live.start.cell].report(live.start.number, len(live.curve), value)

    def _value(self, live: RunningTrial) -> tuple[str, float | None]:
        metric = self.spec.search.metrics[0]
        return metric, None if live.error else getattr(live.curve[-1], metric)

    def _tell(self, record: Record) -> None:
        self._studies[record.cell].tell(record.number, record.state, trial_values(record, self.spec.search))
        self._budget.finish(record.cell, record.state, record.value)

    def _recover(self) -> None:
        """Tell what was recorded but not told, end repeats that were cut off, and line up what was running."""
        records = self.folder.records()
        for cell, study in self._studies.items():
            trials = [
                trial for trial in study.trials() if not (study.is_duplicate(trial) and trial.state.is_finished())
            ]
            finished = [trial for trial in trials if trial.state.is_finished()]
            for frozen in sorted(finished, key=lambda trial: trial.datetime_complete or datetime.max):
                state = State[frozen.state.name]
                self._limits.count(state)
                self._budget.finish(cell, state, frozen.values[0] if frozen.values else None)
            for frozen in trials:
                number = frozen.number
                path = records.get(f"{cell}/{number}")
                if frozen.state.is_finished() or path is not None:
                    self._first_of[cell].setdefault(study.params(number), number)
                if not frozen.state.is_finished() and path is not None:
                    self._commit(Record.model_validate_json(path.read_bytes()))
                elif not frozen.state.is_finished():
                    started = frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
                    chosen = study.resume(frozen)
                    if self._repeats(cell, number):
                        continue
                    self._waiting.append(self._start(cell, number, chosen, started))
                self._budget.start(cell)

    def _start(self, cell: str, number: int, chosen: dict[str, Scalar], started: float) -> TrialStart:
        configuration = Configuration.model_validate(chosen)
        try:
            configuration = resolve(configuration, self._shape, self._num_classes)
        except UserError:
            pass  # it fails where it is trained, as the trial's own fault
        spec = TrialSpec(
            data=self.spec.data,
            training=self.spec.training,
            resources=self.held,
            configuration=configuration,
            seed=derive_seed(self.spec.search.seed, "trial", number, *filter(None, (configuration.draw,))),
            split_seed=split_seed(self.spec),
        )
        return TrialStart(trial_id=f"{cell}/{number}", cell=cell, number=number, attempt=0, spec=spec, started=started)
