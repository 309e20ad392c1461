"""Machines that Ray requests for cluster/gcp.yaml, checked against the schema of Google's Compute API offline."""

import json
from pathlib import Path
from typing import Any

import googleapiclient.discovery
import pytest
from google.auth.credentials import AnonymousCredentials
from ray.autoscaler._private.gcp.config import get_node_type
from ray.autoscaler._private.gcp.node import GCPCompute, GCPNodeType
from ray.autoscaler._private.gcp.node_provider import GCPNodeProvider

from tests.support.cluster.autoscaler_files import GCP, Config, prepared

DESCRIPTION = Path(googleapiclient.discovery.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
SCHEMAS: dict[str, Any] = json.loads(DESCRIPTION.read_text())["schemas"]
TYPES = {"object": dict, "array": list, "string": (str, int), "boolean": bool, "integer": int}  # int64 is a string


def mistakes(value: Any, schema: Any, path: str = "") -> list[str]:
    """Return the parts of a request that violate the API's schema."""
    schema = SCHEMAS[schema["$ref"]] if "$ref" in schema else schema
    if not isinstance(value, TYPES[schema["type"]]):
        return [f"{path} is no {schema['type']}: {value!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path} is none of {schema['enum']}: {value!r}"]
    if schema["type"] == "array":
        return [one for part in value for one in mistakes(part, schema["items"], f"{path}[]")]
    if schema["type"] != "object" or "properties" not in schema:
        return []
    unknown = [f"{path}.{name} is unknown" for name in value if name not in schema["properties"]]
    known = {name: part for name, part in value.items() if name in schema["properties"]}
    return unknown + [
        one for name, part in known.items() for one in mistakes(part, schema["properties"][name], f"{path}.{name}")
    ]


def requested(kind: str) -> Config:
    """Return the body of Ray's request for a node type."""
    config = GCPNodeProvider.fillout_available_node_types_resources(prepared("gcp"))
    node = config["available_node_types"][kind]["node_config"]
    assert get_node_type(node) == GCPNodeType.COMPUTE
    client = googleapiclient.discovery.build(
        "compute", "v1", credentials=AnonymousCredentials(), static_discovery=True, cache_discovery=False
    )
    try:
        compute = GCPCompute(client, GCP["PROJECT"], GCP["ZONE"], "lkca-search")
        body: Config = compute._convert_resources_to_urls(node)
        client.instances().insert(project=GCP["PROJECT"], zone=GCP["ZONE"], body=body)  # built, not sent
        return body
    finally:
        client.close()


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_requests_for_machines_match_the_schema_of_the_compute_api(kind: str) -> None:
    assert mistakes(requested(kind), {"$ref": "Instance"}) == []


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"scheduling": [{"preemptible": True}]}, ".scheduling is no object"),
        ({"scheduling": {"provisioningModel": "spot"}}, ".scheduling.provisioningModel is none of"),
        ({"networkInterfaces": [{"subnet": "a"}]}, ".networkInterfaces[].subnet is unknown"),
    ],
)
def test_a_request_that_violates_the_schema_is_found(change: Config, mistake: str) -> None:
    (found,) = mistakes({**requested("gpu"), **change}, {"$ref": "Instance"})
    assert found.startswith(mistake)


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_a_machine_has_the_network_tags_and_service_account_of_its_role(kind: str) -> None:
    body = requested(kind)
    role = "head" if kind == "head" else "worker"
    (account,) = body["serviceAccounts"]
    assert account["email"] == f"lkca-search-{role}@a-project.iam.gserviceaccount.com"
    assert body["tags"] == {"items": ["lkca-search"]}
    (interface,) = body["networkInterfaces"]
    assert interface["subnetwork"] == "projects/a-project/regions/us-central1/subnetworks/lkca-search"
    (disk,) = body["disks"]
    assert disk["autoDelete"] is True
    assert disk["initializeParams"]["diskType"] == "zones/us-central1-a/diskTypes/pd-balanced"
    assert body["machineType"].startswith("zones/us-central1-a/machineTypes/")


def test_a_preempted_worker_is_deleted() -> None:
    scheduling = requested("gpu")["scheduling"]
    assert scheduling["instanceTerminationAction"] == "DELETE"
    assert scheduling["automaticRestart"] is False
    assert scheduling["onHostMaintenance"] == "TERMINATE"  # machines with GPUs cannot move
