"""Cache of official dataset files: downloads a file once, and checks its hash.

Ours rather than pooch: several processes share one download under a lock, and each file has mirrors.
"""

import hashlib
import logging
import os
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from lkca_search.data.readers.source_files import check_regular
from lkca_search.environment.locks import hold_file_lock, partial_path
from lkca_search.errors import DataError
from lkca_search.faults import explain_fault
from lkca_search.layout import cache_variable

Progress = Callable[[str, int, int | None], None]
"""Callback of a download: file name, bytes received, and total bytes if the server reports them."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 60.0
_log = logging.getLogger(__name__)


def no_progress(_file: str, _received: int, _total: int | None) -> None:
    """Report nothing: the default Progress."""


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """File as its authors published it."""

    name: str
    """File name without folders."""
    urls: Sequence[str]
    """URLs, tried in order."""
    md5: str
    """Published MD5 in hex."""


@dataclass(frozen=True, kw_only=True)
class DownloadCache:
    """Official files of one dataset: in the user's folder, or downloaded."""

    dataset: str
    """Name in the catalog."""
    user_folder: Path | None
    """User's folder LKCA_DATA_DIR/NAME: searched first, never written to."""
    folder: Path
    """Folder of downloaded files."""
    progress: Progress
    """Callback of downloads."""

    def find(self, name: str) -> Path | None:
        """Return the file or folder of this name, from the user's folder first; None if it does not exist."""
        folders = [self.folder] if self.user_folder is None else [self.user_folder, self.folder]
        return next((folder / name for folder in folders if (folder / name).exists()), None)

    def file(self, file: OfficialFile) -> Path:
        """Return the path of a file with the published content; download it first if needed.

        Raises:
            DataError: The user's file has other content, or no URL provides the published content.
        """
        path = self.find(file.name)
        if path is None or (path.parent == self.folder and _md5_of(path) != file.md5):
            return self._download(file)
        check_md5(path, file.md5, location=str(path))
        return path

    def _download(self, file: OfficialFile) -> Path:
        path = self.folder / file.name
        reasons = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with hold_file_lock(path.with_name(f"{path.name}.lock")) as is_locked:
                if path.is_file() and _md5_of(path) == file.md5:
                    return path  # another process has downloaded it
                for url in file.urls:
                    try:
                        self._receive(url, path, file, partial_path(path, is_locked=is_locked))
                    except (OSError, HTTPException, DataError) as error:
                        reasons.append(f"{url}: {error}")
                    else:
                        _log.info("downloaded %s from %s", path, url)
                        return path
        except OSError as error:
            rule = f"{cache_variable()} must be a folder that can be written"
            raise DataError(f"{rule}, got {self.folder}: {explain_fault(error)}") from error
        user_folder = self.user_folder or f"LKCA_DATA_DIR/{self.dataset}"
        raise DataError(
            f"dataset {self.dataset!r} needs {file.name}, which could not be downloaded ({'; '.join(reasons)}); "
            f"put it into {user_folder} or {self.folder}, or put train*.parquet and test*.parquet into {user_folder}"
        )

    def _receive(self, url: str, path: Path, file: OfficialFile, partial: Path) -> None:
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
            check_md5(partial, file.md5, location="received from the server")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def check_md5(content: bytes | Path, md5: str, *, location: str) -> None:
    """Raise DataError if a file, or its content, has another MD5."""
    found = _md5_of(content) if isinstance(content, Path) else hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"an official file must have MD5 {md5}, got {found} ({location})")


def _md5_of(path: Path) -> str:
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
