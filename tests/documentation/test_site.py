"""Documentation site: it builds without a warning, and its reference and schema match the code."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from documentation.command_line import command_line_page
from documentation.mlflow_names import mlflow_page
from documentation.tables import tables_page
from lkca_search.api.space_schema import space_file_schema
from lkca_search.records.tables import COLUMNS
from tests.support.code_blocks import ROOT, read_blocks

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder


def errors(content: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(space_file_schema()).iter_errors(content)]


def test_the_site_builds_without_a_broken_link_or_anchor(site: Path) -> None:
    pages = {path.relative_to(site).as_posix() for path in site.rglob("index.html")}
    for name in ("index.html", "tutorial/index.html", "how_to/slurm/index.html", "faq/index.html"):
        assert name in pages
    assert {"reference/command_line/index.html", "clusters/kuberay/index.html", "architecture/index.html"} <= pages
    assert json.loads((site / "reference" / "space.schema.json").read_text()) == space_file_schema()


def test_the_site_requests_nothing_from_another_server(site: Path) -> None:
    for page in (site / "index.html", site / "reference" / "python" / "index.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(https?://[^\"'> ]+)", page.read_text())
        assert [url for url in loaded if "canonical" not in url] == []


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_the_schema_accepts_every_shipped_space_file(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text())) == []


def test_the_schema_accepts_every_complete_space_file_of_the_pages() -> None:
    blocks = [block for name in ("search", "recipe", "tutorial") for block in read_blocks(ROOT / f"docs/{name}.md")]
    contents = [yaml.safe_load(block.text) for block in blocks if block.language == "yaml"]
    complete = [content for content in contents if {"data", "factors", "parameters", "training"} <= {*content}]
    assert len(complete) == 3
    assert [errors(content) for content in complete] == [[], [], []]


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("training", {"step": 100}),
        ("search", {"sampler": "tpe"}),
        ("parameters", {"depth": {"int": [2]}}),
        ("parameters", {"depth": {"ints": [2, 4]}}),
        ("factors", {"family": []}),
        ("resources", {"gpu": "all"}),
        ("trainings", {"steps": 100}),
    ],
)
def test_the_schema_marks_mistakes(section: str, value: Any) -> None:
    content = yaml.safe_load(SPACES[0].read_text())
    assert errors({**content, section: value})


def test_the_page_of_tables_has_a_meaning_for_every_column() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|(.*)\|$", tables_page(), re.MULTILINE)
    assert {name for name, _ in rows} >= COLUMNS
    assert sorted({name for name, meaning in rows if not meaning.strip()}) == []


def test_the_page_of_mlflow_names_has_no_name_without_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", mlflow_page(), re.MULTILINE)
    assert {"val_accuracy", "max_val_accuracy", "test_accuracy", "learning_rate", "cell"} <= {name for name, _ in rows}
    assert sorted({name for name, meaning in rows if not meaning.strip()}) == []


def test_the_page_of_commands_has_every_command_with_its_help() -> None:
    page = command_line_page()
    for name in ("plan", "run", "data prepare", "submit", "restore"):
        assert f"\n## {name}\n" in page
    assert "| `--max-failures` | Start no new trial once more trials than this have failed." in page
