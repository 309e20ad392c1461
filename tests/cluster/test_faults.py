"""Searches on a cluster with faults stay exact. `benchmarks.cluster` is the long form, with the loss of nodes."""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.local.ports import free_port
from cluster.local.watch import Watch
from lkca_search.records.record import Record, read_replicates
from tests.support.chaos.cluster_faults import lose_mlflow_then_space, lose_the_head, small_disk
from tests.support.chaos.submitted_search import TOKEN, Rehearsal, SubmittedSearch, most_at_once, rehearsal
from tests.support.cluster.submitter import Submitter
from tests.support.postgres import running_postgres
from tests.support.processes import WAIT_SECONDS

NODES = ({"num_cpus": 3, "num_gpus": 2}, {"num_cpus": 1, "num_gpus": 1})
"""Declared resources of the head and the other node: room for three trials at half a GPU, and for one."""
TRIALS_PER_CELL = 2
LONGER = "training.steps=600"
"""Trials must be long enough to overlap on all GPUs, and to be hit by a fault."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("rehearsal"), nodes=NODES) as running:
        yield running


@pytest.fixture(scope="module")
def packed(rehearsed: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> SubmittedSearch:
    """Return a search that ran without faults, with its confirmation."""
    root = tmp_path_factory.mktemp("packed")
    overrides = [LONGER, "confirm.draws=1", "confirm.seeds=1"]
    search = SubmittedSearch(rehearsed, root, name="packed", trials_per_cell=TRIALS_PER_CELL, overrides=overrides)
    search.finish()
    assert TOKEN not in search.printed()
    return search


@pytest.fixture(scope="module")
def undisturbed(packed: SubmittedSearch) -> Mapping[str, Record]:
    return packed.records()


def test_a_search_without_faults_is_exact(packed: SubmittedSearch) -> None:
    assert packed.broken() == []
    replicates = read_replicates(packed.folder)
    assert len(replicates) == 4
    assert all(record.test for record in replicates)


def test_both_nodes_train_and_no_gpu_exceeds_its_shares(packed: SubmittedSearch) -> None:
    overall, on_each = most_at_once(packed.events())
    assert overall == 4, "what fits on both nodes"
    assert set(on_each) == {("node-1", "0"), ("node-1", "1"), ("node-2", "0")}
    assert max(on_each.values()) == 2, "two trials per GPU at half a GPU each"


def test_a_cluster_with_a_token_accepts_only_requests_with_that_token(
    rehearsed: Rehearsal, packed: SubmittedSearch, tmp_path: Path
) -> None:
    """All searches of this file are submitted with the token in RAY_AUTH_TOKEN."""
    submitter = Submitter(tmp_path / "user")
    wrong = submitter.root / "wrong"
    wrong.write_text("0" * 64)
    address = ("--address", rehearsed.cluster.dashboard)
    for variables in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "HOME": str(submitter.root)},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(wrong)},
    ):
        answer = submitter.call("submit", str(submitter.space), "--home", str(submitter.home), *address, **variables)
        assert answer.code == 2, answer.out + answer.err
        assert "requires its token" in answer.err
        assert "RAY_AUTH_TOKEN" in answer.err
        assert "Traceback" not in answer.err
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(rehearsed.cluster.token_path)}
    answer = submitter.call("status", "packed", *address, **token)
    assert answer.code == 0, answer.out + answer.err
    assert TOKEN not in answer.out + answer.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_nothing_is_lost_when_mlflow_is_down_and_the_disk_is_full(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    with small_disk() as disk:
        search = SubmittedSearch(
            rehearsed,
            tmp_path,
            name="faults",
            home=disk / "home",
            trials_per_cell=TRIALS_PER_CELL,
            overrides=[LONGER],
            undisturbed=undisturbed,
        )
        description = lose_mlflow_then_space(rehearsed, search)
        assert search.broken() == [], description


def test_nothing_is_lost_with_the_head_and_its_disk_if_ledger_and_storage_are_elsewhere(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    with running_postgres(Path("/tmp") / f"lkca-pg-{os.getpid()}-faults", free_port()) as postgres:
        search = SubmittedSearch(
            rehearsed,
            tmp_path,
            name="elsewhere",
            trials_per_cell=TRIALS_PER_CELL,
            overrides=[LONGER, f"storage=file://{tmp_path / 'shared'}"],
            options=["--ledger", postgres.url],
            undisturbed=undisturbed,
        )
        lose_the_head(rehearsed, search)
        assert search.broken() == []


def test_a_test_cluster_replaces_a_lost_node_and_its_mlflow_server_and_ends_with_its_head(
    rehearsed: Rehearsal, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Last test, since it ends the cluster."""
    cluster, server = rehearsed.cluster, rehearsed.server
    head, other = cluster.nodes
    watch = Watch(cluster, server, tmp_path, num_cpus=1, num_gpus=1, restart_seconds=0)
    printed = ""

    def wait_for(line: str) -> None:
        nonlocal printed
        deadline = time.monotonic() + WAIT_SECONDS
        while line not in printed:
            assert time.monotonic() < deadline, printed
            time.sleep(0.2)
            printed += capfd.readouterr().out

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(watch.run)
        os.kill(other.pid, signal.SIGKILL)
        wait_for("node-3 has joined, process ")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_for("The MLflow server runs again, process ")
        assert urllib.request.urlopen(f"{server.uri}/health", timeout=30).status == 200
        os.kill(head.pid, signal.SIGKILL)
        running.result(timeout=60)
    wait_for("node-1, the head, was lost with all jobs")
    assert f"node-2 was lost (log: {tmp_path}/node-2.log). Its trials resume on other nodes." in printed
    assert "The MLflow server was lost. Trials continue" in printed
    assert "state-dump" not in printed
    assert (tmp_path / "node-1.log").exists()
