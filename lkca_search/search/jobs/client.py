"""Client of Ray's Jobs API for searches: submit a search, find its jobs, follow their logs, run commands."""

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any

import ray

from lkca_search.errors import SearchError
from lkca_search.search.jobs.access import Access
from lkca_search.search.jobs.connection import NO_LOGIN, connect, name_cluster_in_errors
from lkca_search.search.jobs.log_stream import RECONNECT_SECONDS, follow_log
from lkca_search.search.jobs.remote_command import CommandResult, find_result
from lkca_search.search.jobs.submission import PYTHON, Submission
from lkca_search.search.jobs.versions import SUBMITTED_WITH
from lkca_search.search.jobs.working_dir import WorkingDir, collect_working_dir
from lkca_search.spec.base import FrozenModel

_NAME, _HOME, _LEDGER = "lkca_search", "lkca_home", "lkca_ledger"
"""Keys of a job's metadata."""
_POLL_SECONDS = 0.5
DRIVER_CODES = (0, 1, 2)
"""Exit codes of `run`, the driver of a job."""
_SHELL_SIGNAL = 128
"""A shell's exit code for a command that a signal has killed is this plus the number of the signal."""


class SearchJob(FrozenModel):
    """Ray job that drives a search."""

    search: str
    """Name of the search."""
    job_id: str
    """Ray's submission id of the job."""
    address: str
    """Address of the cluster, as typed by the user."""
    home: str
    """Home of the search: a path or URL on the nodes."""
    ledger: str | None
    """URL of the ledger's database; None for a file in the search's folder."""
    status: str
    """Ray's status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    exit_code: int | None
    """Exit code of the driver; None while it runs, if it never started, or if Ray killed it."""
    message: str
    """Ray's description of the status."""

    @property
    def is_running(self) -> bool:
        """True if the job is running or waits to start."""
        return self.status in ("PENDING", "RUNNING")

    @property
    def reason(self) -> str:
        """Reason for the end of a job that has not succeeded, after its status, and the next step."""
        resume = "finished trials are kept, and the same `submit` resumes"
        if (code := self.exit_code) is None:
            return f": {self.message}"
        if code in (1, 2):
            early = f"the search ended early for the reason above, such as `stop` or a limit; {resume}"
            return f" with exit code {code}: {early if code == 1 else 'correct the error above'}"
        with suppress(ValueError):
            return f": its driver was killed by {Signals(-code if code < 0 else code - _SHELL_SIGNAL).name}; {resume}"
        return f" with exit code {code}, which is none of `run`: its driver did not start, or crashed"


class JobsClient:
    """Client of one Ray cluster, which is identified by the address of its dashboard."""

    def __init__(self, address: str, access: Access = NO_LOGIN) -> None:
        """Connect to a cluster.

        Raises SearchError if the address is invalid, nothing responds there, or the cluster requires a login.
        """
        self.address = address.rstrip("/")
        self._client = connect(address, access)

    def submit(self, submission: Submission, working_dir: WorkingDir) -> SearchJob:
        """Start a job that drives a search.

        Raises SearchError if a job of that search is running, or the cluster has another version of Ray.
        """
        cluster_version = self._client._server_ray_version
        if cluster_version != ray.__version__:
            raise SearchError(
                "Ray must have the same version here and on the cluster: "
                f"{ray.__version__} here, {cluster_version} on the cluster at {self.address}"
            )
        for job in self.jobs(submission.name):
            if job.is_running:
                follow = f"lkca-search submit --follow {job.search} --address {self.address}"
                raise SearchError(
                    f"search {job.search!r} is already driven by job {job.job_id}; to follow it: {follow}"
                )
        metadata = {"job_name": submission.name, _NAME: submission.name, _HOME: submission.home}
        if submission.ledger:
            metadata[_LEDGER] = submission.ledger
        return self.job(self._start(submission.entry_point, working_dir, submission.environment, metadata))

    def jobs(self, name: str) -> list[SearchJob]:
        """Return all jobs of a search, the oldest first."""
        return [self._search_job(details) for details in self._list_details(name)]

    def newest_job(self, name: str) -> SearchJob:
        """Return the newest job of a search. Raise SearchError if the cluster has none."""
        return self._search_job(self._newest_details(name))

    def job(self, job_id: str) -> SearchJob:
        """Return a job by its id."""
        with name_cluster_in_errors(self.address):
            return self._search_job(self._client.get_job_info(job_id))

    def log(self, job_id: str) -> str:
        """Return the output of a job's driver so far, Ray's own lines included."""
        with name_cluster_in_errors(self.address):
            text: str = self._client.get_job_logs(job_id)
            return text

    def follow(
        self,
        job_id: str,
        write: Callable[[str], None],
        *,
        notify: Callable[[str], None],
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> SearchJob:
        """Write a job's log as it grows, until the job ends; reconnect if the connection is lost, and notify of that.

        Raises ConnectionError if the cluster does not respond for `reconnect_seconds`.
        """
        details = follow_log(
            self._client,
            job_id,
            write,
            address=self.address,
            notify=notify,
            reconnect_seconds=reconnect_seconds,
        )
        return self._search_job(details)

    def run_remote_command(self, name: str, *arguments: str) -> CommandResult:
        """Run an `lkca-search` command on the cluster, with the environment of a search's newest job.

        Raises SearchError if the cluster has no job of that search, or cannot run the command.
        """
        variables = (self._newest_details(name).runtime_env or {}).get("env_vars") or {}
        environment = {key: value for key, value in variables.items() if key != SUBMITTED_WITH}
        command = shlex.join(["-m", "lkca_search.search.jobs.remote_command", *arguments])
        metadata = {"job_name": f"lkca-search {arguments[0]} {name}"}
        job_id = self._start(f"{PYTHON} {command}", collect_working_dir(), environment, metadata)
        with name_cluster_in_errors(self.address):
            while not (details := self._client.get_job_info(job_id)).status.is_terminal():
                time.sleep(_POLL_SECONDS)
            result = find_result(self._client.get_job_logs(job_id))
        if result is None:
            raise SearchError(f"job {job_id} could not run `{arguments[0]}` on the cluster: {details.message}")
        return result

    def _start(
        self, entry_point: str, working_dir: WorkingDir, environment: Mapping[str, str], metadata: Mapping[str, str]
    ) -> str:
        with tempfile.TemporaryDirectory(prefix="lkca-") as folder, name_cluster_in_errors(self.address):
            working_dir.copy_to(Path(folder))
            job_id: str = self._client.submit_job(
                entrypoint=entry_point,
                runtime_env={"working_dir": folder, "env_vars": dict(environment)},
                metadata=dict(metadata),
            )
            return job_id

    def _list_details(self, name: str) -> list[Any]:
        with name_cluster_in_errors(self.address):
            listed = self._client.list_jobs()
        search_jobs = [job for job in listed if job.submission_id and (job.metadata or {}).get(_NAME) == name]
        return sorted(search_jobs, key=lambda job: job.start_time or 0)

    def _newest_details(self, name: str) -> Any:
        details = self._list_details(name)
        if not details:
            raise SearchError(
                f"the cluster at {self.address} has no job of search {name!r}; a new cluster does not list the jobs "
                "of an old one, but `lkca-search submit` resumes their searches"
            )
        return details[-1]

    def _search_job(self, details: Any) -> SearchJob:
        metadata = details.metadata or {}
        return SearchJob(
            search=metadata.get(_NAME, ""),
            job_id=details.submission_id,
            address=self.address,
            home=metadata.get(_HOME, ""),
            ledger=metadata.get(_LEDGER),
            status=details.status.value,
            exit_code=details.driver_exit_code,
            message=details.message or "",
        )
