"""Paths on disk and in object stores behind one interface, and atomic writes to both."""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from itertools import count, takewhile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote, unquote, urlsplit

from lkca_search.errors import SearchError
from lkca_search.file_names import MAX_NAME_BYTES, shorten_name

if TYPE_CHECKING:
    from pyarrow import NativeFile, fs

SCHEMES = ("s3", "gs")
_ARROW = "pyarrow.fs"  # imported when it is needed, in a fifth of a second
_CHUNK_BYTES = 8 << 20
_DAMAGED = ".damaged-"
_DELAYED_OPEN = "allow_delayed_open"
"""Option of S3 in pyarrow: a small file is written by one request, not by the three of a multipart upload."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    **dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK), "a device"),
}


@dataclass(frozen=True, order=True)
class RemotePath:
    """Path below a bucket, with the part of the pathlib interface that searches use.

    A file becomes visible when its stream is closed, so no reader sees a partial file.
    """

    store: str
    """URL for pyarrow without its path: `s3://`, `gs://anonymous@`, `s3://?endpoint_override=HOST:PORT`."""
    path: str
    """Bucket and key, without a slash at either end."""

    @classmethod
    def parse(cls, url: str) -> "RemotePath":
        """Parse s3://BUCKET/PATH or gs://BUCKET/PATH, with pyarrow options after a `?`; SearchError for another URL."""
        parts = urlsplit(url, allow_fragments=False)  # a key may contain a `#`
        rule = "a location must be a path, file:///PATH, s3://BUCKET/PATH or gs://BUCKET/PATH"
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise SearchError(f"{rule}, got {url!r}")
        user, at, bucket = parts.netloc.rpartition("@")
        if at and user != "anonymous":
            raise SearchError(f"{rule}, got credentials before the @: set them as environment variables")
        store = f"{parts.scheme}://{user}{at}{f'?{parts.query}' if parts.query else ''}"
        path = cls(store, f"{bucket}{parts.path}".rstrip("/"))
        try:
            _filesystem(store, bucket)
        except (ValueError, OSError) as error:
            raise SearchError(f"{rule}, got {url!r}: {error}") from error
        return path

    @property
    def filesystem(self) -> "fs.FileSystem":
        """Filesystem of the object store."""
        return _filesystem(self.store, self.path.partition("/")[0])

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> "RemotePath":
        """Folder that contains this path."""
        return RemotePath(self.store, str(PurePosixPath(self.path).parent))

    def __truediv__(self, other: str) -> "RemotePath":
        """Return the path below this one."""
        return RemotePath(self.store, f"{self.path}/{other}")

    def __str__(self) -> str:
        """Return the URL of the path."""
        return _url(self.store, self.path)

    def exists(self) -> bool:
        """Return True if this is a file, or a folder that is not empty."""
        return bool(self.filesystem.get_file_info(self.path).type.name != "NotFound")

    def read_bytes(self) -> bytes:
        """Return the content of the file; FileNotFoundError if there is none."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content of the file as text; FileNotFoundError if there is none."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Write the file atomically."""
        with self.filesystem.open_output_stream(self.path) as stream:
            stream.write(content)

    def mkdir(self, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Make a folder; an empty folder is listed too."""
        self.filesystem.create_dir(self.path, recursive=parents)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the file; FileNotFoundError if there is none, unless `missing_ok`."""
        with suppress(*([FileNotFoundError] if missing_ok else [])):
            self.filesystem.delete_file(self.path)

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield the files and folders that match a pattern, in which `*` stays within one part.

        One listing of the folder finds all of them. It has only the part of the store in which something can match.
        """
        parts = pattern.split("/")
        fixed = list(takewhile(lambda part: "*" not in part, parts[:-1]))
        folder, parts = "/".join([self.path, *fixed]), parts[len(fixed) :]
        selector = import_module(_ARROW).FileSelector(folder, recursive=len(parts) > 1, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        below = (info.path[len(folder) + 1 :].rstrip("/").split("/") for info in found)
        # Some stores list files only, not the folders that contain them.
        for names in {tuple(names[: len(parts)]) for names in below}:
            if len(names) == len(parts) and all(map(fnmatchcase, names, parts)):
                yield self / "/".join([*fixed, *names])


AnyPath = Path | RemotePath
"""File or folder, on disk or in an object store."""


def parse_path(text: str) -> AnyPath:
    """Parse a path or URL; SearchError for a URL of an unknown kind."""
    if not text.startswith("file://"):
        return RemotePath.parse(text) if "://" in text else Path(text)
    quoted = text.removeprefix("file://").removeprefix("localhost")
    # Earlier versions did not decode URLs, so a home may have a quoted name.
    return Path(quoted) if Path(quoted).exists() else Path(unquote(quoted))


def file_url(path: Path) -> str:
    """Return the file:// URL of a path. Every special character is quoted."""
    return f"file://{quote(str(path.absolute()))}"


def sqlite_url(path: Path) -> str:
    """Return SQLAlchemy's URL of a SQLite file. Every special character is quoted."""
    plain = str(path.absolute())
    # MLflow creates the parent folder of a sqlite:/// URL under its quoted name, but not with a named driver.
    driver = "sqlite" if quote(plain) == plain else "sqlite+pysqlite"
    return f"{driver}:///{quote(plain)}"


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL as SQLAlchemy reads it; None for another database, or one in memory."""
    match = re.fullmatch(r"sqlite(?:\+pysqlite)?:///([^?]+)(?:\?.*)?", url, re.DOTALL)
    name = unquote(match[1]) if match else ""
    return None if not match or name == ":memory:" or name.startswith("file:") else Path(name).absolute()


def list_paths(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """Return the files and folders below `folder` that match a pattern, sorted by name."""
    return sorted(cast(Iterator[AnyPath], folder.glob(pattern)), key=str)


def write_atomically(path: AnyPath, content: bytes) -> None:
    """Write a file atomically and durably: a reader sees the whole new content or none of it."""
    if isinstance(path, RemotePath):
        path.write_bytes(content)
        return
    with atomic_output(path) as file:
        file.write(content)


@contextmanager
def atomic_output(path: AnyPath) -> Iterator[BinaryIO]:
    """Yield a stream for a file too large for memory, which is written atomically and durably at the end of the block.

    On disk the content is written under another name, flushed and renamed. Object stores write atomically themselves;
    there the content is first collected in a temporary file. After an error in the block, nothing is written.
    """
    if isinstance(path, RemotePath):
        with TemporaryFile() as file:
            yield file
            file.seek(0)
            try:
                with path.filesystem.open_output_stream(path.path) as stream:
                    shutil.copyfileobj(file, stream, _CHUNK_BYTES)
            except KeyboardInterrupt:
                path.unlink(missing_ok=True)  # PyArrow stores what was written so far
                raise
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = f".{uuid.uuid4().hex}"
    temporary = path.with_name(shorten_name(f".{path.name}", max_bytes=MAX_NAME_BYTES - len(suffix)) + suffix)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def set_aside(path: AnyPath) -> AnyPath:
    """Rename a damaged file or folder to NAME.damaged-N, with the first unused N, and return its new path."""
    target = unused_path(path, _DAMAGED)
    if isinstance(path, RemotePath):
        path.filesystem.move(path.path, str(cast(RemotePath, target).path))
    else:
        path.rename(cast(Path, target))
    return target


def unused_path(path: AnyPath, ending: str) -> AnyPath:
    """Return the path beside `path` whose name ends with `ending` and the first number that no file has."""
    targets = (path.parent / f"{path.name}{ending}{number}" for number in count(1))
    return next(target for target in targets if not target.exists())


def is_set_aside(path: AnyPath) -> bool:
    """Return True if `set_aside` has given a file its name."""
    return _DAMAGED in path.name


def open_input(path: AnyPath) -> "NativeFile":
    """Open a file for random reads, which fetch only the bytes they need; FileNotFoundError if there is none."""
    if isinstance(path, RemotePath):
        return path.filesystem.open_input_file(path.path)
    return import_module(_ARROW).LocalFileSystem().open_input_file(str(path))


@contextmanager
def probe_folder(folder: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file in a folder; OSError, which names the folder, if no file can be written there."""
    try:
        file = TemporaryFile(dir=folder)
    except OSError as error:
        error.filename = str(folder)
        raise
    with file:
        yield file


def describe_kind(mode: int) -> str | None:
    """Return the kind of a file by its mode, such as `a pipe`; None if it is a regular file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "another kind of file")


def kind_and_size(path: AnyPath) -> tuple[str | None, int]:
    """Return the kind of a path, None if it is a regular file, and its size in bytes; FileNotFoundError if missing."""
    if isinstance(path, Path):
        status = path.stat()
        return describe_kind(status.st_mode), status.st_size
    info = path.filesystem.get_file_info(path.path)
    if info.type.name == "NotFound":
        raise FileNotFoundError(str(path))
    return None if info.type.name == "File" else "a folder", info.size or 0


def nearest_existing(path: Path) -> Path:
    """Return a path that exists, or else the nearest folder above it that does."""
    return next(each for each in (path, *path.parents) if each.exists())


def remove_tree(folder: AnyPath) -> None:
    """Remove a folder and its content; on disk, skip the parts that cannot be removed."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.filesystem.delete_dir(folder.path)


@cache
def _filesystem(store: str, bucket: str) -> "fs.FileSystem":
    if store.startswith("s3:") and _DELAYED_OPEN not in store:
        store += f"{'&' if '?' in store else '?'}{_DELAYED_OPEN}=true"
    return import_module(_ARROW).FileSystem.from_uri(_url(store, bucket))[0]


def _url(store: str, path: str) -> str:
    prefix, mark, options = store.partition("?")
    return f"{prefix}{path}{mark}{options}"
