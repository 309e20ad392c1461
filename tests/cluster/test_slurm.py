"""The Slurm script with real raylets and a real search; every node is this machine."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.submitter import SPACE
from tests.support.slurm.allocation import SCRIPT, Allocation, address, ended, near_limit, wait_for
from tests.support.slurm.rounds import Observation, Round, finish, observe

FIRST_PORT = 11000 + 72 * 10
"""First port that job 72 tries."""

BOTH_NODES_BEGIN_SECONDS = 15
"""Delay of each trial, so that the next trials go to the other node and not to the first free worker."""

pytestmark = pytest.mark.slow


def test_bash_and_shellcheck_find_no_fault_in_the_script() -> None:
    for checker in (["bash", "-n"], [str(Path(sys.executable).parent / "shellcheck"), "--shell=bash"]):
        done = subprocess.run([*checker, str(SCRIPT)], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Refusals before anything is started


@pytest.fixture(scope="module")
def idle() -> Iterator[Allocation]:
    with Allocation() as allocation:
        yield allocation


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LKCA_SEARCH_HOME": "runs"}, "LKCA_SEARCH_HOME must be an absolute path that every node shares, got 'runs'"),
        ({"LKCA_SEARCH_HOME": ""}, "LKCA_SEARCH_HOME must be an absolute path that every node shares, got ''"),
        ({"LKCA_SEARCH_HOME": "s3://runs"}, "that every node shares, got 's3://runs'"),
        ({"LKCA_SLURM_TMP": "/a/folder/of/26/characters"}, "at most 24 characters, got '/a/folder/of/26/characters'"),
        ({"LKCA_SLURM_TMP": "tmp"}, "LKCA_SLURM_TMP must be an absolute path of at most 24 characters, got 'tmp'"),
        ({"LKCA_SLURM_IDLE_ROUNDS": "0"}, "LKCA_SLURM_IDLE_ROUNDS must be a whole number above 0, got '0'"),
        ({"LKCA_SLURM_JOIN_SECONDS": "5m"}, "LKCA_SLURM_JOIN_SECONDS must be a whole number above 0, got '5m'"),
        ({"LKCA_SLURM_STOP_SECONDS": "-1"}, "LKCA_SLURM_STOP_SECONDS must be a whole number above 0, got '-1'"),
        ({"LKCA_SLURM_MODULES": "cuda missing"}, "must name modules that can be loaded, got 'cuda missing'"),
        ({"LKCA_SLURM_VENV": "/no"}, "LKCA_SLURM_VENV must be an environment with lkca-search and ray, got '/no'"),
        ({"SLURM_JOB_ID": ""}, "must run in a Slurm job: sbatch cluster/slurm/search.sbatch SPACE"),
    ],
)
def test_an_invalid_setting_is_refused_with_its_rule_and_value_before_any_step(
    idle: Allocation, variables: dict[str, str], expected: str
) -> None:
    bare = {"PATH": f"{idle.root / 'bin'}:/usr/bin:/bin"} if "LKCA_SLURM_VENV" in variables else {}
    assert_refused(idle, [str(idle.space)], variables | bare, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the first argument must be a space file, got ''"),
        (["--name", "toy"], "the first argument must be a space file, got '--name'"),
        (["absent.yaml"], "the first argument must be a space file, got 'absent.yaml'"),
        (
            ["SPACE", "--address", "auto"],
            "--address must be left out, since the job starts its own cluster, got '--address'",
        ),
        (["SPACE", "--name", "toy", "--address=auto"], "got '--address=auto'"),
    ],
)
def test_an_invalid_argument_is_refused_with_its_rule_and_value_before_any_step(
    idle: Allocation, arguments: list[str], expected: str
) -> None:
    assert_refused(idle, [str(idle.space) if one == "SPACE" else one for one in arguments], {}, expected)


def assert_refused(idle: Allocation, arguments: list[str], variables: dict[str, str], expected: str) -> None:
    code, printed = ended(idle.start_with(arguments, job_id=60, variables=variables))
    assert code == 2
    assert expected in printed
    assert idle.written("steps") == idle.written("requeued") == []
    assert list(idle.home.iterdir()) == []


def test_a_network_without_a_node_is_an_error_before_ray_is_started() -> None:
    with Allocation() as allocation:
        code, printed = ended(allocation.start(61, LKCA_SLURM_NETWORK="10.1."))
        assert code == 1
        assert "node n1 has no IPv4 address that begins with '10.1.' (LKCA_SLURM_NETWORK)" in printed
        assert allocation.written("steps") == ["n1 hostname -I"]
        allocation.assert_nothing_is_left()


# One search in a job that reaches its time limit and runs again


@pytest.fixture(scope="module")
def search() -> Iterator[Allocation]:
    with Allocation() as allocation:
        yield allocation


@pytest.fixture(scope="module")
def cut_off(search: Allocation) -> Round:
    """Return the first run of job 72: its time limit is near after some trials, and its first port is in use."""
    search.slow_down(2)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", FIRST_PORT))
        taken.listen()
        job = search.start(72, "search.trials_per_cell=3", LKCA_SLURM_MODULES="python/3.11 cuda")
        wait_for(job, search.records)
        near_limit(job)
        return finish(search, job, since=0)


@pytest.fixture(scope="module")
def observations() -> list[Observation]:
    """Return a list for the observation of job 72 in its second run."""
    return []


@pytest.fixture(scope="module")
def requeued(search: Allocation, cut_off: Round, observations: list[Observation]) -> Round:
    """Return the second run of job 72, which completes the search."""
    since = len(search.events())
    search.slow_down(BOTH_NODES_BEGIN_SECONDS)
    job = search.start(72, "search.trials_per_cell=3")
    wait_for(job, lambda: len({event["node"] for event in search.events()[since:]}) == 2)
    search.slow_down(0)
    observations.append(observe(search, job, job_id=72))
    return finish(search, job, since=since)


def test_a_job_at_its_time_limit_stops_cleanly_and_is_requeued_once(cut_off: Round) -> None:
    assert cut_off.requeued == ["72"]
    assert "SIGTERM: stopping now; running trials resume from their checkpoints in the next run" in cut_off.printed
    assert 0 < len(cut_off.records) < 12
    assert (
        f"{len(cut_off.records)} trials and replicates are finished, {12 - len(cut_off.records)} are left"
        in cut_off.printed
    )


def test_a_requeued_job_completes_the_search_on_all_nodes_and_repeats_no_finished_trial(
    search: Allocation, cut_off: Round, requeued: Round
) -> None:
    assert requeued.code == 0, requeued.printed
    assert "all nodes have joined: n1 n2" in requeued.printed
    assert len(requeued.records) == 12
    assert cut_off.records.items() <= requeued.records.items()
    assert len(requeued.nodes) == 12 - len(cut_off.records)
    assert len(set(requeued.nodes)) == 2
    assert {record.spec.resources.gpu for record in search.records()} == {0.5}
    assert requeued.requeued == ["72"]
    assert search.written("submitted") == []


def test_an_ended_job_leaves_no_process_no_token_and_no_file_on_the_nodes(search: Allocation, requeued: Round) -> None:
    search.assert_nothing_is_left()


def test_a_port_in_use_is_skipped(cut_off: Round) -> None:
    assert FIRST_PORT < int(address(cut_off.printed).rpartition(":")[2]) < FIRST_PORT + 10


def test_modules_are_loaded(search: Allocation, cut_off: Round) -> None:
    assert search.written("modules") == ["load python/3.11 cuda"]


def test_a_cluster_answers_only_to_its_token(requeued: Round, observations: list[Observation]) -> None:
    answers = observations[0].answers
    assert (answers["right"].code, answers["right"].out) == (0, "n1 n2\n"), answers["right"].err
    for name in ("wrong", "none"):
        assert (answers[name].code, answers[name].out) == (1, "")
        assert "InvalidAuthToken" in answers[name].err, answers[name].err


def test_the_token_is_in_no_command_line_and_only_in_a_file_that_other_users_cannot_read(
    cut_off: Round, requeued: Round, observations: list[Observation]
) -> None:
    seen = observations[0]
    assert len(seen.token) == 64
    assert seen.modes == [0o600, 0o700]
    assert len([line for line in seen.command_lines if "raylet" in line]) >= 2
    assert not [line for line in seen.command_lines if seen.token in line]
    assert [path.name for path in seen.files_with_token] == ["token"]
    assert seen.token not in cut_off.printed + requeued.printed


def test_a_lost_node_loses_no_trial_and_a_cancelled_job_is_not_requeued() -> None:
    with Allocation() as allocation:
        allocation.slow_down(BOTH_NODES_BEGIN_SECONDS)
        job = allocation.start(73, "search.trials_per_cell=30")
        wait_for(job, lambda: len({event["node"] for event in allocation.events()}) == 2)
        allocation.slow_down(1)
        allocation.kill_node("n2")
        wait_for(job, lambda: any(record.attempt > 1 for record in allocation.records()))
        assert "node n2 has left the cluster" in job.printed()
        allocation.cancel()
        begun = time.monotonic()
        code, printed = ended(job)
        assert time.monotonic() - begun < 30  # Slurm's KillWait
        assert code != 0
        assert "TERM: the job is cancelled" in printed
        assert allocation.written("requeued") == []
        shutil.rmtree(allocation.temporary / "lk-73" / "1")  # the disk of the lost node
        (allocation.temporary / "lk-73").rmdir()
        allocation.assert_nothing_is_left()


# Jobs that fail


def test_a_job_is_not_requeued_after_two_rounds_without_a_finished_trial() -> None:
    with Allocation() as allocation:
        job = allocation.start(71)
        wait_for(job, lambda: "Ray starts at" in job.printed())  # its nodes have not joined
        near_limit(job)
        first = finish(allocation, job, since=0)
        assert "USR1: the time limit is near" in first.printed
        assert "requeueing job 71" in first.printed
        assert first.requeued == ["71"]
        job = allocation.start(71)
        wait_for(job, lambda: "Ray starts at" in job.printed())
        near_limit(job)
        second = finish(allocation, job, since=0)
        assert second.code == 1
        assert "no trial and no replicate was finished in 2 rounds (LKCA_SLURM_IDLE_ROUNDS)" in second.printed
        assert second.requeued == ["71"]
        allocation.assert_nothing_is_left()


def test_an_error_in_the_space_file_ends_the_job_with_code_2_and_the_line_even_on_one_node() -> None:
    with Allocation() as allocation:
        allocation.space.write_text(SPACE.replace("sampler: tpe", "sampler: tea"))
        code, printed = ended(allocation.start(81, nodes="n1"))
        assert code == 2, printed
        assert "all nodes have joined: n1" in printed
        assert "toy.yaml:14" in printed
        assert "tea" in printed
        assert allocation.written("requeued") == []
        allocation.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("fault", "variables", "expected"),
    [
        ("silent", {"LKCA_SLURM_JOIN_SECONDS": "30"}, ["not joined in 30 s (LKCA_SLURM_JOIN_SECONDS): n2\n"]),
        ("refuses", {}, ["srun: error: Unable to create step: n2 is drained", "Ray ended on node n2 before all nodes"]),
    ],
)
def test_a_node_that_does_not_join_is_reported_and_everything_is_cleaned_up(
    fault: str, variables: dict[str, str], expected: list[str]
) -> None:
    with Allocation(n2=fault) as allocation:
        code, printed = ended(allocation.start(82, **variables))
        assert code == 1
        for line in expected:
            assert line in printed
        assert allocation.written("requeued") == []
        allocation.assert_nothing_is_left()


def test_a_site_that_forbids_requeues_gets_a_hint_how_to_continue() -> None:
    with Allocation() as allocation:
        job = allocation.start(83, nodes="n1", FAKE_SLURM_NO_REQUEUE="1")
        wait_for(job, lambda: "Ray starts at" in job.printed())
        near_limit(job)
        code, printed = ended(job)
        assert code == 1
        assert "job 83 cannot be requeued: repeat the sbatch command to resume" in printed
        allocation.assert_nothing_is_left()
