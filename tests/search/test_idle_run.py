"""A `run` of a search in which nothing is due: the outcome of any other run, without the libraries that train."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from sqlalchemy import text

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.records.search.dataset import read_search_datasets, write_search_datasets
from lkca_search.search.driver.confirmation import Confirmation
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Failure, FailureKind, Message
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.idle_run import run_if_idle
from lkca_search.search.received_runs import has_received, note_received
from lkca_search.search.run_context import RunContext, RunOutcome
from lkca_search.search.state.best_trials import find_best_records
from lkca_search.search.state.database import find_database
from lkca_search.search.state.dataset import commit_search, describe_datasets, with_located_datasets
from lkca_search.search.state.lease import hold_lease
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.database import prepare_database
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs, open_all_train_images
from lkca_search.training.testing import open_all_test_images
from tests.support.processes import run_python
from tests.support.search.toy import DIGITS, make_messages, train_all

SPACE = """
data: {dataset: digits}
factors: {family: [lkca, vit]}
parameters:
  kernel_size:   {value: 3, when: {family: [lkca]}}
  learning_rate: {float: [1.0e-4, 1.0e-1], log: true}
  patch_size:    {value: 2}
  depth:         {value: 1}
  width:         {value: 8}
training: {steps: 20, reports: 2}
search:   {trials_per_cell: 2, sampler: random}
"""
CONFIRM = "confirm: {draws: 1, seeds: 1}\n"
HEAVY = ("mlflow", "optuna", "ray", "scipy", "sklearn", "torch")
MODULES = f"""
import sys
from lkca_search.cli.app import main
sys.argv[0] = "lkca-search"
try:
    main()
except SystemExit as ended:
    loaded = {{name.partition(".")[0] for name in sys.modules}}
    print("ENDED", ended.code, sorted(loaded & set({HEAVY!r})))
"""


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database of MLflow without runs."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare_database(database)
    return database


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    """Return a database of MLflow, which the tests that need none leave as it is."""
    return Path(shutil.copy(empty_store, tmp_path / "store.db"))


@pytest.fixture
def space(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the artifacts of such a store
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    path = tmp_path / "idle.yaml"
    path.write_text(SPACE)
    return path


def finish(space: Path) -> SearchFolder:
    """Run a space file to its end with a toy worker, its confirmation included."""
    home = Home.from_environment()
    folder, dirs = home.search(space.stem), DataDirs(cache=home.datasets, data_dir=None)
    with hold_lease(folder, is_provisional=True) as lease:
        space_file = with_located_datasets(read_space_file(space, ()), folder)
        spec, reader = space_file.spec, RecordReader(folder)
        images = open_all_train_images(spec, dirs)
        commit_search(folder, describe_datasets(spec, images), reader, space_file)
        train_all(Ledger(folder, spec, DIGITS, 10, Tracker(), driver=lease.driver))
        if spec.confirm is not None:
            hashes = {level: test.content_hash for level, test in open_all_test_images(spec, dirs).items()}
            sealed = open_round(folder, spec, spec.confirm, reader.trials(), test_hashes=hashes, num_trials_left=0)
            train_replicates(Confirmation(folder, spec, sealed, Tracker(), driver=lease.driver))
    return folder


def train_replicates(queue: Confirmation) -> None:
    while (assignment := queue.assign()) is not None:
        for message in make_messages(assignment):
            queue.on_message(assignment.trial_id, message)
        queue.finish(assignment.trial_id)


def run_idle(space: Path, **changes: Any) -> tuple[RunOutcome | None, list[str]]:
    """Run a space file as the command does if nothing is due; return the outcome and the lines for the user."""
    home = Home.from_environment()
    folder, dirs, lines = home.search(space.stem), DataDirs(cache=home.datasets, data_dir=None), list[str]()
    with hold_lease(folder) as lease:
        space_file = with_located_datasets(read_space_file(space, ()), folder)
        context = RunContext(home=home, data_dirs=dirs, console=Tracker(), notify=lines.append, **changes)
        outcome = run_if_idle(space_file, folder, lease, context, open_all_train_images(space_file.spec, dirs))
    return outcome, lines


def note(folder: SearchFolder) -> None:
    note_received(folder, folder.home, RecordReader(folder))


@pytest.mark.parametrize("confirm", ["", CONFIRM])
def test_an_idle_run_imports_no_library_that_trains_or_tracks(space: Path, confirm: str) -> None:
    space.write_text(SPACE + confirm)
    note(finish(space))
    *_, last = run_python(MODULES, "run", str(space)).splitlines()
    assert last == "ENDED 0 []"


def test_an_idle_run_has_the_status_and_tables_of_the_search_and_leaves_its_records(space: Path) -> None:
    folder = finish(space)
    note(folder)
    records = {path: path.read_bytes() for path in folder.trials.glob("*/*/*/record.json")}
    outcome, lines = run_idle(space)
    assert outcome is not None
    assert (outcome.status.num_left, outcome.status.num_finished, outcome.status.is_answered) == (0, 4, True)
    assert (outcome.status.is_driven, outcome.halt_reason, outcome.num_untracked, lines) == (False, None, 0, [])
    assert (folder.root / "trials.parquet").exists()
    assert {path: path.read_bytes() for path in folder.trials.glob("*/*/*/record.json")} == records


def test_an_idle_run_sends_what_mlflow_lacks_and_states_it_if_it_cannot(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finish(space)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing responds there
    outcome, _ = run_idle(space)
    assert outcome is not None
    assert outcome.num_untracked == 4
    assert outcome.tracking_fault is not None
    assert not has_received(folder, folder.home, RecordReader(folder))


def test_a_store_that_was_replaced_has_received_nothing(space: Path, store: Path) -> None:
    folder = finish(space)
    note(folder)
    assert has_received(folder, folder.home, RecordReader(folder))
    shutil.copy(store, other := store.with_name("other.db"))  # the first is not removed, whose inode would be free
    other.replace(store)
    assert not has_received(folder, folder.home, RecordReader(folder))
    store.unlink()
    assert not has_received(folder, folder.home, RecordReader(folder))


@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_an_idle_run_states_what_was_deleted_in_mlflow_and_writes_deleted_runs_again(
    space: Path, store: Path, deleted: str
) -> None:
    folder = finish(space)
    first, _ = run_idle(space)
    assert first is not None
    assert (first.num_untracked, has_received(folder, folder.home, RecordReader(folder))) == (0, True)
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "lkca-search"]
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    if deleted == "run":
        client.delete_run(runs[0].info.run_id)
    else:
        client.delete_experiment(experiment.experiment_id)
    outcome, lines = run_idle(space)
    assert outcome is not None
    if deleted == "run":
        assert outcome.num_untracked == 0
        assert len(client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")) == len(runs) == 4
        (line,) = lines
        assert "deleted in MLflow: 1" in line
        assert "mlflow runs restore --run-id" in line
    else:
        assert "was deleted in MLflow" in str(outcome.tracking_fault)
    assert has_received(folder, folder.home, RecordReader(folder)) == (deleted == "run")


def remove_record(folder: SearchFolder) -> None:
    next(folder.trials.glob("*/1/*/record.json")).unlink()


def forget_trial(folder: SearchFolder) -> None:
    execute(folder, "DELETE FROM trials WHERE number = 1")


def reopen_trial(folder: SearchFolder) -> None:
    execute(folder, "UPDATE trials SET state = 'RUNNING' WHERE number = 1")


def damage_record(folder: SearchFolder) -> None:
    next(folder.trials.glob("*/1/*/record.json")).write_text("{")


def execute(folder: SearchFolder, statement: str) -> None:
    engine = find_database(folder).engine()
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize("change", [remove_record, forget_trial, reopen_trial, damage_record])
def test_a_run_with_something_to_do_is_not_idle(space: Path, change: Callable[[SearchFolder], None]) -> None:
    folder = finish(space)
    note(folder)
    change(folder)
    assert run_idle(space) == (None, [])


def test_a_run_with_more_trials_or_a_new_confirmation_is_not_idle(space: Path) -> None:
    note(finish(space))
    for changed in (SPACE.replace("trials_per_cell: 2", "trials_per_cell: 3"), SPACE + CONFIRM):
        space.write_text(changed)
        assert run_idle(space)[0] is None


def test_a_search_whose_trials_all_failed_is_idle_and_unanswered_and_is_not_confirmed(space: Path) -> None:
    home = Home.from_environment()
    folder, dirs = home.search(space.stem), DataDirs(cache=home.datasets, data_dir=None)
    space.write_text(SPACE + CONFIRM)
    with hold_lease(folder, is_provisional=True) as lease:
        space_file = with_located_datasets(read_space_file(space, ()), folder)
        images = open_all_train_images(space_file.spec, dirs)
        commit_search(folder, describe_datasets(space_file.spec, images), RecordReader(folder), space_file)
        ledger = Ledger(folder, space_file.spec, DIGITS, 10, Tracker(), driver=lease.driver)
        while (assignment := ledger.assign()) is not None:
            failure = Failure(kind=FailureKind.TRIAL, message="a fault")
            ledger.on_message(assignment.trial_id, Message(failure=failure, done=True))
            ledger.finish(assignment.trial_id)
    note(folder)
    outcome, _ = run_idle(space)
    assert outcome is not None
    assert (outcome.status.num_left, outcome.status.num_failed, outcome.status.is_answered) == (0, 4, False)
    with pytest.raises(SearchError, match="no complete trial yet: 4 failed, and `lkca-search status idle` gives"):
        find_best_records(folder)


def test_an_idle_run_refuses_other_training_images(space: Path) -> None:
    folder = finish(space)
    other = {
        level: dataset.model_copy(update={"data_hash": "0" * 64})
        for level, dataset in read_search_datasets(folder).items()
    }
    write_search_datasets(folder, other)
    with pytest.raises(SearchError, match="they have changed since the search was started"):
        run_idle(space)


def test_an_idle_run_states_that_a_sealed_round_has_another_design(space: Path) -> None:
    space.write_text(SPACE + CONFIRM)
    note(finish(space))
    space.write_text(SPACE + CONFIRM.replace("draws: 1", "draws: 2"))
    folder = Home.from_environment().search(space.stem)
    with hold_lease(folder):
        space_file = with_located_datasets(read_space_file(space, ()), folder)
        commit_search(folder, {}, RecordReader(folder), space_file)
    outcome, lines = run_idle(space)
    assert outcome is not None
    command = f"lkca-search confirm {folder.name} --new-round"
    assert lines == [f"round 1 has draws 1, got draws 2: finish it, then seal another by `{command}`"]
