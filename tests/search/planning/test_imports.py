"""Imports of a command: those that take seconds are left out, and the rest delays no exit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "slow"),
    [
        (
            "plan search_spaces/quickstart.yaml",
            ["torch._dynamo", "scipy.stats", "sklearn", "pandas", "sqlalchemy", "mlflow", "ray"],
        ),
        ("status none", ["torch", "optuna", "scipy", "numpy", "pyarrow", "mlflow", "ray", "pandas"]),
        ("--help", ["torch", "optuna", "numpy", "pyarrow", "sqlalchemy", "mlflow", "ray", "pandas", "pydantic"]),
    ],
)
def test_a_command_imports_no_slow_package_that_it_can_do_without(
    tmp_path: Path, arguments: str, slow: list[str]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LKCA_SEARCH_CACHE": str(tmp_path)}
    prepared = [sys.executable, "-m", "lkca_search", "data", "prepare", "digits"]  # reading them takes scikit-learn
    subprocess.run(prepared, env=environment, check=True, capture_output=True)
    command = [sys.executable, "-X", "importtime", "-m", "lkca_search", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "typer" in imported
    assert imported & set(slow) == set()


def test_the_last_collection_of_a_command_visits_no_object_of_its_imports() -> None:
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count(), len(gc.get_objects())))\n"  # runs last
        "from lkca_search.cli.app import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    frozen, visited = map(int, done.stdout.splitlines()[-1].split())
    assert frozen > 10_000
    assert visited < 1_000
