"""Run of a queue's trials under Ray Tune: starts Ray, checks the nodes, and runs Tune until no trial is left."""

import logging
import os
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from lkca_search.data.store import Images
from lkca_search.paths import AnyPath, RemotePath, remove_tree
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.stopping import StopController, restored_signals
from lkca_search.search.planning.packing import GpuSharing, resource_request
from lkca_search.search.planning.workload import largest_gpu_bytes
from lkca_search.search.ray_backend.capacity import Capacity
from lkca_search.search.ray_backend.cluster import ensure_capacity, read_nodes, smallest_gpu_bytes
from lkca_search.search.ray_backend.node_checks import check_nodes
from lkca_search.search.ray_backend.placement import Placement, QueueScheduler, QueueSearcher, read_assignment
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.spec.resources import SMALLEST_AMOUNT
from lkca_search.training.images import DataDirs, open_train_images

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the stop controller handles Ctrl-C
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the ledger is durable, Tune's own state is never restored
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the searcher limits the trials in flight
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Environment variables of Ray and Tune, unless the user has set them."""


def run_trials(
    queue: TrialQueue,
    data_dirs: DataDirs,
    stop_controller: StopController,
    *,
    images: Images | None = None,
    notify: Callable[[str], None] = lambda _: None,
    address: str | None = None,
    num_cpus: int | None = None,
) -> None:
    """Train all unfinished trials of a queue on a Ray cluster.

    Args:
        queue: Trials or replicates to train.
        data_dirs: Folders of images, on every node.
        stop_controller: Ends the run on a request or a signal.
        images: Training images, if they are already open.
        notify: Prints a line for the user: trials that wait for capacity, trials per GPU under `gpu: auto`.
        address: Address of the cluster; None for a local one of this machine.
        num_cpus: Cores of the local cluster; None for all.

    Raises:
        SearchError: No node can ever run a trial, a node cannot train, or the memory of GPUs is unknown.
    """
    with restored_signals():
        try:
            _start_ray(address, num_cpus=num_cpus)
            stop_controller.install_signal_handlers()  # after Ray, which installs its own
            placement = _make_placement(queue, data_dirs, images, notify=notify)
            check_nodes(
                queue.folder.trials, queue.spec, data_dirs, data_hash=queue.data_hash, test_hash=queue.test_hash
            )
            _make_tuner(queue, data_dirs, stop_controller, placement).fit()
            stop_controller.raise_failure()
        finally:
            ray.shutdown()
            remove_tree(queue.folder.ray)


def _make_placement(
    queue: TrialQueue, data_dirs: DataDirs, images: Images | None, *, notify: Callable[[str], None]
) -> Placement:
    section = queue.spec.resources
    smallest_request = resource_request(section, section.of_trial(gpu=SMALLEST_AMOUNT))
    autoscales = ensure_capacity(smallest_request, notify)
    sharing = None
    if section.gpu == "auto":
        images = open_train_images(queue.spec.data, data_dirs) if images is None else images
        memory = section.gpu_memory
        sharing = GpuSharing(
            trial_bytes=largest_gpu_bytes(queue.spec, images),
            gpu_bytes=smallest_gpu_bytes(smallest_request) if memory is None else memory * 1e9,
            cpu=section.cpu,
            nodes=read_nodes(),
        )
        notify(sharing.reason)
    capacity = Capacity(read_nodes, max_concurrent=section.max_concurrent, autoscales=autoscales, notify=notify)
    return Placement(section, capacity, sharing, notify=notify)


def _make_tuner(
    queue: TrialQueue, data_dirs: DataDirs, stop_controller: StopController, placement: Placement
) -> tune.Tuner:
    remove_tree(queue.folder.ray)
    return tune.Tuner(
        tune.with_resources(TrialActor, lambda config: tune.PlacementGroupFactory([config["resource_request"]])),
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
    """Stopper that ends all trials on a stop. Tune calls it in every iteration of its loop, at least 10 per second."""

    def __init__(self, stop_controller: StopController) -> None:
        self._stop_controller = stop_controller

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop_controller.check()  # the queue is not notified: the stopped trials stay unfinished

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _storage(path: AnyPath) -> dict[str, Any]:
    if isinstance(path, RemotePath):
        return {"storage_path": path.path, "storage_filesystem": path.filesystem}
    return {"storage_path": str(path)}


def _trial_name(trial: Trial) -> str:
    assignment = read_assignment(trial)
    return f"{assignment.trial_id.replace('/', '#')}@{assignment.attempt}"


def _start_ray(address: str | None, *, num_cpus: int | None) -> None:
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are in the records
    ray.init(
        address=address or "local",
        **({"num_cpus": num_cpus, "include_dashboard": False} if address is None else {}),
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
