"""Code blocks of README and docs: commands exist with their options, space files are valid, Python compiles.

A block that cannot be checked has the reason in a comment above it: `<!-- not run: REASON -->`. Blocks of `text` are
output, and trees of files.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from ray.scripts.scripts import cli as ray_cli

from lkca_search.cli.app import app
from lkca_search.spec.space_file import read_space_file
from tests.support.code_blocks import PAGES, ROOT, Block, read_blocks

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
CHECKED = [block for block in BLOCKS if block.reason is None]
SHELL = [block for block in CHECKED if block.language in ("", "bash")]
YAML = [block for block in CHECKED if block.language == "yaml"]
PYTHON = [block for block in CHECKED if block.language == "python"]
BASE: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "factors": {"family": ["lkca"]},
    "parameters": {"learning_rate": {"value": 0.001}},
    "training": {"steps": 100},
    "search": {"trials_per_cell": 4},
}
"""Sections that a fragment of a space file leaves out."""
OTHER_PROGRAMS = {
    *("cd", "export", "mkdir", "source", "git", "ssh", "scp", "python", "python3", "pip", "pre-commit"),
    *("curl", "mlflow", "scancel", "sbatch", "kind", "kubectl", "helm"),
}
"""Programs whose calls are checked by bash alone, and by the paths that they name."""


def by_place(block: Block) -> str:
    return block.place


def resolve(words: list[str]) -> tuple[Any, str, list[str]]:
    """Return the command of a call of lkca-search, its name, and its arguments."""
    group: Any = typer.main.get_command(app)
    name, rest = words[0], words[1:]
    while hasattr(found := group.get_command(group.context_class(group, info_name=name), name), "list_commands"):
        group, name, rest = found, rest[0], rest[1:]
    return found, name, rest


def check_search_call(words: list[str]) -> None:
    """Parse a call of lkca-search without running it; read the space file that it names, with its overrides."""
    if words[0].startswith("--"):
        root: Any = typer.main.get_command(app)
        assert {*words} <= {option for each in root.params for option in each.opts} | {"--help"}, words
        return
    command, name, rest = resolve(words)
    assert command is not None, words
    given = command.make_context(name, rest).params
    space = str(given.get("space") or "")
    if space.startswith("search_spaces/"):
        read_space_file(ROOT / space, [one for one in given["overrides"] or () if one != "..."])


def check_path_of(words: list[str]) -> None:
    """Check that the module of `python -m`, and each named file of the checkout, exist."""
    if words[1:2] == ["-m"] and words[2].split(".")[0] in ("cluster", "benchmarks", "lkca_search"):
        assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file(), words
    for word in words:
        if re.match(r"(cluster|search_spaces|tests)/[\w./]+$", word):
            assert (ROOT / word).exists(), word


def test_a_block_without_a_check_states_its_reason() -> None:
    known = {"", "bash", "yaml", "python", "text", "mermaid"}
    assert {block.place for block in CHECKED if block.language not in known} == set()
    assert {block.place for block in BLOCKS if block.reason is not None and len(block.reason) < 10} == set()
    assert len(SHELL) > 60
    assert len(YAML) >= 20


@pytest.mark.parametrize("block", SHELL, ids=by_place)
def test_commands_of_a_page_exist_and_take_their_options(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in block.commands():
        program = words[0].removeprefix(".venv/bin/")
        check_path_of(words)
        if program == "cluster/local/with.sh":
            program, words = words[1], words[1:]
        if program == "lkca-search":
            check_search_call(words[1:])
        elif program == "make":
            assert words[1] in targets, block.place
        elif program == "ray":
            name, *rest = words[1:]
            assert ray_cli.commands[name].make_context(name, rest)
        else:
            assert program in OTHER_PROGRAMS, f"{block.place}: {program}"


@pytest.mark.parametrize("block", SHELL, ids=by_place)
def test_bash_can_parse_a_block(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", YAML, ids=by_place)
def test_a_space_file_of_a_page_is_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(block.text, encoding="utf-8")
    found = yaml.safe_load(block.text)
    if not {*BASE} <= {*found}:
        search = {**BASE["search"], **found.get("search", {})}
        path.write_text(yaml.safe_dump({**BASE, **found, "search": search}), encoding="utf-8")
    read_space_file(path)


@pytest.mark.parametrize("block", PYTHON, ids=by_place)
def test_python_of_a_page_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_the_scripts_of_the_tutorial_make_and_split_sixty_photos(tmp_path: Path) -> None:
    scripts = [block.text for block in PYTHON if block.page.name == "tutorial.md"]
    split, make = sorted(scripts, key=lambda text: "ImageDraw" in text)
    for script in (make, split):
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    count = {name: len(list((tmp_path / "photos" / name).glob("*/*.png"))) for name in ("train", "test")}
    assert count == {"train": 45, "test": 15}
    (tmp_path / "my_photos" / "circle" / "000.png").write_bytes(b"first in order: every split would shift")
    again = subprocess.run([sys.executable, "-c", split], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (again.returncode, "delete it" in again.stderr) == (1, True)
    assert {name: len(list((tmp_path / "photos" / name).glob("*/*.png"))) for name in count} == count


def test_every_relative_link_leads_to_a_file_or_names_the_command_that_makes_it() -> None:
    made = 0
    for page in PAGES:
        for paragraph in page.read_text(encoding="utf-8").split("\n\n"):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", paragraph):
                if target.startswith("reference/"):
                    made += 1
                    assert "`make docs`" in paragraph, f"{page.name}: {target}"
                else:
                    assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert made >= 4


def test_readme_is_short_and_has_no_long_line() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120
    assert [line for line in lines if len(line) > 120] == []
