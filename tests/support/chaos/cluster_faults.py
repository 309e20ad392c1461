"""Faults of a cluster. Each is injected while a search runs; then the search is brought to its end."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.chaos.submitted_search import NODE, Rehearsal, SubmittedSearch
from tests.support.processes import WAIT_SECONDS

Fault = Callable[[Rehearsal, SubmittedSearch], str]
"""Function that submits a search, injects a fault, completes the search, and returns a description."""

LONGER = "training.steps=1200"
"""Override for a search that loses its second node: trials must still run there on a busy machine."""
_SMALL_DISK_BYTES = 16_000_000


def lose_a_worker_node(rehearsal: Rehearsal, search: SubmittedSearch) -> str:
    """Kill the second node while it trains, and add another."""
    following = search.submit()
    lost = rehearsal.cluster.nodes[-1]
    search.wait_for(lambda: search.num_finished > 1 and _trains_on(search, lost.name), following)
    search.remember()
    rehearsal.cluster.kill_node(lost)
    joined = rehearsal.cluster.add_node(**NODE)
    assert following.wait(WAIT_SECONDS) == 0, search.printed()
    on_joined = sum(event.event == "finish" and event.node == joined.name for event in search.events())
    return f"{lost.name} after {len(search.durable)} trials; {joined.name} joined and trained {on_joined}"


def lose_the_driver(rehearsal: Rehearsal, search: SubmittedSearch) -> str:
    """Kill the driver after a third of the trials, and submit again."""
    following = search.submit()
    search.wait_for_records(1 / 3, following)
    search.driver().kill()
    search.remember()
    assert following.wait(WAIT_SECONDS) != 0
    search.finish()
    return f"after {len(search.durable)} trials; submitted {search.num_submissions} times"


def lose_mlflow_for_a_while(rehearsal: Rehearsal, search: SubmittedSearch) -> str:
    """Kill the MLflow server for the middle third of the trials."""
    following = search.submit()
    search.wait_for_records(1 / 3, following)
    rehearsal.server.kill()
    gone = search.num_finished
    search.wait_for_records(2 / 3, following)
    back = search.num_finished
    rehearsal.server.start()
    assert following.wait(WAIT_SECONDS) == 0, search.printed()
    return f"away from trial {gone} to {back}"


def lose_mlflow_then_space(rehearsal: Rehearsal, search: SubmittedSearch) -> str:
    """Kill the MLflow server, then fill the disk; start the server again for the next driver.

    The home must be on a small disk.
    """
    following = search.submit()
    search.wait_for_records(1 / 4, following)
    rehearsal.server.kill()
    gone = search.num_finished
    search.wait_for_records(1 / 3, following)
    _fill_until_the_driver_fails(search, following)
    rehearsal.server.start()
    search.finish()
    return f"MLflow away after {gone}; disk full after {len(search.durable)}"


def lose_the_head(rehearsal: Rehearsal, search: SubmittedSearch) -> str:
    """Kill the head, delete its disk with the home of the search, and resume on another cluster.

    The ledger must be on PostgreSQL, and the storage of the trials outside the home.
    """
    following = search.submit()
    search.wait_for_records(1 / 2, following)
    rehearsal.cluster.kill_head()
    search.remember()
    following.kill()
    following.wait()
    shutil.rmtree(search.home.root)
    rehearsal.replace_cluster()
    search.move(search.home.root.with_name("home-elsewhere"))
    search.finish()
    return f"after {len(search.durable)} trials"


def fill_the_storage_once(rehearsal: Rehearsal, search: SubmittedSearch) -> str:
    """Fill the disk of the search until its driver fails, then free the disk and submit again."""
    following = search.submit()
    search.wait_for_records(1 / 3, following)
    _fill_until_the_driver_fails(search, following)
    search.finish()
    return f"after {len(search.durable)} trials; submitted {search.num_submissions} times"


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a file system of 16 MB in memory; this needs root."""
    folder = Path(tempfile.mkdtemp(prefix="lkca-small-"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK_BYTES}", "tmpfs", str(folder)],
        check=True,
        capture_output=True,
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def _fill_until_the_driver_fails(search: SubmittedSearch, following: subprocess.Popen[bytes]) -> None:
    """Fill the disk of a search, wait until its driver has failed for that reason, and free the disk."""
    filler = search.home.root.parent / "filler"
    _fill(filler)
    code = following.wait(WAIT_SECONDS)
    search.remember()
    assert code == 1, search.printed()
    assert "No space left on device" in search.printed() or "disk is full" in search.printed(), search.printed()
    filler.unlink()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(os.urandom(4096))
        except OSError:
            return


def _trains_on(search: SubmittedSearch, node: str) -> bool:
    events = [event for event in search.events() if event.node == node]
    over = {(event.trial_id, event.attempt) for event in events if event.event == "finish"}
    begun = [event for event in events if event.event == "start" and (event.trial_id, event.attempt) not in over]
    return any(time.time() - event.time > 0.2 for event in begun)
