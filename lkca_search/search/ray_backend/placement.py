"""Adapters between Ray Tune and the queue: a searcher that starts trials, a scheduler that stops them."""

import time
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from lkca_search.environment.redaction import command_line
from lkca_search.own_code import code_hashes, own_folders
from lkca_search.records.provenance import provenance_folder
from lkca_search.search.driver.lost_workers import LostWorkers
from lkca_search.search.driver.messages import Assignment, FailureKind, Message
from lkca_search.search.driver.node_faults import EXCLUDED_SECONDS, Exclusion, NodeFaults
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.planning.packing import GpuSharing, count_concurrent_trials, describe_sharing, resource_request
from lkca_search.search.ray_backend.capacity import REFRESH_SECONDS, Capacity
from lkca_search.search.ray_backend.locations import describe_node, location_of_lost, read_error, usable_nodes
from lkca_search.spec.resources import ResourcesSection, TrialResources
from lkca_search.training.images import DataDirs

_FINISHED: str = Searcher.FINISHED


class Placement:
    """Resources of the trials that start next, and the number of trials that may be in flight."""

    def __init__(
        self,
        section: ResourcesSection,
        capacity: Capacity,
        sharing: GpuSharing | None,
        *,
        notify: Callable[[str], None],
        node_faults: NodeFaults | None = None,
    ) -> None:
        """Place trials by the section `resources`; `sharing` decides the share of a GPU under `gpu: auto`.

        `capacity` counts on the nodes that `node_faults` does not exclude.
        """
        self.node_faults = node_faults or NodeFaults()
        """Deaths of workers per node."""
        self.lost_workers = LostWorkers(notify)
        """Trials that have lost their workers."""
        self._section = section
        self._capacity = capacity
        self._sharing = sharing
        self._notify = notify
        self._clock = time.monotonic
        self._next_check = -float("inf")

    @property
    def resources(self) -> TrialResources:
        """Resources of the next trial."""
        return self._section.of_trial(gpu=self._sharing.share if self._sharing else None)

    @property
    def resource_request(self) -> dict[str, float]:
        """Resources that the next trial requests from Ray."""
        return resource_request(self._section, self.resources)

    def count_concurrent_trials(self) -> int:
        """Return the number of trials that may be in flight, running ones included."""
        return self._capacity.count(self.resource_request)

    def avoided_nodes(self, trial_id: str) -> list[str]:
        """Return the nodes that a trial must not use: excluded ones, and others where it has died.

        It may return to a node where it has died if no other node can run it.
        """
        excluded, died_on = self.node_faults.excluded, self.node_faults.died_on(trial_id)
        has_other = not died_on or self._has_node_beside({*excluded, *died_on})
        return sorted({*excluded, *died_on} if has_other else excluded)

    def is_stuck(self, trial_id: str, avoided: Collection[str]) -> bool:
        """Return True if a pending trial avoids nodes although no other can run it, and need not avoid them now.

        The other nodes have left since its request. The cluster is read at most every two seconds.
        """
        if not avoided or self._clock() < self._next_check:
            return False
        self._next_check = self._clock() + REFRESH_SECONDS
        return not self._has_node_beside(avoided) and set(self.avoided_nodes(trial_id)) < set(avoided)

    def _has_node_beside(self, unusable: Collection[str]) -> bool:
        return count_concurrent_trials(self.resource_request, usable_nodes(unusable)) > 0

    def on_excluded(self, exclusion: Exclusion) -> str | None:
        """Notify the user of a node that is not used from now on; return the reason to halt if no node is left."""
        line = f"node {describe_node(exclusion.node)}: {exclusion.reason}"
        if exclusion.is_new:
            self._notify(f"not used for {EXCLUDED_SECONDS / 60:.0f} minutes: {line}")
        is_left = self._capacity.autoscales or self._has_node_beside(self.node_faults.excluded)
        return None if is_left else f"no node is left to train on: {line}"

    def on_gpu_out_of_memory(self, trial_id: str, resources: TrialResources) -> bool:
        """Reduce the trials per GPU after a trial ran out of GPU memory; return False if that is impossible.

        It is impossible if the space file fixes the share, or if the trial had a GPU to itself.
        """
        if self._sharing is None:
            return False
        trials_per_gpu = round(1 / resources.gpu)
        is_reduced = self._sharing.reduce_sharing(trials_per_gpu)
        if is_reduced:
            now = describe_sharing(self._sharing.trials_per_gpu)
            self._notify(f"{trial_id} ran out of GPU memory with {trials_per_gpu} trials per GPU: from now on {now}")
        return is_reduced


class QueueSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Searcher that starts trials of the queue when there is capacity, and commits the trials that end.

    A trial is suggested only when there is capacity, so that its sampler learns from all trials finished before. With
    an autoscaler, some trials must be pending; otherwise the cluster would not grow.
    """

    def __init__(
        self, queue: TrialQueue, data_dirs: DataDirs, stop_controller: StopController, placement: Placement
    ) -> None:
        """Start trials of `queue` as `placement` allows, until `stop_controller` halts the queue."""
        super().__init__()
        self._queue = queue
        self._stop_controller = stop_controller
        self._placement = placement
        self._data_dirs = {
            "cache": str(data_dirs.cache),
            "data_dir": str(data_dirs.data_dir) if data_dirs.data_dir else None,
        }
        self._own_code = {
            "folders": own_folders(),
            "modules": code_hashes(path for _, path in queue.spec.own_code()),
        }
        self._origin = {"folder": str(provenance_folder(queue.folder)), "command_line": command_line()}
        self._trial_ids: dict[str, str] = {}
        """Trial id in this search by Tune's trial id."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the config of the next trial; None if there is no capacity, `FINISHED` if none will start."""
        with self._stop_controller.capture_errors():
            return self._suggest(trial_id)
        return _FINISHED  # after an error. Tune repeats a call that returns None for up to ten minutes.

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._stop_controller.check() or self._queue.halt_reason is not None:
            return _FINISHED  # no call of the queue: it could wait for a database that does not respond
        if self._queue.may_assign and len(self._trial_ids) >= self._placement.count_concurrent_trials():
            return None
        assignment = self._queue.assign(self._placement.resources)
        if assignment is None:
            return None if self._queue.may_assign_later else _FINISHED
        self._trial_ids[trial_id] = assignment.trial_id
        return {
            "assignment": assignment.model_dump_json(),
            "data_dirs": self._data_dirs,
            "own_code": self._own_code,
            "origin": self._origin,
            "resource_request": self._placement.resource_request,
            "avoided_nodes": self._placement.avoided_nodes(assignment.trial_id),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Commit a trial that is done or pruned, with its last message."""
        search_trial_id = self._trial_ids.pop(trial_id)
        if error or result is None:
            return  # Tune has called the scheduler's `on_trial_error` before
        with self._stop_controller.capture_errors():
            self._queue.on_message(search_trial_id, Message.model_validate_json(result["message"]))
            self._queue.finish(search_trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the queue itself is durable."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the queue itself is durable."""

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state. Tune pickles its searcher for a restore after a crash, which is never done here."""
        return {}


class QueueScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Scheduler that passes results to the queue, stops the trials it prunes, and never kills a starting actor."""

    def __init__(self, queue: TrialQueue, stop_controller: StopController, placement: Placement) -> None:
        """Pass messages to `queue`, and adjust `placement` when a trial runs out of GPU memory."""
        super().__init__()
        self._queue = queue
        self._stop_controller = stop_controller
        self._placement = placement
        self._live: list[Trial] = []
        """Trials of Tune that were not finished at the last choice, in order of their start."""

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state, as `QueueSearcher` does."""
        return {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a new trial into account. Tune keeps finished trials in its own list, which grows with the search."""
        self._live = [*(each for each in self._live if each is not trial), trial]

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the newest pending trial; it takes the actor of the trial that has just ended.

        Tune would choose the oldest one. That trial waits for an actor of its own, which Tune would kill while it
        starts. If workers start more slowly than trials train, a slow node would then never train a trial.
        """
        self._placement.lost_workers.flush()
        self._live = [trial for trial in self._live if not trial.is_finished()]
        pending = [trial for trial in reversed(self._live) if trial.status == Trial.PENDING]
        for trial in pending:
            with self._stop_controller.capture_errors():
                trial_id = read_assignment(trial).trial_id
                if self._placement.is_stuck(trial_id, trial.config["avoided_nodes"]):
                    self._queue.on_worker_lost(trial_id, "", counts_as_retry=False)
                    tune_controller.stop_trial(trial)  # it starts again, with another request
                    return None
        return next(iter(pending), None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Requeue or fail a trial whose worker was lost."""
        with self._stop_controller.capture_errors():
            self._on_worker_lost(trial)

    def _on_worker_lost(self, trial: Trial) -> None:
        assignment = read_assignment(trial)
        failure = self._queue.failure(assignment.trial_id)
        is_reduced = (
            failure is not None
            and failure.kind is FailureKind.GPU_MEMORY
            and self._placement.on_gpu_out_of_memory(assignment.trial_id, assignment.spec.resources)
        )
        cause = _last_line(trial)
        exclusion = self._queue.on_worker_lost(
            assignment.trial_id,
            cause,
            counts_as_retry=not is_reduced,
            location=location_of_lost(trial, self._queue.location(assignment.trial_id)),
        )
        if exclusion is not None:
            reason = self._placement.on_excluded(exclusion)
            if reason is not None:
                self._queue.halt(reason)
        if self._queue.resumes(assignment.trial_id) and not is_reduced:  # else a line states the reduction
            self._placement.lost_workers.add(assignment.trial_id, failure.message if failure else cause)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass a message on to the queue; return Tune's decision to stop or to continue the trial."""
        stop = False
        with self._stop_controller.capture_errors():
            message = Message.model_validate_json(result["message"])
            stop = self._queue.on_message(read_assignment(trial).trial_id, message)
        decision: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return decision


def read_assignment(trial: Trial) -> Assignment:
    """Return the assignment in the config of a Tune trial."""
    return _parse_assignment(trial.config["assignment"])


@lru_cache(maxsize=1024)
def _parse_assignment(text: str) -> Assignment:
    """Parse an assignment once for all messages of its trial."""
    return Assignment.model_validate_json(text)


def _last_line(trial: Trial) -> str:
    """Return the last line of Tune's error, for a worker that died without a message: lost node, killed process."""
    return (read_error(trial).splitlines() or ["the worker died"])[-1]
