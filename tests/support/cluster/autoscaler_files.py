"""Files for `ray up`, with every placeholder filled in, as Ray completes them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ray.autoscaler._private.util import prepare_config

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"
IMAGE = "lkca-search:0.1.0"
AWS = {
    "REGION": "us-west-2",
    "IMAGE": f"123456789012.dkr.ecr.us-west-2.amazonaws.com/{IMAGE}",
    "AMI": "ami-0123456789abcdef0",
    "SECURITY_GROUP": "sg-0123456789abcdef0",
}
GCP = {
    "PROJECT": "a-project",
    "REGION": "us-central1",
    "ZONE": "us-central1-a",
    "IMAGE": f"us-central1-docker.pkg.dev/a-project/lkca-search/{IMAGE}",
}
ON_PREM = {
    "HEAD_ADDRESS": "192.0.2.1",
    "WORKER_ADDRESS_1": "192.0.2.2",
    "WORKER_ADDRESS_2": "192.0.2.3",
    "SSH_USER": "lkca",
    "SSH_KEY": "~/.ssh/cluster",
    "SHARED_FOLDER": "/shared",
}
FILLED = {"aws": AWS, "gcp": GCP, "on_prem": ON_PREM}
"""Example value of each placeholder, by file."""
CLOUDS = ("aws", "gcp")

Config = dict[str, Any]

_HEADER = re.compile(r"^# Fill in:(.*?)^# Commands:", re.DOTALL | re.MULTILINE)
_COMMANDS = (
    "initialization_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


class Command(NamedTuple):
    """Shell command that Ray runs on a node."""

    stage: str
    """Key of the command in the file."""
    text: str

    @property
    def starts_ray(self) -> bool:
        return "ray start" in self.text


def read(name: str) -> str:
    """Return the text of a file as it is shipped."""
    return (CLUSTER / f"{name}.yaml").read_text()


def listed(name: str) -> list[str]:
    """Return the placeholders that the header of a file lists."""
    (found,) = _HEADER.findall(read(name))
    lines = [line.removeprefix("#").strip() for line in found.splitlines()]
    return [word for line in lines for word in re.findall(r"[A-Z][A-Z0-9_]+", line.split("  ")[0])]


def fill(text: str, values: dict[str, str]) -> str:
    """Return a text with its placeholders filled in."""
    for name, value in values.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return text


def filled(name: str) -> Config:
    """Return a file with its placeholders filled in."""
    config: Config = yaml.safe_load(fill(read(name), FILLED[name]))
    return config


def prepared(name: str) -> Config:
    """Return a filled file with Ray's defaults for missing keys."""
    config: Config = prepare_config(filled(name))
    return config


def commands(name: str) -> Iterator[Command]:
    """Yield every command that Ray runs, including its defaults."""
    config = prepared(name)
    for stage in _COMMANDS:
        yield from (Command(stage, text) for text in config[stage])


def start(name: str, kind: str) -> str:
    """Return the command that starts Ray on the `head` or on a `worker`."""
    (found,) = [command.text for command in commands(name) if command.stage.startswith(kind) and command.starts_ray]
    return found


def options(command: str) -> dict[str, str]:
    """Return the options of a `ray start` command."""
    return dict(re.findall(r"--([a-z-]+)=(\S+)", command))
