"""The ledger stays exact whenever its driver crashes. A test simulates a crash by dropping the ledger object."""

from collections import Counter
from collections.abc import Callable

import pytest
from optuna.trial import TrialState

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Failure, FailureKind, Message
from lkca_search.search.state.database import find_database
from lkca_search.search.studies import driver_storage
from lkca_search.search.studies.study import Study, open_storage
from lkca_search.tracking.tracker import Tracker, TrialStart
from tests.support.search.toy import DriverCrash, make_messages, train, train_all

OpenLedger = Callable[..., Ledger]
CELLS = ("family=lkca", "family=vit")


class Recorder(Tracker):
    """Tracker that stores the ids it receives."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.finished: list[str] = []

    def trial_started(self, start: TrialStart) -> None:
        self.started.append((start.trial_id, start.attempt))

    def trial_finished(self, record: Record) -> None:
        self.finished.append(record.trial_id)


def study_states(folder: SearchFolder, cell: str) -> list[TrialState]:
    storage = open_storage(find_database(folder))
    study = storage.get_study_id_from_name(cell)
    return [trial.state for trial in storage.get_all_trials(study)]


def assert_exact(folder: SearchFolder, *, trials_per_cell: int = 3) -> None:
    """Check that every trial of every cell is recorded once and told to its study once."""
    records = read_records(folder)
    assert Counter(record.cell for record in records) == dict.fromkeys(CELLS, trials_per_cell)
    assert {record.trial_id for record in records} == {f"{cell}/{i}" for cell in CELLS for i in range(trials_per_cell)}
    for cell in CELLS:
        states = [record.state for record in records if record.cell == cell]
        assert [state.name for state in study_states(folder, cell)] == states
    assert len(list(folder.trials.glob("*/*/attempt-*/record.json"))) == len(records)


def test_every_cell_trains_its_budget(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    train_all(open_ledger())
    assert_exact(folder)


def test_no_cell_is_more_than_one_trial_ahead(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    started: Counter[str] = Counter(dict.fromkeys(CELLS, 0))
    while (assignment := ledger.assign()) is not None:
        started[assignment.trial_id.split("/")[0]] += 1
        assert max(started.values()) - min(started.values()) <= 1
        train(ledger, assignment)


def test_nothing_is_due_once_every_budget_is_spent(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    assert ledger.num_left == 6
    train_all(ledger)
    assert ledger.num_left == 0
    assert open_ledger().assign() is None


def test_the_next_driver_resumes_an_assigned_trial_as_a_new_attempt(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    first = open_ledger().assign()
    second = open_ledger().assign()
    assert first is not None
    assert second is not None
    assert (first.trial_id, first.spec, first.attempt) == (second.trial_id, second.spec, 1)
    assert second.attempt == 2
    assert second.earlier_folders == (first.attempt_folder,)
    assert second.attempt_folder != first.attempt_folder
    train_all(open_ledger())
    assert_exact(folder)


def test_a_trial_interrupted_between_two_reports_is_recorded_once(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    crashing = open_ledger()
    assignment = crashing.assign()
    assert assignment is not None
    crashing.on_message(assignment.trial_id, next(make_messages(assignment)))
    train_all(open_ledger())
    assert_exact(folder)
    record = next(record for record in read_records(folder) if record.trial_id == assignment.trial_id)
    assert [result.step for result in record.curve] == [10, 20]
    assert record.attempt == 2


def test_a_crash_between_record_and_tell_repeats_no_trial(
    open_ledger: OpenLedger, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise DriverCrash

    crashing = open_ledger()
    assignment = crashing.assign()
    assert assignment is not None
    with monkeypatch.context() as patch:
        patch.setattr(Study, "tell", die)
        with pytest.raises(DriverCrash):
            train(crashing, assignment)
    assert study_states(folder, CELLS[0]) == [TrialState.RUNNING]
    recorder = Recorder()
    train_all(open_ledger(recorder))
    assert assignment.trial_id not in dict(recorder.started)
    assert recorder.finished[0] == assignment.trial_id
    assert_exact(folder)


def test_a_crash_between_tell_and_trackers_repeats_no_trial(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    class Crashing(Tracker):
        def trial_finished(self, record: Record) -> None:
            raise DriverCrash

    crashing = open_ledger(Crashing())
    assignment = crashing.assign()
    assert assignment is not None
    with pytest.raises(DriverCrash):
        train(crashing, assignment)
    recorder = Recorder()
    train_all(open_ledger(recorder))
    assert assignment.trial_id not in dict(recorder.started)
    assert_exact(folder)


@pytest.mark.parametrize("point", ["suggest_categorical", "suggest_float"])
def test_a_crash_during_a_suggestion_loses_no_trial(
    open_ledger: OpenLedger, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise DriverCrash

    crashing = open_ledger()
    with monkeypatch.context() as patch:
        patch.setattr(f"optuna.trial.Trial.{point}", die)
        with pytest.raises(DriverCrash):
            crashing.assign()
    train_all(open_ledger())
    assert_exact(folder)


def test_ten_crashes_in_a_row_leave_an_exact_ledger(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    for _ in range(10):
        ledger = open_ledger(trials_per_cell=8)
        running = ledger.assign()
        assignment = ledger.assign()
        assert running is not None
        assert assignment is not None
        train(ledger, assignment)
    train_all(open_ledger(trials_per_cell=8))
    assert_exact(folder, trials_per_cell=8)


def test_a_trial_whose_worker_is_lost_is_retried_up_to_max_retries(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=2)
    for attempt in (1, 2, 3):
        assignment = ledger.assign()
        assert assignment is not None
        assert (assignment.trial_id, assignment.attempt) == ("family=lkca/0", attempt)
        ledger.on_worker_lost(assignment.trial_id, "node lost")
    records = read_records(folder)
    assert [(record.trial_id, record.state, record.value) for record in records] == [("family=lkca/0", "FAIL", None)]
    assert records[0].error == "lost its worker 3 times; last cause: node lost"
    train_all(ledger)
    assert_exact(folder)


def test_an_error_of_the_trial_counts_towards_its_cells_budget(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    ledger = open_ledger()
    assignment = ledger.assign()
    assert assignment is not None
    ledger.on_message(
        assignment.trial_id,
        Message(failure=Failure(kind=FailureKind.TRIAL, message="the loss of step 3 is not finite"), done=True),
    )
    record = ledger.finish(assignment.trial_id)
    assert (record.state, record.value, record.error) == (State.FAIL, None, "the loss of step 3 is not finite")
    train_all(ledger)
    assert_exact(folder)
    assert study_states(folder, CELLS[0])[0] is TrialState.FAIL


def test_a_pruned_trial_is_pruned_in_its_record_and_in_its_study(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    records = train_all(open_ledger(pruner="median", trials_per_cell=12))
    pruned = [record for record in records if record.state is State.PRUNED]
    assert pruned
    assert all(len(record.curve) == 1 for record in pruned)
    assert_exact(folder, trials_per_cell=12)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_report_repeated_after_a_resume_counts_once_and_prunes_only_if_the_driver_died_before_it_was_written(
    open_ledger: OpenLedger, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    monkeypatch.setattr(driver_storage, "WRITE_SECONDS", 0.0 if is_written else 3600.0)

    def latest_reports() -> dict[int, float]:
        storage = open_storage(find_database(folder))
        study = storage.get_study_id_from_name("family=lkca")
        return dict(storage.get_all_trials(study)[-1].intermediate_values)

    crashing = open_ledger(pruner="median", trials_per_cell=12)
    for _ in range(12):
        assignment = crashing.assign()
        assert assignment is not None
        train(crashing, assignment)
    cut = crashing.assign()
    assert cut is not None
    first = next(make_messages(cut))
    decision = crashing.on_message(cut.trial_id, first)
    assert (len(latest_reports()) == 1) is is_written
    ledger = open_ledger(pruner="median", trials_per_cell=12)
    again = ledger.assign()
    assert again is not None
    assert again.trial_id == cut.trial_id
    assert ledger.on_message(again.trial_id, first) is (decision and not is_written)
    ledger.finish(again.trial_id)
    assert list(latest_reports()) == [1]


def test_checkpoints_of_a_finished_trial_are_removed(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    ledger = open_ledger()
    assignment = ledger.assign()
    assert assignment is not None
    checkpoint = folder.root / assignment.attempt_folder / "checkpoint-00000010.pt"
    checkpoint.write_bytes(b"weights")
    train(ledger, assignment)
    assert not checkpoint.exists()


def test_a_larger_budget_leaves_finished_records_unchanged(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    train_all(open_ledger())
    before = {path: path.read_bytes() for path in folder.trials.glob("*/*/*/record.json")}
    train_all(open_ledger(trials_per_cell=5))
    assert_exact(folder, trials_per_cell=5)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("sampler", ["random", {"name": "tpe", "n_startup_trials": 3}, "qmc"], ids=str)
def test_the_seed_determines_every_configuration(
    sampler: object, tmp_path_factory: pytest.TempPathFactory, open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    def suggest(seed: int, name: str) -> list[tuple[str, object]]:
        other = SearchFolder(root=tmp_path_factory.mktemp("home") / name)
        other.root.mkdir()
        ledger = open_ledger(seed=seed, sampler=sampler, trials_per_cell=6, in_folder=other)
        return [(record.trial_id, record.spec) for record in train_all(ledger)]

    assert suggest(0, "one") == suggest(0, "another")
    assert suggest(0, "one") != suggest(1, "one")


def test_no_two_trials_have_the_same_learning_rate(open_ledger: OpenLedger) -> None:
    records = train_all(open_ledger(trials_per_cell=10))
    rates = [record.spec.configuration.learning_rate for record in records]
    assert len(set(rates)) == len(rates)


def test_trials_with_the_same_number_share_a_seed_across_cells(open_ledger: OpenLedger) -> None:
    seeds: dict[int, set[int]] = {}
    for record in train_all(open_ledger()):
        seeds.setdefault(record.number, set()).add(record.spec.seed)
    assert all(len(same) == 1 for same in seeds.values())
    assert len({seed for same in seeds.values() for seed in same}) == 3
