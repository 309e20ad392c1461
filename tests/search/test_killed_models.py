"""Kill -9 between the files of a kept model, and between the model and its record: nothing is lost or doubled."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lkca_search.layout import MODEL, WEIGHTS, Home
from lkca_search.records.model_description import list_models, read_description, scan_models
from lkca_search.records.record import read_records, read_replicates
from lkca_search.search.state.best_trials import best_record
from tests.support.chaos.harness import INJECTION
from tests.support.chaos.invariants import left_behind
from tests.support.search.in_process import make_spec

REPOSITORY = Path(__file__).parents[2]
POINTS = ("inside:weights:2", "after:weights:1", "before:record:2", "inside:weights:3", "after:weights:1")
"""Kills in turn: behind the weights, behind the description, before a record, and the same for a later model."""


def crashed(home: Path, driver: int) -> Path:
    """Return the file that a kill of this driver creates."""
    return home / "chaos" / f"driver-{driver}.crashed"


def drive(home: Path, weights: str, driver: int, *, crash: str = "") -> int:
    """Run a driver with its worker in a process of its own; return the exit code."""
    environment = {**os.environ, "CHAOS_FOLDER": str(home / "chaos"), "CHAOS_CRASH": crash, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(INJECTION), os.environ.get("PYTHONPATH"))))
    environment["CHAOS_CRASHED"] = str(crashed(home, driver))
    (home / "chaos").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.support.search.in_process", str(home), weights, str(driver)]
    return subprocess.run(command, env=environment, cwd=REPOSITORY, timeout=1000).returncode


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("weights", ["best"])
def test_a_driver_killed_beside_each_file_of_a_model_leaves_one_model_per_record(weights: str, tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search("toy")
    for driver, point in enumerate(POINTS, start=1):
        assert drive(tmp_path, weights, driver, crash=point) == -signal.SIGKILL, point
        assert crashed(tmp_path, driver).read_text() == point
    assert drive(tmp_path, weights, len(POINTS) + 1) == 0
    trials, replicates = read_records(folder), read_replicates(folder)
    assert (len(trials), len(replicates)) == (2, 2)
    best = best_record(trials, make_spec(weights).search)
    assert best is not None
    found = {path.parent.relative_to(folder.trials).as_posix(): read_description(path) for path in list_models(folder)}
    assert found.keys() == {best.trial_id, *(record.trial_id for record in replicates)}
    assert len(list(folder.trials.rglob(WEIGHTS))) == len(list(folder.trials.rglob(MODEL))) == 3
    for record in replicates:
        assert record.test is not None
        assert found[record.trial_id].metrics["test_accuracy"] == record.test.accuracy
    assert scan_models(folder) == []
    assert left_behind(folder) == 0
