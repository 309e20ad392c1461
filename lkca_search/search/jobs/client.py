"""A Ray cluster from outside, by Ray's Jobs API: the only place that speaks to it."""

import asyncio
import json
import logging
import os
import shlex
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from lkca_search.errors import SearchError, UserError
from lkca_search.search.jobs.remote_command import Answer, find_answer
from lkca_search.search.jobs.shipment import Shipment, gather_shipment
from lkca_search.search.jobs.submission import PYTHON, Submission
from lkca_search.search.jobs.versions import SUBMITTED_WITH
from lkca_search.spec.base import FrozenModel

_API_ADDRESS = "RAY_API_SERVER_ADDRESS"
_NAME, _HOME, _LEDGER = "lkca_search", "lkca_home", "lkca_ledger"
"""Keys of a job's metadata."""
_CONNECT_SECONDS = 10.0
_LOST_SECONDS = 120.0
"""How long a cluster that does not answer is asked again."""
_SILENCE_SECONDS = 30.0
"""How long a log may be silent before the job is looked at: a connection may be gone and not say so."""
_LOOK_SECONDS = 1.0


class SearchJob(FrozenModel):
    """A job that drives a search."""

    search: str
    """The search's name."""
    job_id: str
    """Ray's id of the job, its submission id."""
    address: str
    """The cluster's, as it was reached."""
    home: str
    """Where the search lives, as the nodes see it."""
    ledger: str | None
    """The ledger's URL; None for a file in the search's folder."""
    status: str
    """Ray's word: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    exit_code: int | None
    """The driver's exit code; None while it runs, and where there never was a driver or it was killed by Ray."""
    message: str
    """What Ray says of it."""

    @property
    def is_running(self) -> bool:
        """Whether it runs or is going to."""
        return self.status in ("PENDING", "RUNNING")


class Cluster:
    """A Ray cluster by the address of its dashboard."""

    def __init__(self, address: str) -> None:
        """Connect; SearchError if the address is none, nothing answers there, or the cluster asks for a token."""
        _check_address(address)
        self.address = address.rstrip("/")
        logging.getLogger("ray").setLevel(logging.ERROR)
        for part in ("modules.job.sdk", "modules.dashboard_sdk"):
            logging.getLogger(f"ray.dashboard.{part}").setLevel(logging.ERROR)  # it sets its own level
        with self._errors_told(), _only_address(self.address):
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
            self._client = JobSubmissionClient(self.address)

    def submit(self, submission: Submission, shipment: Shipment) -> SearchJob:
        """Start a job that drives a search; SearchError if one does already, or the cluster has another Ray."""
        theirs = self._client._server_ray_version
        if theirs != ray.__version__:
            rule = "Ray must be the same on both sides"
            raise SearchError(f"{rule}: {ray.__version__} here, {theirs} on the cluster at {self.address}")
        for job in self.jobs(submission.name):
            if job.is_running:
                follow = f"lkca-search submit --follow {job.search} --address {self.address}"
                raise SearchError(
                    f"search {job.search!r} is already driven by job {job.job_id}; follow it by: {follow}"
                )
        metadata = {"job_name": submission.name, _NAME: submission.name, _HOME: submission.home}
        if submission.ledger:
            metadata[_LEDGER] = submission.ledger
        job_id = self._start(submission.entry_point, shipment, submission.environment, metadata)
        return self.job(job_id)

    def jobs(self, name: str) -> list[SearchJob]:
        """The jobs that drive or drove a search, from the oldest to the newest."""
        return [self._search_job(details) for details in self._details(name)]

    def newest(self, name: str) -> SearchJob:
        """The newest job of a search; SearchError if the cluster knows none."""
        return self._search_job(self._newest(name))

    def job(self, job_id: str) -> SearchJob:
        """A job by its id."""
        with self._errors_told():
            return self._search_job(self._client.get_job_info(job_id))

    def log(self, job_id: str) -> str:
        """What a job's driver has printed so far, Ray's own lines before it."""
        with self._errors_told():
            text: str = self._client.get_job_logs(job_id)
            return text

    def follow(self, job_id: str, write: Callable[[str], None]) -> SearchJob:
        """Write a job's log as it grows, until the job ends. A lost connection is made again; no text comes twice.

        Raises ConnectionError if the cluster does not answer for two minutes.
        """
        text = _Text(write)
        lost: float | None = None
        while True:
            try:
                job = self._search_job(self._client.get_job_info(job_id))
                text.see(self._client.get_job_logs(job_id), start=0)  # all there is where streams do not get through
                lost = None
                if not job.is_running:
                    return job
                asyncio.run(self._tail(job_id, text))
            except Exception as error:  # Ray, requests and aiohttp have each their own for a lost connection
                lost = lost or time.monotonic()
                if time.monotonic() - lost > _LOST_SECONDS:
                    raise ConnectionError(f"the cluster at {self.address} no longer answers: {error}") from error
            time.sleep(_LOOK_SECONDS)

    def ask(self, name: str, *arguments: str) -> Answer:
        """Run a command of this package on the cluster, with the home and ledger of a search's newest job.

        Raises SearchError if the cluster knows no job of that search, or the command cannot be run there.
        """
        known = (self._newest(name).runtime_env or {}).get("env_vars") or {}
        environment = {key: value for key, value in known.items() if key != SUBMITTED_WITH}
        command = shlex.join(["-m", "lkca_search.search.jobs.remote_command", *arguments])
        metadata = {"job_name": f"lkca-search {arguments[0]} {name}"}
        job_id = self._start(f"{PYTHON} {command}", gather_shipment(), environment, metadata)
        with self._errors_told():
            while not (details := self._client.get_job_info(job_id)).status.is_terminal():
                time.sleep(_LOOK_SECONDS / 2)
            answer = find_answer(self._client.get_job_logs(job_id))
        if answer is None:
            raise SearchError(f"job {job_id} could not run `{arguments[0]}` on the cluster: {details.message}")
        return answer

    def _start(
        self, entry_point: str, shipment: Shipment, environment: Mapping[str, str], metadata: Mapping[str, str]
    ) -> str:
        with tempfile.TemporaryDirectory(prefix="lkca-") as folder, self._errors_told():
            shipment.stage(Path(folder))
            job_id: str = self._client.submit_job(
                entrypoint=entry_point,
                runtime_env={"working_dir": folder, "env_vars": dict(environment)},
                metadata=dict(metadata),
            )
            return job_id

    async def _tail(self, job_id: str, text: "_Text") -> None:
        """See a job's log from its first character on, until the connection ends or the job does."""
        position = 0
        stream = self._client.tail_job_logs(job_id)
        while True:
            following = asyncio.ensure_future(anext(stream, None))
            while not (await asyncio.wait({following}, timeout=_SILENCE_SECONDS))[0]:
                details = await asyncio.to_thread(self._client.get_job_info, job_id)
                if details.status.is_terminal():
                    return
            lines = following.result()
            if lines is None:
                return
            text.see(lines, start=position)
            position += len(lines)

    def _details(self, name: str) -> list[Any]:
        with self._errors_told():
            known = self._client.list_jobs()
        ours = [job for job in known if job.submission_id and (job.metadata or {}).get(_NAME) == name]
        return sorted(ours, key=lambda job: job.start_time or 0)

    def _newest(self, name: str) -> Any:
        found = self._details(name)
        if not found:
            rule = f"the cluster at {self.address} knows no job of search {name!r}"
            raise SearchError(
                f"{rule}; a new cluster has forgotten an old one's, and `submit` goes on with its searches"
            )
        return found[-1]

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

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Make what Ray's client raises an error that names the cluster."""
        try:
            yield
        except UserError:
            raise
        except AuthenticationError as error:
            hint = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to what the cluster was given"
            reason = str(error).splitlines()[0]
            raise SearchError(f"the cluster at {self.address} asks for its token ({reason}): {hint}") from error
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise SearchError(f"{self.address} does not do what Ray's Jobs API does: {error}") from error


class _Text:
    """Text that comes in pieces, some more than once; written once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._length = 0

    def see(self, piece: str, *, start: int) -> None:
        """Write what of a piece, which starts at a position of the text, is new."""
        new = piece[max(0, self._length - start) :]
        if new:
            self._write(new)
            self._length += len(new)


def _check_address(address: str) -> None:
    try:
        url = urlsplit(address)
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise SearchError(f"a cluster's address is that of its dashboard, http://HEAD:8265 as a rule, got {address!r}")
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/api/version", timeout=_CONNECT_SECONDS) as answer:
            json.load(answer)
    except urllib.error.HTTPError:
        pass  # someone is there; Ray's client says what is wrong
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise SearchError(f"no cluster answers at {address}: {reason}") from error
    except ValueError as error:
        raise SearchError(f"{address} answers, but not as Ray's dashboard does") from error


@contextmanager
def _only_address(address: str) -> Iterator[None]:
    """Make the address count: Ray's client prefers its variables to what it is given."""
    earlier = os.environ.get(_API_ADDRESS)
    os.environ[_API_ADDRESS] = address
    try:
        yield
    finally:
        if earlier is None:
            del os.environ[_API_ADDRESS]
        else:
            os.environ[_API_ADDRESS] = earlier
