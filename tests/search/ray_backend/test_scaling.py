"""Searches on clusters with an autoscaler: trials wait for nodes, impossible requests are refused."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.ray_backend.runner import run_trials
from lkca_search.search.ray_backend.session import RaySession
from lkca_search.search.state.lease import hold_lease
from lkca_search.spec.resources import ResourcesSection
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs
from tests.support.search.autoscaling import ScalingCluster
from tests.support.search.toy import DIGITS, make_spec

pytestmark = pytest.mark.slow

Search = Callable[..., list[str]]


@pytest.fixture(scope="module", params=[False, True], ids=["autoscaler v1", "autoscaler v2"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScalingCluster]:
    cluster = ScalingCluster(tmp_path_factory.mktemp("s"), v2=request.param)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def search(cluster: ScalingCluster, folder: SearchFolder) -> Search:
    """Return a function that runs a search with a section `resources` and returns the lines printed for the user."""

    def search(**section: Any) -> list[str]:
        spec = make_spec().model_copy(update={"resources": ResourcesSection.model_validate(section)})
        notices: list[str] = []
        data_dirs = DataDirs(cache=folder.root / "datasets", data_dir=None)
        with hold_lease(folder) as lease:
            ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), driver=lease.driver, ensure_lease=lease.ensure)
            stop_controller = StopController(lease, halt=ledger.halt, notify=notices.append)
            with RaySession(address=cluster.address, notify=notices.append) as session:
                run_trials(ledger, data_dirs, stop_controller, session)
        return notices

    return search


def test_a_request_that_no_new_node_can_run_is_refused(search: Search, folder: SearchFolder) -> None:
    begun = time.monotonic()
    with pytest.raises(
        SearchError, match=r"got {cpu: 8} per trial, .* and the cluster's autoscaler starts none that is larger$"
    ):
        search(cpu=8)
    assert time.monotonic() - begun < 60
    assert read_records(folder) == []


def test_a_search_waits_for_the_node_that_the_autoscaler_starts(search: Search, folder: SearchFolder) -> None:
    notices = search(gpu=0.5, max_concurrent=3)
    assert notices[0] == "no node has capacity for a trial: requesting one from the cluster's autoscaler"
    assert [line.partition(":")[0] for line in notices[1:] if not line.startswith("nodes with capacity: ")] in (
        ["no node has capacity for a trial, which requests {cpu", "nodes have capacity again"],
        [],  # the node was there before the first trial
    )
    assert [record.state for record in read_records(folder)] == [State.COMPLETE] * 6
