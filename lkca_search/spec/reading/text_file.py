"""Text of a space file or trial file, read only from a regular file of a plausible size in UTF-8."""

import os
import stat
from pathlib import Path

from lkca_search.errors import SpaceFileError, find_closest
from lkca_search.paths import describe_kind
from lkca_search.spec.reading.limits import FILE_SIZE, Limits, shorten

_SHIPPED = "search_spaces"
"""Folder of a checkout with space files."""


def read_text_file(path: Path, limits: Limits, *, kind: str = "space file") -> str:
    """Return the text of a file, with line feeds as the only line ends. Messages call it a `kind`.

    Raises:
        SpaceFileError: The path is no regular file, which could block or never end; or the file cannot be read, is too
            large, or is not UTF-8.
    """
    place = shorten(str(path))
    try:
        # The first check opens nothing: to open a device can have effects. The second one is of the file that is read.
        _check_regular(path.stat(), kind, path)
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            _check_regular(status, kind, path)
            content = file.read(-1 if FILE_SIZE.name in limits.lifted else FILE_SIZE.maximum + 1) or b""
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        if isinstance(error, SpaceFileError):
            raise
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if isinstance(error, FileNotFoundError):
            reason += _suggest(path) or _form(path, kind)
        raise SpaceFileError([f"cannot read the {kind} {place}: {reason}"]) from error
    if limits.breaks(FILE_SIZE, len(content)):
        size = f"{max(len(content), status.st_size):,}"
        raise SpaceFileError([f"{FILE_SIZE.rule(f'the size of a {kind} in bytes', size)} ({place}:1)"])
    return _decode(content, kind, place)


def _suggest(path: Path) -> str:
    """Return the suggestion of a YAML file with a similar name, in the same folder or among the shipped files."""
    folders = dict.fromkeys([path.parent, Path(_SHIPPED)])
    files = [file for folder in folders for file in _yaml_files(folder)]
    by_stem = {file.stem: file for file in reversed(files)}
    close = find_closest(path.stem, by_stem) if path.stem else None
    return f"; did you mean {shorten(str(by_stem[close]))}?" if close else ""


def _yaml_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.y*ml")) if file.is_file()]


def _of_folder(folder: Path) -> str:
    """Return the file that is meant by a folder: one with its name, or one in it."""
    files = _yaml_files(folder)
    inside = f", such as {shorten(str(files[0]))}" if files else ""
    return _suggest(folder) or f"; give the path of a YAML file{inside}"


def _form(path: Path, kind: str) -> str:
    """Return the form of a path, if what was given looks like the name of a search."""
    return "" if path.suffix else f"; a {kind} is given by its path, such as {shorten(path.name)}.yaml"


def _check_regular(status: os.stat_result, kind: str, path: Path) -> None:
    if (got := describe_kind(status.st_mode)) is not None:
        remedy = _of_folder(path) if stat.S_ISDIR(status.st_mode) else "; write the text to a file"
        raise SpaceFileError([f"a {kind} must be a regular file, got {got}{remedy} ({shorten(str(path))})"])


def _decode(content: bytes, kind: str, place: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        got = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte 0x{content[error.start]:02x}"
        raise SpaceFileError([f"a {kind} must be UTF-8, got {got}; save it as UTF-8 ({place}:{line})"]) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
