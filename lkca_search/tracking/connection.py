"""Address of the MLflow store, and errors without its passwords."""

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

from lkca_search.faults import causes
from lkca_search.layout import Home
from lkca_search.paths import sqlite_url

_CLIENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a bar per file
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a retry could create a run twice
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines and one more call per trial
}
"""Environment variables of MLflow's client, unless the user has set them."""
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_PASSWORD = re.compile(r"://[^:/@\s]*:(.+)@")
"""Password in a URL. Greedy, since an unquoted password can contain any character."""


def tracking_uri(home: Home) -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database of a home if it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(home.mlflow_database)


def is_default_store() -> bool:
    """Return True if the runs are in the home, since MLFLOW_TRACKING_URI is not set."""
    return not os.environ.get("MLFLOW_TRACKING_URI")


def has_store(home: Home) -> bool:
    """Return False if there is no store: MLFLOW_TRACKING_URI is not set, and the home is in an object store."""
    return not is_default_store() or isinstance(home.root, Path)


def mlflow_command(home: Home, arguments: str) -> str:
    """Return a shell command of MLflow for the store. A URI from the environment is not repeated."""
    prefix = f"MLFLOW_TRACKING_URI={shlex.quote(tracking_uri(home))} " if is_default_store() else ""
    return f"{prefix}mlflow {arguments}"


def without_login(uri: str) -> str:
    """Return a URI without user and password, to be printed."""
    return _USER_INFO.sub("", uri)


def experiment_name() -> str:
    """Return MLFLOW_EXPERIMENT_NAME, or `lkca-search` if it is not set."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lkca-search"


def set_client_variables() -> None:
    """Set the environment variables of MLflow's client.

    A driver does it before Ray starts. The threads of Ray read variables, and the process crashes if a new one moves
    all others in memory meanwhile.
    """
    for variable, value in _CLIENT.items():
        os.environ.setdefault(variable, value)


def redacted(error: Exception, address: str) -> Exception:
    """Return an error without the passwords of `address` and the environment.

    An error that contains no secret, in itself or its causes, is returned unchanged. Otherwise, the result is a
    RuntimeError with the redacted text.
    """
    passwords = _PASSWORD.findall(address) + [os.environ.get(name, "") for name in _SECRETS]
    secrets = {text for password in passwords for text in (password, unquote(password)) if text}
    # An error about an invalid URL may quote pieces of it, split at the separators of a URL.
    secrets |= {piece for secret in secrets for piece in re.split(r"[@:/?#]", secret) if len(piece) >= 3}

    def hide(text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return _USER_INFO.sub("***@", text)

    texts = (text for link in causes(error, with_context=True) for text in (repr(link), str(link)))
    if all(hide(text) == text for text in texts):
        return error
    return RuntimeError(hide(f"{type(error).__name__}: {error}"))
