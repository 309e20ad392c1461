"""Queries about a Ray cluster's autoscaler: its existence, its node types, and its response to a pending trial.

Ray has no public API for this. A version of Ray that lacks a private module counts as one without an autoscaler.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from lkca_search.search.planning.packing import Resources, count_concurrent_trials
from lkca_search.search.ray_backend.private import private
from lkca_search.spec.resources import SMALLEST_AMOUNT

RESPONSE_SECONDS = 30.0
"""Time for an autoscaler to start a node for a trial, or to report that it cannot start one."""
_POLL_SECONDS = 0.5
_READ_ONLY_PREFIX = "node_"
"""Prefix of node types under a read-only autoscaler, which starts no nodes."""


def node_groups() -> list[Resources] | None:
    """Return the resources of the node types that the cluster may start; None if the platform reports no types.

    Managed platforms report them. Ray's own autoscalers do not.
    """
    state = private("ray._private.state", "state")
    config = state.get_cluster_config() if state is not None else None
    if config is None:
        return None
    return [dict(group.resources) for group in config.node_group_configs if group.max_count != 0]


def has_autoscaler() -> bool:
    """Return True if an autoscaler with node types adds nodes for pending trials."""
    report = _report()
    types = [*report.get("node_type_mapping", {}).values(), *report.get("pending_launches", {})]
    if _is_v2():
        types += [node.ray_node_type_name for node in _status().cluster_resource_state.node_states]
    return bool(node_groups()) or any(name and not name.startswith(_READ_ONLY_PREFIX) for name in types)


def may_start_nodes() -> bool:
    """Return True if an autoscaler is active, with or without known node types."""
    return _is_v2() or has_autoscaler()


def starts_node_for(resource_request: Resources, read_nodes: Callable[[], Sequence[Resources]]) -> bool:
    """Return True if the autoscaler starts a node for a trial; block for up to 30 seconds.

    A pending placement group represents the trial: both versions of Ray's autoscaler report on its request.
    """
    pending = placement_group([dict(resource_request)])
    deadline = time.monotonic() + RESPONSE_SECONDS
    try:
        while time.monotonic() < deadline:
            if count_concurrent_trials(resource_request, read_nodes()):
                return True
            response = _v2_response(resource_request) if _is_v2() else _v1_response(resource_request)
            if response is not None:
                return response
            time.sleep(_POLL_SECONDS)
        return False
    finally:
        remove_placement_group(pending)


def _v1_response(resource_request: Resources) -> bool | None:
    """Return True if Ray's autoscaler v1 is starting nodes with these resources; None if not, or not yet."""
    pending = _report().get("pending_resources", {})
    return all(pending.get(name, 0) >= amount for name, amount in resource_request.items()) or None


def _v2_response(resource_request: Resources) -> bool | None:
    """Return True or False if Ray's autoscaler v2 starts a node or cannot start one; None if it has not decided yet."""
    status = _status()
    bundles = [
        dict(request.resources_bundle)
        for gang in status.autoscaling_state.infeasible_gang_resource_requests
        for request in (
            *gang.requests,
            *(part for selector in gang.bundle_selectors for part in selector.resource_requests),
        )
    ]
    if any(_equals(bundle, resource_request) for bundle in bundles):
        return False
    seen = status.autoscaling_state.last_seen_cluster_resource_state_version
    is_pending = bool(status.cluster_resource_state.pending_gang_resource_requests)
    is_current = is_pending and seen >= status.cluster_resource_state.cluster_resource_state_version
    starts = status.autoscaling_state.pending_instance_requests or status.autoscaling_state.pending_instances
    return True if is_current and starts else None


def _equals(bundle: Resources, other: Resources) -> bool:
    return bundle.keys() == other.keys() and all(abs(bundle[name] - other[name]) < SMALLEST_AMOUNT for name in other)


def _is_v2() -> bool:
    """Return True if Ray's autoscaler v2 is active. It reports the requests that it cannot place."""
    status = _status()
    return status is not None and bool(status.autoscaling_state.autoscaler_state_version)


def _status() -> Any:
    """Return the status of Ray's autoscaler v2 as a protobuf message; None if this Ray has none."""
    reply_type = private("ray.core.generated.autoscaler_pb2", "GetClusterStatusReply")
    client_type = private("ray._raylet", "GcsClient")
    if reply_type is None or client_type is None:
        return None
    reply = reply_type()
    reply.ParseFromString(client_type(ray.get_runtime_context().gcs_address).get_cluster_status())
    return reply


def _report() -> dict[str, Any]:
    """Return the report of Ray's autoscaler v1; an empty one if there is none."""
    key = private("ray._private.ray_constants", "DEBUG_AUTOSCALING_STATUS")
    read = private("ray.experimental.internal_kv", "_internal_kv_get")
    status = read(key) if key is not None and read is not None else None
    return (json.loads(status).get("autoscaler_report") or {}) if status else {}
