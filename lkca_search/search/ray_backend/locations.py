"""Places of workers in a Ray cluster, and requests that keep trials off nodes."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from lkca_search.search.driver.messages import WorkerLocation
from lkca_search.search.planning.packing import Resources
from lkca_search.search.ray_backend.cluster import live_nodes
from lkca_search.search.ray_backend.private import private

_ACTOR_ID = re.compile(r"(?:actor_id: |The actor )([0-9a-f]{32})\b")
"""Id of an actor in Ray's errors of actors that died or cannot be reached."""
_NODE_ID_LABEL = "ray.io/node-id"
"""Label that Ray gives to every node."""


def own_location() -> WorkerLocation | None:
    """Return the place of this worker; None outside of Ray."""
    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return WorkerLocation(node=context.get_node_id(), gpu=",".join(context.get_accelerator_ids().get("GPU", ())))


def location_of_lost(trial: Trial, reported: WorkerLocation | None) -> WorkerLocation | None:
    """Return the place of a trial's worker that was lost; None if it is unknown or its node was lost too.

    `reported` is the place in the worker's last message. A worker that died before its first one is looked up in Ray.
    """
    location = reported or _look_up(_actor_id(trial))
    alive = {node["NodeID"] for node in live_nodes()}
    return location if location is not None and location.node in alive else None


def read_error(trial: Trial) -> str:
    """Return Tune's text of the error that ended a trial's worker; empty if there is none."""
    path = Path(trial.error_file) if trial.error_file else None
    return path.read_text(encoding="utf-8", errors="replace").strip() if path and path.exists() else ""


def describe_node(node_id: str) -> str:
    """Return host name and address of a node."""
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    return node_id


def usable_nodes(unusable: Collection[str]) -> list[Resources]:
    """Return the total resources of each live node, except those with the given ids."""
    return [node["Resources"] for node in live_nodes() if node["NodeID"] not in unusable]


def placement_group(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return the request of a Tune trial: its resources, on a node that is not among `avoided_nodes`.

    Tune reuses an actor only for an equal request, so no trial gets an actor on a node that it avoids.
    """
    if avoided := config.get("avoided_nodes"):
        selector = [{_NODE_ID_LABEL: f"!in({','.join(avoided)})"}]
        return tune.PlacementGroupFactory([config["resource_request"]], bundle_label_selector=selector)
    return tune.PlacementGroupFactory([config["resource_request"]])


def _actor_id(trial: Trial) -> str | None:
    """Return the id of the actor that a trial has lost: Tune forgets the actor, but keeps Ray's text."""
    found = _ACTOR_ID.findall(read_error(trial))
    return found[-1] if found else None


def _look_up(actor_id: str | None) -> WorkerLocation | None:
    """Return the place of an actor, dead or alive. Ray has no public API for it without its dashboard."""
    read_actors = private("ray._private.state", "actors")
    if read_actors is None or actor_id is None:
        return None
    node = read_actors(actor_id).get("Address", {}).get("NodeID")
    return WorkerLocation(node=node) if node else None
