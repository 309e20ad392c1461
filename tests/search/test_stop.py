"""Early ends of a whole search, by `stop`, Ctrl-C, SIGTERM or a limit: the same command resumes it without loss."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from lkca_search.records.record import read_replicates
from lkca_search.records.rounds import read_rounds
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.space_file import read_space_file
from tests.support.search.command_line import ONE_CELL, ONE_WORKER, BackgroundCommand, SearchCommands

CELL = "family=lkca,data_fraction=0.2"
NUM_TRIALS = 8
ARGUMENTS = (*ONE_CELL, "training.steps=200", "training.reports=10", f"search.trials_per_cell={NUM_TRIALS}")
MAX_SECONDS_AT_ONCE = 30
"""Limit for an end at once: workers have 5 s, Ray a few, MLflow 5 s, and the machine may be busy."""

pytestmark = pytest.mark.timeout(1200)  # drivers one after another, on machines that may be busy


def interrupt(search: SearchCommands, driver: BackgroundCommand) -> None:
    driver.interrupt()


def interrupt_twice(search: SearchCommands, driver: BackgroundCommand) -> None:
    driver.interrupt()
    driver.wait_until(lambda: "Ctrl-C again stops now" in driver.printed())
    driver.interrupt()


ORDER = (interrupt, interrupt_twice)
"""SIGTERM ends the confirmation below. The command `stop` is tested in `test_local_cluster.py` and `test_submit.py`."""


@dataclass(frozen=True)
class EarlyEnd:
    """State of the search after one driver was ended early."""

    code: int
    output: str
    seconds: float
    """Time from the request or signal to the end of the driver."""
    survivors: list[psutil.Process]
    """Processes of the driver that still run."""
    cell: dict[str, Any]
    """The only cell in the output of `status`."""
    is_driven: bool
    run_status: str
    """Status of the parent run in MLflow."""


def end_early(search: SearchCommands, end: Callable[[SearchCommands, BackgroundCommand], None]) -> EarlyEnd:
    """Run the search until a new checkpoint appears, then end its driver."""
    earlier = set(search.folder.trials.glob("*/*/attempt-*/checkpoint-*"))
    driver = search.start_run(*ARGUMENTS)
    driver.wait_until(lambda: set(search.folder.trials.glob("*/*/attempt-*/checkpoint-*")) - earlier)
    family = psutil.Process(driver.process.pid).children(recursive=True)
    begun = time.monotonic()
    end(search, driver)
    code, output = driver.wait()
    seconds = time.monotonic() - begun
    _, survivors = psutil.wait_procs(family, timeout=30)
    status = json.loads(search.call("status", "toy", "--json"))
    (cell,) = status["cells"]
    (parent,), _ = search.runs()
    return EarlyEnd(code, output, seconds, survivors, cell, status["is_driven"], parent.info.status)


def unfinished_replicates(search: SearchCommands) -> set[str]:
    """Return the ids of the replicates that have started and not finished."""
    listing = search.folder.list_trials().replicates
    return listing.drivers.keys() - listing.records.keys()


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> SearchCommands:
    return SearchCommands(tmp_path_factory.mktemp("stopped") / "home")


@pytest.fixture(scope="module")
def early_ends(search: SearchCommands) -> dict[Callable[..., None], EarlyEnd]:
    """One search whose drivers are ended one after another, each in another way."""
    return {end: end_early(search, end) for end in ORDER}


@pytest.fixture(scope="module")
def completed(search: SearchCommands, early_ends: dict[Callable[..., None], EarlyEnd]) -> str:
    """Output of `status --watch` beside the driver that completes the search."""
    driver = search.start_run(*ARGUMENTS)
    driver.wait_until(lambda: f"of {NUM_TRIALS} trials finished, running" in search.call("status", "toy"))
    watching = search.start("status", "toy", "--watch", "--every", "0.2")
    code, output = driver.wait()
    assert code == 0, output
    code, output = watching.wait()
    assert code == 0, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("end", ORDER)
def test_a_driver_that_ends_early_gives_the_reason_and_leaves_no_process(
    early_ends: dict[Callable[..., None], EarlyEnd], end: Callable[..., None]
) -> None:
    ended = early_ends[end]
    assert ended.code == 1, ended.output
    assert "ended early: stopped by Ctrl-C" in ended.output
    assert "left. Repeat the command to resume." in ended.output
    assert not ended.survivors
    assert not ended.is_driven
    assert ended.run_status == "KILLED"


@pytest.mark.slow
def test_a_graceful_end_finishes_the_running_trials(early_ends: dict[Callable[..., None], EarlyEnd]) -> None:
    ended = early_ends[interrupt]
    assert "Ctrl-C: finishing running trials" in ended.output
    assert (ended.cell["running"], ended.cell["cut_off"]) == (0, 0)
    assert 0 < ended.cell["complete"] < NUM_TRIALS


@pytest.mark.slow
def test_an_immediate_stop_abandons_the_running_trials(early_ends: dict[Callable[..., None], EarlyEnd]) -> None:
    ended = early_ends[interrupt_twice]
    assert "Ctrl-C: stopping now" in ended.output
    assert ended.seconds < MAX_SECONDS_AT_ONCE
    assert ended.cell["running"] == 0
    assert ended.cell["cut_off"] > 0


@pytest.mark.slow
def test_the_same_command_completes_the_search_from_the_checkpoints(search: SearchCommands, completed: str) -> None:
    search.assert_exact(trials_per_cell=NUM_TRIALS, cells=[CELL])
    assert max(record.attempt for record in search.records()) > 1


@pytest.mark.slow
def test_status_can_be_watched_until_the_driver_ends(completed: str) -> None:
    assert f"search toy: {NUM_TRIALS} of {NUM_TRIALS} trials finished, not running" in completed
    assert completed.count("trials finished, running") > 1


@pytest.mark.slow
def test_a_confirmation_can_be_ended_and_resumed_like_a_search(search: SearchCommands, completed: str) -> None:
    confirm = ("confirm", "toy", "--draws", "2", "--seeds", "2", *ONE_WORKER)
    driver = search.start(*confirm)
    driver.wait_until(lambda: read_replicates(search.folder) and unfinished_replicates(search))
    driver.process.send_signal(signal.SIGTERM)
    code, output = driver.wait()
    assert code == 1, output
    assert "SIGTERM: stopping now" in output
    finished, interrupted = read_replicates(search.folder), unfinished_replicates(search)
    assert 0 < len(finished) < 4
    assert f"{4 - len(finished)} replicates left. Repeat the command to resume." in output
    code, output = search.start(*confirm).wait()
    assert code == 0, output
    assert len(interrupted) <= 1, "one worker trains one at a time; it may have ended with the driver"
    assert ("resuming 1 interrupted replicate\n" in output) == bool(interrupted)
    (sealed,) = read_rounds(search.folder)
    replicates = read_replicates(search.folder)
    assert {record.trial_id for record in replicates} == {found.replicate_id for _, found in sealed.replications()}
    assert [record.state for record in replicates] == ["COMPLETE"] * 4
    assert [record for record in replicates if record in finished] == finished, "finished replicates stay as they were"


@pytest.mark.slow
def test_fail_fast_ends_at_the_first_failure(tmp_path: Path) -> None:
    """`test_duplicates_and_limits.py` counts the failures of earlier drivers."""
    search = SearchCommands(tmp_path / "home")
    arguments = (*ONE_CELL, "parameters.learning_rate={value: 1.0e+30}", "search.trials_per_cell=8")
    code, output = search.start_run(*arguments, "--fail-fast").wait()
    assert code == 1
    assert "ended early: limits.max_failures:" in output
    assert 0 < len(search.records()) < 8


def test_ctrl_c_ends_a_watch_with_code_0_and_only_stop_is_a_request_to_the_driver(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    commit_space_file(search.folder, read_space_file(search.space))
    with hold_lease(search.folder) as lease:
        watching = search.start("status", "toy", "--watch", "--every", "0.2")
        watching.wait_until(lambda: watching.printed().count("0 of 8 trials finished, running") > 1)
        watching.interrupt()
        assert watching.wait()[0] == 0
        assert lease.stop_request is None
        assert "search toy is stopping" in search.call("stop", "toy", "--now", "--no-wait")
