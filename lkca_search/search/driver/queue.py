"""A book: what a driver trains. It hands out, hears, and commits what is finished, in an order that survives deaths.

Order of commitment: a training's record is durable, then whoever decides on the next is told, then the trackers are. It
is finished when its record is durable.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lkca_search.errors import NodeError
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.record import Record, Result, State, TestResult, TrialMetadata
from lkca_search.search.driver.limits import Limits
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.state.manifests import Manifest, subset_size
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart


@dataclass(kw_only=True)
class RunningTrial:
    """A training that runs."""

    start: TrialStart
    folder: AnyPath
    """Where this attempt, and no other, writes."""
    facts: TrialMetadata | None = None
    curve: list[Result] = field(default_factory=list)
    test: TestResult | None = None
    pruned: bool = False
    error: str | None = None


class TrialQueue(ABC):
    """What is due, what runs and what is done of some trainings, for the one driver that holds their search's lease."""

    def __init__(
        self,
        folder: SearchFolder,
        spec: SearchSpec,
        tracker: Tracker,
        *,
        manifests: Sequence[Manifest],
        driver: int,
        ensure_lease: Callable[[], None],
        opened: float | None,
    ) -> None:
        """`manifests` are held against what is trained on.

        `driver` is the driver's number, `ensure_lease` raises where it drives no longer, and `opened` is the time from
        which `limits.hours` count, by default now.
        """
        self.folder = folder
        self.spec = spec
        self.held = spec.resources.of_trial()
        """What is held by trainings that are handed out from now on."""
        self.data_hash = manifests[0].data_hash if manifests else None
        """What workers must find their images to be."""
        self.test_hash: str | None = None
        """What they must find the test images to be, where these are opened at all."""
        self.halt_reason: str | None = None
        """Why nothing new is started, though some is due; what runs is finished."""
        self._tracker = tracker
        self._manifests = {manifest.size: manifest for manifest in manifests}
        self._driver = driver
        self._ensure_lease = ensure_lease
        self._waiting: deque[TrialStart] = deque()
        self._live: dict[str, RunningTrial] = {}
        self._retries: dict[str, int] = {}
        self._limits = Limits(spec.limits, opened=opened)

    @property
    @abstractmethod
    def num_due(self) -> int:
        """Trainings that are not finished yet, those that have not started included."""

    @abstractmethod
    def assign(self) -> Assignment | None:
        """Hand out the next training; None if there is none now."""

    @abstractmethod
    def _prunes(self, live: RunningTrial) -> bool:
        """Take the newest result of a training; return whether it ends by it."""

    @abstractmethod
    def _value(self, live: RunningTrial) -> tuple[str, float | None]:
        """The metric that counts of a training, and its value; None for one that failed."""

    @abstractmethod
    def _tell(self, record: Record) -> None:
        """Take a record that is durable now into account."""

    @property
    def may_assign_later(self) -> bool:
        """Whether `assign`, having returned None, may still return something: what runs may die and go on."""
        return bool(self._live) and self.halt_reason is None

    @property
    def may_assign(self) -> bool:
        """Whether `assign` may return something, as far as can be said without asking a sampler."""
        self._check_limits()
        return self.halt_reason is None and self.num_due > 0

    def halt(self, reason: str) -> None:
        """Start nothing from now on; the first reason stands."""
        self.halt_reason = self.halt_reason or reason

    def on_message(self, trial_id: str, message: Message) -> bool:
        """Take a worker's message; return whether the training is to stop."""
        live = self._live[trial_id]
        if live.pruned:
            return True
        live.facts = message.facts or live.facts
        live.error = message.error
        live.test = message.test
        if message.result is not None:
            live.curve.append(message.result)
            self._tracker.trial_reported(trial_id, message.result)
            live.pruned = self._prunes(live) and not message.done
        return live.pruned

    def finish(self, trial_id: str) -> Record:
        """Commit a training that has said its last: the record, then who decides on the next, then the trackers."""
        live = self._live.pop(trial_id)
        metric, value = self._value(live)
        record = Record(
            trial_id=trial_id,
            search=self.folder.name,
            cell=live.start.cell,
            number=live.start.number,
            attempt=live.start.attempt,
            driver=self._driver,
            state=State.FAIL if live.error else State.PRUNED if live.pruned else State.COMPLETE,
            metric=metric,
            value=value,
            spec=live.start.spec,
            facts=live.facts,
            curve=tuple(live.curve),
            error=live.error,
            started=live.start.started,
            finished=time.time(),
            replicate=live.start.replicate,
            test=live.test,
        )
        self._ensure_lease()
        write_atomically(live.folder / "record.json", record.model_dump_json().encode())
        self._commit(record)
        return record

    def on_worker_lost(self, trial_id: str, cause: str, *, counts: bool = True) -> None:
        """A training died of an outside cause, which may count as a retry: line it up again, or fail it after too many.

        None dies of a node that lacks what others have: the driver ends, and the training waits for the next one.
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

    def _assign(self, start: TrialStart) -> Assignment:
        trial = self.folder.trial(start.trial_id)
        earlier = trial.attempts()
        spec = start.spec.model_copy(update={"resources": self.held})
        start = start.model_copy(update={"attempt": len(earlier) + 1, "spec": spec})
        folder = trial.attempt(driver=self._driver, attempt=start.attempt)
        folder.mkdir(parents=True)
        self._live[start.trial_id] = RunningTrial(start=start, folder=folder)
        self._tracker.trial_started(start)
        manifest = self._manifests.get(subset_size(start.spec.configuration))
        return Assignment(
            trial_id=start.trial_id,
            spec=start.spec,
            attempt=start.attempt,
            attempt_folder=str(folder),
            earlier_folders=tuple(str(path) for path in earlier),
            data_hash=self.data_hash,
            subset_hash=manifest.train.hash if manifest else None,
            test_hash=self.test_hash,
            checkpoint_seconds=self.spec.search.checkpoint_seconds,
        )

    def _check_limits(self) -> None:
        if limit := self._limits.reached:
            self.halt(limit)

    def _commit(self, record: Record) -> None:
        # What is no longer needed, and what a death left half written: after `tell` nobody looks here again.
        for folder in self.folder.trial(record.trial_id).attempts():
            for left in (*folder.glob("checkpoint-*.pt"), *folder.glob(".*")):
                left.unlink(missing_ok=True)
        self._limits.count(record.state)
        self._tell(record)
        self._tracker.trial_finished(record)
