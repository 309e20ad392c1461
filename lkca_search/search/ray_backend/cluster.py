"""Resources of a Ray cluster: the nodes that are alive, their GPU memory, and capacity for a trial."""

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lkca_search.errors import Interrupted, SearchError
from lkca_search.search.planning.packing import Resources, check_capacity, count_concurrent_trials
from lkca_search.search.ray_backend import autoscaler
from lkca_search.spec.resources import SMALLEST_AMOUNT
from lkca_search.training.device import gpu_memory_bytes

_GPU_QUERY_SECONDS = 60.0
"""Time for a node to report its GPU memory; the worker imports torch first."""


def read_nodes() -> list[Resources]:
    """Return the total resources of each live node, in use or not."""
    return [node["Resources"] for node in live_nodes()]


def check_local_node() -> None:
    """Raise Interrupted if Ray has declared the only node of a local cluster dead. Nothing replaces it."""
    if not live_nodes():
        raise Interrupted("the local Ray cluster has lost its only node, because the raylet no longer responds")


def live_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of each live node."""
    return [node for node in ray.nodes() if node["Alive"]]


def ensure_capacity(resource_request: Resources, notify: Callable[[str], None]) -> bool:
    """Raise SearchError if no node could ever run a trial; return True if an autoscaler adds nodes.

    Ray's own autoscalers do not list their node types. If no live node has capacity, the request of a trial is
    sent to the autoscaler, which must start a node for it.
    """
    nodes = read_nodes()
    if count_concurrent_trials(resource_request, nodes):
        return autoscaler.has_autoscaler()
    groups = autoscaler.node_groups()
    if groups is not None:
        check_capacity(resource_request, [*nodes, *groups], hint=", and the cluster starts none that is larger")
        return True
    if autoscaler.may_start_nodes():
        notify("no node has capacity for a trial: requesting one from the cluster's autoscaler")
        if autoscaler.starts_node_for(resource_request, read_nodes):
            return True
        check_capacity(resource_request, read_nodes(), hint=", and the cluster's autoscaler starts none that is larger")
    check_capacity(resource_request, read_nodes())
    return False


def smallest_gpu_bytes(resource_request: Resources) -> int:
    """Return the memory of the smallest GPU on nodes that can run a trial, in bytes.

    `resource_request` is that of a trial with the smallest share of a GPU.

    Raises:
        SearchError: No node with a GPU can run a trial, or a node does not report its memory.
    """
    queries = [
        ray.remote(gpu_memory_bytes)
        .options(
            num_cpus=0,
            num_gpus=SMALLEST_AMOUNT,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )
        .remote()
        for node in live_nodes()
        if count_concurrent_trials(resource_request, [node["Resources"]])
    ]
    rule = "gpu: auto requires the memory of a GPU; set it as resources.gpu_memory, in GB:"
    if not queries:
        raise SearchError(f"{rule} no live node has a GPU and capacity for a trial")
    try:
        gpu_bytes: list[int | None] = ray.get(queries, timeout=_GPU_QUERY_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        raise SearchError(f"{rule} a node with a GPU did not report it within {_GPU_QUERY_SECONDS:g} s") from error
    if None in gpu_bytes:
        raise SearchError(f"{rule} torch sees no GPU on a node that was started with one")
    return min(memory for memory in gpu_bytes if memory is not None)
