import getpass
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.records.record import Record, State
from lkca_search.tracking.mlflow_store import MLflowStore, tracking_uri
from tests.support.tracking.recorded import (
    BEGIN,
    METRICS,
    assert_shows,
    make_record,
    make_result,
    open_store,
    see,
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
    """A home that the tests of this file share, each under a uid of its own: making a database takes a second."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


def write_live(store: MLflowStore, *records: Record) -> None:
    """Tell a store of trials as they come."""
    for record in records:
        store.start(start_of(record))
        for result in record.curve:
            store.start(start_of(record), [result])
        store.finish(record)


def write_at_once(store: MLflowStore, *records: Record) -> None:
    """Tell a store of trials once they are over."""
    for record in records:
        store.finish(record)


RECORDS = (
    make_record("lkca/0"),
    make_record("lkca/1", state=State.PRUNED, num_results=2),
    make_record("vit/0", state=State.FAIL, num_results=1, error="boom"),
    make_record("vit/1", state=State.FAIL, num_results=0, error="boom"),
)


@pytest.mark.parametrize("write", [write_live, write_at_once])
def test_a_search_is_a_parent_run_with_a_whole_child_a_trial(
    write: Callable[..., None], root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    write(store, *RECORDS)
    store.end(complete=True, best=RECORDS[0])
    assert_shows(see(uri, uid=uid), *RECORDS)


def test_a_child_says_what_was_trained_and_how_it_went(root: Path, uid: str, uri: str) -> None:
    record = make_record()
    write_live(open_store(root, uid=uid), record)
    seen = see(uri, uid=uid)
    assert seen is not None
    run = seen.trials["lkca/0"]
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
    seen = see(uri, uid=uid)
    assert seen is not None
    points = MlflowClient(tracking_uri=uri).get_metric_history(seen.trials["lkca/0"].info.run_id, "val_loss")
    assert [(point.step, point.timestamp) for point in points] == [(i, (BEGIN + i) * 1000) for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("state", "status"), [(State.COMPLETE, "FINISHED"), (State.PRUNED, "FINISHED"), (State.FAIL, "FAILED")]
)
def test_a_trials_state_decides_its_runs_status(state: State, status: str, root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).finish(make_record(state=state))
    seen = see(uri, uid=uid)
    assert seen is not None
    assert seen.trials["lkca/0"].info.status == status
    assert seen.trials["lkca/0"].data.tags["state"] == state


def test_a_failed_trial_keeps_the_end_of_its_error(root: Path, uid: str, uri: str) -> None:
    error = "\n".join(f"line {i}" for i in range(5000)) + "\nTrainingDiverged: the loss of step 7"
    open_store(root, uid=uid).finish(make_record(state=State.FAIL, error=error))
    seen = see(uri, uid=uid)
    assert seen is not None
    tag = seen.trials["lkca/0"].data.tags["error"]
    assert error.endswith(tag)
    assert len(tag) >= 1000


def test_a_run_is_running_until_its_trial_is_over(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    store.start(start_of(make_record()), [make_result(1)])
    seen = see(uri, uid=uid)
    assert seen is not None
    assert (seen.parent.info.status, seen.trials["lkca/0"].info.status) == ("RUNNING", "RUNNING")
    assert seen.curves["lkca/0"]["val_loss"] == [(1, 1.0)]


@pytest.mark.parametrize(("complete", "status"), [(True, "FINISHED"), (False, "KILLED")])
def test_the_parent_ends_with_its_search_and_says_what_was_best(
    complete: bool, status: str, root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    for _ in range(2):
        store.end(complete=complete, best=RECORDS[0])
    seen = see(uri, uid=uid)
    assert seen is not None
    assert seen.parent.info.status == status
    assert seen.parent.info.run_name == seen.parent.data.tags["search"] == "study"
    assert seen.parent.data.metrics == {"best_val_accuracy": RECORDS[0].value}
    assert seen.parent.data.tags["best_trial"] == "lkca/0"


def test_a_search_without_a_complete_trial_ends_without_a_best(root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).end(complete=True, best=None)
    seen = see(uri, uid=uid)
    assert seen is not None
    assert (seen.parent.info.status, seen.parent.data.metrics) == ("FINISHED", {})


def test_the_parent_has_the_texts_as_artifacts(root: Path, uid: str, uri: str) -> None:
    for _ in range(2):
        open_store(root, uid=uid)
    seen = see(uri, uid=uid)
    assert seen is not None
    client = MlflowClient(tracking_uri=uri)
    paths = [file.path for file in client.list_artifacts(seen.parent.info.run_id)]
    assert paths == ["space.yaml", "spec.json"]
    folder = Path(seen.parent.info.artifact_uri.removeprefix("file://"))
    assert (folder / "space.yaml").read_text() == "a: 1"
    assert folder.is_relative_to(root / "mlflow_artifacts")


def test_what_is_written_twice_is_there_once(root: Path, uid: str, uri: str) -> None:
    for _ in range(2):
        store = open_store(root, uid=uid)
        for write in (write_live, write_live, write_at_once):
            write(store, *RECORDS)
        store.end(complete=True, best=RECORDS[0])
    assert_shows(see(uri, uid=uid), *RECORDS)


def test_a_curve_of_any_length_gets_through(root: Path, uid: str, uri: str) -> None:
    record = make_record(num_results=450)
    open_store(root, uid=uid).finish(record)
    assert_shows(see(uri, uid=uid), record)


def test_results_that_were_not_heard_are_written_at_the_end(root: Path, uid: str, uri: str) -> None:
    record = make_record(num_results=6)
    store = open_store(root, uid=uid)
    for i in (1, 3, 3, 4, 4, 1):
        store.start(start_of(record), [record.curve[i]])
    store.finish(record)
    assert_shows(see(uri, uid=uid), record)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_step_that_a_later_attempt_repeats_is_there_once(reopened: bool, root: Path, uid: str, uri: str) -> None:
    """The second attempt goes on from step 2 and measures step 3 again, at another time."""
    store = open_store(root, uid=uid)
    for step in (1, 2, 3):
        store.start(start_of(make_record()), [make_result(step)])
    if reopened:
        store = open_store(root, uid=uid)
    curve = (make_result(1), make_result(2), make_result(3, time=BEGIN + 60), make_result(4, time=BEGIN + 60))
    record = make_record(num_results=4).model_copy(update={"attempt": 2, "curve": curve})
    write_live(store, record)
    seen = see(uri, uid=uid)
    assert seen is not None
    for name in METRICS:
        assert [step for step, _ in seen.curves["lkca/0"][name]] == [1, 2, 3, 4]
    assert seen.trials["lkca/0"].data.tags["attempt"] == "2"


def test_a_store_that_is_opened_again_goes_on_with_the_runs_it_had(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    write_live(store, RECORDS[0])
    store.start(start_of(RECORDS[1]), RECORDS[1].curve[:1])
    store.end(complete=False, best=None)
    before = see(uri, uid=uid)
    again = open_store(root, uid=uid)
    assert [again.is_sent(trial_id) for trial_id in ("lkca/0", "lkca/1", "vit/0")] == [True, False, False]
    write_live(again, *RECORDS[1:])
    after = see(uri, uid=uid)
    assert_shows(after, *RECORDS)
    assert before is not None
    assert after is not None
    assert after.parent.info.run_id == before.parent.info.run_id
    assert after.trials["lkca/1"].info.run_id == before.trials["lkca/1"].info.run_id
    assert after.parent.info.status == "RUNNING"


def statuses(uri: str, uid: str) -> dict[str, str]:
    seen = see(uri, uid=uid)
    assert seen is not None
    return {"parent": seen.parent.info.status} | {name: run.info.status for name, run in seen.trials.items()}


@pytest.mark.parametrize("reopened", [False, True])
def test_a_trial_that_was_left_is_killed_runs_again_and_ends_as_it_should(
    reopened: bool, root: Path, uid: str, uri: str
) -> None:
    record = RECORDS[0]
    store = open_store(root, uid=uid)
    store.start(start_of(record))
    assert store.running == ["lkca/0"]
    store.leave("lkca/0", record.curve[:2])
    assert (store.running, store.is_sent("lkca/0")) == ([], False)
    assert statuses(uri, uid) == {"parent": "RUNNING", "lkca/0": "KILLED"}
    seen = see(uri, uid=uid)
    assert seen is not None
    assert [step for step, _ in seen.curves["lkca/0"]["val_loss"]] == [1, 2]
    if reopened:
        store = open_store(root, uid=uid)
        assert not store.is_sent("lkca/0")
    store.start(start_of(record), record.curve[1:])
    assert statuses(uri, uid)["lkca/0"] == "RUNNING"
    store.finish(record)
    assert store.is_sent("lkca/0")
    assert_shows(see(uri, uid=uid), record)


def test_a_trial_that_was_left_and_finished_unheard_is_due_and_ends_without_running_again(
    root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    store.start(start_of(RECORDS[0]))
    store.leave("lkca/0")
    store.end(complete=False, best=None)
    again = open_store(root, uid=uid)
    assert not again.is_sent("lkca/0")
    again.finish(RECORDS[0])
    assert statuses(uri, uid) == {"parent": "KILLED", "lkca/0": "FINISHED"}
    assert_shows(see(uri, uid=uid), RECORDS[0])


def test_a_trial_that_ended_does_not_run_again_for_being_started_twice(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), *RECORDS)
    before = statuses(uri, uid)
    for record in RECORDS:
        open_store(root, uid=uid).start(start_of(record))
    assert statuses(uri, uid) == before


def test_a_search_that_ended_is_shown_as_running_once_a_trial_starts_and_not_before(
    root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    store.end(complete=False, best=None)
    store = open_store(root, uid=uid)
    assert statuses(uri, uid)["parent"] == "KILLED"
    store.start(start_of(RECORDS[0]))
    assert statuses(uri, uid)["parent"] == "RUNNING"


def test_ending_what_has_ended_changes_nothing(root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).end(complete=True, best=RECORDS[0])
    before = see(uri, uid=uid)
    open_store(root, uid=uid).end(complete=True, best=RECORDS[0])
    after = see(uri, uid=uid)
    assert before is not None
    assert after is not None
    assert after.parent.info.end_time == before.parent.info.end_time


def test_changed_texts_are_written_anew_and_equal_ones_are_not(
    root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = MlflowClient.log_text

    def note(self: MlflowClient, run_id: str, text: str, file: str) -> None:
        written.append(text)
        real(self, run_id, text, file)

    monkeypatch.setattr(MlflowClient, "log_text", note)
    for text in ("a: 1", "a: 1", "a: 2"):
        MLflowStore(Home(root=root), uid=uid, name="study", texts={"space.yaml": text})
    assert written == ["a: 1", "a: 2"]
    seen = see(uri, uid=uid)
    assert seen is not None
    assert (Path(seen.parent.info.artifact_uri.removeprefix("file://")) / "space.yaml").read_text() == "a: 2"


def test_the_runs_of_a_search_whose_own_run_was_deleted_come_under_the_next(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), *RECORDS)
    seen = see(uri, uid=uid)
    assert seen is not None
    MlflowClient(tracking_uri=uri).delete_run(seen.parent.info.run_id)
    store = open_store(root, uid=uid)
    assert all(store.is_sent(record.trial_id) for record in RECORDS)
    assert_shows(see(uri, uid=uid), *RECORDS)


def test_searches_of_one_name_in_two_homes_stay_apart_on_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MLflow puts the artifacts of a database that it is not told a place for
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    one, other = open_store(tmp_path / "one", uid="one"), open_store(tmp_path / "other", uid="other")
    write_live(one, RECORDS[0])
    write_live(other, RECORDS[0], RECORDS[1])
    assert_shows(see(uri, uid="one"), RECORDS[0])
    assert_shows(see(uri, uid="other"), RECORDS[0], RECORDS[1])


def test_two_processes_open_a_fresh_database_at_once(tmp_path: Path) -> None:
    """The home's own first, then one that the environment names."""
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
    assert all(see(uri, uid=uid) for uri in uris for uid in ("one", "other"))


def test_the_store_is_the_homes_own_unless_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(root=tmp_path)
    assert tracking_uri(home) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri(home) == "http://127.0.0.1:1"


def test_the_environment_may_name_the_experiment(
    root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    open_store(root, uid=uid)
    seen = see(uri, uid=uid)
    assert seen is not None
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name("elsewhere")
    assert experiment is not None
    assert seen.parent.info.experiment_id == experiment.experiment_id


def test_a_user_without_a_name_is_unknown(root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    open_store(root, uid=uid)
    seen = see(uri, uid=uid)
    assert seen is not None
    assert seen.parent.data.tags["mlflow.user"] == "unknown"


@pytest.mark.parametrize("reopened", [False, True], ids=["same store", "store opened anew"])
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
def test_what_a_failed_call_cut_off_can_be_done_again(
    method: str, executed: bool, reopened: bool, root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One scenario again and again: in the first the first call of the method fails, then the second, until none is."""
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
        lambda store: store.start(start_of(record)),
        lambda store: store.start(start_of(record), record.curve[:1]),
        lambda store: store.leave("lkca/0", record.curve[:2]),
        lambda store: store.start(start_of(record), record.curve[1:2]),
        lambda store: store.finish(record),
        lambda store: store.end(complete=True, best=record),
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
        assert_shows(see(uri, uid=f"{uid}-{failing}"), record)
        if had_all:
            return
    raise AssertionError("every scenario had a failure")
