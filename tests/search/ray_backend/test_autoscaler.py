"""A Ray without the private modules of its autoscaler is a cluster without one, on which searches still run."""

import sys

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.ray_backend import autoscaler
from lkca_search.search.ray_backend.cluster import ensure_capacity
from lkca_search.search.ray_backend.runner import run_trials
from lkca_search.search.ray_backend.session import RaySession
from lkca_search.search.state.lease import hold_lease
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs
from tests.support.search.toy import DIGITS, make_spec

pytestmark = pytest.mark.timeout(300)  # starts Ray, on machines that may be busy

PRIVATE = ("ray._private.state", "ray.core.generated.autoscaler_pb2", "ray.experimental.internal_kv")


@pytest.fixture
def without_private_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every later import of these modules fail. Ray itself has imported those that it needs."""
    for name in PRIVATE:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.slow
def test_without_private_modules_there_is_no_autoscaler_and_a_search_runs_on_one_machine(
    folder: SearchFolder, without_private_modules: None
) -> None:
    data_dirs, notices = DataDirs(cache=folder.root / "datasets", data_dir=None), list[str]()
    with hold_lease(folder) as lease:
        spec = make_spec(trials_per_cell=1)
        ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), driver=lease.driver, ensure_lease=lease.ensure)
        stop_controller = StopController(lease, halt=ledger.halt, notify=print)
        with RaySession(num_cpus=1) as session:
            session.start()
            assert autoscaler.node_groups() is None
            assert not autoscaler.has_autoscaler()
            assert not autoscaler.may_start_nodes()
            assert ensure_capacity({"CPU": 1.0}, notices.append) is False
            with pytest.raises(SearchError, match=r"{cpu: 8} per trial, and the largest node has {cpu: 1, gpu: 0}"):
                ensure_capacity({"CPU": 8.0}, notices.append)
            assert notices == []
            run_trials(ledger, data_dirs, stop_controller, session)
    assert [record.state for record in read_records(folder)] == [State.COMPLETE] * 2
