"""Screen of a terminal: standard output and error of this process on a pseudo-terminal, as a user sees them."""

import os
import pty
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyte
import pytest

_SECONDS = 20.0
"""Time for a text to appear, on a machine that may be busy."""


class Screen:
    """Screen with all lines that have left it at the top."""

    def __init__(self, columns: int, lines: int, master: int) -> None:
        self.lines = lines
        self._screen = pyte.HistoryScreen(columns, lines, history=100_000)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._master = master
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                content = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            if not content:
                return
            with self._lock:
                self._stream.feed(content)

    def join(self) -> None:
        """Wait until everything that was written is on the screen."""
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive()

    @property
    def visible(self) -> list[str]:
        """Lines on the screen down to the last one with text."""
        with self._lock:
            return _without_empty_end([line.rstrip() for line in self._screen.display])

    @property
    def transcript(self) -> list[str]:
        """All lines: those that have left the screen, and those on it."""
        columns = range(self._screen.columns)
        with self._lock:
            gone = ["".join(line[column].data for column in columns).rstrip() for line in self._screen.history.top]
            return _without_empty_end([*gone, *(line.rstrip() for line in self._screen.display)])

    @property
    def has_cursor(self) -> bool:
        """True if the cursor is shown."""
        with self._lock:
            return not self._screen.cursor.hidden

    def wait_for(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Return the lines on the screen as soon as they meet a condition."""
        deadline = time.monotonic() + _SECONDS
        while not condition(visible := self.visible):
            assert time.monotonic() < deadline, "\n".join(visible)
            time.sleep(0.02)
        return visible

    def wait_for_text(self, text: str) -> list[str]:
        """Return the lines on the screen as soon as one contains a text."""
        return self.wait_for(lambda lines: any(text in line for line in lines))


@contextmanager
def open_screen(monkeypatch: pytest.MonkeyPatch, columns: int = 80, lines: int = 24) -> Iterator[Screen]:
    """Yield the screen of a terminal that standard output and error are connected to in the block."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (lines, columns))
    screen = Screen(columns, lines, master)
    with monkeypatch.context() as patch, open(terminal, "w", encoding="utf-8") as stream:
        patch.setenv("TERM", "xterm-256color")
        for name, value in (("COLUMNS", columns), ("LINES", lines)):  # Rich reads the size of the real streams else
            patch.setenv(name, str(value))
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            patch.delenv(name, raising=False)
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        yield screen
    screen.join()
    os.close(master)


def _without_empty_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines.pop()
    return lines
