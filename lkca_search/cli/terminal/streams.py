"""Guarded standard streams: a stream that is closed, cut off or full ends the output, never the command.

`guard_standard_streams` replaces the streams once, at the start of a command. All output then passes through them:
`echo`, Rich, logging, tracebacks, and the flush at the end of the interpreter.
"""

import codecs
import errno
import io
import os
import re
import select
import sys
import threading
import unicodedata
from typing import Any, Self, TextIO

from rich.console import Console

_STDOUT, _STDERR = 1, 2
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ENCODE_ERRORS = "lkca_search.readable"
_SIMILAR = {"\u2019": "'", "\u201c": '"', "\u201d": '"', "±": "+/-", "→": "->", "…": "...", "α": "alpha", "γ": "gamma"}
_SIMILAR |= {"−": "-", "–": "-", "—": "-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~", "•": "*"}
"""ASCII text for characters that a terminal without Unicode cannot show."""
_READER_IS_GONE = (errno.EPIPE, errno.EBADF, errno.ENXIO)


class _Descriptor(io.FileIO):
    """Descriptor of a standard stream. After the first write that fails, it is connected to /dev/null."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.error: OSError | None = None
        """Error of the write that failed; None if there was none."""
        self._is_terminal = self.isatty()  # a terminal that is gone is none any more

    def write(self, content: Any, /) -> int:
        """Write the content, or drop it if the stream is lost; return the number of bytes."""
        try:
            while (written := super().write(content)) is None:  # a pipe that does not block is full
                select.select([], [self.fileno()], [])
            return written
        except OSError as error:
            is_gone = error.errno in _READER_IS_GONE or (error.errno == errno.EIO and self._is_terminal)
            self.error = _reader_is_gone() if is_gone else error
        # Other code of this process and its children may write to the same number.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        return memoryview(content).nbytes


_guarded: dict[int, _Descriptor] = {}
"""Descriptor of standard output and error by number, once they are guarded."""


class _OrderedConsole(Console):
    """Console on which threads print one after the other.

    On Rich's own, a thread that refreshes a view while another prints may erase too few lines, and leave some behind.
    """

    def __init__(self) -> None:
        self._turn = threading.RLock()
        super().__init__(highlight=False)

    def __enter__(self) -> Self:
        self._turn.acquire()
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            super().__exit__(*exception)
        finally:
            self._turn.release()


def guard_standard_streams() -> None:
    """Replace standard output and error by streams that raise no error; open closed ones on /dev/null.

    Streams that were already replaced by other code keep their place.
    """
    for number in (0, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file of this process, perhaps a database, would take its number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _guarded_stream(sys.stdout, _STDOUT)
    sys.stderr = _guarded_stream(sys.stderr, _STDERR)


def visible(text: str) -> str:
    """Return a text whose control characters, except tabs and line ends, are escaped: they could steer a terminal.

    Names of files and classes may come from elsewhere.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def echo(text: object = "", *, nl: bool = True, err: bool = False, raw: bool = False) -> None:
    """Print a text to standard output, or with `err` to standard error, and flush the stream.

    With `raw`, for the output of another program, control characters are printed as they are.
    """
    shown = str(text) if raw else visible(str(text))
    # One write per line: threads that print at the same time would mix their lines in a live view.
    print(f"{shown}\n" if nl else shown, end="", file=sys.stderr if err else sys.stdout, flush=True)


def console(*, err: bool = False) -> Console:
    """Return a Rich console on standard output or error. Outside a terminal, standard output has very long lines.

    COLUMNS does not count there: every program that has loaded readline passes it to its children.
    """
    width = None if err or sys.stdout.isatty() else 10_000
    return Console(stderr=err, highlight=False, width=width)


def ordered_console() -> Console:
    """Return a Rich console on standard output for a live view, on which threads print one after the other."""
    return _OrderedConsole()


def can_refresh() -> bool:
    """Return True if standard output is a terminal that can move its cursor, so that a view is refreshed in place."""
    return sys.stdout.isatty() and console().is_interactive


def errors_are_shown() -> bool:
    """Return True if standard error is a terminal."""
    return sys.stderr.isatty()


def is_interactive() -> bool:
    """Return True if a user at a terminal can be asked."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def output_is_lost() -> bool:
    """Return True if nothing written to standard output arrives any more."""
    return _STDOUT in _guarded and _guarded[_STDOUT].error is not None


def output_error() -> OSError | None:
    """Return the error that cut off standard output, such as a full disk; None if its reader closed it."""
    error = _guarded[_STDOUT].error if _STDOUT in _guarded else None
    return None if isinstance(error, BrokenPipeError) else error


def _guarded_stream(stream: TextIO | None, number: int) -> TextIO:
    """Return a stream on the descriptor of `stream`; on /dev/null if it was closed when Python started."""
    if stream is None:
        descriptor = _Descriptor(os.open(os.devnull, os.O_WRONLY))
        descriptor.error = _reader_is_gone()
    else:
        try:
            if number in _guarded or stream.fileno() != number:
                return stream
        except (OSError, ValueError):  # a stream of a test or a notebook
            return stream
        stream.flush()
        descriptor = _Descriptor(number)
    _guarded[number] = descriptor
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding="utf-8" if stream is None else stream.encoding,
        errors=_ENCODE_ERRORS,
        line_buffering=descriptor.isatty() or number == _STDERR,
    )


def _reader_is_gone() -> BrokenPipeError:
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _readable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace a character that a stream cannot encode: by the byte of a file name, by similar text, or by its code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    end = error.start + 1
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return bytes([ord(character) - 0xDC00]), end
    if character in _SIMILAR:
        return _SIMILAR[character], end
    name = unicodedata.name(character, "")
    if name.startswith("BOX DRAWINGS"):
        direction = name.rpartition(" ")[2]
        return {"HORIZONTAL": "-", "VERTICAL": "|"}.get(direction, "+"), end
    return character.encode("ascii", "backslashreplace").decode(), end


codecs.register_error(_ENCODE_ERRORS, _readable)
