"""Which trial is placed when, and on how much: what Ray Tune asks of the book."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from lkca_search.search.driver.messages import Message
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.planning.packing import GpuSharing, describe_sharing, resource_request
from lkca_search.search.ray_backend.capacity import Capacity
from lkca_search.spec.resources import ResourcesSection, TrialResources
from lkca_search.training.failures import is_gpu_out_of_memory
from lkca_search.training.images import DataDirs


class Placement:
    """What a trial that starts now holds, and how many may be in flight."""

    def __init__(
        self, resources: ResourcesSection, room: Capacity, sharing: GpuSharing | None, *, notify: Callable[[str], None]
    ) -> None:
        """`sharing` decides the share of a GPU where `resources` leave it open."""
        self._resources = resources
        self._room = room
        self._sharing = sharing
        self._notify = notify

    @property
    def held(self) -> TrialResources:
        """What the next trial holds while it trains."""
        return self._resources.of_trial(gpu=self._sharing.share if self._sharing else None)

    @property
    def asked(self) -> dict[str, float]:
        """What it asks of a node."""
        return resource_request(self._resources, self.held)

    @property
    def trials_per_gpu(self) -> int | None:
        """How many share a GPU, where that is decided here."""
        return self._sharing.trials_per_gpu if self._sharing else None

    def count_concurrent_trials(self) -> int:
        """Return how many trials may be in flight, those that run included."""
        return self._room.count(self.asked)

    def on_error(self, trial_id: str, cause: str, trials_per_gpu: int | None) -> bool:
        """Take an outside cause of which a trial died; return whether it shared a GPU among too many.

        Fewer share one from now on then, and the trial is not to blame before it had one to itself.
        """
        if self._sharing is None or trials_per_gpu is None or not is_gpu_out_of_memory(cause):
            return False
        shares_less = self._sharing.reduce_sharing(trials_per_gpu)
        if shares_less:
            now = describe_sharing(self._sharing.trials_per_gpu)
            self._notify(f"{trial_id} ran out of GPU memory, {trials_per_gpu} to a GPU: from now on {now}")
        return shares_less


class QueueSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Asks the book for trials where there is room for them, and commits those that ended.

    Nothing is suggested before there is room, so that samplers learn from all that is finished by then. Only where the
    cluster scales some trials must wait, or it would not grow.
    """

    def __init__(
        self, queue: TrialQueue, data_dirs: DataDirs, stop_controller: StopController, placement: Placement
    ) -> None:
        super().__init__()
        self._queue = queue
        self._stop_controller = stop_controller
        self._placement = placement
        self._data_dirs = {
            "cache": str(data_dirs.cache),
            "data_dir": str(data_dirs.data_dir) if data_dirs.data_dir else None,
        }
        self._ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._stop_controller.capture_errors():
            return self._suggest(trial_id)
        return None

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._stop_controller.check()
        if self._queue.may_assign and len(self._ids) >= self._placement.count_concurrent_trials():
            return None
        self._queue.held = self._placement.held
        assignment = self._queue.assign()
        if assignment is None:
            return None if self._queue.may_assign_later else Searcher.FINISHED
        self._ids[trial_id] = assignment.trial_id
        return {
            "trial_id": assignment.trial_id,
            "attempt": assignment.attempt,
            "assignment": assignment.model_dump_json(),
            "place": self._data_dirs,
            "asked": self._placement.asked,
            "trials_a_gpu": self._placement.trials_per_gpu,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        ours = self._ids.pop(trial_id)
        if error or result is None:
            return  # the scheduler hears of it first, with the cause
        with self._stop_controller.capture_errors():
            self._queue.on_message(ours, Message.model_validate_json(result["message"]))
            self._queue.finish(ours)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the book is durable by itself."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the book is durable by itself."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, to restore it one day; we never do


class QueueScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Lets the pruner of the trial's own study decide, and actors that start be."""

    def __init__(self, queue: TrialQueue, stop_controller: StopController, placement: Placement) -> None:
        super().__init__()
        self._queue = queue
        self._stop_controller = stop_controller
        self._placement = placement

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Choose the newest trial that waits: it takes the actor of the trial that has just ended.

        The oldest one, as Tune has it, waits for an actor of its own, which would be killed while it starts: where
        workers take longer to start than trials to train, a node that is slower than another would never train one.
        """
        waiting = (trial for trial in reversed(tune_controller.get_trials()) if trial.status == Trial.PENDING)
        return next(waiting, None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        with self._stop_controller.capture_errors():
            self._on_error(trial)

    def _on_error(self, trial: Trial) -> None:
        path = Path(trial.error_file) if trial.error_file else None
        cause = path.read_text().strip().splitlines()[-1] if path and path.exists() else "the worker died"
        shares_less = self._placement.on_error(trial.config["trial_id"], cause, trial.config["trials_a_gpu"])
        self._queue.on_worker_lost(trial.config["trial_id"], cause, counts=not shares_less)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = False
        with self._stop_controller.capture_errors():
            stop = self._queue.on_message(trial.config["trial_id"], Message.model_validate_json(result["message"]))
        decision: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return decision
