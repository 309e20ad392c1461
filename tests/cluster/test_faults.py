"""Searches on a cluster that loses its parts stay exact; benchmarks/cluster.py is the long form, with nodes too."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cluster.local.ports import free_port
from lkca_search.records.record import Record, read_replicates
from tests.support.chaos.cluster_faults import (
    Fault,
    fill_the_storage_once,
    lose_mlflow_for_a_while,
    lose_the_driver,
    lose_the_head,
    small_disk,
)
from tests.support.chaos.submitted_search import Rehearsal, SubmittedSearch, most_at_once, rehearsal
from tests.support.postgres import running_postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # whole searches, on machines that may be busy


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("rehearsal")) as running:
        yield running


@pytest.fixture(scope="module")
def alone(rehearsed: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> SubmittedSearch:
    """A search that nothing happened to."""
    search = SubmittedSearch(rehearsed, tmp_path_factory.mktemp("alone"), name="alone")
    search.finish()
    return search


@pytest.fixture(scope="module")
def undisturbed(alone: SubmittedSearch) -> Mapping[str, Record]:
    return alone.records()


def test_both_nodes_train_and_confirm_and_no_gpu_has_more_trials_than_shares(
    rehearsed: Rehearsal, tmp_path: Path
) -> None:
    overrides = ["training.steps=900", "confirm.draws=2", "confirm.seeds=1"]
    search = SubmittedSearch(rehearsed, tmp_path, name="packed", overrides=overrides)
    search.finish()
    assert search.broken() == []
    replicates = read_replicates(search.folder)
    assert len(replicates) == 4 * 2
    assert all(record.test for record in replicates)
    in_all, on_each = most_at_once(search.events())
    assert 4 < in_all <= 8, "more than one node's, and no more than both have room for"
    assert set(on_each) == {(node, gpu) for node in ("node-1", "node-2") for gpu in "01"}
    assert max(on_each.values()) == 2, "half a GPU is two to a GPU"


def test_a_search_left_alone_keeps_every_promise(alone: SubmittedSearch) -> None:
    assert alone.broken() == []


@pytest.mark.parametrize("fault", [lose_the_driver, lose_mlflow_for_a_while])
def test_nothing_is_lost_with_the_driver_or_mlflow(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path, fault: Fault
) -> None:
    search = SubmittedSearch(rehearsed, tmp_path, name=fault.__name__, undisturbed=undisturbed)
    said = fault(rehearsed, search)
    assert search.broken() == [], said


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is root's to make")
def test_nothing_is_lost_where_the_storage_was_full_for_a_while(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    with small_disk() as disk:
        search = SubmittedSearch(rehearsed, tmp_path, name="full", home=disk / "home", undisturbed=undisturbed)
        fill_the_storage_once(rehearsed, search)
        assert search.broken() == []


def test_nothing_is_lost_with_the_head_and_its_disk_where_ledger_and_trials_are_elsewhere(
    rehearsed: Rehearsal, undisturbed: Mapping[str, Record], tmp_path: Path
) -> None:
    with running_postgres(Path("/tmp") / f"lkca-pg-{os.getpid()}-faults", free_port()) as postgres:
        search = SubmittedSearch(
            rehearsed,
            tmp_path,
            name="elsewhere",
            overrides=[f"storage=file://{tmp_path / 'shared'}"],
            options=["--ledger", postgres.url],
            undisturbed=undisturbed,
        )
        lose_the_head(rehearsed, search)
        assert search.broken() == []
