"""Ending a search early: by a request, Ctrl-C, SIGTERM or a limit; the same command goes on, and nothing is lost."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import read_replicates
from lkca_search.records.rounds import read_rounds
from lkca_search.search.driver.stopping import StopController, request_stop, restored_signals, wait_until_stopped
from lkca_search.search.state.lease import DEFAULT_TIMING, Lease, hold_lease
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.space_file import read_space_file
from tests.support.search.command_line import BackgroundCommand, SearchCommands

CELL = "family=lkca,data_fraction=0.2"
ONE_CELL = ("factors.family=[lkca]", "factors.data_fraction=[0.2]", "~parameters.num_heads")
SECONDS_AT_ONCE = 30
"""To end at once, workers get five seconds, Ray some, MLflow five; and the machine may be busy."""

pytestmark = pytest.mark.timeout(600)  # whole searches, on machines that may be busy


# The brake alone


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Braking:
    """A brake, and what it did."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.halted: list[str] = []
        self.said: list[str] = []
        self.stop_controller = StopController(lease, halt=self.halted.append, notify=self.said.append)


@pytest.fixture
def braking(folder: SearchFolder) -> Iterator[Braking]:
    with hold_lease(folder) as lease:
        yield Braking(lease)


def test_a_brake_that_nobody_pulls_does_nothing(braking: Braking) -> None:
    assert not braking.stop_controller.check()
    assert braking.halted == braking.said == []


@pytest.mark.parametrize(
    ("signals", "stops_now", "by"),
    [
        ([signal.SIGINT], [False], "Ctrl-C"),
        ([signal.SIGINT, signal.SIGINT], [False, True], "Ctrl-C"),
        ([signal.SIGTERM], [True], "SIGTERM"),
        ([signal.SIGINT, signal.SIGTERM], [False, True], "Ctrl-C"),
    ],
)
def test_ctrl_c_finishes_what_runs_and_a_second_one_or_sigterm_abandons_it(
    braking: Braking, signals: list[signal.Signals], stops_now: list[bool], by: str
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with restored_signals():
        braking.stop_controller.install_signal_handlers()
        for number, expected in zip(signals, stops_now, strict=True):
            os.kill(os.getpid(), number)
            assert [braking.stop_controller.check(), braking.stop_controller.check()] == [expected, expected]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert braking.halted[0] == f"stopped by {by}"
    assert len(braking.said) == len(signals)


def test_a_request_is_said_once_and_may_become_more_urgent(braking: Braking, folder: SearchFolder) -> None:
    for now, heard in ((False, "later"), (True, "now"), (False, "later")):
        request_stop(folder, now=now)
        wait_for(lambda heard=heard: braking.lease.stop_request == heard)
        assert [braking.stop_controller.check() for _ in range(3)] == [now or braking.stop_controller.stops_now] * 3
    assert braking.stop_controller.stops_now
    assert set(braking.halted) == {"stopped by `stop`"}
    assert len(braking.said) == 2


def test_a_brake_in_another_thread_leaves_the_signals_alone(braking: Braking) -> None:
    failures: list[BaseException] = []

    def drive() -> None:
        try:
            with restored_signals():
                braking.stop_controller.install_signal_handlers()
        except BaseException as error:
            failures.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert not failures
    assert signal.getsignal(signal.SIGINT) is before


def test_a_request_stops_no_driver_but_the_one_it_was_made_of(folder: SearchFolder) -> None:
    with hold_lease(folder) as first:
        request_stop(folder, now=True)
        wait_for(lambda: first.stop_request == "now")
    with hold_lease(folder) as second:
        time.sleep(2.5 * DEFAULT_TIMING.heartbeat_seconds)
        assert second.stop_request is None


def test_only_a_driver_can_be_asked_to_end(folder: SearchFolder) -> None:
    with pytest.raises(SearchError, match="search 'toy' is not running"):
        request_stop(folder, now=True)
    assert not list(folder.root.iterdir())


def test_who_waits_for_the_end_waits_while_the_driver_is_alive(folder: SearchFolder) -> None:
    with hold_lease(folder):
        driver = request_stop(folder, now=False)
        waiting = threading.Thread(target=wait_until_stopped, args=(folder, driver))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()


# The whole search


def stop(searching: SearchCommands, driver: BackgroundCommand) -> None:
    del driver
    status = json.loads(searching.call("stop", "toy", "--json"))
    assert status["is_driven"] is False


def stop_without_waiting(searching: SearchCommands, driver: BackgroundCommand) -> None:
    assert "search toy is stopping" in searching.call("stop", "toy", "--now", "--no-wait")


def interrupt(searching: SearchCommands, driver: BackgroundCommand) -> None:
    driver.interrupt()


def interrupt_twice(searching: SearchCommands, driver: BackgroundCommand) -> None:
    driver.interrupt()
    driver.wait_until(lambda: "finishing what runs; Ctrl-C again stops at once" in driver.printed())
    driver.interrupt()


def terminate(searching: SearchCommands, driver: BackgroundCommand) -> None:
    driver.process.send_signal(signal.SIGTERM)


def cell_of(searching: SearchCommands) -> dict[str, Any]:
    status = json.loads(searching.call("status", "toy", "--json"))
    assert status["is_driven"] is False
    (cell,) = status["cells"]
    assert isinstance(cell, dict)
    return cell


def assert_nothing_is_left_running(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize(("end", "by"), [(stop, "`stop`"), (interrupt, "Ctrl-C")])
def test_a_graceful_end_finishes_what_runs_and_the_same_command_goes_on(
    tmp_path: Path, end: Callable[[SearchCommands, BackgroundCommand], None], by: str
) -> None:
    searching = SearchCommands(tmp_path / "home")
    arguments = (*ONE_CELL, "training.steps=300", "training.reports=10", "search.trials_per_cell=6")
    driver = searching.start_run(*arguments)
    driver.wait_until(lambda: list(searching.folder.trials.glob("*/*/attempt-*/checkpoint-*")))
    family = psutil.Process(driver.process.pid).children(recursive=True)
    end(searching, driver)
    code, output = driver.wait()
    assert code == 1, output
    assert f"{by}: finishing what runs" in output
    assert f"ended early: stopped by {by}" in output
    assert "left. Repeat the command to resume." in output
    assert_nothing_is_left_running(family)
    cell = cell_of(searching)
    assert (cell["running"], cell["cut_off"]) == (0, 0)
    assert 0 < cell["complete"] < 6
    assert [run.info.status for run in searching.runs()[0]] == ["KILLED"]
    searching.run(*arguments)
    searching.assert_exact(trials_per_cell=6, cells=[CELL])
    assert {record.attempt for record in searching.records()} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "by"), [(stop_without_waiting, "`stop`"), (interrupt_twice, "Ctrl-C"), (terminate, "SIGTERM")]
)
def test_an_end_at_once_abandons_what_runs_and_the_same_command_goes_on_from_its_checkpoints(
    tmp_path: Path, end: Callable[[SearchCommands, BackgroundCommand], None], by: str
) -> None:
    searching = SearchCommands(tmp_path / "home")
    arguments = (*ONE_CELL, "training.steps=1500", "training.reports=150", "search.trials_per_cell=2")
    driver = searching.start_run(*arguments)
    driver.wait_until(lambda: list(searching.folder.trials.glob("*/*/attempt-*/checkpoint-*")))
    family = psutil.Process(driver.process.pid).children(recursive=True)
    begun = time.monotonic()
    end(searching, driver)
    code, output = driver.wait()
    assert code == 1, output
    assert time.monotonic() - begun < SECONDS_AT_ONCE
    assert f"{by}: stopping at once" in output
    assert f"ended early: stopped by {by}" in output
    assert_nothing_is_left_running(family)
    cell = cell_of(searching)
    assert (cell["complete"], cell["running"]) == (0, 0)
    assert cell["cut_off"] > 0
    assert [run.info.status for run in searching.runs()[0]] == ["KILLED"]
    searching.run(*arguments)
    searching.assert_exact(trials_per_cell=2, cells=[CELL])
    assert max(record.attempt for record in searching.records()) == 2


@pytest.mark.slow
def test_a_confirmation_is_ended_as_a_search_is_and_the_same_command_goes_on(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    searching.run(*ONE_CELL, "search.trials_per_cell=1", "training.steps=300", "training.reports=10")
    confirm = ("confirm", "toy", "--draws", "6", "--seeds", "2", "--num-cpus", "2")
    driver = searching.start(*confirm)
    driver.wait_until(lambda: read_replicates(searching.folder))
    stop(searching, driver)
    code, output = driver.wait()
    assert code == 1, output
    assert "`stop`: finishing what runs" in output
    finished = read_replicates(searching.folder)
    assert 0 < len(finished) < 12
    assert f"{12 - len(finished)} replicates left. Repeat the command to resume." in output
    searching.call(*confirm)
    (sealed,) = read_rounds(searching.folder)
    replicates = read_replicates(searching.folder)
    assert {record.trial_id for record in replicates} == {found.replicate_id for _, found in sealed.replications()}
    assert [record.state for record in replicates] == ["COMPLETE"] * 12
    assert [record for record in replicates if record in finished] == finished, "what was finished is as it was"


@pytest.mark.slow
def test_the_first_failure_ends_a_fail_fast_run_and_the_next_one_does_not_even_start(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    arguments = (*ONE_CELL, "parameters.learning_rate={value: 1.0e+30}", "search.trials_per_cell=8")
    code, output = searching.start_run(*arguments, "--fail-fast").wait()
    assert code == 1
    assert "ended early: limits.max_failures:" in output
    failed = len(searching.records())
    assert 0 < failed < 8
    code, output = searching.start_run(*arguments, "--max-failures", str(failed - 1)).wait()
    assert code == 1
    assert f"limits.max_failures: {failed} have failed, {failed - 1} may" in output
    assert len(searching.records()) == failed


@pytest.mark.slow
def test_status_can_be_watched_until_the_driver_ends(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    driver = searching.start_run(*ONE_CELL, "search.trials_per_cell=3", "training.steps=200", "training.reports=10")
    driver.wait_until(lambda: list(searching.folder.trials.glob("*/*/attempt-*")))
    watching = searching.start("status", "toy", "--watch", "--every", "0.2")
    assert driver.wait()[0] == 0
    code, output = watching.wait()
    assert code == 0
    assert "search toy: 3 of 3 trials finished, not running" in output
    assert output.count("trials finished, running") > 1


def test_a_watch_ends_by_ctrl_c_with_code_0_and_disturbs_no_driver(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    folder = searching.folder
    commit_space_file(folder, read_space_file(searching.space))
    with hold_lease(folder):
        watching = searching.start("status", "toy", "--watch", "--every", "0.2")
        watching.wait_until(lambda: watching.printed().count("0 of 8 trials finished, running") > 1)
        watching.interrupt()
        assert watching.wait()[0] == 0
