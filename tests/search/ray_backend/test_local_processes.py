"""Watch over the processes of a local cluster, with other processes in their place."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from lkca_search.errors import Interrupted
from lkca_search.search.ray_backend.local_processes import LocalProcesses
from tests.support.processes import wait_for

POLL_SECONDS = 0.05


def start_process() -> subprocess.Popen[bytes]:
    """Start a process with a child."""
    return subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True)


class Watched:
    """A watch over two processes, and the errors that it reported."""

    def __init__(self) -> None:
        self.processes = {name: start_process() for name in ("raylet", "gcs_server", "log_monitor")}
        self.lost: list[Interrupted] = []
        self.exits: list[Interrupted] = []
        self.is_terminated = False
        self.watch = LocalProcesses(
            self.processes,
            logs="/tmp/ray/session/logs",
            is_terminated=lambda: self.is_terminated,
            on_lost=self.lost.append,
            exit=self.exits.append,
            poll_seconds=POLL_SECONDS,
        )

    def end(self) -> None:
        self.watch.end()
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.end()


def test_processes_that_run_are_not_reported(watched: Watched) -> None:
    watched.processes["log_monitor"].kill()
    time.sleep(10 * POLL_SECONDS)
    assert watched.watch.loss is None
    assert watched.lost == watched.exits == []


def test_a_raylet_that_dies_is_reported_and_the_driver_may_end_in_order(watched: Watched) -> None:
    watched.processes["raylet"].kill()
    wait_for(lambda: watched.lost)
    (error,) = watched.lost
    assert str(error).startswith("Ray's raylet, which starts the workers on this machine, died by signal 9; ")
    assert str(error).endswith("Ray's logs are in /tmp/ray/session/logs")
    assert watched.watch.loss is error
    watched.watch.end()
    assert watched.exits == []


def test_a_gcs_that_dies_ends_the_process_at_once(watched: Watched) -> None:
    watched.processes["gcs_server"].kill()
    wait_for(lambda: watched.exits)
    assert watched.lost == watched.exits
    assert "Ray's gcs_server, which manages the cluster on this machine, died by signal 9" in str(watched.exits[0])


def test_a_sigterm_to_all_processes_is_named_as_the_cause_and_ends_the_process_at_once(watched: Watched) -> None:
    for name in ("raylet", "gcs_server"):
        watched.processes[name].terminate()
    wait_for(lambda: watched.exits)
    assert "on this machine, was ended by SIGTERM, as happens if a whole process group gets it" in str(watched.exits[0])
    assert "memory" not in str(watched.exits[0])


def test_a_raylet_that_ends_after_this_process_received_sigterm_ends_the_process_at_once(watched: Watched) -> None:
    watched.is_terminated = True
    watched.processes["raylet"].kill()
    wait_for(lambda: watched.exits)
    assert "was ended by SIGTERM" in str(watched.exits[0])


def test_a_gcs_that_ends_after_the_raylet_ends_the_process_at_once(watched: Watched) -> None:
    watched.processes["raylet"].kill()
    wait_for(lambda: watched.lost)
    assert watched.exits == []
    watched.processes["gcs_server"].kill()
    wait_for(lambda: watched.exits)
    assert watched.lost == watched.exits


def test_processes_that_end_while_ray_is_shut_down_are_not_reported(watched: Watched) -> None:
    watched.watch.may_end = True
    for name in ("raylet", "gcs_server"):
        watched.processes[name].terminate()
    time.sleep(10 * POLL_SECONDS)
    assert watched.watch.loss is None
    assert watched.lost == watched.exits == []


def test_a_lost_raylet_whose_cluster_is_then_shut_down_in_order_ends_no_process(watched: Watched) -> None:
    watched.processes["raylet"].kill()
    wait_for(lambda: watched.lost)
    watched.watch.may_end = True
    watched.processes["gcs_server"].terminate()
    time.sleep(10 * POLL_SECONDS)
    assert watched.exits == []
    watched.watch.end()
    assert watched.exits == []


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_process_that_stands_still_is_reported_and_killed_with_its_children(watched: Watched, name: str) -> None:
    wait_for(lambda: psutil.Process(watched.processes[name].pid).children())
    children = psutil.Process(watched.processes[name].pid).children()
    watched.processes[name].send_signal(signal.SIGSTOP)
    wait_for(lambda: watched.lost)
    assert "on this machine, stands still; " in str(watched.lost[0])
    watched.watch.kill()
    assert watched.processes[name].wait(timeout=10) == -signal.SIGKILL
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_process_that_stands_still_for_a_moment_is_not_reported(watched: Watched) -> None:
    for _ in range(3):
        watched.processes["raylet"].send_signal(signal.SIGSTOP)
        time.sleep(8 * POLL_SECONDS)
        watched.processes["raylet"].send_signal(signal.SIGCONT)
        time.sleep(4 * POLL_SECONDS)
    assert watched.lost == []
