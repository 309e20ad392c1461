"""Tests of a search's status, which is computed from its folder during and after the search."""

from pathlib import Path

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.status import CellStatus, SearchStatus, StatusReader, read_status
from tests.support.confirmed_search import write_confirmation
from tests.support.processes import Command
from tests.support.records import CELL, make_record, make_search

CELLS = [f"family={family},data_fraction={part}" for family in ("lkca", "vit") for part in (0.1, 1.0)]


def cell_of(status: SearchStatus, cell: str = CELL) -> CellStatus:
    return next(found for found in status.cells if found.cell == cell)


def every_cell(number: int, **rest: object) -> list[Record]:
    return [
        make_record(number, family=family, data_fraction=part, **rest)
        for family in ("lkca", "vit")
        for part in (0.1, 1.0)
    ]


def start_trials(folder: SearchFolder, *trial_ids: str, driver: int) -> None:
    """Create trial folders as a driver does that has finished none."""
    for trial_id in trial_ids:
        folder.trial(trial_id).attempt(driver=driver, attempt=driver).mkdir(parents=True)


def write_record(folder: SearchFolder, record: Record) -> Path:
    path = folder.trial(record.trial_id).attempt(driver=9, attempt=9) / "record.json"
    write_atomically(path, record.model_dump_json().encode())
    return path


def test_unfinished_trials_of_the_driver_are_running_and_those_of_earlier_drivers_are_cut_off() -> None:
    folder = make_search("made", [make_record(0)])
    start_trials(folder, f"{CELL}/1", driver=1)
    with hold_lease(folder):
        start_trials(folder, f"{CELL}/2", driver=2)
        cell = cell_of(read_status(folder))
        assert (cell.complete, cell.running, cell.cut_off, cell.left) == (1, 1, 1, 2)
        start_trials(folder, f"{CELL}/1", driver=2)
        cell = cell_of(read_status(folder))
        assert (cell.complete, cell.running, cell.cut_off, cell.left) == (1, 2, 0, 2)
    cell = cell_of(read_status(folder))
    assert (cell.complete, cell.running, cell.cut_off, cell.left) == (1, 0, 2, 2)


def test_pruning_reduces_the_steps_of_a_cell_and_not_its_planned_steps() -> None:
    pruned = make_record(1, state=State.PRUNED)
    pruned = pruned.model_copy(update={"curve": pruned.curve[:1]})
    folder = make_search("made", [make_record(0), pruned, make_record(2, state=State.FAIL)])
    cell = cell_of(read_status(folder))
    assert (cell.planned_steps, cell.steps, cell.samples, cell.seconds) == (40, 30, 960, 3.0)


@pytest.mark.parametrize(
    ("records", "answered"),
    [
        (every_cell(0) + every_cell(1), False),
        (every_cell(0) + every_cell(1) + every_cell(2), True),
        (every_cell(0) + every_cell(1) + every_cell(2, state=State.FAIL), True),
        ([make_record(number, state=State.FAIL) for number in range(3)] + every_cell(0)[1:], False),
    ],
)
def test_a_search_is_answered_if_no_trial_is_left_and_each_cell_has_a_complete_one(
    records: list[Record], answered: bool
) -> None:
    assert read_status(make_search("made", records)).is_answered == answered


def test_an_exhausted_cell_is_finished_after_its_started_trials() -> None:
    folder = make_search("made", every_cell(0))
    for cell in CELLS:
        write_atomically(folder.exhausted / cell, b"")
    assert read_status(folder).is_answered
    assert all(cell.exhausted and not cell.at_plateau for cell in read_status(folder).cells)
    folder.trial(f"{CELL}/1").attempt(driver=1, attempt=1).mkdir(parents=True)
    status = read_status(folder)
    assert not status.is_answered
    assert status.num_left == 1


def test_a_plateau_depends_on_the_order_in_which_trials_finished() -> None:
    better_last = [make_record(0, accuracy=0.5, finished=2000.0), make_record(1, accuracy=0.6, finished=3000.0)]
    better_first = [make_record(0, accuracy=0.5, finished=3000.0), make_record(1, accuracy=0.6, finished=2000.0)]
    for records, is_reached in ((better_last, False), (better_first, True)):
        folder = make_search(f"reached-{is_reached}", records, "limits.plateau=1")
        cell = cell_of(read_status(folder))
        assert (cell.at_plateau, cell.left) == (is_reached, 0 if is_reached else 1)


def test_time_left_is_divided_by_the_running_trials_and_unknown_without_any() -> None:
    folder = make_search("made")
    with hold_lease(folder) as lease:
        for number in range(2):  # each takes two seconds
            write_record(folder, make_record(number, driver=lease.driver))
        assert read_status(folder).seconds_left is None
        start_trials(folder, f"{CELL}/2", f"{CELLS[1]}/0", driver=lease.driver)
        status = read_status(folder)
    assert [cell.seconds_left for cell in status.cells] == [0.5, 2.5, 3.0, 3.0]
    assert status.seconds_left == 9.0
    assert read_status(folder).seconds_left is None


def test_time_left_includes_the_replicates_of_a_confirmation_that_follows_or_runs(command: Command) -> None:
    folder = make_search("made", (), "confirm={draws: 2, seeds: 1}")
    with hold_lease(folder) as lease:
        write_record(folder, make_record(0, driver=lease.driver))  # takes two seconds
        start_trials(folder, f"{CELL}/1", driver=lease.driver)
        status = read_status(folder)
        assert (status.num_replicates, status.num_replicates_left) == (8, 8)
        start_of_workers = 8.5  # the first trial took 10.5 s, with 2 s of training
        assert status.seconds_left == 2.0 * 10 + 2.0 / 2 + 2.0 * 8 + start_of_workers
        out = command("stop", "made", "--no-wait").out
        assert out == (
            "search made is stopping: 1 of 12 trials finished, 11 left; 0 of 8 replicates finished, 8 left\n"
        )
    assert "confirmation: 8 replicates follow the trials\n" in command("status", "made").out


def test_replicates_of_a_round_are_left_until_their_records_exist(command: Command) -> None:
    folder = make_search("made", every_cell(0), "search.trials_per_cell=1", "confirm={draws: 3, seeds: 1}")
    write_confirmation(folder)
    assert read_status(folder).num_replicates_left == 0
    records = [*folder.trials.glob(f"{CELL}/0/draw=*/*/record.json")]
    assert len(records) == 3
    for path in records[:2]:
        path.rename(path.with_name("lost"))
    assert read_status(folder).num_replicates_left == 2
    with hold_lease(folder) as lease:
        write_record(folder, make_record(0, driver=lease.driver))
        start_trials(folder, records[0].parents[1].relative_to(folder.trials).as_posix(), driver=lease.driver)
        assert read_status(folder).seconds_left == 2.0 * (2 - 0.5)
        assert "round 1: 10 of 12 replicates finished, 1 running;" in command("status", "made").out
        assert "12 replicates finished, 2 left" in command("stop", "made", "--no-wait").out


def test_time_left_is_unknown_until_a_driver_has_ended_as_many_trials_as_run_at_once() -> None:
    folder = make_search("made", [make_record(0), make_record(1)])
    with hold_lease(folder) as lease:
        start_trials(folder, f"{CELLS[1]}/0", f"{CELLS[1]}/1", driver=lease.driver)
        assert read_status(folder).seconds_left is None, "earlier drivers may have run on another cluster"
        for number in range(2):
            assert read_status(folder).seconds_left is None
            write_record(folder, make_record(number, family="vit", driver=lease.driver))
        assert read_status(folder).seconds_left is not None


def test_a_reader_returns_new_trials_and_reads_no_record_twice() -> None:
    folder = make_search("made")
    first = write_record(folder, make_record(0))
    reader = StatusReader(folder)
    assert reader.read() == read_status(folder)
    first.write_bytes(b"no record any more")
    write_record(folder, make_record(1, accuracy=0.75))
    cell = cell_of(reader.read())
    assert (cell.complete, cell.best_value, cell.best_trial) == (2, 0.75, f"{CELL}/1")


def test_read_status_reads_no_record_that_its_reader_has_read() -> None:
    folder = make_search("made", [make_record(0)])
    reader = RecordReader(folder)
    reader.trials()
    folder.trial(f"{CELL}/0").attempt(driver=1, attempt=1).joinpath("record.json").write_bytes(b"unreadable")
    assert cell_of(read_status(folder, reader)).complete == 1
