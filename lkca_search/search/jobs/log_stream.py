"""Live log of a Ray job, written once and in order even if the connection is lost."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ray.job_submission import JobSubmissionClient

from lkca_search.search.jobs.connection import first_cause

RECONNECT_SECONDS = 120.0
"""Time during which a lost connection is retried."""
_SILENCE_SECONDS = 30.0
"""Time without new text after which the job's status is checked: a connection may be lost without an error."""
_RETRY_SECONDS = 1.0


def follow_log(
    client: JobSubmissionClient,
    job_id: str,
    write: Callable[[str], None],
    *,
    address: str,
    notify: Callable[[str], None],
    reconnect_seconds: float = RECONNECT_SECONDS,
) -> Any:
    """Write a job's log as it grows, until the job ends; return Ray's final `JobDetails`.

    `notify` gets a line when two attempts in a row find no cluster, and one when it responds again. Raises
    ConnectionError, which names `address`, if it does not respond for `reconnect_seconds`.
    """
    writer = _LogWriter(write)
    lost_since: float | None = None
    is_told = False
    while True:
        try:
            details = client.get_job_info(job_id)
            # First the complete log so far: proxies may block the web socket of the stream.
            writer.write_new(client.get_job_logs(job_id), start=0)
            if is_told:
                notify(f"the cluster at {address} responds again")
            lost_since, is_told = None, False
            if details.status.is_terminal():
                return details
            asyncio.run(_stream(client, job_id, writer))
        except Exception as error:  # Ray, requests and aiohttp have different errors for a lost connection
            cause = first_cause(error)
            if lost_since is None:
                lost_since = time.monotonic()
            elif time.monotonic() - lost_since > reconnect_seconds:
                raise ConnectionError(f"the cluster at {address} no longer responds ({cause})") from error
            elif not is_told:
                is_told = True
                notify(f"the cluster at {address} does not respond ({cause}); trying for {reconnect_seconds:g} s")
        time.sleep(_RETRY_SECONDS)


async def _stream(client: JobSubmissionClient, job_id: str, writer: "_LogWriter") -> None:
    """Write a job's log from its first character until the connection or the job ends."""
    position = 0
    stream = client.tail_job_logs(job_id)
    while True:
        reading = asyncio.ensure_future(anext(stream, None))
        while not (await asyncio.wait({reading}, timeout=_SILENCE_SECONDS))[0]:
            details = await asyncio.to_thread(client.get_job_info, job_id)
            if details.status.is_terminal():
                return
        text = reading.result()
        if text is None:
            return
        writer.write_new(text, start=position)
        position += len(text)


class _LogWriter:
    """Writer of text that arrives in overlapping pieces; writes each character once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._length = 0

    def write_new(self, piece: str, *, start: int) -> None:
        """Write the part of a piece that is new; `start` is the position of its first character."""
        new = piece[max(0, self._length - start) :]
        if new:
            self._write(new)
            self._length += len(new)
