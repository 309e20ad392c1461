"""Findings: damaged files of a search, with their remedies, and the reader of stored files that finds them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from lkca_search.errors import SearchError
from lkca_search.paths import AnyPath, kind_and_size
from lkca_search.spec.base import FrozenModel

T = TypeVar("T", bound=FrozenModel)
READ_THREADS = 16
"""Threads that read files; a read from an object store is slow."""
_READ_AT_ONCE = 1024
"""Files whose contents are in memory at one time."""
_MAX_BATCH = 16
"""Files per task of a thread. From a disk, a read takes less time than a task."""


class Finding(FrozenModel):
    """Damaged file or database of a search."""

    place: str
    """Path of the file, or URL of the database."""
    damage: str
    """Rule that is broken, and the value found."""
    remedy: str
    """Command, or change by the user, that repairs it."""

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.place} is damaged: {self.damage}; {self.remedy}"


class DamagedError(SearchError):
    """File of a search that cannot be read because its content is damaged."""

    def __init__(self, finding: Finding) -> None:
        """Use the line of the finding as message."""
        super().__init__(str(finding))
        self.finding = finding


def repair_command(name: str) -> str:
    """Return the remedy of most findings in the search `name`."""
    return f"repair it by `lkca-search repair {name}`"


def read_stored(path: AnyPath, model: type[T], *, remedy: str) -> T:
    """Return the content of a JSON file as a model.

    Raises:
        DamagedError: The content is damaged, or the path is a folder.
        FileNotFoundError: There is no such file.
        OSError: The file cannot be read; it may be intact.
    """
    return parse_stored(read_stored_bytes(path, remedy=remedy), path, model, remedy=remedy)


def parse_stored(content: bytes, path: AnyPath, model: type[T], *, remedy: str, limits: Any = None) -> T:
    """Return the content of the file at a path as a model; DamagedError if it is none.

    `limits` is the context of the validation; by default no limit applies.
    """
    try:
        return model.model_validate_json(content, context=limits)
    except ValueError as error:
        damage = f"must be the JSON of a {model.__name__}, got {_describe(content, error)}"
        raise DamagedError(Finding(place=str(path), damage=damage, remedy=remedy)) from error


def read_stored_bytes(path: AnyPath, *, remedy: str) -> bytes:
    """Return the content of a file; DamagedError if the path is a folder, FileNotFoundError if there is nothing."""
    try:
        return path.read_bytes()
    except IsADirectoryError:
        pass
    except FileNotFoundError:  # object stores raise this for a folder
        if not path.exists():
            raise
    raise DamagedError(Finding(place=str(path), damage="must be a file, got a folder", remedy=remedy))


def read_each(paths: Sequence[AnyPath], *, remedy: str) -> Iterator[bytes | Finding | None]:
    """Yield per file its content, its damage, or None if there is no such file. Threads only read, in order of use."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for start in range(0, len(paths), _READ_AT_ONCE):
            part = paths[start : start + _READ_AT_ONCE]
            size = min(_MAX_BATCH, -(-len(part) // READ_THREADS))
            batches = [part[first : first + size] for first in range(0, len(part), size)]
            for contents in pool.map(partial(_read_batch, remedy=remedy), batches):
                yield from contents


def _read_batch(paths: Sequence[AnyPath], *, remedy: str) -> list[bytes | Finding | None]:
    return [_read_or_find(path, remedy=remedy) for path in paths]


def _read_or_find(path: AnyPath, *, remedy: str) -> bytes | Finding | None:
    try:
        return read_stored_bytes(path, remedy=remedy)
    except DamagedError as error:
        return error.finding
    except FileNotFoundError:
        return None


def read_bounded_bytes(path: AnyPath, *, sizes: range, remedy: str) -> bytes:
    """Return the content of a file whose size is in `sizes`. A pipe or a larger file is not opened.

    Raises:
        DamagedError: The path is no regular file, or its size is another one.
        FileNotFoundError: There is no such file.
    """
    kind, size = kind_and_size(path)
    if kind is None and size in sizes:
        return path.read_bytes()
    wanted = f"{sizes.start:,}" if len(sizes) == 1 else f"{sizes.start:,} to {sizes.stop - 1:,}"
    damage = f"must be a file, got {kind}" if kind else f"must have {wanted} bytes, got {size:,}"
    raise DamagedError(Finding(place=str(path), damage=damage, remedy=remedy))


def _describe(content: bytes, error: ValueError) -> str:
    if not content:
        return "0 bytes"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{len(content)} bytes: {f'{where}: ' if where else ''}{first['msg']}"
    return f"{len(content)} bytes: {error}"
