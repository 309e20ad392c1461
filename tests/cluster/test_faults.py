"""Searches on a cluster with faults stay exact. `benchmarks.cluster` is the long form, with the loss of nodes."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cluster.local.ports import free_port
from lkca_search.records.record import Record, read_replicates
from tests.support.chaos.cluster_faults import (
    fill_the_storage_once,
    lose_mlflow_then_the_driver,
    lose_the_head,
    small_disk,
)
from tests.support.chaos.submitted_search import Rehearsal, SubmittedSearch, most_at_once, rehearsal
from tests.support.postgres import running_postgres

NODE = {"num_cpus": 3, "num_gpus": 2}
"""Declared resources of each node: room for three trials at half a GPU."""
TRIALS_PER_CELL = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # whole searches, on machines that may be busy


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("rehearsal"), node=NODE) as running:
        yield running


@pytest.fixture(scope="module")
def alone(rehearsed: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> SubmittedSearch:
    """Return a search that ran without faults."""
    root = tmp_path_factory.mktemp("alone")
    search = SubmittedSearch(rehearsed, root, name="alone", trials_per_cell=TRIALS_PER_CELL)
    search.finish()
    return search


@pytest.fixture(scope="module")
def undisturbed(alone: SubmittedSearch) -> Mapping[str, Record]:
    return alone.records()


def test_both_nodes_train_and_confirm_and_no_gpu_exceeds_its_shares(rehearsed: Rehearsal, tmp_path: Path) -> None:
    overrides = ["training.steps=600", "confirm.draws=2", "confirm.seeds=1"]
    search = SubmittedSearch(rehearsed, tmp_path, name="packed", trials_per_cell=TRIALS_PER_CELL, overrides=overrides)
    search.finish()
    assert search.broken() == []
    replicates = read_replicates(search.folder)
    assert len(replicates) == 4 * 2
    assert all(record.test for record in replicates)
    overall, on_each = most_at_once(search.events())
    assert 3 < overall <= 6, "more than fit on one node, and at most what fits on both"
    assert set(on_each) == {(node, gpu) for node in ("node-1", "node-2") for gpu in "01"}
    assert max(on_each.values()) == 2, "two trials per GPU at half a GPU each"


def test_a_search_without_faults_is_exact(alone: SubmittedSearch) -> None:
    assert alone.broken() == []


def test_nothing_is_lost_when_mlflow_is_down_for_a_while_and_the_driver_is_killed(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    search = SubmittedSearch(
        rehearsed, tmp_path, name="killed", trials_per_cell=TRIALS_PER_CELL, undisturbed=undisturbed
    )
    description = lose_mlflow_then_the_driver(rehearsed, search)
    assert search.broken() == [], description


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_nothing_is_lost_when_the_disk_was_full_for_a_while(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    with small_disk() as disk:
        search = SubmittedSearch(
            rehearsed,
            tmp_path,
            name="full",
            home=disk / "home",
            trials_per_cell=TRIALS_PER_CELL,
            undisturbed=undisturbed,
        )
        fill_the_storage_once(rehearsed, search)
        assert search.broken() == []


def test_nothing_is_lost_with_the_head_and_its_disk_if_ledger_and_storage_are_elsewhere(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    with running_postgres(Path("/tmp") / f"lkca-pg-{os.getpid()}-faults", free_port()) as postgres:
        search = SubmittedSearch(
            rehearsed,
            tmp_path,
            name="elsewhere",
            trials_per_cell=TRIALS_PER_CELL,
            overrides=[f"storage=file://{tmp_path / 'shared'}"],
            options=["--ledger", postgres.url],
            undisturbed=undisturbed,
        )
        lose_the_head(rehearsed, search)
        assert search.broken() == []
