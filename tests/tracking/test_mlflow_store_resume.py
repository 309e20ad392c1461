"""Tests of a store that is reopened, or written to again after a failed call."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.tracking.mlflow_store import MLflowStore
from tests.support.tracking.recorded import (
    BEGIN,
    METRICS,
    assert_stored,
    make_record,
    make_result,
    open_store,
    read_stored,
    start_of,
)
from tests.support.tracking.tracked import MIXED_RECORDS, write_live


def statuses(uri: str, uid: str) -> dict[str, str]:
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    return {"parent": stored.parent.info.status} | {name: run.info.status for name, run in stored.trials.items()}


def test_a_reopened_store_resumes_its_runs(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    write_live(store, MIXED_RECORDS[0])
    store.update_running(start_of(MIXED_RECORDS[1]), MIXED_RECORDS[1].curve[:1])
    store.end_search(complete=False, best=None)
    before = read_stored(uri, uid=uid)
    again = open_store(root, uid=uid)
    assert [again.is_sent(trial_id) for trial_id in ("lkca/0", "lkca/1", "vit/0")] == [True, False, False]
    write_live(again, *MIXED_RECORDS[1:])
    after = read_stored(uri, uid=uid)
    assert_stored(after, *MIXED_RECORDS)
    assert before is not None
    assert after is not None
    assert after.parent.info.run_id == before.parent.info.run_id
    assert after.trials["lkca/1"].info.run_id == before.trials["lkca/1"].info.run_id
    assert after.parent.info.status == "RUNNING"


@pytest.mark.parametrize("reopened", [False, True])
def test_an_interrupted_trial_is_killed_then_running_then_finished(
    reopened: bool, root: Path, uid: str, uri: str
) -> None:
    record = MIXED_RECORDS[0]
    store = open_store(root, uid=uid)
    store.update_running(start_of(record))
    assert store.running_trials == ["lkca/0"]
    store.mark_killed("lkca/0", record.curve[:2])
    assert (store.running_trials, store.is_sent("lkca/0")) == ([], False)
    assert statuses(uri, uid) == {"parent": "RUNNING", "lkca/0": "KILLED"}
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert [step for step, _ in stored.curves["lkca/0"]["val_loss"]] == [1, 2]
    if reopened:
        store = open_store(root, uid=uid)
        assert not store.is_sent("lkca/0")
    store.update_running(start_of(record), record.curve[1:])
    assert statuses(uri, uid)["lkca/0"] == "RUNNING"
    store.finish(record)
    assert store.is_sent("lkca/0")
    assert_stored(read_stored(uri, uid=uid), record)


def test_a_killed_trial_that_finished_meanwhile_is_unsent_and_does_not_run_again(
    root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    store.update_running(start_of(MIXED_RECORDS[0]))
    store.mark_killed("lkca/0")
    store.end_search(complete=False, best=None)
    again = open_store(root, uid=uid)
    assert not again.is_sent("lkca/0")
    again.finish(MIXED_RECORDS[0])
    assert statuses(uri, uid) == {"parent": "KILLED", "lkca/0": "FINISHED"}
    assert_stored(read_stored(uri, uid=uid), MIXED_RECORDS[0])


def test_a_repeated_start_does_not_restart_a_finished_trial(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), *MIXED_RECORDS)
    before = statuses(uri, uid)
    for record in MIXED_RECORDS:
        open_store(root, uid=uid).update_running(start_of(record))
    assert statuses(uri, uid) == before


def test_a_resumed_search_is_running_only_after_a_trial_starts(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    store.end_search(complete=False, best=None)
    store = open_store(root, uid=uid)
    assert statuses(uri, uid)["parent"] == "KILLED"
    store.update_running(start_of(MIXED_RECORDS[0]))
    assert statuses(uri, uid)["parent"] == "RUNNING"


def test_ending_a_search_twice_changes_nothing(root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).end_search(complete=True, best=MIXED_RECORDS[0])
    before = read_stored(uri, uid=uid)
    open_store(root, uid=uid).end_search(complete=True, best=MIXED_RECORDS[0])
    after = read_stored(uri, uid=uid)
    assert before is not None
    assert after is not None
    assert after.parent.info.end_time == before.parent.info.end_time


def test_only_changed_texts_are_written_again(root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = MlflowClient.log_text

    def note(self: MlflowClient, run_id: str, text: str, file: str) -> None:
        written.append(text)
        real(self, run_id, text, file)

    monkeypatch.setattr(MlflowClient, "log_text", note)
    for text in ("a: 1", "a: 1", "a: 2"):
        MLflowStore(Home(root=root), uid=uid, name="study", texts={"space.yaml": text})
    assert written == ["a: 1", "a: 2"]
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert (Path(stored.parent.info.artifact_uri.removeprefix("file://")) / "space.yaml").read_text() == "a: 2"


def test_child_runs_of_a_deleted_parent_move_to_the_new_parent(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), *MIXED_RECORDS)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    MlflowClient(tracking_uri=uri).delete_run(stored.parent.info.run_id)
    store = open_store(root, uid=uid)
    assert all(store.is_sent(record.trial_id) for record in MIXED_RECORDS)
    assert_stored(read_stored(uri, uid=uid), *MIXED_RECORDS)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_step_repeated_by_a_later_attempt_is_stored_once(reopened: bool, root: Path, uid: str, uri: str) -> None:
    """The second attempt resumes at step 2 and measures step 3 again, at another time."""
    store = open_store(root, uid=uid)
    for step in (1, 2, 3):
        store.update_running(start_of(make_record()), [make_result(step)])
    if reopened:
        store = open_store(root, uid=uid)
    curve = (make_result(1), make_result(2), make_result(3, time=BEGIN + 60), make_result(4, time=BEGIN + 60))
    record = make_record(num_results=4).model_copy(update={"attempt": 2, "curve": curve})
    write_live(store, record)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    for name in METRICS:
        assert [step for step, _ in stored.curves["lkca/0"][name]] == [1, 2, 3, 4]
    assert stored.trials["lkca/0"].data.tags["attempt"] == "2"


@pytest.mark.parametrize("reopened", [False, True], ids=["same store", "store reopened"])
@pytest.mark.parametrize("executed", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize(
    "method",
    [
        "create_run",
        "log_batch",
        "set_terminated",
        "update_run",
        "log_text",
        "set_tag",
        "search_runs",
        "get_metric_history",
    ],
)
def test_an_action_can_be_repeated_after_a_failed_call(
    method: str, executed: bool, reopened: bool, root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run one scenario repeatedly: call 1 of the method fails, then call 2, until no call fails."""
    real = getattr(MlflowClient, method)
    countdown = 0

    def fail_once(*arguments: object, **options: object) -> object:
        nonlocal countdown
        countdown -= 1
        if countdown != 0 or executed:
            answer = real(*arguments, **options)
        if countdown == 0:
            raise ConnectionError(method)
        return answer

    monkeypatch.setattr(MlflowClient, method, fail_once)
    record = make_record(num_results=2)
    actions: list[Callable[[MLflowStore], None]] = [
        lambda store: store.update_running(start_of(record)),
        lambda store: store.update_running(start_of(record), record.curve[:1]),
        lambda store: store.mark_killed("lkca/0", record.curve[:2]),
        lambda store: store.update_running(start_of(record), record.curve[1:2]),
        lambda store: store.finish(record),
        lambda store: store.end_search(complete=True, best=record),
    ]
    for failing in range(1, 20):
        countdown, store, done = failing, None, 0
        while done < len(actions):
            try:
                store = store or open_store(root, uid=f"{uid}-{failing}")
                actions[done](store)
                done += 1
            except ConnectionError:
                store = None if reopened else store
        had_all, countdown = countdown > 0, 0
        assert_stored(read_stored(uri, uid=f"{uid}-{failing}"), record)
        if had_all:
            return
    raise AssertionError("every scenario had a failure")
