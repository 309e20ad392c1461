"""Numbers of the live view: trials and replicates, steps made of all, and the time left, with a clock of the test."""

import os
import time

import pytest

from lkca_search.cli.terminal.search_progress import SearchProgress
from lkca_search.layout import START, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.status import read_status
from tests.cli.test_live_view import make_round, start_of
from tests.support.records import CELL, FACTS, make_record, make_replicate, make_result, make_search

VIT = "family=vit,data_fraction=0.1"


class Clock:
    """Clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress_of(folder: SearchFolder, clock: Clock) -> SearchProgress:
    return SearchProgress(read_spec(folder), folder, RecordReader(folder), clock=clock)


def start(progress: SearchProgress, *records: Record) -> None:
    for record in records:
        progress.on_started(start_of(record))


def finish(progress: SearchProgress, *records: Record) -> None:
    for record in records:
        progress.on_finished(record)


def test_records_on_disk_are_counted_and_the_best_is_that_of_complete_trials(clock: Clock) -> None:
    records = [
        make_record(0, accuracy=0.5),
        make_record(1, accuracy=0.9, state=State.PRUNED),
        make_record(0, family="vit", state=State.FAIL),
    ]
    progress = progress_of(make_search("made", records), clock)
    assert (progress.num_finished, progress.num_planned, progress.num_replicates) == (3, 12, 0)
    assert {key: cell.best for key, cell in progress.cells.items() if cell.num_finished} == {CELL: 0.5, VIT: None}
    clock.now = 75.0
    assert progress.seconds == 75.0


def test_the_best_is_the_lowest_value_of_a_metric_that_is_minimized(clock: Clock) -> None:
    records = [make_record(number, accuracy=value, metric="val_loss") for number, value in enumerate((0.5, 0.25, 0.75))]
    progress = progress_of(make_search("made", records, "search.metric=val_loss", "search.goal=minimize"), clock)
    assert progress.cells[CELL].best == 0.25


def test_steps_made_and_of_all_are_exact_once_all_trainings_are_of_one_length(clock: Clock) -> None:
    progress = progress_of(make_search("made"), clock)
    assert (progress.steps, progress.all_steps) == (0, None)
    running = make_record(0)
    start(progress, running)
    progress.on_described(running.trial_id, FACTS)
    progress.on_reported(running.trial_id, make_result(10, 0.5))
    assert (progress.steps, progress.all_steps) == (10, 12 * 20)
    progress.on_finished(running)
    assert (progress.steps, progress.all_steps) == (20, 12 * 20)


def test_steps_that_pruning_saves_are_not_among_all_steps(clock: Clock) -> None:
    pruned = make_record(0, state=State.PRUNED, curve=(make_result(10, 0.5),))
    progress = progress_of(make_search("made", [pruned]), clock)
    assert (progress.steps, progress.all_steps) == (10, 10 + 11 * 20)


def test_the_time_left_is_that_of_the_trials_left_over_those_that_run_at_once(clock: Clock) -> None:
    """A trial of `make_record` takes 2 seconds."""
    progress = progress_of(make_search("made"), clock)
    start(progress, make_record(0), make_record(1))
    finish(progress, make_record(0), make_record(1))
    start(progress, make_record(2), make_record(0, family="vit"))
    assert progress.seconds_left == (2 * 2.0 + 8 * 2.0) / 2
    clock.now = 1.0
    assert progress.seconds_left == (2 * 1.0 + 8 * 2.0) / 2


def test_status_states_the_same_time_left(clock: Clock) -> None:
    """Two trials run at once. One has just ended, and none has started since then."""
    folder = make_search("made", [make_record(0)], "confirm={draws: 2, seeds: 1}")
    progress = progress_of(folder, clock)
    now = time.time()
    with hold_lease(folder) as lease:
        times = {"driver": lease.driver, "curve": (make_result(40, 0.5),), "started": now - 9}
        first = make_record(0, family="vit", finished=now - 5, **times)
        second = make_record(1, family="vit", finished=now, **times)
        running = folder.trial(f"{CELL}/1").attempt(driver=lease.driver, attempt=1) / START
        write_atomically(running, b"{}")
        os.utime(str(running), (now - 1, now - 1))
        start(progress, first, second)
        finish(progress, first)
        start(progress, make_record(1))
        clock.now = 1.0
        finish(progress, second)
        for record in (first, second):
            path = folder.trial(record.trial_id).attempt(driver=lease.driver, attempt=1) / "record.json"
            write_atomically(path, record.model_dump_json().encode())
        assert progress.seconds_left is not None
        assert read_status(folder).seconds_left == pytest.approx(progress.seconds_left, abs=1.0)


def test_the_start_of_workers_is_not_taken_for_the_time_of_a_trial(clock: Clock) -> None:
    """A trial of `make_record` trains for 2 seconds. The first ones wait for their workers, and later ones do not."""
    progress = progress_of(make_search("made"), clock)
    first = make_record(0, started=1000.0, finished=1030.0)
    start(progress, first)
    finish(progress, first)
    assert progress.seconds_left == 11 * 2.0
    second = make_record(1, started=1030.0, finished=1033.0)
    start(progress, second)
    finish(progress, second)
    assert progress.seconds_left == 10 * 2.5


def test_no_time_left_is_stated_until_as_many_trials_have_ended_as_run_at_once(clock: Clock) -> None:
    """The trials that end first are the shortest ones."""
    progress = progress_of(make_search("made", [make_record(2)]), clock)
    first, second = make_record(0, driver=2), make_record(1, driver=2)
    start(progress, first, second)
    progress.on_described(first.trial_id, FACTS)
    progress.on_reported(first.trial_id, make_result(10, 0.5))
    assert progress.seconds_left is None
    finish(progress, first)
    assert progress.seconds_left is None
    finish(progress, second)
    assert progress.seconds_left == 9 * 2.0 / 2


def test_trials_that_have_lost_their_workers_wait_and_do_not_count_among_those_that_run_at_once(clock: Clock) -> None:
    progress = progress_of(make_search("made"), clock)
    start(progress, make_record(0), make_record(0, family="vit"))
    finish(progress, make_record(0), make_record(0, family="vit"))
    start(progress, make_record(1), make_record(2))
    assert progress.seconds_left == 10 * 2.0 / 2
    progress.on_requeued(make_record(2).trial_id)
    assert progress.seconds_left == 10 * 2.0 / 1


def test_after_a_halt_only_running_trials_have_time_left(clock: Clock) -> None:
    progress = progress_of(make_search("made"), clock)
    start(progress, make_record(0), make_record(0, family="vit"))
    finish(progress, make_record(0), make_record(0, family="vit"))
    start(progress, make_record(1), make_record(2))
    progress.halt_reason = "stopped by Ctrl-C"
    assert progress.seconds_left == 2.0


def test_a_cell_that_is_exhausted_or_at_its_plateau_has_no_trial_left(clock: Clock) -> None:
    folder = make_search("made", [make_record(0), make_record(1)], "limits.plateau=1")
    write_atomically(folder.exhausted / VIT, b"")
    progress = progress_of(folder, clock)
    assert [cell.num_waiting for cell in progress.cells.values()] == [0, 3, 0, 3]


def test_the_replicates_to_come_are_counted_from_the_space_file_and_then_from_the_round(clock: Clock) -> None:
    folder = make_search("made", [make_record(0), make_replicate(0)], "confirm={draws: 3, seeds: 2, top: 1}")
    progress = progress_of(folder, clock)
    assert (progress.num_replicated, progress.num_replicates) == (0, 4 * 3 * 2)
    progress.on_round(make_round())
    assert (progress.num_replicated, progress.num_replicates) == (1, 2)
    assert progress.cells[CELL].steps == 40
    progress.on_round(make_round())
    assert progress.num_replicated == 1, "the driver repeats the event when it resumes"


def test_a_trial_that_lost_its_worker_and_starts_again_runs_once(clock: Clock) -> None:
    progress = progress_of(make_search("made"), clock)
    start(progress, make_record(0), make_record(0))
    assert (len(progress.running), progress.cells[CELL].num_running) == (1, 1)
    progress.on_requeued(make_record(0).trial_id)
    progress.on_requeued("not among the running ones")
    assert (len(progress.running), progress.cells[CELL].num_running, progress.cells[CELL].num_waiting) == (0, 0, 3)
    start(progress, make_record(0))
    progress.on_finished(make_record(0))
    assert (len(progress.running), progress.cells[CELL].num_running) == (0, 0)
