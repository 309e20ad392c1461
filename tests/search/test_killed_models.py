"""Kill -9 at each step of trials and replicates, with the real worker and no Ray: nothing is lost or doubled."""

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
POINTS = (
    *("inside:ask:1", "before:suggestion:1", "inside:checkpoint:1", "after:report:1"),
    *("inside:weights:2", "after:weights:1", "inside:record:1", "after:record:1", "before:tell:1"),
    *("after:ask:1", "inside:round:1"),
    *("inside:predictions:1", "inside:weights:2", "after:weights:1", "before:record:1"),
)
"""A kill per driver, in the order of a search: of its first trial, of the second, of the round, of a replicate."""


@pytest.mark.slow
def test_drivers_killed_between_any_two_files_leave_one_record_and_model_per_training(tmp_path: Path) -> None:
    folder, chaos = Home(root=tmp_path).search("toy"), tmp_path / "chaos"
    chaos.mkdir()
    environment = {**os.environ, "CHAOS_FOLDER": str(chaos), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(INJECTION), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "tests.support.search.in_process", str(tmp_path), "best", *POINTS]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, timeout=1000, capture_output=True, text=True)
    reached = [path.read_text() for i in range(len(POINTS)) if (path := chaos / f"driver-{i + 1}.crashed").exists()]
    assert reached == list(POINTS), done.stderr
    assert done.stdout.split() == [*[str(-signal.SIGKILL.value)] * len(POINTS), "0"], done.stderr
    trials, replicates = read_records(folder), read_replicates(folder)
    assert (len(trials), len(replicates)) == (2, 2)
    best = best_record(trials, make_spec("best").search)
    assert best is not None
    found = {path.parent.relative_to(folder.trials).as_posix(): read_description(path) for path in list_models(folder)}
    assert found.keys() == {best.trial_id, *(record.trial_id for record in replicates)}
    assert len(list(folder.trials.rglob(WEIGHTS))) == len(list(folder.trials.rglob(MODEL))) == 3
    for record in replicates:
        assert record.test is not None
        assert found[record.trial_id].metrics["test_accuracy"] == record.test.accuracy
    assert scan_models(folder) == []
    assert left_behind(folder) == 0
