"""Archive of a search: a tar file, compressed with Zstandard, that starts with a list of its files and their hashes.

`tar --zstd -xf FILE` unpacks it too. All paths are below one folder, and there is nothing but regular files. The bytes
depend on the files of the search alone: no times, users or machines are stored.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Literal, Self, cast

import pyarrow as pa
from pydantic import ValidationError, model_validator

from lkca_search.errors import SearchError
from lkca_search.file_names import MAX_NAME_BYTES, is_too_long
from lkca_search.layout import check_name
from lkca_search.paths import AnyPath, open_input
from lkca_search.spec.base import FrozenModel

SEARCH, STORAGE = "search", "storage"
"""Folders in an archive: the search's folder, and its folder in the storage of the trials."""
_MANIFEST = "archive.json"
_MAX_MANIFEST_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20
"""Largest header of a file. tarfile reads a long name, or the other values of a header, into memory at once."""
_CODEC = "zstd"
_BROKEN = (pa.ArrowException, tarfile.TarError, EOFError, UnicodeError)
"""Errors of content that is no archive."""


class ArchivedFile(FrozenModel):
    """File in an archive."""

    path: str
    """Path that starts with `search/` or `storage/`."""
    num_bytes: int
    sha256: str


class ArchiveManifest(FrozenModel):
    """First file of an archive: the search, and all other files in their order."""

    version: Literal[1] = 1
    search: str
    """Name of the search."""
    uid: str | None
    """Unique id of the search; None if it was lost."""
    storage: str | None
    """`storage` of the space file, below which the trials were; None if they were in the search's folder."""
    files: tuple[ArchivedFile, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.num_bytes for file in self.files)

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        check_name(self.search)
        seen: set[str] = set()
        for file in self.files:
            parts = file.path.split("/")
            is_safe = all(part not in ("", ".", "..") and "\0" not in part and not is_too_long(part) for part in parts)
            if not is_safe or len(parts) < 2 or parts[0] not in (SEARCH, STORAGE) or file.path in seen:
                rule = f"a path must be below {SEARCH} or {STORAGE}, occur once, and have names of at most "
                raise ValueError(f"{rule}{MAX_NAME_BYTES} bytes other than . and .., got {file.path!r}")
            if parts[0] == STORAGE and self.storage is None:
                raise ValueError(f"storage must be given for files below {STORAGE}, got {file.path}")
            if file.num_bytes < 0:
                raise ValueError(f"num_bytes must be at least 0, got {file.num_bytes} for {file.path}")
            seen.add(file.path)
        return self


def write_members(stream: BinaryIO, manifest: ArchiveManifest, open_file: Callable[[ArchivedFile], IO[bytes]]) -> None:
    """Write an archive to a stream; SearchError if a file has another content than its hash."""
    with (
        pa.CompressedOutputStream(_Unclosed(stream), _CODEC) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK_BYTES) as tar,
    ):
        content = manifest.model_dump_json(indent=1).encode()
        tar.addfile(_member(manifest, _MANIFEST, len(content)), io.BytesIO(content))
        for file in manifest.files:
            with open_file(file) as source:
                read = _Hashed(source)
                try:
                    tar.addfile(_member(manifest, file.path, file.num_bytes), read)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise _changed(file) from error  # shorter than its size
            if read.digest.hexdigest() != file.sha256:
                raise _changed(file)


@dataclass(frozen=True, kw_only=True)
class ArchiveReader:
    """Open archive, whose files can be read once."""

    manifest: ArchiveManifest
    place: AnyPath
    """Path of the archive, for errors."""
    tar: tarfile.TarFile
    stream: "_Bounded"
    """Content of the archive, from which `tar` reads."""

    def copy_files(self, open_target: Callable[[ArchivedFile], AbstractContextManager[Any]]) -> None:
        """Copy each file to the stream that `open_target` opens.

        Raises:
            SearchError: The archive lacks a file, has another one, or one with another content.
        """
        with _readable(self.place):
            for file in self.manifest.files:
                self.stream.allow(self.tar.offset)
                source = _next_file(self.tar, f"{self.manifest.search}/{file.path}", file.num_bytes, self.place)
                self.stream.allow(self.tar.offset)
                digest = hashlib.sha256()
                with open_target(file) as target:
                    while chunk := source.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        target.write(chunk)
                if digest.hexdigest() != file.sha256:
                    raise broken_archive(self.place, f"other content of {file.path}")
            self.stream.allow(self.tar.offset)
            if (extra := self.tar.next()) is not None:
                raise broken_archive(self.place, f"{extra.name!r}, which it does not list")


@contextmanager
def open_archive(place: AnyPath) -> Iterator[ArchiveReader]:
    """Yield the reader of an archive. Nothing is unpacked before its list of files is checked.

    Raises:
        SearchError: The file is no archive of a search, is cut off, or lists a path outside its own folder.
    """
    with _readable(place), open_input(place) as file, pa.CompressedInputStream(file, _CODEC) as stream:
        bounded = _Bounded(stream)
        with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|", bufsize=_CHUNK_BYTES) as tar:
            first = tar.next()
            if first is None or first.name.rpartition("/")[2] != _MANIFEST or first.size > _MAX_MANIFEST_BYTES:
                raise broken_archive(place, f"{first.name if first else 'nothing'!r} as its first file")
            bounded.allow(tar.offset)
            source = tar.extractfile(first)
            try:
                manifest = ArchiveManifest.model_validate_json(source.read() if source else b"")
            except (ValidationError, SearchError) as error:
                raise broken_archive(place, f"a list of files that breaks its rules: {_first_rule(error)}") from error
            yield ArchiveReader(manifest=manifest, place=place, tar=tar, stream=bounded)


def check_archive(place: AnyPath, expected: ArchiveManifest) -> None:
    """Read an archive back; SearchError unless it has the expected files with the expected content."""
    with open_archive(place) as reader:
        if reader.manifest != expected:
            raise broken_archive(place, "another list of files than the one that was written")
        reader.copy_files(lambda _: _Sink())


class _Sink(io.RawIOBase):
    """Stream that drops everything."""

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        return len(content)


class _Unclosed:
    """Stream that another stream closes at its end, and that stays open."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.write = stream.write
        self.flush = stream.flush
        self.tell = stream.tell

    def close(self) -> None:
        """Do nothing."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class _Bounded:
    """Readable stream whose end is limited: a small file can unpack to more than the memory of any machine."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._num_bytes = 0
        self._limit = 0
        self.allow(0)

    def allow(self, position: int) -> None:
        """Allow to read to a position, and one header behind it."""
        self._limit = position + _MAX_HEADER_BYTES + 2 * _CHUNK_BYTES  # tarfile reads a chunk ahead

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._num_bytes += len(content)
        if self._num_bytes > self._limit:
            raise tarfile.ReadError(f"a header of more than {_MAX_HEADER_BYTES:,} bytes")
        return content


class _Hashed:
    """Readable stream with the hash of everything that was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.digest.update(content)
        return bytes(content)


def _member(manifest: ArchiveManifest, path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{manifest.search}/{path}")  # time, user and group are zero
    member.size = size
    return member


def _next_file(tar: tarfile.TarFile, name: str, size: int, place: AnyPath) -> IO[bytes]:
    member = tar.next()
    if member is None or member.name != name or member.type != tarfile.REGTYPE or member.size != size:
        found = "its end" if member is None else f"{member.name!r} of {member.size} bytes, type {member.type!r}"
        raise broken_archive(place, f"{found} in the place of {name}")
    source = tar.extractfile(member)
    assert source is not None
    return source


@contextmanager
def _readable(place: AnyPath) -> Iterator[None]:
    """Raise SearchError for content that is no archive; faults of the disk stay what they are."""
    try:
        yield
    except _BROKEN as error:
        raise broken_archive(place, f"{type(error).__name__}: {error}") from error
    except FileNotFoundError as error:
        raise SearchError(f"there is no archive {place}; correct the path") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise broken_archive(place, str(error)) from error  # of the decompression


def broken_archive(place: AnyPath, got: str) -> SearchError:
    """Return the error of a file that is no intact archive; `got` is what it is or has."""
    return SearchError(f"an archive must be an intact file of `lkca-search archive`, got {got} ({place})")


def _changed(file: ArchivedFile) -> SearchError:
    return SearchError(
        f"files must not change while they are archived, got a change of {file.path}; repeat the command"
    )


def _first_rule(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
    return str(error)
