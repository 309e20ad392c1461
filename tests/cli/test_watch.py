"""View of `status --watch` on a pseudo-terminal, beside a held lease: no driver trains."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.search.state.lease import hold_lease
from tests.support.kept_search import write_record
from tests.support.processes import Command
from tests.support.records import make_record, make_search
from tests.support.screen import Screen, open_screen

MANY = f"factors.data_fraction=[{', '.join(str(part / 100) for part in range(1, 21))}]"
"""Override that gives the search 40 cells."""


@contextmanager
def driven(folder: SearchFolder, act: Callable[[], object]) -> Iterator[None]:
    """Hold the lease of a search, as its driver, until `act` has returned in another thread."""
    with ExitStack() as lease:
        lease.enter_context(hold_lease(folder))

        def drive() -> None:
            try:
                act()
            finally:
                lease.close()

        thread = threading.Thread(target=drive)
        thread.start()
        yield
        thread.join()


def test_a_watched_status_changes_in_place_and_stays_once_when_the_driver_has_ended(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    folder = make_search("made", [make_record(0)])
    seen: list[list[str]] = []

    def finish_a_trial(screen: Screen) -> None:
        seen.append(screen.wait_for_text("1 of 12 trials finished, running"))
        write_record(folder, make_record(1))
        seen.append(screen.wait_for_text("2 of 12 trials finished, running"))

    with open_screen(monkeypatch) as screen, driven(folder, lambda: finish_a_trial(screen)):
        assert command("status", "made", "--watch", "--every", "0.1").code == 0
    assert len(seen) == 2
    assert all(sum("trials finished" in line for line in lines) == 1 for lines in seen), "the old status is replaced"
    titles = [line for line in screen.transcript if "trials finished" in line]
    assert [title.partition(";")[0] for title in titles] == ["search made: 2 of 12 trials finished, not running"]
    assert screen.has_cursor


@pytest.mark.parametrize("lines", [5, 24])
def test_a_watched_status_is_cut_to_the_terminal_and_counts_the_lines_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch, command: Command, lines: int
) -> None:
    folder = make_search("made", [make_record(0)], MANY)
    seen: list[list[str]] = []
    with (
        open_screen(monkeypatch, 80, lines) as screen,
        driven(folder, lambda: seen.append(screen.wait_for_text("more lines"))),
    ):
        assert command("status", "made", "--watch", "--every", "0.1").code == 0
    (watched,) = seen
    assert len(watched) == lines - 1
    assert watched[0].startswith("search made: ")
    *whole, _, resume = screen.transcript
    assert resume.endswith(" trials left. Repeat its `run`, `confirm` or `submit` to resume.")
    assert watched[-1] == f"and {len(whole) - (lines - 2)} more lines", "the status at the end has all lines"
    assert whole[2 : lines - 2] == watched[2:-1], "below the title, which names the driver"
    assert "running (" not in " ".join(whole), "no line of the view is left"


def test_ctrl_c_ends_a_watch_and_leaves_the_terminal_as_it_was(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    folder = make_search("made", [make_record(0)])

    def interrupt(screen: Screen) -> None:
        screen.wait_for_text("trials finished, running")
        os.kill(os.getpid(), signal.SIGINT)

    with open_screen(monkeypatch) as screen, driven(folder, lambda: interrupt(screen)):
        assert command("status", "made", "--watch").code == 0
    assert screen.transcript == []
    assert screen.has_cursor


def test_a_terminal_that_cannot_move_its_cursor_shows_one_status_below_the_other(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    folder = make_search("made", [make_record(0)])

    def wait(screen: Screen) -> None:
        screen.wait_for(lambda lines: sum("trials finished, running" in line for line in lines) >= 2)

    with open_screen(monkeypatch) as screen, driven(folder, lambda: wait(screen)):
        monkeypatch.setenv("TERM", "dumb")
        assert command("status", "made", "--watch", "--every", "0.1").code == 0
    assert "not running" in "".join(screen.transcript)
