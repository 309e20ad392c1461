"""Ids of runs for a report: one per trial, all of a small search and the listed ones of a large one."""

from collections.abc import Callable
from pathlib import Path

from lkca_search.layout import Home
from lkca_search.records.search.mlflow_runs import MAX_RUNS
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.pages.run_ids import read_run_ids
from tests.support.tracking.recorded import read_stored
from tests.support.tracking.tracked import RECORDS, write_at_once


def test_every_trial_has_its_run_and_a_large_search_only_the_listed_ones(
    root: Path, opener: Callable[[], MLflowStore], uid: str
) -> None:
    store = opener()
    write_at_once(store, *RECORDS)
    stored = read_stored(f"sqlite:///{Home(root=root).mlflow_database}", uid=uid)
    assert stored is not None
    expected = {trial_id: run.info.run_id for trial_id, run in stored.trials.items()}
    known = read_run_ids(Home(root=root), uid, num_trials=len(RECORDS), listed=[])
    assert known.ids == expected
    assert (known.experiment, known.server) == (stored.parent.info.experiment_id, None)
    listed = ["lkca/1", "lkca/9"]
    large = read_run_ids(Home(root=root), uid, num_trials=MAX_RUNS + 1, listed=listed)
    assert large.ids == {"lkca/1": expected["lkca/1"]}
