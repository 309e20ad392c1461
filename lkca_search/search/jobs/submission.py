"""What is asked of a cluster: a command, and the variables it runs under. No secret is among them."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from lkca_search.errors import SearchError
from lkca_search.records.provenance import git_commit
from lkca_search.search.jobs.versions import SUBMITTED_WITH, installed_versions

PYTHON = 'exec "${LKCA_PYTHON:-python}"'
"""What a job begins with: the cluster's Python, the one on its PATH or another that LKCA_PYTHON names there."""
HOME, LEDGER, DATA_DIR = "LKCA_SEARCH_HOME", "LKCA_SEARCH_LEDGER", "LKCA_DATA_DIR"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CREDENTIAL|KEY)S?(_|\d|$)", re.IGNORECASE)
_NAMES_A_FILE = re.compile(r"_(FILE|PATH)$", re.IGNORECASE)
_HOME = re.compile(r"/|(s3|gs)://[^/]|file:///")
_TRACKING_URI = "MLFLOW_TRACKING_URI"
_SHARED = ("http", "https", "postgresql", "mysql", "mssql")
_FROM_OUTSIDE = (HOME, LEDGER, _TRACKING_URI, "MLFLOW_EXPERIMENT_NAME")
"""What of the submitter's own environment goes along; all else there speaks of the submitter's machine."""
_STOP_SECONDS = 30
"""How long Ray waits, after SIGTERM, for the driver of a job that is stopped; 3 by default."""
_WHERE_SECRETS_BELONG = (
    "the dashboard shows it to whoever can open it; put the secret into the environment of the cluster's nodes, or a "
    "file there that a variable names (PGPASSFILE, AWS_SHARED_CREDENTIALS_FILE), or a secret store"
)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One driver of a search, as a cluster is asked for it."""

    name: str
    """The search's name."""
    space: str
    """Name of the space file in the job's working directory."""
    overrides: tuple[str, ...]
    """Overrides of the space file, as typed."""
    environment: Mapping[str, str]
    """The job's variables; its workers have them, too."""

    @property
    def home(self) -> str:
        """Where the search lives, as the nodes see it."""
        return self.environment[HOME]

    @property
    def ledger(self) -> str | None:
        """The ledger's URL, if it is not a file in the search's folder."""
        return self.environment.get(LEDGER)

    @property
    def entry_point(self) -> str:
        """The shell command that the job is."""
        options = ["--name", self.name, "--address", "auto"]
        return f"{PYTHON} -m lkca_search run {shlex.join([f'./{self.space}', *self.overrides, *options])}"


def plan_submission(
    *,
    name: str,
    space: str,
    overrides: Sequence[str],
    options: Mapping[str, str | None],
    variables: Sequence[str],
    outside: Mapping[str, str],
) -> Submission:
    """Decide what a job is told. `options` are variables that have an option of their own, by name, None if not given;
    `variables` are NAME=VALUE as typed; `outside` is the submitter's environment.

    Raises SearchError for a home that the nodes cannot share, for a setting given twice, for a secret, and for an
    address that leads from another machine elsewhere.
    """
    given = _given(options, variables)
    inherited = {key: outside[key] for key in _FROM_OUTSIDE if outside.get(key) and key not in given}
    for key, value in inherited.items():
        if key != HOME:
            _check_reachable(key, value)
    environment = {**inherited, **given}
    _check_home(environment.get(HOME))
    for key, value in environment.items():
        _check_no_secret(key, value)
    for override in overrides:
        _check_no_password(f"override {override.partition('=')[0]}", override.partition("=")[2])
    environment.setdefault("RAY_JOB_STOP_WAIT_TIME_S", str(_STOP_SECONDS))
    if (commit := git_commit()) != "unknown":
        environment.setdefault("LKCA_GIT_COMMIT", commit)
    environment[SUBMITTED_WITH] = json.dumps(installed_versions())
    return Submission(name=name, space=space, overrides=tuple(overrides), environment=dict(sorted(environment.items())))


def _given(options: Mapping[str, str | None], variables: Sequence[str]) -> dict[str, str]:
    given = {name: value for name, value in options.items() if value is not None}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise SearchError(f"--env is NAME=VALUE, got {name!r}")
        if name in given:
            raise SearchError(f"{name} is given twice, by --env and by --env or an option of its own; give it once")
        given[name] = value
    if (folder := given.get(DATA_DIR)) is not None and not folder.startswith("/"):
        raise SearchError(f"{DATA_DIR} must be an absolute path, the same on every node, got {folder!r}")
    return given


def _check_home(home: str | None) -> None:
    rule = "a submitted search needs a home that outlives its job and that every node sees"
    form = "an absolute path on a shared file system, or a URL (s3://, gs://, file:///)"
    if not home:
        raise SearchError(f"{rule}, since a job's own folder is removed: give --home or {HOME}, {form}")
    if not _HOME.match(home):
        raise SearchError(f"{rule}: {form}, got {home!r}")


def _check_reachable(name: str, value: str) -> None:
    """Refuse what of the submitter's environment only the submitter's machine can reach."""
    hint = f"give --env {name}=..., as the cluster's nodes see it, or unset it here"
    url = _split(value)
    if name == _TRACKING_URI and url[0].split("+")[0] not in _SHARED:
        kinds = "an http(s) server or the URL of a database server"
        raise SearchError(f"{name} must name {kinds}, for a file of this machine is none of the cluster's; {hint}")
    if _is_loopback(url[1]):
        raise SearchError(f"{name} names {url[1]}, which on the cluster is another machine; {hint}")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _check_no_secret(name: str, value: str) -> None:
    if _SECRET.search(name) and not _NAMES_A_FILE.search(name):
        raise SearchError(f"no secret may travel with a job, and {name} looks like one: {_WHERE_SECRETS_BELONG}")
    _check_no_password(name, value)


def _check_no_password(place: str, text: str) -> None:
    if "://" not in text:
        return
    try:
        url = urlsplit(text)
        keys = [key for key, _ in parse_qsl(url.query)]
        has_password = bool(url.password)
    except ValueError as error:
        raise SearchError(f"{place} is no URL: {error}") from error
    if has_password or any(_SECRET.search(key) for key in keys):
        raise SearchError(f"no secret may travel with a job, and the URL of {place} has one: {_WHERE_SECRETS_BELONG}")


def _split(value: str) -> tuple[str, str]:
    """Scheme and host of a URL; both empty where it has none."""
    try:
        url = urlsplit(value)
        return url.scheme, url.hostname or ""
    except ValueError:
        return "", ""
