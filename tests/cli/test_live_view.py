"""Live view of a search on a pseudo-terminal, fed with the events of a driver: no training, no Ray."""

import sys
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from lkca_search.cli.terminal.progress import progress
from lkca_search.cli.terminal.streams import echo
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.rounds import Pick, Round
from lkca_search.records.stored_spec import read_spec
from lkca_search.tracking.tracker import Tracker, TrialStart
from tests.support.records import CELL, FACTS, make_record, make_replicate, make_result, make_search
from tests.support.screen import open_screen

SIZES = [(80, 24), (200, 50)]
MANY = f"factors.data_fraction=[{', '.join(str(part / 100) for part in range(1, 21))}]"
"""Override that gives the search 40 cells."""


def start_of(record: Record) -> TrialStart:
    return TrialStart(
        trial_id=record.trial_id,
        cell=record.cell,
        number=record.number,
        attempt=1,
        spec=record.spec,
        started=1000.0,
        replicate=record.replicate,
    )


def train(tracker: Tracker, record: Record) -> None:
    """Send all events of a trial."""
    tracker.trial_started(start_of(record))
    if record.facts:
        tracker.trial_described(record.trial_id, record.facts)
    for result in record.curve:
        tracker.trial_reported(record.trial_id, result)
    tracker.trial_finished(record)


def make_round() -> Round:
    """Return a round of one cell with two replicates."""
    pick = Pick(
        cell=CELL,
        rank=1,
        trial_id=f"{CELL}/0",
        value=0.5,
        configuration=make_record(0).spec.configuration,
        num_trials=3,
    )
    return Round(
        number=1,
        opened=1.0,
        metric="val_accuracy",
        goal="maximize",
        draws=(1,),
        num_seeds=2,
        top=1,
        test_hash="t" * 64,
        num_trials=12,
        num_trials_left=0,
        picks=(pick,),
        cells_without=(),
    ).sealed()


def open_progress(folder: SearchFolder, *, quiet: bool = False) -> AbstractContextManager[Tracker]:
    return progress(read_spec(folder), folder, RecordReader(folder), quiet=quiet)


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_the_view_shows_counts_steps_time_cells_and_running_trials_with_their_last_metric(
    monkeypatch: pytest.MonkeyPatch, columns: int, lines: int
) -> None:
    folder = make_search("made", [make_record(0), make_record(1, accuracy=0.75)])
    running = make_record(2)
    with open_screen(monkeypatch, columns, lines) as screen, open_progress(folder) as tracker:
        screen.wait_for_text("starting workers, checking data and space")
        tracker.trial_started(start_of(running))
        screen.wait_for_text("trial 2")
        tracker.trial_described(running.trial_id, FACTS)
        tracker.trial_reported(running.trial_id, make_result(10, 0.625))
        seen = screen.wait_for_text("0.6250")
    text = "\n".join(seen)
    assert "made: 2 of 12 trials; 0:00:0" in text
    assert "50 of about 240 steps" in text
    assert "MLflow: lkca-search ui made" in text
    rows = [line.split() for line in seen]
    assert ["cell", "trials", "val_accuracy", "steps"] in rows
    assert [CELL, "2/3", "best", "0.7500", "40"] in rows
    assert ["trial", "2", "0.6250", "10/20"] in rows
    assert ["family=vit,data_fraction=1.0", "0/3"] in rows


@pytest.mark.parametrize(("columns", "lines"), [*SIZES, (80, 12), (40, 10)])
def test_with_40_cells_the_view_is_lower_than_the_terminal_and_shows_the_running_trials(
    monkeypatch: pytest.MonkeyPatch, columns: int, lines: int
) -> None:
    folder = make_search("made", [], MANY)
    cells = [f"family={family},data_fraction={part / 100}" for family in ("lkca", "vit") for part in range(1, 21)]
    running = [make_record(0, family="vit", data_fraction=0.19), make_record(1, family="vit", data_fraction=0.2)]
    with open_screen(monkeypatch, columns, lines) as screen:
        with open_progress(folder) as tracker:
            for part in range(1, 6):
                for number in range(3):
                    train(tracker, make_record(number, data_fraction=part / 100))
            for record in running:
                tracker.trial_started(start_of(record))
            seen = screen.wait_for(
                lambda visible: "15 of 120 trials" in "".join(visible) and visible[-1].startswith("and ")
            )
            assert len(seen) <= lines - 1
            text = " ".join(" ".join(seen).split())
            if columns >= 80:
                assert "family=vit,data_fraction=0.19 0/3 trial 0 starting" in text
            if lines >= 24:
                assert [line.split()[-1:] for line in seen].count(["starting"]) == 2
                hidden = 40 - sum(cell in line.split() for cell in cells for line in seen)
                assert seen[-1].startswith(f"and {hidden} more cells")
        screen.wait_for(lambda lines: lines == [])
    assert screen.transcript == []
    assert screen.has_cursor


@pytest.mark.parametrize(("columns", "lines"), [*SIZES, (80, 10)])
@pytest.mark.parametrize("overrides", [(), (MANY,)], ids=["4 cells", "40 cells"])
def test_every_message_stays_above_the_view_in_order_and_nothing_else_remains(
    monkeypatch: pytest.MonkeyPatch, columns: int, lines: int, overrides: tuple[str, ...]
) -> None:
    folder = make_search("made", [], *overrides)
    expected = []
    with open_screen(monkeypatch, columns, lines) as screen:
        with open_progress(folder) as tracker:
            for number in range(60):
                message = f"nodes with capacity: {number + 2}, before {number + 1}"
                echo(message, err=bool(number % 2))
                expected.append(message)
                tracker.trial_started(start_of(make_record(number, data_fraction=0.1)))
                if number % 20 == 0:
                    screen.wait_for_text(message)
            echo("Ctrl-C: finishing running trials; Ctrl-C again stops now", err=True)
            expected.append("Ctrl-C: finishing running trials; Ctrl-C again stops now")
            tracker.halted("stopped by Ctrl-C")
            seen = screen.wait_for_text("no further trial starts (stopped by Ctrl-C); the running ones finish")
            assert expected[-1] in seen, "the answer can be read above the view"
            train(tracker, make_record(1, state=State.FAIL))
            expected.append(f"{CELL}/1 failed: RuntimeError: broken")
            screen.wait_for_text(expected[-1])
        echo("search made: the end")
        screen.wait_for_text("the end")
    assert screen.transcript == [*expected, "search made: the end"]
    assert screen.has_cursor


def test_lines_of_several_threads_stay_whole_and_leave_no_line_of_a_growing_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = make_search("made")
    expected = {f"thread {thread} line {line}" for thread in range(4) for line in range(50)}

    def send(thread: int) -> None:
        for line in range(50):
            tracker.trial_started(start_of(make_record(50 * thread + line)))  # the view grows between two prints
            echo(f"thread {thread} line {line}", err=True)

    with open_screen(monkeypatch, 80, 50) as screen:
        with open_progress(folder) as tracker:
            threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(screen.transcript) == len(expected)
    assert set(screen.transcript) == expected


def test_an_interrupt_and_an_exit_by_a_fault_leave_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_search("made")
    with open_screen(monkeypatch) as screen:
        with suppress(KeyboardInterrupt), open_progress(folder):
            screen.wait_for_text("starting")
            raise KeyboardInterrupt
        with open_progress(folder) as tracker:
            screen.wait_for_text("starting")
            tracker.abandoned()
            assert screen.wait_for(lambda lines: lines == []) == []
            assert screen.has_cursor
    assert screen.transcript == []


def test_replicates_are_counted_of_all_of_the_round_in_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_search("made", [make_record(number) for number in range(3)])
    with open_screen(monkeypatch) as screen, open_progress(folder) as tracker:
        tracker.round_started(make_round())
        train(tracker, make_replicate(0))
        tracker.trial_started(start_of(make_replicate(1)))
        seen = screen.wait_for_text("  replicate 0/draw=1,seed=1")
    assert any("3 of 12 trials, 1 of 2 replicates" in line for line in seen)
    assert [CELL, "3/3", "1/2", "best", "0.5000", "80"] in [line.split() for line in seen]


def test_standard_error_in_a_file_receives_the_messages_and_the_terminal_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_search("made")
    with open_screen(monkeypatch) as screen, (tmp_path / "errors").open("w") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        with open_progress(folder):
            echo("no node has capacity", err=True)
            screen.wait_for_text("starting")
    assert screen.transcript == []
    assert (tmp_path / "errors").read_text() == "no node has capacity\n"


@pytest.mark.parametrize("terminal", ["none", "dumb"])
def test_without_a_terminal_that_moves_its_cursor_each_trial_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: str
) -> None:
    folder = make_search("made", [make_record(0), make_record(1)])

    def send() -> None:
        with open_progress(folder) as tracker:
            train(tracker, make_record(2, accuracy=0.625))
            tracker.round_started(make_round())
            train(tracker, make_replicate(0))
            train(tracker, make_record(0, state=State.FAIL, family="vit"))

    if terminal == "none":
        send()
        lines = capsys.readouterr().out.splitlines()
    else:
        with open_screen(monkeypatch, 200) as screen:
            monkeypatch.setenv("TERM", "dumb")
            send()
        lines = screen.transcript
    shown = [" ".join(line.split()).partition(" about ")[0] for line in lines]
    assert shown == [
        f"[3/12] {CELL}/2 COMPLETE val_accuracy 0.6250 2.0 s",
        f"[replicate 1/2] {CELL}/0/draw=1,seed=0 COMPLETE val_accuracy 0.5000 2.0 s",
        "[4/12] family=vit,data_fraction=0.1/0 FAIL",
        "RuntimeError: broken",
    ]
    assert lines[0].endswith(" left"), "a line gives the time left"


def test_a_quiet_display_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_search("made")
    with open_screen(monkeypatch) as screen, open_progress(folder, quiet=True) as tracker:
        train(tracker, make_record(0))
    assert screen.transcript == []
