"""Queue of a driver: its waiting and running trials, and commits that lose and repeat no trial after a crash.

A commit makes the record durable, then updates the study, then notifies the trackers. A trial is finished when its
record is durable: after a crash between these steps, the next driver repeats the later ones.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lkca_search.errors import Interrupted
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.provenance import LayerBackend
from lkca_search.records.record import Record, Result, State, TestResult, TrialMetadata
from lkca_search.search.driver.limits import Limits
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, KeepRequest, Message, WorkerLocation
from lkca_search.search.driver.node_faults import Exclusion, NodeFaults
from lkca_search.search.driver.trial_files import mark_lost, remove_unused_files, write_start
from lkca_search.search.state.manifests import Manifest, subset_size
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart
from lkca_search.trial_listing import RECORD


@dataclass(kw_only=True)
class RunningTrial:
    """State of a running attempt, as reported by its worker."""

    start: TrialStart
    """Attempt as assigned."""
    folder: AnyPath
    """Folder of this attempt; no other attempt writes there."""
    metadata: TrialMetadata | None = None
    """Metadata of the trial; None until the worker has reported it."""
    curve: list[Result] = field(default_factory=list)
    """Results so far, in order."""
    test: TestResult | None = None
    """Test result of a replicate that is over."""
    pruned: bool = False
    """True if the pruner has stopped the trial."""
    failure: Failure | None = None
    """Error in the worker."""
    location: WorkerLocation | None = None
    """Place of the worker; None until the worker has reported it."""
    order: int = 0
    """Number of the attempt among all that this driver has started, from 1."""


class TrialQueue(ABC):
    """Queue of trials or replicates of one search, used by the driver that holds its lease."""

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
        """Open the queue of a search.

        Args:
            folder: Folder of the search.
            spec: Spec of the search.
            tracker: Receives every start, result and record.
            manifests: Subsets that trials must train on; workers compare their hashes.
            driver: Number of the driver.
            ensure_lease: Raises an error if the driver no longer holds the lease.
            opened: Start of `limits.hours`, a time of `time.monotonic`; now if None.
        """
        self.folder = folder
        self.spec = spec
        self.data_hashes: Mapping[str | None, str] = {manifest.level: manifest.data_hash for manifest in manifests}
        """Content hash that workers must find for the training images, per level of the factor `dataset`; empty if
        unknown. The level is None in a search without this factor."""
        self.test_hashes: Mapping[str | None, str] = {}
        """Content hash that workers must find for the test images, as `data_hashes`; empty if nothing is tested."""
        self.halt_reason: str | None = None
        """Reason for starting no further trial; None while trials may start."""
        self.num_interrupted = 0
        """Number of trials that an earlier driver has started and not finished, and that resume."""
        self.node_faults = NodeFaults()
        """Deaths of workers per node."""
        self._tracker = tracker
        self._manifests = {manifest.size: manifest for manifest in manifests}
        self._driver, self._ensure_lease = driver, ensure_lease
        self._pending: deque[TrialStart] = deque()
        self._running: dict[str, RunningTrial] = {}
        self._retries, self._num_attempts = Counter[str](), 0
        self._tries_another = False
        """True after a death that may be the node's fault: another trial must start there to find out."""
        self._limits = Limits(spec.limits, opened=opened)

    @property
    @abstractmethod
    def num_left(self) -> int:
        """Number of unfinished trials, including those that have not started."""

    @abstractmethod
    def assign(self, resources: TrialResources | None = None) -> Assignment | None:
        """Start the next attempt with these resources; return None if nothing can start now.

        Without `resources`, the attempt gets those of the space file.
        """

    @abstractmethod
    def _should_prune(self, trial: RunningTrial) -> bool:
        """Report the newest result to the pruner; return True if it prunes the trial."""

    @abstractmethod
    def _metric(self, trial: RunningTrial) -> tuple[str, float | None]:
        """Return the name and value of the trial's metric; the value is None if the trial failed."""

    @abstractmethod
    def _on_recorded(self, record: Record) -> None:
        """Pass a durable record on to the study that suggests further trials."""

    @property
    def may_assign_later(self) -> bool:
        """True if `assign` may return an attempt later although it returned None: a running trial may be requeued."""
        return bool(self._running) and self.halt_reason is None

    @property
    def may_assign(self) -> bool:
        """True if `assign` may return an attempt. It may still return None if the samplers suggest only duplicates."""
        self._check_limits()
        return self.halt_reason is None and self.num_left > 0

    def resumes(self, trial_id: str) -> bool:
        """Return True if a trial that has lost its worker will start again under this driver."""
        return self.halt_reason is None and any(start.trial_id == trial_id for start in self._pending)

    def halt(self, reason: str) -> None:
        """Start no further trial. Running trials finish; the first reason is kept."""
        if self.halt_reason is None:
            self.halt_reason = reason
            self._tracker.halted(reason)

    def on_message(self, trial_id: str, message: Message) -> bool:
        """Add a worker's message to its trial; return True if it must stop; Interrupted if the storage is full."""
        trial = self._running[trial_id]
        if message.failure is not None and message.failure.kind is FailureKind.STORAGE:
            raise Interrupted(message.failure.message)
        if trial.pruned:
            return True
        if message.metadata is not None:
            trial.metadata = message.metadata
            self._tracker.trial_described(trial_id, message.metadata)
        trial.location = message.location or trial.location
        trial.failure, trial.test = message.failure, message.test
        if message.result is not None:
            trial.curve.append(message.result)
            self._tracker.trial_reported(trial_id, message.result)
            trial.pruned = self._should_prune(trial) and not message.done
        return trial.pruned

    def failure(self, trial_id: str) -> Failure | None:
        """Return the failure that a running trial's worker has reported; None if it has reported none."""
        return self._running[trial_id].failure

    def location(self, trial_id: str) -> WorkerLocation | None:
        """Return the place of a running trial's worker; None until the worker has reported it."""
        return self._running[trial_id].location

    def finish(self, trial_id: str) -> Record:
        """Commit a trial whose worker has sent its last message: record, then study, then trackers."""
        trial = self._running.pop(trial_id)
        metric, value = self._metric(trial)
        record = Record(
            trial_id=trial_id,
            search=self.folder.name,
            cell=trial.start.cell,
            number=trial.start.number,
            attempt=trial.start.attempt,
            driver=self._driver,
            state=State.FAIL if trial.failure else State.PRUNED if trial.pruned else State.COMPLETE,
            metric=metric,
            value=value,
            spec=trial.start.spec,
            facts=trial.metadata,
            curve=tuple(trial.curve),
            error=trial.failure.message if trial.failure else None,
            started=trial.start.started,
            finished=time.time(),
            replicate=trial.start.replicate,
            test=trial.test,
        )
        if trial.location is not None and not trial.failure:
            self.node_faults.on_finished(trial.location)
        self._ensure_lease()
        write_atomically(trial.folder / RECORD, record.model_dump_json().encode())
        self._commit(record)
        return record

    def on_worker_lost(
        self, trial_id: str, cause: str, *, counts_as_retry: bool = True, location: WorkerLocation | None = None
    ) -> Exclusion | None:
        """Requeue a trial whose worker was lost; fail the trial after `search.max_retries` retries.

        Retries that were the fault of the trial's node are given back. If the node lacks the images, halt and keep the
        trial unfinished: any other trial would fail there too. Return the exclusion of a node that is at fault.

        Args:
            trial_id: Id of the trial.
            cause: Cause of the loss; a failure that the worker has reported takes precedence.
            counts_as_retry: False if the loss uses up no retry.
            location: Place of the worker if its node still lives; None if the node was lost too.
        """
        trial = self._running[trial_id]
        cause, exclusion = trial.failure.message if trial.failure else cause, None
        if trial.failure and trial.failure.kind is FailureKind.NODE:
            self.halt(cause)
        else:
            self._retries[trial_id] += counts_as_retry
            if location is not None and not (trial.failure and trial.failure.kind is FailureKind.GPU_MEMORY):
                exclusion = self._blame(trial, location, cause)
            is_suspect = location is not None and self.node_faults.is_suspect(location)
            if self._retries[trial_id] > self.spec.search.max_retries and not is_suspect:
                error = f"lost its worker {self._retries[trial_id]} times; last cause: {cause}"
                trial.failure = Failure(kind=FailureKind.MACHINE, message=error)
                self.finish(trial_id)
                return exclusion
        mark_lost(trial.folder)
        self._pending.append(self._running.pop(trial_id).start)
        self._tracker.trial_requeued(trial_id)
        return exclusion

    def _blame(self, trial: RunningTrial, location: WorkerLocation, cause: str) -> Exclusion | None:
        """Count the death of a trial's worker against its node; give its retries back if the node is excluded."""
        exclusion = self.node_faults.on_death(
            location,
            trial.start.trial_id,
            cause,
            attempt=trial.order,
            newest=self._num_attempts,
            is_suspicious=trial.start.attempt <= self.spec.search.max_retries + 1,
        )
        self._tries_another = exclusion is None
        for trial_id, count in exclusion.deaths.items() if exclusion else ():
            self._retries[trial_id] = max(0, self._retries[trial_id] - count)
        return exclusion

    def _next_pending(self, *, has_new: bool) -> TrialStart | None:
        """Remove and return the next requeued trial; None if there is none, or if a new trial must start before it."""
        if not self._pending or (self._tries_another and has_new):
            return None
        return self._pending.popleft()

    def _start_attempt(self, start: TrialStart, resources: TrialResources | None) -> Assignment:
        trial = self.folder.trial(start.trial_id)
        earlier = trial.attempts()
        spec = start.spec.model_copy(update={"resources": resources or self.spec.resources.of_trial()})
        start = start.model_copy(update={"attempt": len(earlier) + 1, "spec": spec})
        folder = trial.attempt(driver=self._driver, attempt=start.attempt)
        write_start(start, folder)
        self._num_attempts += 1
        self._tries_another = False
        self._running[start.trial_id] = RunningTrial(start=start, folder=folder, order=self._num_attempts)
        self._tracker.trial_started(start)
        configuration = start.spec.configuration
        manifest = self._manifests.get(subset_size(configuration))
        return Assignment(
            trial_id=start.trial_id,
            spec=start.spec,
            attempt=start.attempt,
            attempt_folder=str(folder),
            earlier_folders=tuple(str(path) for path in earlier),
            data_hash=self.data_hashes.get(configuration.dataset),
            subset_hash=manifest.train.hash if manifest else None,
            test_hash=self.test_hashes.get(configuration.dataset),
            backends=self._backends(start),
            keep=self._keep_request(start),
            checkpoint_seconds=self.spec.search.checkpoint_seconds,
        )

    def _backends(self, start: TrialStart) -> tuple[LayerBackend, ...]:
        """Return the backends that an attempt must take; empty if its worker chooses them."""
        return ()

    def _keep_request(self, start: TrialStart) -> KeepRequest | None:
        """Return the request to keep the model of an attempt; None if none is kept."""
        return None

    def _check_limits(self) -> None:
        if limit := self._limits.reached:
            self.halt(limit)

    def _commit(self, record: Record) -> None:
        # Before the study receives the trial: no later driver visits a trial that its study has.
        remove_unused_files(self.folder.trial(record.trial_id), record)
        self._limits.count(record.state)
        self._on_recorded(record)
        self._tracker.trial_finished(record)
