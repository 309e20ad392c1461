"""The script for Slurm, as it stands: real raylets and a real search, on nodes that are all this machine."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.submitter import SPACE  # puts the tests of searches on the path
from tests.support.slurm.allocation import SCRIPT, Allocation, address, ended, near_limit, wait_for
from tests.support.slurm.rounds import Looks, Round, finish, look

FIRST_PORT = 11000 + 72 * 10
"""Where job 72 begins to look for ports."""

BOTH_NODES_BEGIN_SECONDS = 15
"""For so long no trial ends, so that the next ones go to the other node and not to the first worker that is free."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_script_has_no_fault_that_bash_or_shellcheck_can_see() -> None:
    for checker in (["bash", "-n"], [str(Path(sys.executable).parent / "shellcheck"), "--shell=bash"]):
        done = subprocess.run([*checker, str(SCRIPT)], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What is refused before anything is started


@pytest.fixture(scope="module")
def idle() -> Iterator[Allocation]:
    with Allocation() as allocation:
        yield allocation


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LKCA_SEARCH_HOME": "runs"}, "LKCA_SEARCH_HOME must be an absolute path that every node shares, got 'runs'"),
        ({"LKCA_SEARCH_HOME": ""}, "LKCA_SEARCH_HOME must be an absolute path that every node shares, got ''"),
        ({"LKCA_SEARCH_HOME": "s3://runs"}, "that every node shares, got 's3://runs'"),
        ({"LKCA_SLURM_TMP": "/a/folder/of/26/characters"}, "at most 24 characters, got '/a/folder/of/26/characters'"),
        ({"LKCA_SLURM_TMP": "tmp"}, "LKCA_SLURM_TMP must be an absolute path of at most 24 characters, got 'tmp'"),
        ({"LKCA_SLURM_IDLE_ROUNDS": "0"}, "LKCA_SLURM_IDLE_ROUNDS must be a whole number above 0, got '0'"),
        ({"LKCA_SLURM_JOIN_SECONDS": "5m"}, "LKCA_SLURM_JOIN_SECONDS must be a whole number above 0, got '5m'"),
        ({"LKCA_SLURM_STOP_SECONDS": "-1"}, "LKCA_SLURM_STOP_SECONDS must be a whole number above 0, got '-1'"),
        ({"LKCA_SLURM_MODULES": "cuda missing"}, "LKCA_SLURM_MODULES names what cannot be loaded: 'cuda missing'"),
        ({"LKCA_SLURM_VENV": "/no"}, "LKCA_SLURM_VENV must be an environment with lkca-search and ray, got '/no'"),
        ({"SLURM_JOB_ID": ""}, "this is for sbatch: sbatch cluster/slurm/search.sbatch SPACE"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_with_its_rule_and_value_before_a_step_is_run(
    idle: Allocation, variables: dict[str, str], said: str
) -> None:
    bare = {"PATH": f"{idle.root / 'bin'}:/usr/bin:/bin"} if "LKCA_SLURM_VENV" in variables else {}
    assert_refused(idle, [str(idle.space)], variables | bare, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the first argument must be a space file, got ''"),
        (["--name", "toy"], "the first argument must be a space file, got '--name'"),
        (["absent.yaml"], "the first argument must be a space file, got 'absent.yaml'"),
        (["SPACE", "--address", "auto"], "--address is that of the job's own cluster; leave out '--address'"),
        (["SPACE", "--name", "toy", "--address=auto"], "leave out '--address=auto'"),
    ],
)
def test_an_argument_that_is_wrong_is_refused_with_its_rule_and_value_before_a_step_is_run(
    idle: Allocation, arguments: list[str], said: str
) -> None:
    assert_refused(idle, [str(idle.space) if one == "SPACE" else one for one in arguments], {}, said)


def assert_refused(idle: Allocation, arguments: list[str], variables: dict[str, str], said: str) -> None:
    code, printed = ended(idle.start_with(arguments, job_id=60, variables=variables))
    assert code == 2
    assert said in printed
    assert idle.written("steps") == idle.written("requeued") == []
    assert list(idle.home.iterdir()) == []


def test_a_network_that_no_node_is_on_is_an_error_before_ray_is_started() -> None:
    with Allocation() as allocation:
        code, printed = ended(allocation.start(61, LKCA_SLURM_NETWORK="10.1."))
        assert code == 1
        assert "node n1 has no IPv4 address that begins with '10.1.' (LKCA_SLURM_NETWORK)" in printed
        assert allocation.written("steps") == ["n1 hostname -I"]
        allocation.assert_nothing_is_left()


# One search, in a job that its time limit ends and that runs again


@pytest.fixture(scope="module")
def search() -> Iterator[Allocation]:
    with Allocation() as allocation:
        yield allocation


@pytest.fixture(scope="module")
def cut_off(search: Allocation) -> Round:
    """Job 72, told of its time limit when some trials were finished; a port it would take is taken."""
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
def looks() -> list[Looks]:
    """What was seen of job 72 in its second run."""
    return []


@pytest.fixture(scope="module")
def requeued(search: Allocation, cut_off: Round, looks: list[Looks]) -> Round:
    """Job 72 again, to the end of the search."""
    since = len(search.events())
    search.slow_down(BOTH_NODES_BEGIN_SECONDS)
    job = search.start(72, "search.trials_per_cell=3")
    wait_for(job, lambda: len({event["node"] for event in search.events()[since:]}) == 2)
    search.slow_down(0)
    looks.append(look(search, job, job_id=72))
    return finish(search, job, since=since)


def test_a_job_that_its_limit_cut_off_ends_in_good_order_and_goes_back_into_the_queue_once(cut_off: Round) -> None:
    assert cut_off.requeued == ["72"]
    assert "SIGTERM: stopping at once; what runs goes on from its checkpoint another time" in cut_off.printed
    assert 0 < len(cut_off.records) < 12
    assert f"{len(cut_off.records)} trials are finished, {12 - len(cut_off.records)} are left" in cut_off.printed


def test_a_requeued_job_finishes_the_search_on_all_nodes_and_trains_no_finished_trial_again(
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


def test_a_job_that_has_ended_leaves_no_process_no_token_and_nothing_on_the_nodes(
    search: Allocation, requeued: Round
) -> None:
    search.assert_nothing_is_left()


def test_a_port_that_is_taken_is_passed_over(cut_off: Round) -> None:
    assert FIRST_PORT < int(address(cut_off.printed).rpartition(":")[2]) < FIRST_PORT + 10


def test_modules_are_loaded(search: Allocation, cut_off: Round) -> None:
    assert search.written("modules") == ["load python/3.11 cuda"]


def test_a_cluster_answers_to_its_token_alone(requeued: Round, looks: list[Looks]) -> None:
    asked = looks[0].asked
    assert (asked["right"].code, asked["right"].out) == (0, "n1 n2\n"), asked["right"].err
    for name in ("wrong", "none"):
        assert (asked[name].code, asked[name].out) == (1, "")
        assert "InvalidAuthToken" in asked[name].err, asked[name].err


def test_the_token_stands_in_no_command_line_and_in_no_file_but_its_own_which_others_cannot_read(
    cut_off: Round, requeued: Round, looks: list[Looks]
) -> None:
    seen = looks[0]
    assert len(seen.token) == 64
    assert seen.modes == [0o600, 0o700]
    assert len([line for line in seen.command_lines if "raylet" in line]) >= 2
    assert not [line for line in seen.command_lines if seen.token in line]
    assert [path.name for path in seen.files_with_token] == ["token"]
    assert seen.token not in cut_off.printed + requeued.printed


def test_a_node_that_is_lost_takes_no_trial_with_it_and_a_cancelled_job_is_gone_for_good() -> None:
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
        assert "TERM: the job is to end" in printed
        assert allocation.written("requeued") == []
        shutil.rmtree(allocation.temporary / "lk-73" / "1")  # the disk of the node that was lost
        (allocation.temporary / "lk-73").rmdir()
        allocation.assert_nothing_is_left()


# Jobs that come to nothing


def test_a_job_that_its_limit_ended_is_not_requeued_after_two_rounds_without_a_finished_trial() -> None:
    with Allocation() as allocation:
        job = allocation.start(71)
        wait_for(job, lambda: "Ray starts at" in job.printed())  # its nodes have not joined
        near_limit(job)
        first = finish(allocation, job, since=0)
        assert "USR1: the time limit is near" in first.printed
        assert "job 71 goes back into the queue" in first.printed
        assert first.requeued == ["71"]
        allocation.slow_down(600)
        job = allocation.start(71)
        wait_for(job, lambda: len(allocation.events()) == 4)
        near_limit(job)
        second = finish(allocation, job, since=0)
        assert second.code == 1
        assert "0 trials are finished, 8 are left" in second.printed
        assert "no trial was finished in 2 rounds (LKCA_SLURM_IDLE_ROUNDS)" in second.printed
        assert second.requeued == ["71"]
        allocation.assert_nothing_is_left()


def test_a_mistake_in_the_space_file_ends_the_job_with_code_2_and_the_line_even_on_one_node() -> None:
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
    ("fault", "variables", "said"),
    [
        ("silent", {"LKCA_SLURM_JOIN_SECONDS": "45"}, ["not joined in 45 s (LKCA_SLURM_JOIN_SECONDS): n2\n"]),
        ("refuses", {}, ["srun: error: Unable to create step: n2 is drained", "Ray ended on node n2 before all nodes"]),
    ],
)
def test_a_node_that_does_not_join_is_named_and_everything_is_cleaned_up(
    fault: str, variables: dict[str, str], said: list[str]
) -> None:
    with Allocation(n2=fault) as allocation:
        code, printed = ended(allocation.start(82, **variables))
        assert code == 1
        for line in said:
            assert line in printed
        assert allocation.written("requeued") == []
        allocation.assert_nothing_is_left()


def test_a_site_that_forbids_requeues_is_told_what_goes_on() -> None:
    with Allocation() as allocation:
        job = allocation.start(83, nodes="n1", FAKE_SLURM_NO_REQUEUE="1")
        wait_for(job, lambda: "Ray starts at" in job.printed())
        near_limit(job)
        code, printed = ended(job)
        assert code == 1
        assert "job 83 cannot be requeued here: the same sbatch goes on" in printed
        allocation.assert_nothing_is_left()
