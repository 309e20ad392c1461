"""The ledger: what of a search is done, running and due, exact at whatever moment its driver dies.

Order of commitment: a trial's record is durable, then its study is told, then the trackers are. A trial is finished
when its record is durable; opening the ledger tells the studies what was recorded but not told, and lines up what was
running for its next attempt.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lkca_search.configuration import Configuration, ImageShape, Scalar
from lkca_search.errors import NodeError, UserError
from lkca_search.models.registry import resolve
from lkca_search.records import Facts, Record, Result, State
from lkca_search.remote_path import Place
from lkca_search.search.budget import Budget
from lkca_search.search.cells import cells
from lkca_search.search.database import find_database
from lkca_search.search.manifests import Manifest, size_of, split_seed
from lkca_search.search.messages import Assignment, Message
from lkca_search.search.objectives import values
from lkca_search.search.studies import Storage, Study, Suggestion, open_storage
from lkca_search.seeds import derive_seed
from lkca_search.spec import SearchSpec
from lkca_search.storage import SearchFolder, write_atomically
from lkca_search.tracking.tracker import Tracker, TrialStart
from lkca_search.trial import TrialSpec

_MOST_REPEATS = 32
"""Suggestions in a row that repeat earlier ones, after which a cell counts as exhausted."""


@dataclass(kw_only=True)
class _Live:
    """A trial that is being trained."""

    study: Study
    start: TrialStart
    folder: Place
    facts: Facts | None = None
    curve: list[Result] = field(default_factory=list)
    pruned: bool = False
    error: str | None = None


class Ledger:
    """A search's ledger, for the one driver that holds the search's lock."""

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
        storage: Storage | None = None,
    ) -> None:
        """`manifests` are held against what trials train on.

        `driver` is the driver's number, and `ensure_lease` raises where it drives no longer.
        `storage` is the Optuna storage, by default the one in the ledger's own database.
        """
        self.folder = folder
        self.spec = spec
        self.held = spec.resources.of_trial()  # what trials hold that are handed out from now on
        self._shape = shape
        self._num_classes = num_classes
        self._tracker = tracker
        self._manifests = {manifest.size: manifest for manifest in manifests}
        self.data_hash = manifests[0].data_hash if manifests else None
        """What trials must find their images to be."""
        self._driver = driver
        self._ensure_lease = ensure_lease
        storage = storage or open_storage(find_database(folder))
        self._studies = {cell.key: Study(storage, spec, cell) for cell in cells(spec)}
        self._budget = Budget(folder, spec)
        self._first_of: dict[str, dict[Suggestion, int]] = {cell: {} for cell in self._studies}
        self._waiting: deque[TrialStart] = deque()
        self._live: dict[str, _Live] = {}
        self._retries: dict[str, int] = {}
        self._recover()

    @property
    def halted(self) -> str | None:
        """Why no new trial is started, though some are due; what runs is finished."""
        return self._budget.halted

    @property
    def num_due(self) -> int:
        """Trials that are not finished yet, those that have not started included."""
        return self._budget.num_unstarted + len(self._waiting) + len(self._live)

    @property
    def may_assign_later(self) -> bool:
        """Whether `assign`, having returned None, may still return a trial: one that runs may die and go on."""
        return bool(self._live) and self.halted is None

    @property
    def may_assign(self) -> bool:
        """Whether `assign` may return a trial, as far as can be said without asking a sampler."""
        self._budget.check_limits()
        return self.halted is None and self.num_due > 0

    def halt(self, reason: str) -> None:
        """Start no trial from now on; the first reason stands."""
        self._budget.halt(reason)

    def exhaust(self, cell: str) -> None:
        """Give a cell no new trial from now on, whoever drives it."""
        self._budget.exhaust(cell)

    def assign(self) -> Assignment | None:
        """Hand out the next trial: one that was cut off, else a new one of the cell that has started fewest."""
        self._budget.check_limits()
        self._ensure_lease()
        while self.halted is None:
            if self._waiting:
                return self._hand_out(self._waiting.popleft())
            cell = self._budget.neediest_cell
            if cell is None:
                return None
            start = self._ask(cell)
            if start is not None:
                return self._hand_out(start)
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
        first = self._first_of[cell].setdefault(study.suggestion(number), number)
        if first != number:
            study.repeat(number, of=first)
        return first != number

    def hear(self, trial_id: str, message: Message) -> bool:
        """Take a worker's message; return whether the trial is to stop."""
        live = self._live[trial_id]
        if live.pruned:
            return True
        live.facts = message.facts or live.facts
        live.error = message.error
        if message.result is not None:
            live.curve.append(message.result)
            self._tracker.trial_reported(trial_id, message.result)
            value = getattr(message.result, self.spec.search.metrics[0])
            prune = live.study.report(live.start.number, len(live.curve), value)
            live.pruned = prune and not message.done
        return live.pruned

    def finish(self, trial_id: str) -> Record:
        """Commit a trial that has said its last: the record, then the study, then the trackers."""
        live = self._live.pop(trial_id)
        state = State.FAIL if live.error else State.PRUNED if live.pruned else State.COMPLETE
        failed = state is State.FAIL
        record = Record(
            trial_id=trial_id,
            search=self.folder.name,
            cell=live.start.cell,
            number=live.start.number,
            attempt=live.start.attempt,
            driver=self._driver,
            state=state,
            metric=self.spec.search.metrics[0],
            value=None if failed else getattr(live.curve[-1], self.spec.search.metrics[0]),
            spec=live.start.spec,
            facts=live.facts,
            curve=tuple(live.curve),
            error=live.error,
            started=live.start.started,
            finished=time.time(),
        )
        self._ensure_lease()
        write_atomically(live.folder / "record.json", record.model_dump_json().encode())
        self._commit(record)
        return record

    def lose(self, trial_id: str, cause: str, *, counts: bool = True) -> None:
        """A trial died of an outside cause, which may count as a retry: line it up again, or fail it after too many.

        No trial dies of a node that lacks what others have: the search ends, and the trial waits for the next driver.
        """
        live = self._live[trial_id]
        if NodeError.__name__ in cause:
            self.halt(cause)
            self._waiting.append(self._live.pop(trial_id).start)
            return
        self._retries[trial_id] = self._retries.get(trial_id, 0) + counts
        if self._retries[trial_id] > self.spec.search.max_retries:
            live.error = f"died {self._retries[trial_id]} times of an outside cause, last of: {cause}"
            self.finish(trial_id)
            return
        del self._live[trial_id]
        self._waiting.append(live.start)

    def _recover(self) -> None:
        """Tell what was recorded but not told, end repeats that were cut off, and line up what was running."""
        records = self.folder.records()
        for cell, study in self._studies.items():
            trials = [trial for trial in study.trials() if not (study.is_repeat(trial) and trial.state.is_finished())]
            finished = [trial for trial in trials if trial.state.is_finished()]
            for frozen in sorted(finished, key=lambda trial: trial.datetime_complete or datetime.max):
                self._budget.finish(cell, State[frozen.state.name], frozen.values[0] if frozen.values else None)
            for frozen in trials:
                number = frozen.number
                path = records.get(f"{cell}/{number}")
                if frozen.state.is_finished() or path is not None:
                    self._first_of[cell].setdefault(study.suggestion(number), number)
                if not frozen.state.is_finished() and path is not None:
                    self._commit(Record.model_validate_json(path.read_bytes()))
                elif not frozen.state.is_finished():
                    started = frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
                    chosen = study.adopt(frozen)
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
            seed=derive_seed(self.spec.search.seed, "trial", number),
            split_seed=split_seed(self.spec),
        )
        return TrialStart(trial_id=f"{cell}/{number}", cell=cell, number=number, attempt=0, spec=spec, started=started)

    def _hand_out(self, start: TrialStart) -> Assignment:
        trial = self.folder.trial(start.trial_id)
        earlier = trial.attempts()
        spec = start.spec.model_copy(update={"resources": self.held})
        start = start.model_copy(update={"attempt": len(earlier) + 1, "spec": spec})
        folder = trial.attempt(driver=self._driver, attempt=start.attempt)
        folder.mkdir(parents=True)
        self._live[start.trial_id] = _Live(study=self._studies[start.cell], start=start, folder=folder)
        self._tracker.trial_started(start)
        manifest = self._manifests.get(size_of(start.spec.configuration))
        return Assignment(
            trial_id=start.trial_id,
            spec=start.spec,
            attempt=start.attempt,
            attempt_folder=str(folder),
            earlier_folders=tuple(str(path) for path in earlier),
            data_hash=self.data_hash,
            subset_hash=manifest.train.hash if manifest else None,
            checkpoint_seconds=self.spec.search.checkpoint_seconds,
        )

    def _commit(self, record: Record) -> None:
        # What is no longer needed, and what a death left half written: after `tell` nobody looks here again.
        for folder in self.folder.trial(record.trial_id).attempts():
            for left in (*folder.glob("checkpoint-*.pt"), *folder.glob(".*")):
                left.unlink(missing_ok=True)
        self._studies[record.cell].tell(record.number, record.state, values(record, self.spec.search))
        self._budget.finish(record.cell, record.state, record.value)
        self._tracker.trial_finished(record)
