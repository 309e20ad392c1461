"""Kept models: those of replicates, and with `best` one per cell, whatever dies between a model and its record."""

from collections.abc import Callable

import pytest

from lkca_search.errors import Interrupted
from lkca_search.layout import MODEL, WEIGHTS, SearchFolder
from lkca_search.paths import parse_path, write_atomically
from lkca_search.records.model_description import model_folder
from lkca_search.records.record import Record, TestResult, read_records
from lkca_search.search.driver import queue
from lkca_search.search.driver.confirmation import Confirmation
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, Message
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.state.best_trials import best_record
from lkca_search.spec.resources import KeepSection
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, DriverCrash, make_messages, make_spec, toy_accuracy, train_all

TEST = TestResult(num_images=9, data_hash="test", loss=1.0, accuracy=0.25)
UID = "ab" * 16


def keeping(weights: str, **search: object) -> SearchSpec:
    return make_spec(**search).model_copy(update={"keep": KeepSection.model_validate({"weights": weights})})


@pytest.fixture
def open_keeping(folder: SearchFolder) -> Callable[..., Ledger]:
    """Return a function that opens the ledger of a search with a section `keep`."""
    write_atomically(folder.uid, UID.encode())

    def open_ledger(weights: str = "best", **search: object) -> Ledger:
        return Ledger(folder, keeping(weights, **search), DIGITS, 10, Tracker())

    return open_ledger


def save(assignment: Assignment) -> None:
    """Write a model as the worker of an attempt does after its last step."""
    request = assignment.keep
    if request is not None and (request.at_least is None or toy_accuracy(assignment) >= request.at_least):
        for name in (WEIGHTS, MODEL):
            write_atomically(parse_path(assignment.attempt_folder) / name, assignment.trial_id.encode())


def train(ledger: Ledger, assignment: Assignment) -> Record:
    for message in make_messages(assignment):
        if message.done:
            save(assignment)
        assert not ledger.on_message(assignment.trial_id, message)
    return ledger.finish(assignment.trial_id)


def kept(folder: SearchFolder) -> set[str]:
    """Return the ids of the trials and replicates with a complete model; no model is in two attempts of one."""
    both = [{path.parent for path in folder.trials.rglob(name)} for name in (WEIGHTS, MODEL)]
    assert both[0] == both[1]
    ids = [path.parent.relative_to(folder.trials).as_posix() for path in both[0]]
    assert len(ids) == len(set(ids))
    return set(ids)


def best_ids(folder: SearchFolder) -> set[str]:
    records, search = read_records(folder), make_spec().search
    cells = {record.cell for record in records}
    best = [best_record([record for record in records if record.cell == cell], search) for cell in cells]
    return {record.trial_id for record in best if record is not None}


def test_best_keeps_the_model_of_the_best_trial_per_cell_at_any_time(
    folder: SearchFolder, open_keeping: Callable[..., Ledger]
) -> None:
    ledger = open_keeping(trials_per_cell=8)
    num_written = 0
    while (assignment := ledger.assign()) is not None:
        train(ledger, assignment)
        num_written += assignment.trial_id in kept(folder)
        assert kept(folder) == best_ids(folder)
    assert 2 < num_written < 16, "worse trials write no model"


def test_of_two_trials_at_once_the_better_one_keeps_its_model(
    folder: SearchFolder, open_keeping: Callable[..., Ledger]
) -> None:
    ledger = open_keeping()
    assignments = [ledger.assign() for _ in range(6)]
    for assignment in assignments:
        assert assignment is not None
        save(assignment)
    assert len(kept(folder)) == 6, "all of them may become the best"
    for assignment in assignments:
        assert assignment is not None
        train(ledger, assignment)
    assert kept(folder) == best_ids(folder)


def crash(*_: object) -> None:
    raise DriverCrash


@pytest.mark.parametrize("moment", ["before its record", "behind its record"])
@pytest.mark.parametrize("is_best", [True, False])
def test_a_driver_that_dies_beside_a_record_leaves_one_model_per_cell(
    folder: SearchFolder,
    open_keeping: Callable[..., Ledger],
    moment: str,
    is_best: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = open_keeping()
    first, second = ledger.assign(), ledger.assign()
    assert first is not None
    assert second is not None
    third = ledger.assign()
    assert third is not None
    ordered = sorted((first, third), key=toy_accuracy, reverse=is_best)
    assert ordered[0].trial_id.split("/")[0] == ordered[1].trial_id.split("/")[0] == "family=lkca"
    dying, recorded = ordered
    train(ledger, recorded)
    for message in make_messages(dying):
        ledger.on_message(dying.trial_id, message)
    save(dying)
    if moment == "behind its record":
        monkeypatch.setattr(queue, "remove_unused_files", crash)
        with pytest.raises(DriverCrash):
            ledger.finish(dying.trial_id)
        monkeypatch.undo()
    after = open_keeping()
    while (assignment := after.assign()) is not None:
        train(after, assignment)
    assert kept(folder) == best_ids(folder)


def test_best_that_is_set_after_trials_have_ended_states_once_how_many_cells_have_no_model(
    folder: SearchFolder, open_keeping: Callable[..., Ledger]
) -> None:
    ledger = open_keeping("replicates", trials_per_cell=2)
    while (assignment := ledger.assign()) is not None:
        train(ledger, assignment)
    assert open_keeping("replicates", trials_per_cell=2).notes == []
    (line,) = open_keeping("best", trials_per_cell=2).notes
    assert f"cells whose best trial has none: {len(best_ids(folder))}; " in line
    assert any(f"rerun {folder.name} --trial '{trial_id}' --save FOLDER" in line for trial_id in best_ids(folder))
    for trial_id in best_ids(folder):
        (record,) = (each for each in read_records(folder) if each.trial_id == trial_id)
        for name in (WEIGHTS, MODEL):
            write_atomically(model_folder(folder, record) / name, b"x")
    assert open_keeping("best", trials_per_cell=2).notes == []


def test_a_search_that_keeps_replicates_requests_no_model_of_a_trial(
    folder: SearchFolder, open_keeping: Callable[..., Ledger]
) -> None:
    for weights in ("replicates", "none"):
        assignment = open_keeping(weights).assign()
        assert assignment is not None
        assert assignment.keep is None


def confirm(folder: SearchFolder, spec: SearchSpec, *, driver: int = 1) -> Confirmation:
    sealed = open_round(
        folder,
        spec,
        ConfirmSection(draws=2, seeds=1),
        read_records(folder),
        test_hashes={None: "test"},
        num_trials_left=0,
    )
    return Confirmation(folder, spec, sealed, Tracker(), driver=driver)


def finish(replicates: Confirmation, assignment: Assignment) -> Record:
    for message in make_messages(assignment):
        replicates.on_message(assignment.trial_id, message.model_copy(update={"test": TEST if message.done else None}))
    return replicates.finish(assignment.trial_id)


def test_the_model_of_a_replicate_states_its_search_round_draw_and_seed(
    folder: SearchFolder, open_keeping: Callable[..., Ledger]
) -> None:
    train_all(open_keeping("replicates"))
    assignment = confirm(folder, keeping("replicates")).assign()
    assert assignment is not None
    assert assignment.keep is not None
    assert assignment.keep.at_least is None
    origin = assignment.keep.origin
    assert (origin.search, origin.uid, origin.round, origin.draw, origin.seed) == ("toy", UID, 1, 1, 0)
    assert assignment.trial_id == origin.trial_id
    assert origin.trial_id.startswith(f"{origin.cell}/")
    assert confirm(folder, keeping("none")).assign().keep is None  # type: ignore[union-attr]


@pytest.mark.parametrize("lost", ["worker", "driver"])
def test_only_the_model_of_the_recorded_attempt_is_left_after_a_crash_behind_it(
    folder: SearchFolder, open_keeping: Callable[..., Ledger], lost: str
) -> None:
    train_all(open_keeping("replicates"))
    replicates = confirm(folder, keeping("replicates"))
    first = replicates.assign()
    assert first is not None
    save(first)
    if lost == "worker":
        replicates.on_worker_lost(first.trial_id, "the worker died")
    else:
        replicates = confirm(folder, keeping("replicates"), driver=2)
    again = replicates.assign()
    assert again is not None
    assert again.trial_id == first.trial_id
    save(again)
    finish(replicates, again)
    assert kept(folder) == {again.trial_id}
    (path,) = folder.trials.rglob(WEIGHTS)
    assert str(path.parent) == again.attempt_folder


def test_a_failed_replicate_has_no_model(folder: SearchFolder, open_keeping: Callable[..., Ledger]) -> None:
    train_all(open_keeping("replicates"))
    replicates = confirm(folder, keeping("replicates"))
    assignment = replicates.assign()
    assert assignment is not None
    save(assignment)
    failure = Failure(kind=FailureKind.TRIAL, message="RuntimeError: broken")
    replicates.on_message(assignment.trial_id, Message(failure=failure, done=True))
    replicates.finish(assignment.trial_id)
    assert kept(folder) == set()


def test_a_full_storage_ends_the_driver_and_uses_up_no_retry(
    folder: SearchFolder, open_keeping: Callable[..., Ledger]
) -> None:
    ledger = open_keeping("best", max_retries=0)
    assignment = ledger.assign()
    assert assignment is not None
    failure = Failure(kind=FailureKind.STORAGE, message="/home: No space left on device; free space on its disk")
    with pytest.raises(Interrupted, match="No space left on device"):
        ledger.on_message(assignment.trial_id, Message(failure=failure))
    again = open_keeping("best", max_retries=0).assign()
    assert again is not None
    assert (again.trial_id, again.attempt) == (assignment.trial_id, 2)
