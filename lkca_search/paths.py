"""A file or folder in an object store, with as much of pathlib's interface as searches use."""

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import urlsplit

from pyarrow import fs

from lkca_search.errors import SearchError

SCHEMES = ("s3", "gs")


@dataclass(frozen=True, order=True)
class RemotePath:
    """A path below a bucket. What is written is there whole when it is closed, so that no reader sees half of it."""

    store: str
    """A URL of pyarrow's without its path: `s3://`, `gs://anonymous@`, `s3://?endpoint_override=HOST:PORT`."""
    path: str
    """Bucket and key, without a slash at either end."""

    @classmethod
    def parse(cls, url: str) -> "RemotePath":
        """Read s3://BUCKET/PATH or gs://BUCKET/PATH, options of pyarrow's behind a `?`; SearchError for another."""
        parts = urlsplit(url)
        rule = "a place is a path, file:///PATH, s3://BUCKET/PATH or gs://BUCKET/PATH"
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise SearchError(f"{rule}; got {url!r}")
        user, at, bucket = parts.netloc.rpartition("@")
        if at and user != "anonymous":
            raise SearchError(f"{rule}, and a secret has its place in the environment; got one before the @")
        store = f"{parts.scheme}://{user}{at}{f'?{parts.query}' if parts.query else ''}"
        found = cls(store, f"{bucket}{parts.path}".rstrip("/"))
        try:
            _filesystem(store, bucket)
        except (ValueError, OSError) as error:
            raise SearchError(f"{rule}; got {url!r}: {error}") from error
        return found

    @property
    def filesystem(self) -> fs.FileSystem:
        """The object store."""
        return _filesystem(self.store, self.path.partition("/")[0])

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> "RemotePath":
        """The folder it lies in."""
        return RemotePath(self.store, str(PurePosixPath(self.path).parent))

    def __truediv__(self, other: str) -> "RemotePath":
        return RemotePath(self.store, f"{self.path}/{other}")

    def __str__(self) -> str:
        return _url(self.store, self.path)

    def exists(self) -> bool:
        """Whether there is such a file, or a folder with something in it."""
        return bool(self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound)

    def read_bytes(self) -> bytes:
        """The file's content; FileNotFoundError if there is none."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def read_text(self) -> str:
        """The file's content as text; FileNotFoundError if there is none."""
        return self.read_bytes().decode()

    def write_bytes(self, content: bytes) -> None:
        """Write the file, whole or not at all."""
        with self.filesystem.open_output_stream(self.path) as stream:
            stream.write(content)

    def mkdir(self, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Make a folder, which is listed though nothing is in it."""
        self.filesystem.create_dir(self.path, recursive=parents)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the file; FileNotFoundError if there is none, unless that is fine."""
        try:
            self.filesystem.delete_file(self.path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Files and folders that match a pattern of names, `*` within a part; one listing, however many there are."""
        parts = pattern.split("/")
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        below = (
            info.path[len(self.path) + 1 :].rstrip("/").split("/") for info in self.filesystem.get_file_info(selector)
        )
        # Not every store lists the folders that a file lies in.
        for names in {tuple(names[: len(parts)]) for names in below}:
            if len(names) == len(parts) and all(map(fnmatchcase, names, parts)):
                yield self / "/".join(names)


AnyPath = Path | RemotePath
"""A file or folder, on disk or in an object store."""


def parse_path(text: str) -> AnyPath:
    """The place that a path or URL names; SearchError for a URL that names none."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://").removeprefix("localhost"))
    return RemotePath.parse(text) if "://" in text else Path(text)


def list_paths(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """What a folder has that matches a pattern of names, in order."""
    return sorted(cast(Iterator[AnyPath], folder.glob(pattern)), key=str)


def write_atomically(path: AnyPath, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none, and so that it is durable on return.

    On disk that is under another name, flushed and moved into place; an object store has no half of a file.
    """
    if isinstance(path, RemotePath):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
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


def remove_tree(folder: AnyPath) -> None:
    """Remove a folder and all in it, as far as that can be done."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.filesystem.delete_dir(folder.path)


@cache
def _filesystem(store: str, bucket: str) -> fs.FileSystem:
    filesystem, _ = fs.FileSystem.from_uri(_url(store, bucket))
    return filesystem


def _url(store: str, path: str) -> str:
    prefix, mark, options = store.partition("?")
    return f"{prefix}{path}{mark}{options}"
