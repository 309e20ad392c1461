"""The manifests of cluster/kuberay as `kubectl apply` would send them, and what its page makes by hand."""

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
"""kubectl without a cluster: it says what it would create, and does nothing else."""

Manifest = dict[str, Any]


class Pod(NamedTuple):
    """A template of pods."""

    name: str
    """Of what makes them."""
    template: Manifest
    claims: tuple[str, ...] = ()
    """Volumes that a claim of its own stands for."""

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
    """What a kustomization makes."""
    return _load(_run([str(KUBECTL), "kustomize", str(folder)]))


def blocks(page: Path) -> list[str]:
    """The commands of a page that may be pasted into a shell."""
    return _BLOCK.findall(page.read_text())


def made_by_hand(folder: Path) -> list[Manifest]:
    """What the commands of the page create, as kubectl would send it."""
    (folder / "kubectl").write_text(_DRY)
    (folder / "kubectl").chmod(0o755)
    made = [_run(["bash", "-ec", block], path=folder) for block in blocks(FOLDER / "README.md") if " create " in block]
    return [manifest for text in made for manifest in _load(text)]


def pods(manifests: list[Manifest]) -> Iterator[Pod]:
    """Every template of pods in some manifests."""
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
    """Every string of a manifest."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def _with_autoscaler(ray: Manifest) -> Manifest:
    """The head's template with the container that KubeRay adds, made of the options for it."""
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
