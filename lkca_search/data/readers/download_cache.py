"""The official files of a dataset: found, or downloaded once, and checked by their hash."""

import hashlib
import logging
import os
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from lkca_search.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""Called while a file arrives: its name, bytes so far, bytes in all where the server says so."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """A file as its makers published it."""

    name: str
    """Its name, without folders."""
    urls: Sequence[str]
    """Where it is to be had; the first that works is taken."""
    md5: str
    """MD5, in hex: the checksum that is published."""


@dataclass(frozen=True, kw_only=True)
class DownloadCache:
    """Where the official files of one dataset lie."""

    dataset: str
    """Its name in the catalogue."""
    given: Path | None
    """The user's folder, LKCA_DATA_DIR/NAME, which is looked into first and never written to."""
    downloads: Path
    """The folder of what was downloaded."""
    progress: Progress
    """Is told how a download goes."""

    def find(self, name: str) -> Path | None:
        """The file or folder of that name, the user's first."""
        folders = [self.downloads] if self.given is None else [self.given, self.downloads]
        return next((folder / name for folder in folders if (folder / name).exists()), None)

    def file(self, file: OfficialFile) -> Path:
        """The file with its right content, downloaded if it is not there.

        DataError if the user's own has another content, or if no address gives the right one.
        """
        path = self.find(file.name)
        if path is None or (path.parent == self.downloads and _md5_of(path) != file.md5):
            return self._download(file)
        check_md5(path, file.md5, place=str(path))
        return path

    def _download(self, file: OfficialFile) -> Path:
        path = self.downloads / file.name
        reasons = []
        try:
            self.downloads.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if path.is_file() and _md5_of(path) == file.md5:
                    return path  # another process was first
                for url in file.urls:
                    try:
                        self._receive(url, path, file)
                    except (OSError, HTTPException, DataError) as error:
                        reasons.append(f"{url}: {error}")
                    else:
                        _log.info("downloaded %s from %s", path, url)
                        return path
        except OSError as error:
            raise DataError(f"downloads must have a place, but {self.downloads} cannot take them: {error}") from error
        own = self.given or f"LKCA_DATA_DIR/{self.dataset}"
        raise DataError(
            f"dataset {self.dataset!r} needs {file.name}, which could not be downloaded ({'; '.join(reasons)}); "
            f"place it into {own} or {self.downloads}, or put train*.parquet and test*.parquet into {own}"
        )

    def _receive(self, url: str, path: Path, file: OfficialFile) -> None:
        # Under the lock there is one writer, so one name will do, and what a kill left there is overwritten.
        partial = path.with_name(f"{path.name}.partial")
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, partial.open("wb") as out:
                total, received = response.length, 0
                self.progress(file.name, 0, total)
                while chunk := response.read(_CHUNK_BYTES):
                    out.write(chunk)
                    received += len(chunk)
                    self.progress(file.name, received, total)
                out.flush()
                os.fsync(out.fileno())
            if total is not None and received < total:
                raise DataError(f"cut off after {received} of {total} bytes")
            check_md5(partial, file.md5, place="what the server sent")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def check_md5(content: bytes | Path, md5: str, *, place: str) -> None:
    """DataError if a file, or what was read from it, has another MD5."""
    found = _md5_of(content) if isinstance(content, Path) else hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"an official file must have MD5 {md5}, got {found} ({place})")


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
