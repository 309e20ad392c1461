"""Searches on a local cluster of this machine that cannot start, is full, is stopped early or loses a process."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support.search.command_line import COMMAND, ONE_CELL, ONE_WORKER, SPACE, BackgroundCommand, SearchCommands

CELL = "family=lkca,data_fraction=0.2"
SHORT = (*ONE_CELL, "search.trials_per_cell=1")
MANY = (*ONE_CELL, "search.trials_per_cell=500")
"""More trials than a machine of any speed runs in a test."""
MAX_SECONDS = 60
"""Limit for the end of a driver whose disk is full or whose cluster is lost."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> SearchCommands:
    """Return a search that every test of it continues."""
    return SearchCommands(tmp_path_factory.mktemp("local") / "home")


def wait_for_attempt(search: SearchCommands, driver: BackgroundCommand) -> None:
    earlier = set(search.folder.trials.glob("*/*/attempt-*"))
    driver.wait_until(lambda: set(search.folder.trials.glob("*/*/attempt-*")) - earlier)


def assert_ended_by(driver: BackgroundCommand, begun: float, rule: str) -> None:
    """Assert that a driver ends soon, with this reason and no line of Ray."""
    code, output = driver.wait()
    assert time.monotonic() - begun < MAX_SECONDS
    assert code == 1, output
    assert rule in output
    assert "Repeat the command to resume." in output
    for foreign in ("state-dump", "(raylet)", "rpc_client", "Traceback", "waiting for a node"):
        assert foreign not in output


def test_a_search_that_no_node_can_run_is_refused_and_does_not_take_its_name(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    code, output = search.start_run(*SHORT, "resources.gpu=1").wait()
    assert code == 2, output
    assert "resources must fit on one node, got {cpu: 1, gpu: 1} per trial" in output
    assert not search.folder.root.exists()
    far = tmp_path / ("a" * 60)
    far.mkdir()
    search.environment["TMPDIR"] = str(far)  # too long for sockets of Ray
    code, output = search.start_run(*SHORT).wait()
    assert code == 0, output
    assert "TMPDIR must have at most 37 bytes" in output
    search.assert_exact(trials_per_cell=1, cells=[CELL])


@pytest.mark.parametrize(
    ("name", "number", "rule"),
    [
        ("raylet", signal.SIGSTOP, "Ray's raylet, which starts the workers on this machine, stands still"),
        ("gcs_server", signal.SIGKILL, "Ray's gcs_server, which manages the cluster on this machine, died by signal 9"),
    ],
)
def test_the_loss_of_a_local_cluster_ends_the_driver_with_the_reason(
    search: SearchCommands, name: str, number: signal.Signals, rule: str
) -> None:
    driver = search.start_run(*MANY)
    wait_for_attempt(search, driver)
    family = psutil.Process(driver.process.pid).children(recursive=True)
    (victim,) = (process for process in family if process.name() == name)
    begun = time.monotonic()
    victim.send_signal(number)
    assert_ended_by(driver, begun, rule)
    _, survivors = psutil.wait_procs(family, timeout=30)
    assert not survivors


def test_a_sigterm_to_the_process_group_ends_the_driver_soon_and_is_named(search: SearchCommands) -> None:
    driver = search.start_run(*MANY)
    wait_for_attempt(search, driver)
    begun = time.monotonic()
    os.killpg(driver.process.pid, signal.SIGTERM)
    code, output = driver.wait()
    assert time.monotonic() - begun < MAX_SECONDS
    assert code == 1, output
    assert "was ended by SIGTERM" in output or "ended early: stopped by SIGTERM" in output
    assert "dmesg" not in output
    assert "Traceback" not in output


def test_a_stop_while_the_first_worker_starts_finishes_its_trial(search: SearchCommands) -> None:
    num_finished = len(search.records())
    driver = search.start_run(*MANY)
    wait_for_attempt(search, driver)
    assert json.loads(search.call("stop", "toy", "--json"))["is_driven"] is False
    code, output = driver.wait()
    assert code == 1, output
    assert "`stop`: finishing running trials" in output
    finished = {record.trial_id for record in search.records()}
    assert len(finished) > num_finished
    assert finished == {f"{CELL}/{number}" for number in range(len(finished))}, "no trial was lost or replaced"


def test_a_stop_in_the_first_second_finds_the_search_and_nothing_is_started(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    driver = search.start_run(*SHORT)
    assert search.call("stop", "toy") == "search toy has stopped before a trial was started\n"
    code, output = driver.wait()
    assert code == 1
    assert "stopped by `stop` before a trial was started" in output
    assert not search.folder.root.exists()


@pytest.mark.parametrize("kilobytes", [300, 900])
def test_a_full_disk_ends_the_driver_with_the_reason(tmp_path: Path, kilobytes: int) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], check=False).returncode != 0:
        pytest.skip("a small disk needs a mount namespace")
    home, space = tmp_path / "home", tmp_path / "toy.yaml"
    home.mkdir()
    space.write_text(SPACE)
    on_small_disk = f'mount -t tmpfs -o size={kilobytes}k tmpfs "$LKCA_SEARCH_HOME" && exec "$@"'
    command = [unshare, "-rm", "sh", "-c", on_small_disk, "sh", *COMMAND, "run", str(space), *ONE_WORKER, *MANY]
    environment = {**os.environ, "LKCA_SEARCH_HOME": str(home)}
    begun = time.monotonic()
    driver = BackgroundCommand(command, environment, tmp_path / "log")
    code, output = driver.wait()
    assert time.monotonic() - begun < 2 * MAX_SECONDS, "with the start of the driver"
    assert code == 1, output
    assert "full" in output or "No space left on device" in output
    assert "Traceback" not in output
