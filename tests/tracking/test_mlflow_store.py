import getpass
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.records.record import Record, State
from lkca_search.tracking.connection import tracking_uri
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

OPEN = """
import os, sys
from pathlib import Path
from lkca_search.layout import Home
from lkca_search.tracking.mlflow_store import MLflowStore

root, uid, shared = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
for uri in ("", shared):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    print("ready", flush=True)
    sys.stdin.readline()
    MLflowStore(Home(root=root), uid=uid, name="study", texts={"space.yaml": "a: 1"})
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home shared by all tests of this file, each with its own uid: creating a database takes a second."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


def write_live(store: MLflowStore, *records: Record) -> None:
    """Write trials result by result."""
    for record in records:
        store.update_running(start_of(record))
        for result in record.curve:
            store.update_running(start_of(record), [result])
        store.finish(record)


def write_at_once(store: MLflowStore, *records: Record) -> None:
    """Write trials after they have finished."""
    for record in records:
        store.finish(record)


RECORDS = (
    make_record("lkca/0"),
    make_record("lkca/1", state=State.PRUNED, num_results=2),
    make_record("vit/0", state=State.FAIL, num_results=1, error="boom"),
    make_record("vit/1", state=State.FAIL, num_results=0, error="boom"),
)


@pytest.mark.parametrize("write", [write_live, write_at_once])
def test_a_search_is_a_parent_run_with_one_complete_child_per_trial(
    write: Callable[..., None], root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    write(store, *RECORDS)
    store.end_search(complete=True, best=RECORDS[0])
    assert_stored(read_stored(uri, uid=uid), *RECORDS)


def test_a_child_run_has_the_parameters_tags_and_metrics_of_its_trial(root: Path, uid: str, uri: str) -> None:
    record = make_record()
    write_live(open_store(root, uid=uid), record)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    run = stored.trials["lkca/0"]
    assert run.info.run_name == "lkca #0"
    assert (run.info.start_time, run.info.end_time) == (BEGIN * 1000, (BEGIN + 1000) * 1000)
    given = record.spec.configuration.model_dump(exclude_none=True)
    assert run.data.params == {name: str(value) for name, value in {**given, "seed": 17}.items()}
    expected = {"cell": "lkca", "family": "lkca", "data_fraction": "0.5", "draw": "0", "attempt": "1"}
    expected |= {"subset_hash": "e" * 64, "validation_hash": "f" * 64, "data_hash": "d" * 64, "node": "node-7"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["git_commit"]
    assert run.data.metrics.keys() == {
        *METRICS,
        *("best_val_accuracy", "best_val_loss", "num_parameters", "flops", "num_train_images"),
    }
    assert run.data.metrics["best_val_loss"] == pytest.approx(1 / 3)
    assert run.data.metrics["num_parameters"] == 1234
    assert run.data.metrics["flops"] == 5678
    assert run.data.tags["model"] == "LKCA"


def test_a_point_has_the_step_and_the_time_of_its_result(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), make_record())
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    points = MlflowClient(tracking_uri=uri).get_metric_history(stored.trials["lkca/0"].info.run_id, "val_loss")
    assert [(point.step, point.timestamp) for point in points] == [(i, (BEGIN + i) * 1000) for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("state", "status"), [(State.COMPLETE, "FINISHED"), (State.PRUNED, "FINISHED"), (State.FAIL, "FAILED")]
)
def test_a_trials_state_decides_its_runs_status(state: State, status: str, root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).finish(make_record(state=state))
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert stored.trials["lkca/0"].info.status == status
    assert stored.trials["lkca/0"].data.tags["state"] == state


def test_a_failed_trial_keeps_the_end_of_its_error(root: Path, uid: str, uri: str) -> None:
    error = "\n".join(f"line {i}" for i in range(5000)) + "\nTrainingDiverged: the loss of step 7"
    open_store(root, uid=uid).finish(make_record(state=State.FAIL, error=error))
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    tag = stored.trials["lkca/0"].data.tags["error"]
    assert error.endswith(tag)
    assert len(tag) >= 1000


def test_a_run_is_running_until_its_trial_is_finished(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    store.update_running(start_of(make_record()), [make_result(1)])
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert (stored.parent.info.status, stored.trials["lkca/0"].info.status) == ("RUNNING", "RUNNING")
    assert stored.curves["lkca/0"]["val_loss"] == [(1, 1.0)]


@pytest.mark.parametrize(("complete", "status"), [(True, "FINISHED"), (False, "KILLED")])
def test_the_parent_ends_with_the_search_and_has_the_best_trial(
    complete: bool, status: str, root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    for _ in range(2):
        store.end_search(complete=complete, best=RECORDS[0])
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert stored.parent.info.status == status
    assert stored.parent.info.run_name == stored.parent.data.tags["search"] == "study"
    assert stored.parent.data.metrics == {"best_val_accuracy": RECORDS[0].value}
    assert stored.parent.data.tags["best_trial"] == "lkca/0"


def test_a_search_without_a_complete_trial_has_no_best_trial(root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).end_search(complete=True, best=None)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert (stored.parent.info.status, stored.parent.data.metrics) == ("FINISHED", {})


def test_the_parent_has_the_texts_as_artifacts(root: Path, uid: str, uri: str) -> None:
    for _ in range(2):
        open_store(root, uid=uid)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    client = MlflowClient(tracking_uri=uri)
    paths = [file.path for file in client.list_artifacts(stored.parent.info.run_id)]
    assert paths == ["space.yaml", "spec.json"]
    folder = Path(stored.parent.info.artifact_uri.removeprefix("file://"))
    assert (folder / "space.yaml").read_text() == "a: 1"
    assert folder.is_relative_to(root / "mlflow_artifacts")


def test_repeated_writes_are_stored_once(root: Path, uid: str, uri: str) -> None:
    for _ in range(2):
        store = open_store(root, uid=uid)
        for write in (write_live, write_live, write_at_once):
            write(store, *RECORDS)
        store.end_search(complete=True, best=RECORDS[0])
    assert_stored(read_stored(uri, uid=uid), *RECORDS)


def test_a_long_curve_is_stored_completely(root: Path, uid: str, uri: str) -> None:
    record = make_record(num_results=450)
    open_store(root, uid=uid).finish(record)
    assert_stored(read_stored(uri, uid=uid), record)


def test_missing_results_are_written_at_the_end(root: Path, uid: str, uri: str) -> None:
    record = make_record(num_results=6)
    store = open_store(root, uid=uid)
    for i in (1, 3, 3, 4, 4, 1):
        store.update_running(start_of(record), [record.curve[i]])
    store.finish(record)
    assert_stored(read_stored(uri, uid=uid), record)


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


def test_a_reopened_store_resumes_its_runs(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    write_live(store, RECORDS[0])
    store.update_running(start_of(RECORDS[1]), RECORDS[1].curve[:1])
    store.end_search(complete=False, best=None)
    before = read_stored(uri, uid=uid)
    again = open_store(root, uid=uid)
    assert [again.is_sent(trial_id) for trial_id in ("lkca/0", "lkca/1", "vit/0")] == [True, False, False]
    write_live(again, *RECORDS[1:])
    after = read_stored(uri, uid=uid)
    assert_stored(after, *RECORDS)
    assert before is not None
    assert after is not None
    assert after.parent.info.run_id == before.parent.info.run_id
    assert after.trials["lkca/1"].info.run_id == before.trials["lkca/1"].info.run_id
    assert after.parent.info.status == "RUNNING"


def statuses(uri: str, uid: str) -> dict[str, str]:
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    return {"parent": stored.parent.info.status} | {name: run.info.status for name, run in stored.trials.items()}


@pytest.mark.parametrize("reopened", [False, True])
def test_an_interrupted_trial_is_killed_then_running_then_finished(
    reopened: bool, root: Path, uid: str, uri: str
) -> None:
    record = RECORDS[0]
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
    store.update_running(start_of(RECORDS[0]))
    store.mark_killed("lkca/0")
    store.end_search(complete=False, best=None)
    again = open_store(root, uid=uid)
    assert not again.is_sent("lkca/0")
    again.finish(RECORDS[0])
    assert statuses(uri, uid) == {"parent": "KILLED", "lkca/0": "FINISHED"}
    assert_stored(read_stored(uri, uid=uid), RECORDS[0])


def test_a_repeated_start_does_not_restart_a_finished_trial(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), *RECORDS)
    before = statuses(uri, uid)
    for record in RECORDS:
        open_store(root, uid=uid).update_running(start_of(record))
    assert statuses(uri, uid) == before


def test_a_resumed_search_is_running_only_after_a_trial_starts(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    store.end_search(complete=False, best=None)
    store = open_store(root, uid=uid)
    assert statuses(uri, uid)["parent"] == "KILLED"
    store.update_running(start_of(RECORDS[0]))
    assert statuses(uri, uid)["parent"] == "RUNNING"


def test_ending_a_search_twice_changes_nothing(root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).end_search(complete=True, best=RECORDS[0])
    before = read_stored(uri, uid=uid)
    open_store(root, uid=uid).end_search(complete=True, best=RECORDS[0])
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
    write_live(open_store(root, uid=uid), *RECORDS)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    MlflowClient(tracking_uri=uri).delete_run(stored.parent.info.run_id)
    store = open_store(root, uid=uid)
    assert all(store.is_sent(record.trial_id) for record in RECORDS)
    assert_stored(read_stored(uri, uid=uid), *RECORDS)


def test_searches_with_the_same_name_in_two_homes_share_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow writes the artifacts of this database to the working directory
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    one, other = open_store(tmp_path / "one", uid="one"), open_store(tmp_path / "other", uid="other")
    write_live(one, RECORDS[0])
    write_live(other, RECORDS[0], RECORDS[1])
    assert_stored(read_stored(uri, uid="one"), RECORDS[0])
    assert_stored(read_stored(uri, uid="other"), RECORDS[0], RECORDS[1])


def test_two_processes_can_create_a_database_at_the_same_time(tmp_path: Path) -> None:
    """First the default database of the home, then the one in MLFLOW_TRACKING_URI."""
    uris = [f"sqlite:///{tmp_path / name}" for name in ("mlflow.db", "shared.db")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path), uid, uris[1]],
            cwd=tmp_path,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for uid in ("one", "other")
    ]
    for _ in uris:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert all(read_stored(uri, uid=uid) for uri in uris for uid in ("one", "other"))


def test_the_default_store_is_a_database_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(root=tmp_path)
    assert tracking_uri(home) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri(home) == "http://127.0.0.1:1"


def test_mlflow_experiment_name_sets_the_experiment(
    root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    open_store(root, uid=uid)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name("elsewhere")
    assert experiment is not None
    assert stored.parent.info.experiment_id == experiment.experiment_id


def test_a_user_without_a_name_is_unknown(root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    open_store(root, uid=uid)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert stored.parent.data.tags["mlflow.user"] == "unknown"


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
