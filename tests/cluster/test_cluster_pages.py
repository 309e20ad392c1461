"""Commands on the pages and in the headers of cluster/ are valid, and paths that they name exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import typer.main
from botocore import xform_name
from ray.scripts.scripts import cli as ray_cli

from lkca_search.cli.app import app
from lkca_search.spec.space_file import read_space_file
from tests.support.cluster.autoscaler_files import CLUSTER, FILLED, ROOT, fill

PAGES = ("aws", "gcp", "on_prem", "docker")
SOURCES = [*(CLUSTER / f"{name}.md" for name in PAGES), *(CLUSTER / f"{name}.yaml" for name in FILLED)]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES)
EVERY_SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
SECTIONS = ["Prerequisites", "Commands", "Cost", "Open ports", "Tear down"]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"(?<![\w/.<$~-])(?:cluster|docs|search_spaces|tests)/[\w./-]+\w|\]\(([\w./-]+)\)")
OF_THE_COMMAND_LINE = ("cloudformation deploy", "ecr get-login-password", "s3 rb")
"""Commands of `aws` that are not operations of an API."""


def text_of(page: str) -> str:
    return (CLUSTER / f"{page}.md").read_text()


def code(source: Path) -> Iterator[str]:
    """Yield the code of a page, in blocks and backquotes, or the lines of another file's header."""
    is_block = False
    for line in source.read_text().replace("\\\n", " ").splitlines():
        if source.suffix != ".md":
            if line.startswith("#"):
                yield re.sub(r"^# (Commands:)? *", "", line)
            continue
        is_block ^= line.startswith("```")
        if is_block or line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def typed(source: Path, program: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of a program on a page or in a header."""
    call = re.compile(rf"(?:^|[;|&(] ?|do ){program} (.+?)(?= *(?:$|[;|&)]| > | {{2,}}#))")
    for line in code(source):
        for match in call.finditer(line):
            words = shlex.split(match[1])
            if len(words) > 1:
                yield words


def given(group: Any, arguments: list[str]) -> dict[str, Any]:
    """Return the parsed parameters of a command, without running it."""
    name, *rest = arguments
    parameters: dict[str, Any] = group.commands[name].make_context(name, rest).params
    return parameters


@EVERY_PAGE
def test_a_page_has_all_sections_and_is_short(page: str) -> None:
    assert re.findall(r"^## (.*)$", text_of(page), re.MULTILINE) == SECTIONS
    assert len(text_of(page).splitlines()) < 140


@EVERY_SOURCE
def test_commands_of_lkca_search_are_valid(source: Path) -> None:
    group = typer.main.get_command(app)
    calls = list(typed(source, "lkca-search"))
    for arguments in calls:
        found = given(group, arguments)
        if found.get("space"):
            overrides = [one for one in found["overrides"] or () if one != "..."]
            read_space_file(ROOT / found["space"], overrides)
    assert calls or source.name == "docker.md"


@pytest.mark.parametrize("name", FILLED)
def test_a_page_submits_through_the_tunnel_with_a_home_that_the_head_can_reach(name: str) -> None:
    group = typer.main.get_command(app)
    calls = [given(group, call) for call in typed(CLUSTER / f"{name}.md", "lkca-search") if call[0] == "submit"]
    (submitted,) = calls
    assert "export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265" in text_of(name)
    if name != "on_prem":
        assert submitted["home"].startswith({"aws": "s3://BUCKET", "gcp": "gs://BUCKET"}[name])
        assert submitted["ledger"].startswith("postgresql://ledger@")
        assert submitted["env"] == ["MLFLOW_TRACKING_URI=http://MLFLOW_HOST:5000"]
        assert any(override.startswith("resources.max_concurrent=") for override in submitted["overrides"])


@EVERY_SOURCE
def test_commands_of_ray_are_valid(source: Path) -> None:
    calls = list(typed(source, "ray"))
    for arguments in calls:
        given(ray_cli, arguments)
    if source.stem in FILLED:
        assert {"up", "down"} <= {call[0] for call in calls}


@EVERY_SOURCE
def test_commands_of_aws_are_operations_with_valid_parameters(source: Path) -> None:
    session = botocore.session.get_session()
    calls = list(typed(source, "aws"))
    for service, operation, *rest in calls:
        if f"{service} {operation}" in OF_THE_COMMAND_LINE:
            continue
        model = session.get_service_model(service)
        (name,) = [one for one in model.operation_names if xform_name(one, "-") == operation]
        shape = model.operation_model(name).input_shape
        taken = {xform_name(member, "-") for member in shape.members if shape}
        options = {word.removeprefix("--").split("=")[0] for word in rest if word.startswith("--")}
        assert options - {"query", "output"} <= taken, (service, operation)
    assert bool(calls) == (source.stem == "aws" and source.suffix == ".md")


@EVERY_PAGE
def test_shellcheck_finds_no_fault_in_the_blocks_of_a_page(page: str, tmp_path: Path) -> None:
    for block in BLOCK.findall(text_of(page)):
        # Each block runs in the shell of the previous one.
        named = "\n".join(f"{name}={name}" for name in ("project", "region", "bucket", "cidr") if f"${name}" in block)
        script = tmp_path / "pasted.sh"
        script.write_text(f"{named}\n{block}")
        left_out = "--exclude=SC2034"
        done = subprocess.run(
            [str(SHELLCHECK), "--shell=bash", left_out, str(script)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "source", [*SOURCES, CLUSTER / "Dockerfile", CLUSTER / "aws_stack.yaml"], ids=lambda path: path.name
)
def test_every_named_path_exists(source: Path) -> None:
    found = 0
    for match in PATH.finditer(fill(source.read_text(), {"SHARED_FOLDER": "/shared"})):
        path = CLUSTER / match[1] if match[1] else ROOT / match[0]
        assert path.exists(), match[0]
        found += 1
    assert found


@pytest.mark.parametrize("name", ["aws", "gcp", "on_prem"])
def test_a_page_lists_the_ports_that_the_files_open(name: str) -> None:
    table = [line for line in text_of(name).splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in table[2:]] == [
        "22",
        "6379 (GCS), 6380 (node manager), 6381 (objects), 6382 to 6384 (agents)",
        "10002 to 10999 (workers and drivers)",
        "8265 (dashboard, Jobs API)",
    ]
    rules = {
        "aws": [],
        "gcp": re.findall(r"--allow=(\S+)", text_of("gcp")),
        "on_prem": re.findall(r"dport (\S+|\{[^}]+\}) accept", text_of("on_prem")),
    }[name]
    expected = {
        "aws": [],
        "gcp": ["tcp:22", "tcp:22,tcp:6379-6384,tcp:10002-10999"],
        "on_prem": ["22", "{ 22, 6379-6384, 10002-10999 }"],
    }[name]
    assert rules == expected
