"""The house: who may import whom, where each third-party package lives, and how long a file may grow."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "lkca_search"
GROUND = "floor 0"  # the modules that lie in no folder

FLOORS = [
    [GROUND],
    ["data", "models"],
    ["training", "tracking"],
    ["search", "analysis"],
    ["report"],
    ["cli"],
]

MAY_IMPORT = {
    GROUND: [],
    "data": [GROUND],
    "models": [GROUND],
    "training": [GROUND, "data", "models"],
    "tracking": [GROUND],
    "search": [GROUND, "data", "models", "training", "tracking"],
    "analysis": [GROUND],
    "report": [GROUND, "analysis"],
    "cli": [GROUND, "data", "models", "training", "tracking", "search", "analysis", "report"],
}

THIRD_PARTY = {
    "PIL": ["data"],
    "filelock": ["search/lease.py", "data/store.py", "data/shelf.py", "tracking"],
    "jinja2": ["report/html.py"],
    "markupsafe": ["report/html.py"],
    "matplotlib": ["report/paper.py"],
    "mlflow": ["tracking"],
    "numpy": ["data", "analysis", "report", "training/testing.py"],
    "optuna": ["search/studies.py", "analysis"],
    "pathspec": ["search/shipment.py"],
    "plotly": ["report/html.py", "report/interactive.py"],
    "psycopg": ["search/database.py"],
    "pyarrow": ["data/store.py", "data/parquet_folder.py", "records.py", "remote_path.py"],
    "pydantic": [GROUND, "search/rerun.py", "report/table.py"],
    "pydantic_core": [GROUND],
    "ray": [
        "search/cluster.py",
        "search/nodes.py",
        "search/placement.py",
        "search/runner.py",
        "search/submit.py",
        "search/worker.py",
    ],
    "rich": ["cli"],
    "scipy": ["data/official.py", "analysis"],
    "sklearn": ["data"],
    "sqlalchemy": ["search/database.py", "search/lease.py", "search/studies.py"],
    "timm": ["models/baselines.py"],
    "torch": ["data/augment.py", "data/batches.py", "models", "training", "search/rerun.py"],
    "torchvision": ["data/augment.py", "data/official.py"],
    "typer": ["cli"],
    "yaml": ["space_file.py", "search/rerun.py"],
}

DISTRIBUTIONS = {"PIL": "pillow", "pydantic_core": "pydantic", "sklearn": "scikit-learn", "yaml": "pyyaml"}

FILE_LINES = 300
FUNCTION_LINES = 60
FUNCTION_LINES_IN = {"training/loop.py": 80}

Sources = Mapping[str, str]
"""Path below the package to source."""


class Import(NamedTuple):
    """One imported name, in full, and the line that imports it."""

    line: int
    name: str


def read_sources(package: Path) -> dict[str, str]:
    return {path.relative_to(package).as_posix(): path.read_text() for path in sorted(package.rglob("*.py"))}


def imports(source: str) -> Iterator[Import]:
    """Everything that a source imports, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{module}.{alias.name}") for alias in node.names)


def room_of(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder if slash else "cli" if path == "__main__.py" else GROUND


def wrong_imports(sources: Sources) -> Iterator[str]:
    """Every import that leads upstairs, or that takes a third-party package out of its rooms."""
    for path, source in sources.items():
        room = room_of(path)
        if room not in MAY_IMPORT:
            yield f"{path}: the folder {room} has no floor"
            continue
        for line, name in imports(source):
            package, _, inner = name.partition(".")
            if package == PACKAGE:
                other = inner.split(".")[0] if inner.split(".")[0] in MAY_IMPORT else GROUND
                if other not in (room, *MAY_IMPORT[room]):
                    yield f"{path}:{line}: {room} may not import {other} ({name})"
            elif not package:
                yield f"{path}:{line}: imports are absolute ({name})"
            elif package not in sys.stdlib_module_names:
                homes = THIRD_PARTY.get(package, [])
                if path not in homes and room not in homes:
                    yield f"{path}:{line}: {package} lives in {', '.join(homes) or 'no room'} ({name})"


def circle(sources: Sources) -> list[str]:
    """Modules that import each other in a circle; none if there is no circle."""
    paths = {_module(path): path for path in sources}
    graph: dict[str, set[str]] = {path: set() for path in sources}
    for path, source in sources.items():
        for _, name in imports(source):
            if found := paths.get(name) or paths.get(name.rpartition(".")[0]):
                graph[path].add(found)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _module(path: str) -> str:
    return ".".join((PACKAGE, *path.removesuffix(".py").removesuffix("__init__").rstrip("/").split("/"))).rstrip(".")


def too_long(sources: Sources) -> Iterator[str]:
    """Every file and function that should be two."""
    for path, source in sources.items():
        if (lines := len(source.splitlines())) > FILE_LINES:
            yield f"{path}: {lines} lines, at most {FILE_LINES}"
        most = FUNCTION_LINES_IN.get(path, FUNCTION_LINES)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if (lines := node.end_lineno - node.lineno + 1) > most:
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {most}"


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_sources(ROOT / PACKAGE)


def test_a_room_imports_only_from_downstairs_and_a_package_stays_in_its_rooms(sources: Sources) -> None:
    assert list(wrong_imports(sources)) == []


def test_confirmation_alone_opens_the_test_images(sources: Sources) -> None:
    """Beside the commands that prepare and check data, which look at whole datasets and train nothing."""
    openers = {"data/check.py", "data/store.py", "cli/data.py", "training/testing.py"}
    naming = {path for path, source in sources.items() if re.search(r"[\"']test[\"']|\bSPLITS\b|\bSplit\b", source)}
    assert {path for path in naming if not path.startswith("data/")} <= openers
    testers = {path for path, source in sources.items() if "open_test_images" in source}
    assert testers == {
        "training/testing.py",
        "search/worker.py",  # of a replicate, when its training is over
        "search/nodes.py",  # whether a node has them
        "search/launch.py",  # their hash, for the round
        "cli/run.py",  # to show how a download goes
    }


def test_no_modules_import_each_other_in_a_circle(sources: Sources) -> None:
    assert circle(sources) == []


def test_files_and_functions_stay_short(sources: Sources) -> None:
    assert list(too_long(sources)) == []


def test_the_table_of_rooms_leads_downstairs_only() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert floor.keys() == MAY_IMPORT.keys()
    for room, others in MAY_IMPORT.items():
        assert all(floor[other] < floor[room] for other in others)


def test_the_package_depends_on_what_it_imports_and_on_nothing_else(sources: Sources) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {DISTRIBUTIONS.get(package, package) for package in THIRD_PARTY}

    def distributions(lines: list[str]) -> set[str]:
        return {re.split(r"[\[<>=~!; ]", line)[0] for line in lines}

    # The extra has more: what servers and Ray's autoscaler import.
    declared = distributions(project["dependencies"])
    declared |= distributions(project["optional-dependencies"]["cluster"]) & names
    imported = {name.partition(".")[0] for source in sources.values() for _, name in imports(source)}
    third_party = imported & THIRD_PARTY.keys()
    assert {DISTRIBUTIONS.get(package, package) for package in third_party} == declared


PLANTED = [
    ("storage.py", "from lkca_search.data.store import open_images", "floor 0 may not import data"),
    ("storage.py", "from lkca_search import data", "floor 0 may not import data"),
    ("storage.py", "import lkca_search.search.ray_backend.runner", "floor 0 may not import search"),
    ("data/store.py", "from lkca_search.models.networks.lkca import LKCA", "data may not import models"),
    ("models/lkca.py", "from lkca_search.data import store", "models may not import data"),
    ("training/loop.py", "import lkca_search.tracking.tracker as t", "training may not import tracking"),
    ("tracking/tracker.py", "from lkca_search.training.loop import Training", "tracking may not import training"),
    ("analysis/curves.py", "from lkca_search.search.driver.ledger import Ledger", "analysis may not import search"),
    (
        "search/cells.py",
        "from lkca_search.analysis.curves.learning_curve import curve",
        "search may not import analysis",
    ),
    ("analysis/curves.py", "from lkca_search.report.values.table import Table", "analysis may not import report"),
    ("report/html.py", "from lkca_search.search.driver.ledger import Ledger", "report may not import search"),
    ("search/cells.py", "from lkca_search.cli.output import echo_json", "search may not import cli"),
    (
        "search/cells.py",
        "def f():\n    from lkca_search.cli import output",
        "cells.py:2: search may not import cli",
    ),
    ("data/store.py", "if TYPE_CHECKING:\n    import lkca_search.cli.app", "data/store.py:2: data may not import cli"),
    ("search/cells.py", "from .studies import Study", "imports are absolute"),
    ("plots/bar.py", "", "the folder plots has no floor"),
    ("search/ledger.py", "import ray", "ray lives in search/cluster.py"),
    ("search/ledger.py", "def f():\n    from ray import tune", "search/ledger.py:2: ray lives in"),
    ("search/ledger.py", "import optuna.trial", "optuna lives in search/studies.py"),
    ("records.py", "from torch import Tensor", "torch lives in"),
    ("analysis/curves.py", "import mlflow", "mlflow lives in tracking"),
    ("cli/output.py", "import pandas", "pandas lives in no room"),
]


@pytest.mark.parametrize(("path", "source", "complaint"), PLANTED)
def test_a_planted_import_is_reported(path: str, source: str, complaint: str) -> None:
    (found,) = wrong_imports({path: source})
    assert complaint in found


def test_imports_that_lead_downstairs_are_not_reported() -> None:
    assert not list(
        wrong_imports(
            {
                "cli/app.py": "import os\nimport typer\nfrom lkca_search import __version__",
                "search/runner.py": "import ray.tune\nfrom lkca_search.tracking.tracker import Tracker",
                "analysis/curves.py": "import optuna\nfrom lkca_search.records.record import Record",
                "records.py": "import pyarrow.parquet as pq\nfrom lkca_search.spec.base import Value",
            }
        )
    )


def test_a_planted_circle_is_reported_wherever_its_imports_stand() -> None:
    planted = {
        "data/a.py": "from lkca_search.data.b import x",
        "data/b.py": "def f():\n    import lkca_search.data.c",
        "data/c.py": "if TYPE_CHECKING:\n    from lkca_search.data import a",
        "data/d.py": "from lkca_search.data import a",
    }
    assert set(circle(planted)) == {"data/a.py", "data/b.py", "data/c.py"}
    assert circle({**planted, "data/c.py": ""}) == []
    assert circle(
        {"__init__.py": "import lkca_search.spec.search_spec", "spec.py": "from lkca_search import __version__"}
    )


def test_a_planted_long_file_and_a_planted_long_function_are_reported(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "training").mkdir()
    function = "def f():\n" + "    pass\n" * FUNCTION_LINES
    (tmp_path / "search" / "long.py").write_text("x = 1\n" * (FILE_LINES + 1))
    (tmp_path / "search" / "cells.py").write_text(f"class C:\n{function}".replace("\n", "\n    ").rstrip())
    (tmp_path / "training" / "loop.py").write_text(function)
    assert list(too_long(read_sources(tmp_path))) == [
        "search/cells.py:2: f has 61 lines, at most 60",
        "search/long.py: 301 lines, at most 300",
    ]
