"""Files of the repository that forges and tools read: hooks, workflow, citation, changelog."""

import tomllib
from pathlib import Path
from typing import Any

import yaml

from lkca_search import __version__
from tests.support.code_blocks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # `on` is a key of a workflow, not true


def test_hooks_run_the_tools_of_the_environment() -> None:
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    names = {requirement.split(">")[0] for requirement in PROJECT["optional-dependencies"]["dev"]}
    for hook in repository["hooks"]:
        program, *arguments = hook["entry"].split()
        assert Path(program).parent == Path(".venv/bin")
        assert Path(program).name in names
        assert all((ROOT / each).exists() for each in arguments if "/" in each)


def test_the_workflow_runs_what_every_machine_runs() -> None:
    workflow = load(ROOT / ".forgejo" / "workflows" / "ci.yaml")
    (job,) = workflow["jobs"].values()
    assert workflow["on"] == ["push", "pull_request"]
    assert job["steps"][-1]["run"] == ".ci/run"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_citation_and_changelog_name_the_version_of_the_package() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert f"## Unreleased ({__version__})" in (ROOT / "CHANGELOG.md").read_text()
