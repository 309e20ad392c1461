"""Imports of a plan: those that take seconds are left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "slow"),
    [
        ("plan search_spaces/quickstart.yaml", ["torch._dynamo", "scipy.stats", "sklearn", "pandas", "mlflow", "ray"]),
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
