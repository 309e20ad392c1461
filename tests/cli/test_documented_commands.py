"""Commands in README and docs: each one exists with its options. The page of faults names no symptom twice."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer.main

from lkca_search.cli.app import app

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


def test_the_page_of_faults_names_no_symptom_twice_and_has_three_columns() -> None:
    rows = [line for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines() if line.startswith("| ")]
    fields = [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in rows if not row.startswith("| symptom")]
    assert len(fields) > 50
    assert {len(row) for row in fields} == {3}
    assert [symptom for symptom, count in Counter(row[0] for row in fields).items() if count > 1] == []
