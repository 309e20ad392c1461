"""Manifests of cluster/kuberay: valid, without secrets, consistent with each other and with their page."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

import lkca_search
from lkca_search.layout import SearchFolder
from lkca_search.search.state.database import LEDGER_VARIABLE, choose_database
from tests.support.cluster.manifests import FOLDER, ROOT, Manifest, Pod, made_by_hand, pods, render, strings

RAY_KINDS = ("RayCluster", "RayJob")
FIELDS = {
    "cluster": "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    "auth": "mode secretName",
    "autoscaler": "version idleTimeoutSeconds env resources securityContext",
    "head": "rayStartParams template",
    "group": "groupName replicas minReplicas maxReplicas rayStartParams template",
    "job": "entrypoint metadata backoffLimit activeDeadlineSeconds shutdownAfterJobFinishes ttlSecondsAfterFinished "
    "submitterPodTemplate rayClusterSpec",
}
"""Fields of ray.io/v1 in KubeRay 1.6 that the manifests use."""
SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")


@pytest.fixture(scope="module")
def services() -> list[Manifest]:
    return [*yaml.safe_load_all((FOLDER / "namespace.yaml").read_text()), *render(FOLDER)]


@pytest.fixture(scope="module")
def cluster() -> list[Manifest]:
    return render(FOLDER / "ray")


@pytest.fixture(scope="module")
def job() -> list[Manifest]:
    return render(FOLDER / "job")


@pytest.fixture(scope="module")
def manifests(services: list[Manifest], cluster: list[Manifest], job: list[Manifest]) -> list[Manifest]:
    return [*services, *cluster, *job]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return made_by_hand(tmp_path_factory.mktemp("path"))


def only(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def variables(pod: Pod) -> Iterator[Manifest]:
    return (variable for container in pod.containers for variable in container.get("env", []))


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    required = selector.get("matchLabels", {}).items() <= labels.items()
    return required and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_manifests_and_pod_templates_match_the_schemas_of_kubernetes(manifests: list[Manifest], version: str) -> None:
    core = [manifest for manifest in manifests if manifest["kind"] not in RAY_KINDS]
    templates = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": pod.template}
        for pod in pods(manifests)
    ]
    assert {manifest["kind"] for manifest in core} > {"Namespace", "StatefulSet", "Deployment", "NetworkPolicy"}
    assert len(templates) == 7
    for manifest in [*core, *templates]:
        kubernetes_validate.validate(manifest, version, strict=True)
    templates[0]["template"]["spec"]["containers"][0]["imagee"] = "typo"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(templates[0], version, strict=True)
    del templates[0]["template"]["spec"]["containers"][0]["imagee"]


def test_ray_manifests_have_only_fields_of_kuberay_and_the_job_contains_the_raycluster(
    cluster: list[Manifest], job: list[Manifest]
) -> None:
    ray, jobs = only(cluster, "RayCluster"), only(job, "RayJob")
    assert {ray["apiVersion"], jobs["apiVersion"]} == {"ray.io/v1"}
    assert jobs["spec"]["rayClusterSpec"] == ray["spec"]
    found = {
        "cluster": ray["spec"],
        "auth": ray["spec"]["authOptions"],
        "autoscaler": ray["spec"]["autoscalerOptions"],
        "head": ray["spec"]["headGroupSpec"],
        "job": jobs["spec"],
    }
    assert {name: set(value) for name, value in found.items()} == {
        name: set(fields.split()) for name, fields in FIELDS.items() if name != "group"
    }
    for group in ray["spec"]["workerGroupSpecs"]:
        assert set(group) == set(FIELDS["group"].split())


def test_the_cluster_has_the_locked_ray_a_token_an_autoscaler_and_a_head_without_trials(
    cluster: list[Manifest],
) -> None:
    spec = only(cluster, "RayCluster")["spec"]
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert spec["rayVersion"] == pinned
    assert spec["authOptions"]["mode"] == "token"
    assert (spec["enableInTreeAutoscaling"], spec["autoscalerOptions"]["version"]) == (True, "v2")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
        assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    parameters = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert all(isinstance(value, str) for group in parameters for value in group["rayStartParams"].values())


def test_every_pod_except_the_database_runs_the_image_of_this_version(manifests: list[Manifest]) -> None:
    images = {container["image"] for pod in pods(manifests) for container in pod.containers}
    assert images - {"postgres:17"} == {f"lkca-search:{lkca_search.__version__}"}


def test_no_manifest_contains_a_secret(manifests: list[Manifest]) -> None:
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    of_secrets = [each for pod in pods(manifests) for each in variables(pod) if SECRET_NAME.search(each["name"])]
    assert len(of_secrets) >= 10
    assert all(set(each["valueFrom"]) == {"secretKeyRef"} for each in of_secrets)
    text = "\n".join(string for manifest in manifests for string in strings(manifest))
    assert not re.search(r"://\w+:[^\s/@*]+@", text)


def test_referenced_objects_exist_or_are_created_by_a_command_of_the_page(
    manifests: list[Manifest], by_hand: list[Manifest]
) -> None:
    assert {manifest["metadata"]["namespace"] for manifest in by_hand} == {"lkca-search"}
    secrets = {name: set(each["data"]) for name, each in named(by_hand, "Secret").items()}
    maps = {name: set(each["data"]) for name, each in named([*manifests, *by_hand], "ConfigMap").items()}
    accounts = {*named(manifests, "ServiceAccount"), "default"}
    used: dict[str, set[str]] = {
        only(manifests[-1:], "RayJob")["spec"]["rayClusterSpec"]["authOptions"]["secretName"]: {"auth_token"}
    }
    for pod in pods(manifests):
        assert pod.spec.get("serviceAccountName", "default") in accounts, pod.name
        for source in (variable["valueFrom"] for variable in variables(pod) if "valueFrom" in variable):
            ((kind, reference),) = source.items()
            known = {"secretKeyRef": secrets, "configMapKeyRef": maps}[kind]
            assert reference["key"] in known[reference["name"]], (pod.name, reference)
            if kind == "secretKeyRef":
                used.setdefault(reference["name"], set()).add(reference["key"])
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        assert all(volume["configMap"]["name"] in maps for volume in volumes.values() if "configMap" in volume)
        mounted = {mount["name"] for each in pod.containers for mount in each.get("volumeMounts", [])}
        assert mounted == {*volumes, *pod.claims}, pod.name
    assert used == secrets


def test_network_policies_open_exactly_the_ports_of_the_containers(manifests: list[Manifest]) -> None:
    policies = named(manifests, "NetworkPolicy").values()
    templates = list(pods(manifests))
    assert any(policy["spec"]["podSelector"] == {} and "ingress" not in policy["spec"] for policy in policies)
    open_ports: dict[str, set[str]] = {pod.name: set() for pod in templates}
    for policy in policies:
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        for rule in policy["spec"].get("ingress", []):
            chosen = [pod for pod in templates if matches(policy["spec"]["podSelector"], pod.labels)]
            assert chosen, policy["metadata"]["name"]
            for peer in rule["from"]:
                assert "namespaceSelector" in peer or any(matches(peer["podSelector"], pod.labels) for pod in templates)
            for pod in chosen:
                ports = {port["port"] for port in rule["ports"]} if "ports" in rule else set(pod.ports)
                assert ports <= set(pod.ports), (policy["metadata"]["name"], pod.name)
                open_ports[pod.name] |= ports
    assert open_ports == {pod.name: set(pod.ports) for pod in templates}


def test_only_head_and_mlflow_can_reach_the_database_and_only_submitters_the_dashboard(
    manifests: list[Manifest],
) -> None:
    policies = named(manifests, "NetworkPolicy")
    expected = {"postgres": {"mlflow", "ray-head"}, "mlflow": {"ray-head"}, "dashboard": {"submitter"}}
    expected["ray"] = {"ray-head", "ray-worker"}
    roles = {pod.labels["lkca-search/role"]: pod.labels for pod in pods(manifests)}
    for name, peers in expected.items():
        (rule,) = policies[name]["spec"]["ingress"]
        inside = [peer["podSelector"] for peer in rule["from"] if "namespaceSelector" not in peer]
        let_in = {role for role, labels in roles.items() if any(matches(selector, labels) for selector in inside)}
        assert let_in == peers, name


def test_services_and_workloads_select_their_own_pods(manifests: list[Manifest]) -> None:
    templates = list(pods(manifests))
    for service in named(manifests, "Service").values():
        (chosen,) = [pod for pod in templates if service["spec"]["selector"].items() <= pod.labels.items()]
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in (chosen.ports if isinstance(target, str) else chosen.ports.values())
    for kind in ("Deployment", "StatefulSet"):
        for each in named(manifests, kind).values():
            assert matches(each["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"])


def test_urls_in_the_environment_have_existing_services_roles_and_databases(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    ports = {
        name: {port["port"] for port in service["spec"]["ports"]}
        for name, service in named(manifests, "Service").items()
    }
    roles = (FOLDER / "postgres-roles.sh").read_text()
    hosts: list[str] = []
    for variable in (each for pod in pods(manifests) for each in variables(pod) if "://" in each.get("value", "")):
        url = urlsplit(variable["value"])
        assert (url.port or 5432) in ports[str(url.hostname)], variable
        hosts.append(url.netloc)
        if variable["name"] == LEDGER_VARIABLE:
            assert choose_database(SearchFolder(root=tmp_path / "any"), variable["value"]).schema_name
        if url.scheme == "postgresql":
            assert f"CREATE ROLE {url.username} LOGIN" in roles
            assert f"CREATE DATABASE {url.path[1:]} OWNER {url.username}" in roles
    assert set(hosts) == {"mlflow:5000", "ledger@postgres", "mlflow@postgres"}
    (mlflow,) = [pod for pod in pods(manifests) if pod.labels["lkca-search/role"] == "mlflow"]
    (allowed,) = [each["value"] for each in variables(mlflow) if each["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert "mlflow:5000" in allowed.split(",")


def test_pods_meet_the_restricted_security_level_of_the_namespace(manifests: list[Manifest]) -> None:
    (namespace,) = named(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(manifests):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"], pod.name
        assert context["runAsUser"] > 0, pod.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec), pod.name
        assert {kind for volume in pod.spec["volumes"] for kind in volume} <= {"name", "emptyDir", "configMap"}
        assert pod.spec["enableServiceLinks"] is False, pod.name  # a service `mlflow` sets MLFLOW_PORT in every pod
        assert pod.spec.get("automountServiceAccountToken") is False or pod.name.endswith("head"), pod.name
        for container in pod.containers:
            contained = container["securityContext"]
            assert contained["allowPrivilegeEscalation"] is False, (pod.name, container["name"])
            assert contained["capabilities"] == {"drop": ["ALL"]}, (pod.name, container["name"])
            assert contained.get("readOnlyRootFilesystem") or container["name"] == "autoscaler", pod.name
            assert {"requests", "limits"} <= set(container["resources"]), (pod.name, container["name"])
            assert "memory" in container["resources"]["limits"], (pod.name, container["name"])
