"""Manifests of cluster/kuberay as `kubectl apply` sends them, and those that commands of its page create."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "cluster" / "kuberay"
KUBECTL = Path(sys.executable).parent / "kubectl"
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
_DRY = f'#!/bin/sh\ncase "$*" in *" create "*) echo ---; exec "{KUBECTL}" "$@" --dry-run=client -o yaml;; esac\n'
"""Script that replaces kubectl: it prints the manifest that `create` would send, and does nothing else."""

Manifest = dict[str, Any]


class Pod(NamedTuple):
    """Pod template."""

    name: str
    """Name of the resource that creates the pods."""
    template: Manifest
    claims: tuple[str, ...] = ()
    """Volumes with a claim template."""

    @property
    def spec(self) -> Manifest:
        return dict(self.template["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec["containers"], *self.spec.get("initContainers", [])]

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", [])}


def render(folder: Path) -> list[Manifest]:
    """Return the manifests of a kustomization."""
    return _load(_run([str(KUBECTL), "kustomize", str(folder)]))


def blocks(page: Path) -> list[str]:
    """Return the shell commands of a page, one string per code block."""
    return _BLOCK.findall(page.read_text())


def made_by_hand(folder: Path) -> list[Manifest]:
    """Return the manifests that the commands of the page create."""
    (folder / "kubectl").write_text(_DRY)
    (folder / "kubectl").chmod(0o755)
    made = [_run(["bash", "-ec", block], path=folder) for block in blocks(FOLDER / "README.md") if " create " in block]
    return [manifest for text in made for manifest in _load(text)]


def pods(manifests: list[Manifest]) -> Iterator[Pod]:
    """Yield every pod template in the manifests."""
    for manifest in manifests:
        name, spec = f"{manifest['kind']} {manifest['metadata']['name']}", manifest.get("spec", {})
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            claims = tuple(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", []))
            yield Pod(name, spec["template"], claims)
        if manifest["kind"] == "RayJob":
            yield Pod(f"{name}, submitter", spec["submitterPodTemplate"])
        if manifest["kind"] in ("RayJob", "RayCluster"):
            ray = spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec
            yield Pod(f"{name}, head", _with_autoscaler(ray))
            for group in ray["workerGroupSpecs"]:
                yield Pod(f"{name}, {group['groupName']}", group["template"])


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a manifest."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def _with_autoscaler(ray: Manifest) -> Manifest:
    """Return the pod template of the head with the autoscaler container that KubeRay adds."""
    template, options = ray["headGroupSpec"]["template"], ray["autoscalerOptions"]
    fields = {name: options[name] for name in ("env", "resources", "securityContext")}
    added = {"name": "autoscaler", "image": template["spec"]["containers"][0]["image"], **fields}
    return {**template, "spec": {**template["spec"], "containers": [*template["spec"]["containers"], added]}}


def _run(command: list[str], path: Path | None = None) -> str:
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _load(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]
