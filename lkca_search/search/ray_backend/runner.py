"""Run of a queue's trials under Ray Tune: places them on the nodes, and runs Tune until no trial is left."""

import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from lkca_search.data.store import Images
from lkca_search.file_names import shorten_name
from lkca_search.paths import AnyPath, RemotePath, remove_tree
from lkca_search.search.driver.node_faults import NodeFaults
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.stopping import StopController, received_signals, restored_signals
from lkca_search.search.planning.packing import GpuSharing, Resources, resource_request
from lkca_search.search.planning.workload import largest_gpu_bytes
from lkca_search.search.ray_backend.capacity import Capacity
from lkca_search.search.ray_backend.cluster import check_local_node, ensure_capacity, read_nodes, smallest_gpu_bytes
from lkca_search.search.ray_backend.locations import placement_group, usable_nodes
from lkca_search.search.ray_backend.node_checks import check_nodes
from lkca_search.search.ray_backend.placement import Placement, QueueScheduler, QueueSearcher, read_assignment
from lkca_search.search.ray_backend.private import inherited_environment
from lkca_search.search.ray_backend.session import RaySession
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.spec.resources import SMALLEST_AMOUNT
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.images import DataDirs, open_all_train_images

_TUNE_NAME_BYTES = 200
"""Longest name of Tune's folder of a trial. The name of a replicate is longer than its cell, which is a folder too."""


def place(
    session: RaySession,
    spec: SearchSpec,
    trials: AnyPath,
    data_dirs: DataDirs,
    *,
    images: Mapping[str | None, Images] | None = None,
    test_hashes: Mapping[str | None, str] | None = None,
    check_start: Callable[[], None] = lambda: None,
) -> Placement:
    """Start Ray if needed, and place the trials of a spec on the cluster, before anything of them is committed.

    Args:
        session: Session with Ray.
        spec: Spec of the search.
        trials: Folder of the trials, which every node must share.
        data_dirs: Folders of images, on every node.
        images: Training images per level of the factor `dataset`, which every node must have, if they are open.
        test_hashes: Content hash that every node must find for the test images of each level, if they are tested.
        check_start: Raises an error if the start is to be ended; called repeatedly.

    Raises:
        SearchError: No node can ever run a trial, a node cannot train, or the memory of GPUs is unknown.
        Interrupted: The local cluster is lost.
    """
    try:
        session.start()
        check_start()
        placement = _make_placement(session, spec, data_dirs, images)
        check_nodes(
            trials,
            spec,
            data_dirs,
            data_hashes={level: opened.content_hash for level, opened in (images or {}).items()},
            test_hashes=test_hashes or {},
            check_start=check_start,
        )
        check_start()
    except ray.exceptions.RayError:
        session.raise_if_lost()
        raise
    return placement


def run_trials(
    queue: TrialQueue,
    data_dirs: DataDirs,
    stop_controller: StopController,
    session: RaySession,
    placement: Placement | None = None,
) -> None:
    """Train all unfinished trials of a queue on a Ray cluster.

    Args:
        queue: Trials or replicates to train.
        data_dirs: Folders of images, on every node.
        stop_controller: Ends the run on a request or a signal.
        session: Session with Ray.
        placement: Placement of the trials; by default they are placed first.

    Raises:
        SearchError: As in `place`.
        Interrupted: The local cluster is lost.
    """
    if placement is None:
        placement = place(session, queue.spec, queue.folder.trials, data_dirs, test_hashes=queue.test_hashes)
    session.on_lost = stop_controller.fail
    queue.node_faults = placement.node_faults
    try:
        environment = inherited_environment() if session.is_local else nullcontext()
        with restored_signals(), environment, received_signals() as received:
            session.is_terminated = lambda: signal.SIGTERM in received()
            stop_controller.install_signal_handlers()  # after the start of Ray, which installs its own
            _make_tuner(queue, data_dirs, stop_controller, placement).fit()
    except Exception:
        stop_controller.raise_failure()  # the first error is the cause
        raise
    finally:
        remove_tree(queue.folder.ray)
    stop_controller.raise_failure()


def _make_placement(
    session: RaySession, spec: SearchSpec, data_dirs: DataDirs, images: Mapping[str | None, Images] | None
) -> Placement:
    section, notify = spec.resources, session.notify
    smallest_request = resource_request(section, section.of_trial(gpu=SMALLEST_AMOUNT))
    autoscales = ensure_capacity(smallest_request, notify)
    sharing = None
    if section.gpu == "auto":
        images = open_all_train_images(spec, data_dirs) if images is None else images
        memory = section.gpu_memory
        sharing = GpuSharing(
            trial_bytes=largest_gpu_bytes(spec, images),
            gpu_bytes=smallest_gpu_bytes(smallest_request) if memory is None else memory * 1e9,
            cpu=section.cpu,
            nodes=read_nodes(),
        )
        notify(sharing.reason)
    node_faults = NodeFaults()

    def read_usable() -> list[Resources]:
        if session.is_local:
            check_local_node()
        return usable_nodes(node_faults.excluded)

    capacity = Capacity(read_usable, max_concurrent=section.max_concurrent, autoscales=autoscales, notify=notify)
    return Placement(section, capacity, sharing, notify=notify, node_faults=node_faults)


def _make_tuner(
    queue: TrialQueue, data_dirs: DataDirs, stop_controller: StopController, placement: Placement
) -> tune.Tuner:
    remove_tree(queue.folder.ray)
    return tune.Tuner(
        tune.with_resources(TrialActor, placement_group),
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
    return shorten_name(f"{assignment.trial_id.replace('/', '#')}@{assignment.attempt}", max_bytes=_TUNE_NAME_BYTES)
