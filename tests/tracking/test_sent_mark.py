"""A search whose run in MLflow is marked as sent is resumed without reading the runs of its finished trials."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.tracking.mlflow_store import MLflowStore
from tests.support.tracking.recorded import assert_stored, make_record, read_stored, start_of

RECORDS = [make_record(f"lkca/{number}") for number in range(4)]
IDS = [record.trial_id for record in RECORDS[:3]]


@pytest.fixture
def read_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the id of each run that a client reads is added."""
    real, found = MlflowClient.search_runs, []

    def search_runs(self: MlflowClient, *arguments: object, **options: object) -> object:
        page = real(self, *arguments, **options)
        found.extend(run.data.tags.get("lkca.trial_id", "search") for run in page)
        return page

    monkeypatch.setattr(MlflowClient, "search_runs", search_runs)
    return found


def reopen(root: Path, uid: str, finished: Sequence[str]) -> MLflowStore:
    return MLflowStore(Home(root=root), uid=uid, name="study", texts={}, finished=finished)


def send_all(root: Path, uid: str) -> None:
    store = reopen(root, uid, ())
    store.update_running(start_of(RECORDS[3]), RECORDS[3].curve[:1])
    for record in RECORDS[:3]:
        store.finish(record)
    store.end_search(complete=False, best=None)
    store.mark_killed(RECORDS[3].trial_id)
    store.mark_sent(IDS)


def test_no_run_of_a_trial_is_read_if_all_finished_trials_are_marked(
    root: Path, uid: str, uri: str, read_runs: list[str]
) -> None:
    send_all(root, uid)
    read_runs.clear()
    store = reopen(root, uid, IDS[::-1])
    assert read_runs == ["search"]
    assert [store.is_sent(record.trial_id) for record in RECORDS] == [True, True, True, False]
    new = make_record("lkca/9")
    store.update_running(start_of(new))
    assert read_runs == ["search"]  # a first attempt has no run
    store.finish(new)
    store.update_running(start_of(RECORDS[3].model_copy(update={"attempt": 2})), RECORDS[3].curve[:1])
    store.finish(RECORDS[3])
    assert read_runs == ["search", "lkca/3"]  # an interrupted trial resumes its own run
    assert_stored(read_stored(uri, uid=uid), *RECORDS, new)
    assert store.run_id(IDS[0]) == read_stored(uri, uid=uid).trials[IDS[0]].info.run_id  # type: ignore[union-attr]


@pytest.mark.parametrize("change", ["another trial", "a driver that died", "no mark", "sync", "a deleted run"])
def test_all_runs_are_read_otherwise(root: Path, uid: str, uri: str, read_runs: list[str], change: str) -> None:
    send_all(root, uid)
    finished: list[str] | None = IDS
    if change == "another trial":
        finished = [*IDS, "lkca/3"]
    elif change == "a driver that died":
        reopen(root, uid, IDS).update_running(start_of(make_record("lkca/9")))
    elif change == "no mark":
        reopen(root, uid, IDS).mark_sent([])
    elif change == "a deleted run":
        client = MlflowClient(tracking_uri=uri)
        client.delete_run(read_stored(uri, uid=uid).trials[IDS[1]].info.run_id)
    else:
        finished = None
    read_runs.clear()
    store = MLflowStore(Home(root=root), uid=uid, name="study", texts={}, finished=finished)
    assert {"lkca/0", "lkca/1", "lkca/2", "lkca/3"} <= set(read_runs)
    assert store.is_sent("lkca/0")
    assert not store.is_sent("lkca/3")
    assert store.is_sent("lkca/1") == (change != "a deleted run")
    assert any("deleted in MLflow: 1" in line for line in store.notices) == (change == "a deleted run")
