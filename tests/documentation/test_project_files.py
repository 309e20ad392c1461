"""Files of the repository that forges and tools read: hooks, workflow, citation, changelog."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pathspec import GitIgnoreSpec

from lkca_search import __version__
from tests.support.code_blocks import PAGES, ROOT, read_blocks

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


def written_files() -> Iterator[str]:
    """Yield the relative paths that commands of the pages write, if they are typed in the checkout."""
    for page in PAGES:
        if page.name in ("tutorial.md", "own_code.md"):  # their commands are typed in another folder
            continue
        for block in read_blocks(page):
            for line in block.text.splitlines():
                if "lkca-search " in line and block.language == "":
                    command = line.partition("  #")[0]
                    yield from re.findall(r"(?: > | -o | --to | init )([\w.]+/?)(?= |$)", command)


def test_no_command_of_a_page_makes_the_checkout_dirty() -> None:
    ignored = GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text().splitlines())
    formats = {"onnx": "quickstart-vit-1.0-0-draw-1-seed-0.onnx", "torch_export": "model.pt2"}
    paths = {formats.get(path, path) for path in written_files()}
    assert {"quickstart.onnx", "tables/", "best.yaml", "question.yaml", "model.pt2", "results", "paper"} <= paths
    assert {path for path in paths if not ignored.match_file(path) and not ignored.match_file(f"{path}/")} == set()
