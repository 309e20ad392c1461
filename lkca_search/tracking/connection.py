"""Address of the MLflow store, and errors without its passwords."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.spec.metrics import METRICS, MetricName

_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_PASSWORD = re.compile(r"://[^:/@\s]*:(.+)@")
"""Password in a URL. Greedy, since an unquoted password can contain any character."""


def tracking_uri(home: Home) -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database of a home if it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlflow_database}"


def experiment_name() -> str:
    """Return MLFLOW_EXPERIMENT_NAME, or `lkca-search` if it is not set."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lkca-search"


def runs_page(home: Home, search: str | None = None, metric: MetricName = "val_accuracy") -> str:
    """Return the path and query of the page that lists the runs of one or all searches, best by a metric first.

    Returns an empty string if there is no experiment yet.
    """
    uri = tracking_uri(home)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return ""
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment_name())
    if experiment is None:
        return ""
    ascending = str(METRICS[metric].sign < 0).lower()
    query = {
        "workflowType": "machine_learning",
        "orderByKey": f"metrics.`{metric}`",  # the last value, by which trials are compared
        "orderByAsc": ascending,
    }
    if search is not None:
        query["searchFilter"] = f"tags.search = '{search}'"
    return f"#/experiments/{experiment.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


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

    link: BaseException | None = error
    while link is not None and hide(repr(link)) == repr(link) and hide(str(link)) == str(link):
        link = link.__cause__ or link.__context__
    return error if link is None else RuntimeError(hide(f"{type(error).__name__}: {error}"))
