"""The only place that drives Ray Tune: the book says what to train, Tune where, the pruner when to stop."""

import logging
import os
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from lkca_search.paths import AnyPath, RemotePath, remove_tree
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.stopping import StopController, restored_signals
from lkca_search.search.planning.packing import GpuSharing, resource_request
from lkca_search.search.planning.workload import largest_gpu_bytes
from lkca_search.search.ray_backend.capacity import Capacity
from lkca_search.search.ray_backend.cluster import ask_gpu_bytes, find_capacity, read_nodes
from lkca_search.search.ray_backend.node_checks import check_nodes
from lkca_search.search.ray_backend.placement import Placement, QueueScheduler, QueueSearcher
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.spec.resources import SMALLEST_AMOUNT
from lkca_search.training.images import DataDirs, open_train_images

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the brake's
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Ray's experiment state is disposable
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # how many may be in flight is for the searcher to say
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}


def run_trials(
    queue: TrialQueue,
    data_dirs: DataDirs,
    stop_controller: StopController,
    *,
    notify: Callable[[str], None] = lambda _: None,
    address: str | None = None,
    num_cpus: int | None = None,
) -> None:
    """Train every due training of a book on a Ray cluster: the one at `address`, or one of this machine's own.

    `notify` hears of where trials wait for room, and of how many share a GPU where that is decided here.
    Raises SearchError where no trial could ever be placed, or the memory of GPUs is needed and not to be had.
    """
    with restored_signals():
        try:
            _start_ray(address, num_cpus=num_cpus)
            stop_controller.install_signal_handlers()  # from Ray, too
            placement = _find_placement(queue, data_dirs, notify=notify)
            check_nodes(
                queue.folder.trials, queue.spec, data_dirs, data_hash=queue.data_hash, test_hash=queue.test_hash
            )
            _make_tuner(queue, data_dirs, stop_controller, placement).fit()
            stop_controller.raise_failure()
        finally:
            ray.shutdown()
            remove_tree(queue.folder.ray)


def _find_placement(queue: TrialQueue, data_dirs: DataDirs, *, notify: Callable[[str], None]) -> Placement:
    resources = queue.spec.resources
    scales = find_capacity(resource_request(resources, resources.of_trial(gpu=SMALLEST_AMOUNT)), notify)
    sharing = None
    if resources.gpu == "auto":
        sharing = GpuSharing(
            trial_bytes=largest_gpu_bytes(queue.spec, open_train_images(queue.spec.data, data_dirs)),
            gpu_bytes=_gpu_bytes(queue),
            cpu=resources.cpu,
            nodes=read_nodes(),
        )
        notify(sharing.reason)
    room = Capacity(read_nodes, max_concurrent=resources.max_concurrent, scales=scales, notify=notify)
    return Placement(resources, room, sharing, notify=notify)


def _gpu_bytes(queue: TrialQueue) -> float:
    resources = queue.spec.resources
    if resources.gpu_memory is not None:
        return resources.gpu_memory * 1e9
    return ask_gpu_bytes(resource_request(resources, resources.of_trial(gpu=SMALLEST_AMOUNT)))


def _make_tuner(
    queue: TrialQueue, data_dirs: DataDirs, stop_controller: StopController, placement: Placement
) -> tune.Tuner:
    remove_tree(queue.folder.ray)
    return tune.Tuner(
        tune.with_resources(TrialActor, lambda config: tune.PlacementGroupFactory([config["asked"]])),
        tune_config=tune.TuneConfig(
            search_alg=QueueSearcher(queue, data_dirs, stop_controller, placement),
            scheduler=QueueScheduler(queue, stop_controller, placement),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            **_storage(queue.folder.ray),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=_TuneStopper(stop_controller),
            verbose=0,
        ),
    )


class _TuneStopper(Stopper):  # type: ignore[misc]  # Ray ships no types
    """Ends all trials when the brake says so. Tune asks at every turn of its loop, ten a second while no news come."""

    def __init__(self, stop_controller: StopController) -> None:
        self._stop_controller = stop_controller

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return (
            self._stop_controller.check()
        )  # the book hears nothing of the trials that are stopped: they are still due

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _storage(path: AnyPath) -> dict[str, Any]:
    if isinstance(path, RemotePath):
        return {"storage_path": path.path, "storage_filesystem": path.filesystem}
    return {"storage_path": str(path)}


def _trial_name(trial: Trial) -> str:
    name: str = trial.config["trial_id"].replace("/", "#")
    return f"{name}@{trial.config['attempt']}"


def _start_ray(address: str | None, *, num_cpus: int | None) -> None:
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is in the book
    ray.init(
        address=address or "local",
        **({"num_cpus": num_cpus, "include_dashboard": False} if address is None else {}),
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
