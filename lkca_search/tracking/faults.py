"""Faults of an MLflow store, each as a cause and the command that removes it."""

import os
import re
from shlex import quote
from socket import gaierror
from typing import NamedTuple
from urllib.parse import urlsplit

from lkca_search.faults import causes, cut_text, first_line
from lkca_search.layout import Home
from lkca_search.paths import sqlite_file
from lkca_search.records.finding import DamagedError
from lkca_search.tracking.connection import has_store, redacted, tracking_uri

_MAX_CHARACTERS = 300
_HTTP_STATUS = re.compile(r"error code (\d{3}) != 200|too many (\d{3}) error responses")
_DELETED = re.compile(r"The (experiment|run) \S+ must be in the 'active' state")

_NO_FUNCTION = ("404", "405", "501", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED")
"""Statuses and error codes of a server that lacks a function."""
_DRIVERS = ("psycopg", "psycopg2", "pymysql", "MySQLdb", "pyodbc")
"""Packages that connect to a database server."""
_DATABASE_FAULTS = (
    ("disk is full|No space left|quota exceeded", "or its artifacts do not fit on the disk", "free space on it"),
    (
        "readonly database|unable to open database|Permission denied|Read-only file system",
        "or its artifacts cannot be written",
        "make its folder writable",
    ),
    (
        "not a database|malformed",
        "is damaged",
        "move it away, since the records on disk contain all runs of searches: mv {file} {file}.damaged",
    ),
    (
        "database is locked|locking protocol|disk I/O error",
        "cannot be locked or written",
        "end the process that holds it; on a disk without locks, set MLFLOW_TRACKING_URI to a server",
    ),
    (
        "out-of-date database schema|Can't locate revision",
        "has the schema of another MLflow version",
        'back it up, then upgrade it: mlflow db upgrade "$MLFLOW_TRACKING_URI"',
    ),
)
"""Pattern in an error, cause and remedy."""


class Fault(NamedTuple):
    """Reason why MLflow lacks runs, without passwords, and what to do about it."""

    cause: str
    remedy: str

    def __str__(self) -> str:
        """Return both on one line."""
        return f"{self.cause}; {self.remedy}"


class StoreError(Exception):
    """MLflow store that cannot be used, with its fault."""

    def __init__(self, cause: str, remedy: str) -> None:
        """Join cause and remedy into the message."""
        self.fault = Fault(cause, remedy)
        super().__init__(str(self.fault))


def describe_fault(error: Exception, home: Home) -> Fault:
    """Return the fault behind an error of MLflow, its database or its server, as one line."""
    if isinstance(error, StoreError):
        return error.fault
    if isinstance(error, DamagedError):
        return Fault(f"{error.finding.place} is damaged: {error.finding.damage}", error.finding.remedy)
    if not has_store(home):
        cause = f"the default MLflow store must be a database on disk, got the home {home.root}"
        return Fault(cause, "set MLFLOW_TRACKING_URI to a server")
    uri = tracking_uri(home)
    links = list(causes(error, with_context=True))
    text = "\n".join(str(link) for link in links)
    if uri.startswith(("http://", "https://")):
        fault = _server_fault(links, text, _address(uri))
    else:
        fault = _database_fault(links, text, str(sqlite_file(uri) or _address(uri)))
    if fault is None and (match := _DELETED.search(text)):
        fault = Fault(f"the {match[1]} was deleted in MLflow", "repeat the command: its start has the details")
    if fault is None:
        shown = redacted(error, os.environ.get("MLFLOW_TRACKING_URI", ""))
        line = cut_text(first_line(shown), _MAX_CHARACTERS)
        fault = Fault(f"{type(shown).__name__}: {line}", "check MLFLOW_TRACKING_URI and the store behind it")
    return fault


def is_unsupported(error: Exception) -> bool:
    """Return True if the store or its server is of an MLflow that lacks the requested function."""
    links = list(causes(error))
    status = _HTTP_STATUS.search("\n".join(str(link) for link in links))
    return (
        bool(status and (status[1] or status[2]) in _NO_FUNCTION)
        or any(isinstance(link, NotImplementedError) for link in links)
        or any(getattr(link, "error_code", None) in _NO_FUNCTION for link in links)
    )


def _server_fault(links: list[BaseException], text: str, address: str) -> Fault | None:
    server = f"the MLflow server {address}"
    status = _HTTP_STATUS.search(text)
    code = int(status[1] or status[2]) if status else None
    if code in (401, 403):
        login = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return Fault(f"{server} refuses the login (HTTP {code})", login)
    if code == 404 or "not in a valid JSON format" in text:
        return Fault(f"{address} is not an MLflow server", "correct MLFLOW_TRACKING_URI")
    if code is not None:
        return Fault(f"{server} responds with HTTP {code}", "see the log of the server")
    if any(type(link).__name__ == "SSLError" for link in links):
        certificate = "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of its authority, or use http://"
        return Fault(f"{server} has no valid certificate ({_reason(links)})", certificate)
    if any(type(link).__module__.partition(".")[0] in ("requests", "urllib3") for link in links):
        return Fault(f"{server} does not respond ({_reason(links)})", "start it, or correct MLFLOW_TRACKING_URI")
    return None


def _database_fault(links: list[BaseException], text: str, address: str) -> Fault | None:
    for pattern, cause, remedy in _DATABASE_FAULTS:
        if re.search(pattern, text):
            return Fault(f"MLflow's database {address} {cause}", remedy.format(file=quote(address)))
    if "in maintenance mode" in text or "unsupported URI" in text:
        rule = "must be http(s)://HOST, postgresql://USER@HOST/DATABASE or sqlite:///FILE"
        return Fault(f"MLFLOW_TRACKING_URI {rule}, got {address}", "correct it, or unset it for a database in the home")
    is_server = any(type(link).__module__.partition(".")[0] in _DRIVERS for link in links)
    if is_server or isinstance(links[-1], ConnectionError | TimeoutError | gaierror):
        reason = _reason(links)
        return Fault(
            f"MLflow's database {address} does not respond ({reason})", "start it, or correct MLFLOW_TRACKING_URI"
        )
    return None


def _reason(links: list[BaseException]) -> str:
    """Return the first cause in a few words, without addresses."""
    root = links[-1]
    if isinstance(root, OSError):
        return (root.strerror or str(root)).lower()
    shown = redacted(Exception(first_line(root)), os.environ.get("MLFLOW_TRACKING_URI", ""))
    return str(shown).rpartition(": ")[2].lower()


def _address(uri: str) -> str:
    """Return a URI without its login, path and options."""
    parts = urlsplit(re.sub(r"://.*@", "://", uri))  # a password can contain any character
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else uri
