"""Commands in README and docs: each one exists with its options. The page of faults names no symptom twice."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer.main

from lkca_search.cli.app import app
from tests.support.processes import Command

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
PAGES = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"lkca-search ((?:data )?[a-z]+)\b([^`|#;\n]*)")
GROUP: Any = typer.main.get_command(app)


def find_command(name: str) -> Any:
    """Return the command of a name such as `run` or `data list`; None if there is none."""
    group, _, last = name.rpartition(" ")
    return (GROUP.commands[group] if group else GROUP).commands.get(last)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_exists_with_its_options(page: Path) -> None:
    for name, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
        command = find_command(name)
        assert command is not None, f"{page.name}: lkca-search {name}"
        known = {option for parameter in command.params for option in parameter.opts}
        options = re.findall(r"(?<!\S)--[a-z-]+", rest)
        assert {*options} <= known | {"--help"}, f"{page.name}: lkca-search {name}{rest}"


def list_commands() -> list[str]:
    """Return the names of all commands, such as `run` and `data list`."""
    names = []
    for name, each in GROUP.commands.items():
        names += [f"{name} {inner}" for inner in each.commands] if hasattr(each, "commands") else [name]
    return names


@pytest.mark.parametrize("name", list_commands())
def test_the_help_of_every_command_has_an_example_of_one_line_that_it_accepts(
    name: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = command(*name.split(), "--help")
    assert code == 0
    assert "bool" not in out, "a flag has no value"
    (line,) = re.findall(r"Example: (lkca-search .*)", out)
    words = line.split()
    assert words[: 1 + len(name.split())] == ["lkca-search", *name.split()]
    assert f"Example: {line.rstrip()}" == find_command(name).epilog, "the line is complete"
    arguments = words[1 + len(name.split()) :]
    with find_command(name).make_context(name, arguments):
        pass
    for argument in arguments:
        if argument.startswith("search_spaces/"):
            assert (ROOT / argument).is_file()


@pytest.mark.parametrize("name", list_commands())
def test_the_lines_of_a_help_text_end_where_the_terminal_does(name: str) -> None:
    assert "\n" not in find_command(name).help.replace("\n\n", "")


def test_help_lists_every_command_in_a_group(command: Command) -> None:
    panels = {getattr(each, "rich_help_panel", None) for each in GROUP.commands.values()}
    assert all(isinstance(panel, str) for panel in panels)
    assert all(f" {panel} " in command("--help").out for panel in panels)


def test_the_page_of_faults_names_no_symptom_twice_and_has_three_columns() -> None:
    rows = [line for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines() if line.startswith("| ")]
    fields = [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in rows if not row.startswith("| symptom")]
    assert len(fields) > 50
    assert {len(row) for row in fields} == {3}
    assert [symptom for symptom, count in Counter(row[0] for row in fields).items() if count > 1] == []
