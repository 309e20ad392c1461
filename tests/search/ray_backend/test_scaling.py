"""Where a cluster scales by itself, trials wait for the nodes it starts; what none of these could run is refused."""

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
from lkca_search.search.state.lease import hold_lease
from lkca_search.spec.resources import ResourcesSection
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs
from tests.support.search.autoscaling import ScalingCluster
from tests.support.search.toy import DIGITS, make_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Search = Callable[..., list[str]]


@pytest.fixture(scope="module", params=[False, True], ids=["first autoscaler", "second autoscaler"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScalingCluster]:
    cluster = ScalingCluster(tmp_path_factory.mktemp("s"), second=request.param)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def search(cluster: ScalingCluster, folder: SearchFolder) -> Search:
    """Run a search whose trials ask for so much; return what was said."""

    def search(**asked: Any) -> list[str]:
        spec = make_spec().model_copy(update={"resources": ResourcesSection.model_validate(asked)})
        said: list[str] = []
        data_dirs = DataDirs(cache=folder.root / "datasets", data_dir=None)
        with hold_lease(folder) as lease:
            ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), driver=lease.driver, ensure_lease=lease.ensure)
            stop_controller = StopController(lease, halt=ledger.halt, notify=said.append)
            run_trials(ledger, data_dirs, stop_controller, notify=said.append, address=cluster.address)
        return said

    return search


def test_what_no_node_that_may_come_could_run_is_refused(search: Search, folder: SearchFolder) -> None:
    begun = time.monotonic()
    with pytest.raises(
        SearchError, match=r"got {cpu: 8} per trial, .* and the cluster's autoscaler starts none that is larger$"
    ):
        search(cpu=8)
    assert time.monotonic() - begun < 60
    assert read_records(folder) == []


def test_a_search_waits_for_the_node_that_is_started_for_it(search: Search, folder: SearchFolder) -> None:
    said = search(gpu=0.5, max_concurrent=3)
    assert said[0] == "no node has room for a trial: asking the cluster's autoscaler for one"
    assert [line.partition(":")[0] for line in said[1:]] in (
        ["no node has room for a trial, which asks for {cpu", "there is room again"],
        [],  # the node was there before the first trial
    )
    assert [record.state for record in read_records(folder)] == [State.COMPLETE] * 6
