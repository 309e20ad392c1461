"""What a Ray cluster has, what its autoscaler may add, and what its GPUs have."""

import json
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.state import state
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lkca_search.errors import SearchError
from lkca_search.search.planning.packing import Resources, check_capacity, count_concurrent_trials
from lkca_search.spec.resources import SMALLEST_AMOUNT
from lkca_search.training.device import gpu_memory_bytes

_ASK_SECONDS = 60.0
"""How long a GPU node may take to say what memory it has; its worker imports torch first."""
_VERDICT_SECONDS = 30.0
"""How long an autoscaler may take to start a node for a trial, or to say that it will not."""
_POLL_SECONDS = 0.5
_ANONYMOUS = "node_"
"""How a type of nodes is called, by an autoscaler that has none and only watches."""


def read_nodes() -> list[Resources]:
    """What each node has that is alive, whatever of it is in use."""
    return [node["Resources"] for node in _alive()]


def find_capacity(asked: Resources, notify: Callable[[str], None]) -> bool:
    """Return whether an autoscaler starts nodes where trials wait; SearchError where none could ever be placed.

    An autoscaler of today's Ray does not say which types of nodes it has. Where no node has room it is shown a trial
    that waits, and must say that it starts a node for it, or be seen to.
    """
    nodes = read_nodes()
    if count_concurrent_trials(asked, nodes):
        return _scales()
    groups = _groups_to_come()
    if groups is not None:
        check_capacity(asked, [*nodes, *groups], hint=", and the cluster starts none that is larger")
        return True
    if _has_verdicts() or _scales():
        notify("no node has room for a trial: asking the cluster's autoscaler for one")
        if _starts_a_node_for(asked):
            return True
        check_capacity(asked, read_nodes(), hint=", and the cluster's autoscaler starts none that is larger")
    check_capacity(asked, read_nodes())
    return False


def ask_gpu_bytes(asked: Resources) -> int:
    """Return the memory of the smallest GPU among the nodes that trials could be placed on; SearchError if none says.

    `asked` is what a trial asks at the smallest share of a GPU.
    """
    nodes = {node["NodeID"]: node["Resources"] for node in _alive()}
    asking = [
        ray.remote(gpu_memory_bytes)
        .options(
            num_cpus=0,
            num_gpus=SMALLEST_AMOUNT,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote()
        for node, has in nodes.items()
        if count_concurrent_trials(asked, [has])
    ]
    needs = "gpu: auto needs to know the memory of a GPU; give it as resources.gpu_memory, in GB:"
    if not asking:
        raise SearchError(f"{needs} no node that is alive has a GPU and room for a trial")
    try:
        found: list[int | None] = ray.get(asking, timeout=_ASK_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        raise SearchError(f"{needs} a node with a GPU did not say within {_ASK_SECONDS:g} s") from error
    if None in found:
        raise SearchError(f"{needs} torch sees no GPU on a node that was started with one")
    return min(memory for memory in found if memory is not None)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _groups_to_come() -> list[Resources] | None:
    """The types of nodes that may be started, where the platform tells Ray: Ray's own autoscalers do not."""
    config = state.get_cluster_config()
    if config is None:
        return None
    return [dict(group.resources) for group in config.node_group_configs if group.max_count != 0]


def _scales() -> bool:
    """Whether there is an autoscaler with types of nodes."""
    report = _report()
    types = [*report.get("node_type_mapping", {}).values(), *report.get("pending_launches", {})]
    if _has_verdicts():
        types += [node.ray_node_type_name for node in _status().cluster_resource_state.node_states]
    return bool(_groups_to_come()) or any(name and not name.startswith(_ANONYMOUS) for name in types)


def _starts_a_node_for(asked: Resources) -> bool:
    """Let a placement group wait, as a trial would, and see what the autoscaler makes of it."""
    waiting = placement_group([dict(asked)])
    deadline = time.monotonic() + _VERDICT_SECONDS
    try:
        while time.monotonic() < deadline:
            if count_concurrent_trials(asked, read_nodes()):
                return True
            verdict = _verdict(asked) if _has_verdicts() else _is_starting(asked) or None
            if verdict is not None:
                return verdict
            time.sleep(_POLL_SECONDS)
        return False
    finally:
        remove_placement_group(waiting)


def _verdict(asked: Resources) -> bool | None:
    """What Ray's second autoscaler says of such a trial that waits; None as long as it has not seen one."""
    status = _status()
    bundles = [
        dict(request.resources_bundle)
        for gang in status.autoscaling_state.infeasible_gang_resource_requests
        for request in (*gang.requests, *(each for some in gang.bundle_selectors for each in some.resource_requests))
    ]
    if any(_are_alike(bundle, asked) for bundle in bundles):
        return False
    seen = status.autoscaling_state.last_seen_cluster_resource_state_version
    waits = bool(status.cluster_resource_state.pending_gang_resource_requests)
    is_current = waits and seen >= status.cluster_resource_state.cluster_resource_state_version
    starts = status.autoscaling_state.pending_instance_requests or status.autoscaling_state.pending_instances
    return True if is_current and starts else None


def _are_alike(bundle: Resources, asked: Resources) -> bool:
    return bundle.keys() == asked.keys() and all(abs(bundle[name] - asked[name]) < SMALLEST_AMOUNT for name in asked)


def _is_starting(asked: Resources) -> bool:
    """Whether Ray's first autoscaler starts nodes that together have what such a trial asks for."""
    pending = _report().get("pending_resources", {})
    return all(pending.get(name, 0) >= amount for name, amount in asked.items())


def _has_verdicts() -> bool:
    """Whether Ray's second autoscaler is at work, which says what it cannot place."""
    return bool(_status().autoscaling_state.autoscaler_state_version)


def _status() -> Any:
    reply = GetClusterStatusReply()
    reply.ParseFromString(ray._raylet.GcsClient(ray.get_runtime_context().gcs_address).get_cluster_status())
    return reply


def _report() -> dict[str, Any]:
    """What Ray's first autoscaler says of itself; empty where there is none."""
    status = _internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
    return (json.loads(status).get("autoscaler_report") or {}) if status else {}
