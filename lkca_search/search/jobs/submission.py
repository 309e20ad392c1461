"""Request to start the driver of a search as a Ray job: its command and its environment variables, without secrets."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from lkca_search.environment.checkout import git_commit
from lkca_search.environment.redaction import SECRET_NAME
from lkca_search.errors import SearchError
from lkca_search.search.jobs.versions import SUBMITTED_WITH, installed_versions

PYTHON = 'exec "${LKCA_PYTHON:-python}"'
"""Start of a job's shell command: the cluster's Python, from LKCA_PYTHON or the PATH there."""
HOME, LEDGER, DATA_DIR = "LKCA_SEARCH_HOME", "LKCA_SEARCH_LEDGER", "LKCA_DATA_DIR"
_ALLOWED = "LKCA_SEARCH_ALLOW"
"""Limits of space files that are lifted; the job reads the space file again."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE_VARIABLE = re.compile(r"_(FILE|PATH)$", re.IGNORECASE)
_HOME = re.compile(r"/|(s3|gs)://[^/]|file:///")
_TRACKING_URI = "MLFLOW_TRACKING_URI"
_SERVER_SCHEMES = ("http", "https", "postgresql", "mysql", "mssql")
_INHERITED = (HOME, LEDGER, _ALLOWED, _TRACKING_URI, "MLFLOW_EXPERIMENT_NAME")
"""Variables that a job inherits from the submitter; all others describe the submitter's machine."""
_STOP_SECONDS = 30
"""Time that Ray gives a stopped job's driver between SIGTERM and SIGKILL; Ray's default is 3."""
_SECRET_HINT = (
    "everyone who can open the dashboard can read it; put the secret into the environment of the cluster's nodes, into "
    "a file there that a variable names (PGPASSFILE, AWS_SHARED_CREDENTIALS_FILE), or into a secret store"
)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Search that a Ray job will run."""

    name: str
    """Name of the search."""
    space: str
    """Name of the space file in the job's working directory."""
    overrides: tuple[str, ...]
    """Overrides of the space file, as typed by the user."""
    environment: Mapping[str, str]
    """Environment variables of the job, inherited by its workers."""

    @property
    def home(self) -> str:
        """Home of the search: a path or URL on the nodes."""
        return self.environment[HOME]

    @property
    def ledger(self) -> str | None:
        """URL of the ledger's database; None for a file in the search's folder."""
        return self.environment.get(LEDGER)

    @property
    def entry_point(self) -> str:
        """Shell command of the job."""
        options = ["--name", self.name, "--address", "auto"]
        return f"{PYTHON} -m lkca_search run {shlex.join([f'./{self.space}', *self.overrides, *options])}"


def build_submission(
    *,
    name: str,
    space: str,
    overrides: Sequence[str],
    options: Mapping[str, str | None],
    variables: Sequence[str],
    local_environment: Mapping[str, str],
) -> Submission:
    """Build the submission of a search from the user's options and environment.

    Args:
        name: Name of the search.
        space: Name of the space file.
        overrides: Overrides of the space file, as typed by the user.
        options: Values of the options that set a variable, by the variable's name; None if not given.
        variables: NAME=VALUE pairs, as typed by the user.
        local_environment: Environment of the submitter.

    Raises:
        SearchError: The nodes cannot share the home, a variable is given twice, a value holds a secret, or a URL
            from the submitter's environment is reachable from the submitter's machine alone.
    """
    explicit = _explicit_variables(options, variables)
    inherited = {
        key: local_environment[key] for key in _INHERITED if local_environment.get(key) and key not in explicit
    }
    for key, value in inherited.items():
        if key != HOME:
            _check_reachable(key, value)
    environment = {**inherited, **explicit}
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


def _explicit_variables(options: Mapping[str, str | None], variables: Sequence[str]) -> dict[str, str]:
    explicit = {name: value for name, value in options.items() if value is not None}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise SearchError(f"--env must be NAME=VALUE, got {name!r}")
        if name in explicit:
            raise SearchError(f"{name} must be given once, got it twice (by --env, or by --env and its own option)")
        explicit[name] = value
    if (folder := explicit.get(DATA_DIR)) is not None and not folder.startswith("/"):
        raise SearchError(f"{DATA_DIR} must be an absolute path, the same on every node, got {folder!r}")
    return explicit


def _check_home(home: str | None) -> None:
    rule = "the home must be an absolute path on a shared file system or a URL (s3://, gs://, file:///)"
    if not home:
        raise SearchError(
            f"{rule}, got none; give --home or set {HOME}: a job's own folder is deleted when the job ends"
        )
    if not _HOME.match(home):
        raise SearchError(f"{rule}, got {home!r}; give a home that every node can reach")


def _check_reachable(name: str, value: str) -> None:
    """Raise SearchError if only the submitter's machine can reach a URL of its environment."""
    hint = f"give --env {name}=..., with a URL that the cluster's nodes can reach, or unset it here"
    scheme, host = _scheme_and_host(value)
    if name == _TRACKING_URI and scheme.split("+")[0] not in _SERVER_SCHEMES:
        raise SearchError(
            f"{name} must be the URL of an http(s) or database server, since the cluster cannot read this machine's "
            f"files; {hint}"
        )
    if _is_loopback(host):
        raise SearchError(f"{name} must be reachable from the cluster, got host {host}; {hint}")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _check_no_secret(name: str, value: str) -> None:
    if SECRET_NAME.search(name) and not _FILE_VARIABLE.search(name):
        raise SearchError(f"a job must not carry a secret, and {name} looks like one: {_SECRET_HINT}")
    _check_no_password(name, value)


def _check_no_password(field: str, text: str) -> None:
    if "://" not in text:
        return
    try:
        url = urlsplit(text)
        keys = [key for key, _ in parse_qsl(url.query)]
        has_password = bool(url.password)
    except ValueError as error:
        raise SearchError(f"{field} must be a valid URL: {error}") from error
    if has_password or any(SECRET_NAME.search(key) for key in keys):
        raise SearchError(f"a job must not carry a secret, and the URL of {field} contains one: {_SECRET_HINT}")


def _scheme_and_host(value: str) -> tuple[str, str]:
    """Return the scheme and host of a URL, each empty if the URL has none."""
    try:
        url = urlsplit(value)
        return url.scheme, url.hostname or ""
    except ValueError:
        return "", ""
