"""Architecture: direction of imports, third-party packages, sizes of files and folders, names that tests use."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.support import architecture
from tests.support.architecture import (
    MAX_FILE_LINES,
    MAX_FOLDER_MODULES,
    MAX_FUNCTION_LINES,
    MIN_IMPORTERS,
    PACKAGE,
    ROOT,
    Sources,
    read_sources,
)

REPOSITORY = Path(__file__).parents[1]

BASE = [ROOT, "environment", "spec", "records", "records/search"]
LADDER: dict[str, list[str]] = {
    ROOT: [],
    "environment": [ROOT],
    "spec/reading": [ROOT],
    "spec": [ROOT, "spec/reading"],
    "spec/recipe": [ROOT, "spec"],
    "records": [ROOT, "environment", "spec", "spec/reading", "spec/recipe"],
    "records/search": [ROOT, "spec", "records"],
    "records/inspection": BASE,
    "data/readers": [ROOT, "environment"],
    "data": [ROOT, "environment", "spec", "data/readers"],
    "models/networks": [ROOT, "spec"],
    "models": [ROOT, "spec", "spec/recipe", "models/networks"],
    "training/recipe": [*BASE, "spec/recipe", "data", "models"],
    "training/backends": [*BASE, "models/networks"],
    "training": [*BASE, "data", "data/readers", "models", "training/recipe", "training/backends"],
    "training/laws": [*BASE, "data", "models", "training"],
    "training/inspection": [*BASE, "records/inspection", "data", "models/networks", "training"],
    "tracking/search_run": BASE,
    "tracking": [*BASE, "tracking/search_run"],
    "tracking/pages": [*BASE, "tracking/search_run", "tracking"],
    "tracking/registry": [*BASE, "tracking"],
    "inference": [*BASE, "data", "data/readers", "models/networks", "training", "tracking/registry"],
    "tracking/reruns": [*BASE, "tracking", "tracking/registry"],
    "search/state": [*BASE, "data"],
    "search/studies/algorithms": BASE,
    "search/studies": [
        *(*BASE, "spec/recipe", "data", "models", "training/recipe", "search/state", "search/studies/algorithms"),
    ],
    "search/planning": [
        *(*BASE, "spec/recipe", "data", "models", "training", "training/recipe", "training/laws"),
        *("search/state", "search/studies"),
    ],
    "search/driver": [*BASE, "data", "models", "tracking", "search/state", "search/studies"],
    "search/health": [*BASE, "records/inspection", "search/state", "search/studies", "search/driver"],
    "search/housekeeping": [*BASE, "data", "tracking", "tracking/registry", "search/state"],
    "search/ray_backend": [
        *(*BASE, "records/inspection", "data", "training", "training/backends", "training/inspection"),
        *("search/state", "search/planning", "search/driver"),
    ],
    "search/simulation": [*BASE, "tracking", "search/state", "search/studies", "search/driver"],
    "search/jobs": BASE,
    "search/rerun": [*BASE, "spec/reading", "data", "training", "tracking", "tracking/reruns", "search/state"],
    "analysis/stats": [ROOT, "spec"],
    "analysis/curves": [ROOT, "spec", "analysis/stats"],
    "analysis": [*BASE, "records/inspection", "analysis/stats", "analysis/curves"],
    "analysis/kernels": [*BASE, "records/inspection", "analysis", "analysis/stats"],
    "analysis/ablation": [*BASE, "analysis", "analysis/stats"],
    "analysis/trials": [*BASE, "analysis", "analysis/stats", "analysis/ablation"],
    "analysis/aggregate": [*BASE, "analysis", "analysis/stats"],
    "analysis/predictions": [*BASE, "analysis", "analysis/stats"],
    "reporting/values": [
        *(ROOT, "spec", "records/search", "analysis", "analysis/stats", "analysis/aggregate", "analysis/predictions"),
        "analysis/trials",
    ],
    "reporting/sections": [
        *(*BASE, "analysis", "analysis/stats", "analysis/curves", "analysis/ablation", "analysis/predictions"),
        "reporting/values",
    ],
    "reporting/predictions": [
        *("spec", "analysis", "analysis/stats", "analysis/predictions", "reporting/values", "reporting/sections"),
    ],
    "reporting/aggregate": [
        *("records", "analysis", "analysis/stats", "analysis/aggregate", "reporting/values", "reporting/sections"),
    ],
    "reporting/kernels": [*BASE, "analysis", "analysis/stats", "analysis/kernels", "reporting/values"],
    "reporting/methods": [*BASE, "spec/recipe", "analysis", "reporting/values", "reporting/sections"],
    "reporting/trials": [
        *(*BASE, "analysis", "analysis/stats", "analysis/trials", "reporting/values", "reporting/sections"),
    ],
    "reporting/rendering": [ROOT, "reporting/values"],
    "reporting": [
        *(*BASE, "records/inspection", "analysis", "analysis/stats", "analysis/aggregate"),
        *("analysis/predictions", "analysis/trials"),
        *("reporting/values", "reporting/sections", "reporting/aggregate", "reporting/kernels"),
        *("reporting/predictions", "reporting/trials"),
        *("reporting/methods", "reporting/rendering"),
    ],
    "search": [
        *(*BASE, "records/inspection", "spec/reading", "data", "models", "tracking"),
        *("training", "training/laws", "training/inspection"),
        *("search/state", "search/studies", "search/planning", "search/driver", "search/health"),
        *("search/ray_backend", "tracking/registry", "tracking/pages", "tracking/search_run", "analysis", "reporting"),
    ],
}
"""Each rung, bottom first, and the rungs that it may import. A file is a rung if it lies below its own folder."""
LADDER["published"] = [*BASE, "records/inspection", "analysis"]
LADDER["api"] = [
    *(
        *BASE,
        "records/inspection",
        "data",
        "data/readers",
        "training",
        "tracking",
        "tracking/pages",
        "analysis",
        "analysis/predictions",
        "published",
        "reporting",
        "reporting/trials",
        "reporting/values",
    ),
    *("inference", "search", "search/state", "search/planning", "search/ray_backend"),
]
LADDER["cli/terminal"] = [*BASE, "tracking", "reporting/values", "search/state"]
LADDER["cli/usage"] = BASE
LADDER["cli"] = list(LADDER)

THIRD_PARTY = {
    "PIL": ["data/readers", "data/pictures.py"],
    "filelock": ["environment/locks.py", "search/state/lease.py"],
    "jinja2": ["reporting/rendering"],
    "markupsafe": ["reporting/rendering"],
    "matplotlib": ["reporting/rendering"],
    "mlflow": ["tracking", "tracking/search_run", "tracking/pages", "tracking/registry", "tracking/reruns"],
    "numpy": [
        *("api", "data", "data/readers", "records", "records/inspection", "training", "training/laws"),
        *(
            "training/inspection",
            "inference",
            "reporting",
            "reporting/sections",
            "reporting/kernels",
            "analysis/kernels",
        ),
        *("analysis", "analysis/stats", "analysis/curves", "analysis/ablation", "analysis/aggregate"),
        *("analysis/predictions", "analysis/trials", "search/studies/algorithms", "search/planning", "published"),
    ],
    "onnxruntime": ["inference"],
    "optuna": ["search/studies", "search/studies/algorithms", "analysis"],
    "pandas": ["api"],
    "pathspec": ["search/jobs"],
    "plotly": ["reporting/rendering"],
    "pyarrow": [
        "trial_listing.py",
        *("paths.py", "data/store.py", "data/readers", "records", "records/inspection", "inference"),
        *("published", "search/housekeeping"),
    ],
    "pydantic": [
        *("spec", "spec/reading", "records", "records/search", "search", "search/rerun", "search/studies"),
        *("published", "search/housekeeping", "reporting/values"),
    ],
    "pydantic_core": ["spec", "spec/reading"],
    "safetensors": ["training"],
    "ray": ["search/ray_backend", "search/jobs"],
    "rich": ["cli", "cli/terminal"],
    "scipy": [
        *("data/readers", "search/planning", "search/rerun"),
        *("analysis/stats", "analysis/curves", "analysis/ablation", "search/studies/algorithms"),
    ],
    "sklearn": ["data"],
    "sqlalchemy": ["search/state", "search/studies", "search/health", "search/housekeeping"],
    "timm": ["models", "training/recipe"],
    "torch": [
        *("data", "models", "models/networks"),
        *("training", "training/recipe", "training/backends", "training/laws", "training/inspection", "inference"),
    ],
    "torchvision": ["data", "data/readers"],
    "typer": ["cli", "cli/terminal", "cli/usage"],
    "yaml": ["api/space.py", "spec/reading", "search/rerun"],
}

DISTRIBUTIONS = {"PIL": "pillow", "pydantic_core": "pydantic", "sklearn": "scikit-learn", "yaml": "pyyaml"}

PUBLIC_DESPITE_UNDERSCORE = frozenset({"_fields", "_replace", "_asdict", "_make", "_field_defaults"})
"""Methods and attributes of NamedTuple."""
RAYS_OWN = frozenset({"_bootstrap_config", "_clear_provider_cache", "_get_node_provider", "_convert_resources_to_urls"})
"""Functions by which tests complete a cluster file exactly as `ray up` does."""


@pytest.fixture(scope="module")
def sources() -> Sources:
    return read_sources(REPOSITORY / PACKAGE)


@pytest.fixture(scope="module")
def test_sources() -> Sources:
    return read_sources(REPOSITORY / "tests")


def test_a_rung_imports_only_from_the_rungs_that_the_ladder_allows(sources: Sources) -> None:
    assert list(architecture.upward_imports(sources, LADDER)) == []


def test_the_ladder_leads_down_only_and_names_every_folder(sources: Sources) -> None:
    rungs = list(LADDER)
    for position, (rung, allowed) in enumerate(LADDER.items()):
        assert set(allowed) <= set(rungs[:position]), rung
    assert set(rungs) == {architecture.rung_of(path, LADDER) for path in sources}


def test_there_is_no_import_cycle_of_modules_or_rungs(sources: Sources) -> None:
    assert architecture.cycle(sources) == []
    assert architecture.rung_cycle(sources, LADDER) == []


def test_third_party_packages_are_imported_only_in_their_homes(sources: Sources) -> None:
    assert list(architecture.homeless_packages(sources, THIRD_PARTY)) == []


def test_folders_files_and_functions_keep_their_sizes(sources: Sources) -> None:
    assert list(architecture.wrong_sizes(sources)) == []


def test_every_folder_has_a_docstring_of_one_paragraph(sources: Sources) -> None:
    assert list(architecture.undocumented_folders(sources)) == []


def test_tests_use_no_private_name_of_another_module(test_sources: Sources) -> None:
    exempt = PUBLIC_DESPITE_UNDERSCORE | RAYS_OWN
    assert list(architecture.private_names(test_sources, exempt)) == []


def test_only_confirmation_opens_the_test_images(sources: Sources) -> None:
    """Commands that prepare and check data read whole datasets, and train nothing."""
    naming = {path for path, source in sources.items() if re.search(r"[\"']test[\"']|\bSPLITS\b|\bSplit\b", source)}
    # Reports and trackers cannot import data; `test` is a label there.
    assert {path for path in naming if not path.startswith(("data/", "reporting/", "tracking/"))} == {
        "cli/data.py",
        "cli/kept_models.py",
        "search/idle_run.py",  # without torch, which training/testing.py imports
        "training/images.py",  # the function that opens either split
        "training/testing.py",
    }
    opener = re.compile(r"\bopen_(all_|model_)?test_images")
    openers = {path for path, source in sources.items() if opener.search(source)}
    assert openers == {
        "training/testing.py",
        "search/ray_backend/worker.py",  # for a replicate, after its training
        "search/ray_backend/node_checks.py",  # each node must have them
        "search/search_driver.py",  # their hash, for the round
        "search/inspection.py",  # of replicates that were tested on them
        "cli/run.py",  # to show the progress of a download
        "cli/kept_models.py",  # the test of a replicate, repeated
    }


def test_declared_dependencies_are_exactly_the_imported_packages(sources: Sources) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = {DISTRIBUTIONS.get(package, package) for package in THIRD_PARTY}

    def distributions(lines: list[str]) -> set[str]:
        return {re.split(r"[\[<>=~!; ]", line)[0] for line in lines}

    # The extras also list packages that servers, Ray's autoscaler and torch's exporter import.
    declared = distributions(project["dependencies"])
    for extra in ("cluster", "onnx"):
        declared |= distributions(project["optional-dependencies"][extra]) & names
    imported = {each.name.partition(".")[0] for source in sources.values() for each in architecture.imports(source)}
    third_party = imported & THIRD_PARTY.keys()
    assert {DISTRIBUTIONS.get(package, package) for package in third_party} == declared


# Planted violations: each rule must find one

UPWARD = [
    ("paths.py", "from lkca_search.data.store import open_images", "(root) may not import data"),
    ("paths.py", "from lkca_search import data", "(root) may not import data"),
    ("paths.py", "import lkca_search.search.ray_backend.runner", "(root) may not import search/ray_backend"),
    ("spec/cells.py", "from lkca_search.records.record import Record", "spec may not import records"),
    ("data/store.py", "from lkca_search.models.networks.lkca import LKCA", "data may not import models/networks"),
    ("data/readers/official.py", "from lkca_search.data.store import Images", "data/readers may not import data"),
    ("models/networks/lkca.py", "from lkca_search.data import store", "models/networks may not import data"),
    ("training/loop.py", "import lkca_search.tracking.tracker as t", "training may not import tracking"),
    ("tracking/tracker.py", "from lkca_search.training.loop import Training", "tracking may not import training"),
    ("search/state/lease.py", "from lkca_search.search.driver.ledger import Ledger", "may not import search/driver"),
    ("search/driver/ledger.py", "from lkca_search.search.ray_backend import runner", "import search/ray_backend"),
    ("search/simulation/replay.py", "from lkca_search.search.ray_backend import runner", "import search/ray_backend"),
    ("analysis/curves/power_law.py", "from lkca_search.search.run import run", "analysis/curves may not import search"),
    ("search/run.py", "from lkca_search.analysis.stats.p_values import holm", "search may not import analysis/stats"),
    (
        "analysis/scores.py",
        "from lkca_search.reporting.values.table import Table",
        "analysis may not import reporting/values",
    ),
    (
        "reporting/values/table.py",
        "from lkca_search.reporting.content import Report",
        "reporting/values may not import reporting",
    ),
    ("search/run.py", "def f():\n    from lkca_search.cli import output", "search/run.py:2: search may not import cli"),
    ("data/store.py", "if TYPE_CHECKING:\n    import lkca_search.cli.app", "data/store.py:2: data may not import cli"),
    ("spec/cells.py", "from .domains import Choice", "import must be absolute"),
    ("plots/bar.py", "", "folder plots is missing in the ladder"),
]
IMPORTED = {
    f"{folder}/{name}.py": ""
    for folder, names in {
        "data": ["store"],
        "records": ["record"],
        "models/networks": ["lkca"],
        "tracking": ["tracker"],
        "training": ["loop"],
        "search": ["run"],
        "search/driver": ["ledger"],
        "search/ray_backend": ["runner"],
        "analysis/stats": ["p_values"],
        "reporting": ["content"],
        "reporting/values": ["table"],
        "cli": ["output", "app"],
    }.items()
    for name in names
} | {"data/__init__.py": ""}


@pytest.mark.parametrize(("path", "source", "complaint"), UPWARD)
def test_a_planted_upward_import_is_found(path: str, source: str, complaint: str) -> None:
    (found,) = architecture.upward_imports(IMPORTED | {path: source}, LADDER)
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("search/driver/ledger.py", "import ray", "ray may be imported in search/ray_backend, search/jobs"),
        ("search/driver/ledger.py", "def f():\n    from ray import tune", "search/driver/ledger.py:2: ray may be"),
        ("search/driver/ledger.py", "import optuna.trial", "optuna may be imported in search/studies"),
        ("records/record.py", "from torch import Tensor", "torch may be imported in data, models"),
        ("search/run.py", "from torch import Tensor", "torch may be imported in data, models"),
        ("cli/output.py", "import pandas", "pandas may be imported in api"),
        ("cli/output.py", "import seaborn", "seaborn may be imported in no folder"),
    ],
)
def test_a_planted_package_outside_its_home_is_found(path: str, source: str, complaint: str) -> None:
    (found,) = architecture.homeless_packages({path: source}, THIRD_PARTY)
    assert complaint in found


def test_allowed_imports_are_not_reported() -> None:
    allowed = {
        "cli/plan.py": "import os\nimport typer\nfrom lkca_search import __version__",
        "search/ray_backend/runner.py": "import ray.tune\nfrom lkca_search.search.driver.ledger import Ledger",
        "analysis/importance.py": "import optuna\nfrom lkca_search.records.record import Record",
        "search/rerun/tolerance.py": "import scipy",
    }
    assert not list(architecture.upward_imports(IMPORTED | allowed, LADDER))
    assert not list(architecture.homeless_packages(allowed, THIRD_PARTY))


def test_a_planted_cycle_is_found_for_any_position_of_its_imports() -> None:
    planted = {
        "data/a.py": "from lkca_search.data.b import x",
        "data/b.py": "def f():\n    import lkca_search.data.c",
        "data/c.py": "if TYPE_CHECKING:\n    from lkca_search.data import a",
        "data/d.py": "from lkca_search.data import a",
    }
    assert set(architecture.cycle(planted)) == {"data/a.py", "data/b.py", "data/c.py"}
    assert architecture.cycle({**planted, "data/c.py": ""}) == []


def test_a_planted_cycle_of_folders_without_a_cycle_of_modules_is_found() -> None:
    planted = {
        "data/a.py": "from lkca_search.models.b import x",
        "models/b.py": "",
        "models/c.py": "from lkca_search.data.d import x",
        "data/d.py": "",
    }
    assert architecture.cycle(planted) == []
    assert set(architecture.rung_cycle(planted, LADDER)) == {"data", "models"}


def test_a_planted_size_is_found() -> None:
    function = "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES
    long_enough = "x = 1\n" * 25
    planted = {
        **{f"cli/{number}.py": long_enough for number in range(MAX_FOLDER_MODULES + 1)},
        "cli/__init__.py": "",
        "search/long.py": "x = 1\n" * (MAX_FILE_LINES + 1),
        "search/method.py": f"class C:\n{function}".replace("\n", "\n    ").rstrip(),
        "spec/rarely.py": "x = 1",
        "spec/often.py": "x = 1",
        "training/loop.py": function,
        **{
            f"data/{number}.py": "from lkca_search.spec.often import x\n" + long_enough
            for number in range(MIN_IMPORTERS)
        },
    }
    assert list(architecture.wrong_sizes(planted)) == [
        "cli: 13 modules, at most 12",
        "search/long.py: 301 lines, at most 300",
        "search/method.py:2: f has 61 lines, at most 60",
        "spec/rarely.py: 1 lines, at least 25 for a file that 0 import",
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({}, "spec/__init__.py is missing"),
        ({"spec/__init__.py": ""}, "docstring must be one paragraph"),
        ({"spec/__init__.py": '"""Values.\n\nMore."""'}, "docstring must be one paragraph"),
        ({"spec/__init__.py": '"""Values."""\nimport os'}, "must hold a docstring and nothing else"),
    ],
)
def test_a_planted_folder_without_a_docstring_is_found(content: dict[str, str], complaint: str) -> None:
    documented = {"__init__.py": '"""Package."""\nimport os', "spec/cells.py": ""}
    (found,) = architecture.undocumented_folders(documented | content)
    assert complaint in found


@pytest.mark.parametrize(
    "source",
    [
        "from lkca_search.search.studies.study import _suggest",
        "from tests.support.postgres import _user",
        "def test(ledger):\n    ledger._studies",
        "def test(monkeypatch):\n    monkeypatch.setattr(lease, '_LOCK', 'x')",
        "def test(monkeypatch):\n    monkeypatch.setattr('lkca_search.search.state.lease._LOCK', 'x')",
    ],
)
def test_a_planted_private_name_is_found(source: str) -> None:
    assert len(list(architecture.private_names({"test_x.py": source}, PUBLIC_DESPITE_UNDERSCORE))) == 1


def test_private_names_of_the_test_itself_and_of_named_tuples_are_allowed() -> None:
    source = (
        "class A:\n    def __init__(self):\n        self._x = 1\n    def f(self, other):\n        return other._x\n"
    )
    source += "def _f(row):\n    return row._replace(x=1).__class__\n"
    assert not list(architecture.private_names({"test_x.py": source}, PUBLIC_DESPITE_UNDERSCORE))
