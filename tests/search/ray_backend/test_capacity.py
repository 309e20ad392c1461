"""Placement of trials on nodes that join and leave. Their GPUs are declared to Ray and do not exist."""

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.node_faults import STRIKES
from lkca_search.search.driver.stopping import StopController, request_stop
from lkca_search.search.ray_backend import node_checks
from lkca_search.search.ray_backend.runner import run_trials
from lkca_search.search.ray_backend.session import RaySession
from lkca_search.search.state.lease import hold_lease
from lkca_search.spec.resources import ResourcesSection
from lkca_search.tracking.tracker import Tracker, TrialStart
from lkca_search.training.images import DataDirs
from tests.support.processes import WAIT_SECONDS
from tests.support.search.toy import DIGITS, make_spec

INJECTION = Path(__file__).parents[2] / "support" / "search" / "placed"
MEMORY = 80_000_000
"""Bytes of each node's object store, which a search does not use."""

pytestmark = pytest.mark.slow


class StartObserver(Tracker):
    """Tracker that counts trials in flight and calls a test's function at each start."""

    def __init__(self) -> None:
        self.starts: list[TrialStart] = []
        self.records: list[Record] = []
        self.in_flight: set[str] = set()
        self.most_in_flight = 0
        self.on_start: Callable[[int], None] = lambda count: None

    def trial_started(self, start: TrialStart) -> None:
        self.starts.append(start)
        self.in_flight.add(start.trial_id)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        self.on_start(len(self.starts))

    def trial_finished(self, record: Record) -> None:
        self.in_flight.discard(record.trial_id)
        self.records.append(record)


class PlacementCluster:
    """Ray cluster on this machine, with searches on it and the events of their workers."""

    def __init__(self, cluster: Cluster, events: Path) -> None:
        self.cluster = cluster
        self._events = events
        self._nodes: list[Any] = []

    def add_node(self, *, num_cpus: int, num_gpus: int = 0, **custom: float) -> Any:
        node = self.cluster.add_node(
            num_cpus=num_cpus, num_gpus=num_gpus, resources=custom or None, object_store_memory=MEMORY
        )
        self._nodes.append(node)
        return node

    def remove(self, node: Any, *, kill: bool = False) -> None:
        self._nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=not kill)

    def clear(self) -> None:
        """Remove every node except the head, which has no core."""
        for node in list(self._nodes):
            self.remove(node)
        deadline = time.monotonic() + WAIT_SECONDS
        while sum(node["Alive"] for node in self.cluster.global_state.node_table()) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def search(
        self,
        folder: SearchFolder,
        *,
        observer: StartObserver | None = None,
        rules: Mapping[str, Any] | None = None,
        halts: bool = False,
        **section: Any,
    ) -> tuple[StartObserver, list[str]]:
        """Run a search with this section `resources`; return its observer and the lines printed for the user.

        With `halts`, the search ends early, and the last line is the reason.
        """
        search = {name: section.pop(name) for name in ("trials_per_cell", "max_retries") if name in section}
        self.change_rules(rules or {})
        (self._events / "events").write_text("")
        spec = make_spec(**search).model_copy(update={"resources": ResourcesSection.model_validate(section)})
        observer, notices, begun = observer or StartObserver(), list[str](), time.time()
        data_dirs = DataDirs(cache=self._events / "datasets", data_dir=None)
        with hold_lease(folder) as lease:
            ledger = Ledger(folder, spec, DIGITS, 10, observer, driver=lease.driver, ensure_lease=lease.ensure)
            stop_controller = StopController(lease, halt=ledger.halt, notify=notices.append)
            # A search that hangs is stopped, so that the failed test can report its state.
            timer = threading.Timer(WAIT_SECONDS, request_stop, (folder,), {"now": True})
            timer.start()
            try:
                with RaySession(address=self.cluster.address, notify=notices.append) as session:
                    run_trials(ledger, data_dirs, stop_controller, session)
            finally:
                timer.cancel()
        nodes = [(node["NodeID"][:6], node["Alive"]) for node in self.cluster.global_state.node_table()]
        starts = [(event["node"][:6], round(event["time"] - begun, 1)) for event in self.events()]
        if halts:
            assert ledger.num_left
            assert ledger.halt_reason is not None
            return observer, [*notices, ledger.halt_reason]
        assert ledger.num_left == 0, (
            f"stopped: {notices}, in flight {sorted(observer.in_flight)}, nodes {nodes}, starts {starts}"
        )
        return observer, notices

    def change_rules(self, rules: Mapping[str, Any]) -> None:
        """Set the rules of trials that begin from now on."""
        (self._events / "rules.json").write_text(json.dumps(rules))

    def events(self) -> list[dict[str, Any]]:
        """Return the events that workers wrote, in order."""
        return [json.loads(line) for line in (self._events / "events").read_text().splitlines()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacementCluster]:
    events = tmp_path_factory.mktemp("placed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLACED_FOLDER", str(events))
        patch.setenv("PYTHONPATH", f"{INJECTION}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False},
        )
        try:
            yield PlacementCluster(cluster, events)
        finally:
            cluster.shutdown()


@pytest.fixture
def nodes(cluster: PlacementCluster) -> Iterator[PlacementCluster]:
    """Return the cluster, with its head as the only node."""
    yield cluster
    cluster.clear()


def assert_all_complete(observer: StartObserver, count: int) -> None:
    ids = Counter(record.trial_id for record in observer.records)
    assert len(ids) == count
    assert set(ids.values()) == {1}
    assert {record.state for record in observer.records} == {State.COMPLETE}


def test_trials_share_gpus_of_the_nodes_with_the_requested_custom_resource(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    nodes.add_node(num_cpus=4, num_gpus=1, h100=1)
    a100 = nodes.add_node(num_cpus=4, num_gpus=1, a100=1)
    section = {"gpu": 0.3, "custom": {"a100": 0.001}}
    observer, notices = nodes.search(folder, rules={"seconds": 0.3}, trials_per_cell=3, **section)
    assert_all_complete(observer, 6)
    assert observer.most_in_flight == 3
    events = nodes.events()
    assert {event["node"] for event in events} == {a100.node_id}
    assert [event["gpus"] for event in events] == [[0]] * 6
    assert notices == []
    assert {record.spec.resources.gpu for record in observer.records} == {0.3}


def test_no_more_trials_are_suggested_than_max_concurrent(nodes: PlacementCluster, folder: SearchFolder) -> None:
    nodes.add_node(num_cpus=4)
    observer, _ = nodes.search(folder, rules={"seconds": 0.2}, max_concurrent=2)
    assert_all_complete(observer, 6)
    assert observer.most_in_flight == 2


@pytest.mark.parametrize(
    ("section", "requested"),
    [
        ({"gpu": 0.5, "custom": {"a100": 1.0}}, "{cpu: 1, gpu: 0.5, a100: 1}"),
        ({"cpu": 3}, "{cpu: 3}"),
    ],
)
def test_a_request_that_no_node_can_ever_run_is_refused_within_seconds(
    nodes: PlacementCluster, folder: SearchFolder, section: dict[str, Any], requested: str
) -> None:
    nodes.add_node(num_cpus=2, num_gpus=1)
    nodes.add_node(num_cpus=2, a100=1)
    begun = time.monotonic()
    with pytest.raises(SearchError) as error:
        nodes.search(folder, **section)
    assert "{cpu: 2, gpu: 1" in str(error.value)
    assert time.monotonic() - begun < 30
    assert f"got {requested} per trial, and the largest node" in str(error.value)


def test_a_node_that_joins_adds_slots_and_a_node_that_dies_removes_them(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    first, observer = nodes.add_node(num_cpus=1), StartObserver()
    joined: list[Any] = []
    killed: list[float] = []

    def change(count: int) -> None:
        if count == 2:
            joined.append(nodes.add_node(num_cpus=2))
            nodes.change_rules({"after": (joined[0].node_id, 3), "holds": (joined[0].node_id, 2)})
        elif not killed and sum(event["node"] == joined[0].node_id for event in nodes.events() if joined) >= 3:
            killed.append(time.time())
            nodes.remove(joined[0], kill=True)

    observer.on_start = change
    nodes.search(folder, observer=observer, rules={"seconds": 2}, trials_per_cell=6)
    assert_all_complete(observer, 12)
    assert 3 <= observer.most_in_flight <= 3 + 2, "three slots, and two trials of the dead node that wait for another"
    counts = Counter(event["node"] for event in nodes.events())
    assert set(counts) == {first.node_id, joined[0].node_id}
    retried = [record for record in observer.records if record.attempt > 1]
    assert 0 < len(retried) <= 2, "trials of the dead node resumed on the other one"
    assert len({record.trial_id for record in observer.records if record.finished > killed[0]}) > 2, (
        "later trials ran on the other node"
    )


def test_a_node_that_dies_during_its_check_is_ignored(
    nodes: PlacementCluster, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, dies = nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)
    start_check = node_checks.start_check
    checked: list[str] = []

    def kill_and_check(node: Mapping[str, Any], *arguments: Any) -> Any:
        checked.append(node["NodeID"])
        if node["NodeID"] == dies.node_id:
            nodes.remove(dies, kill=True)
        return start_check(node, *arguments)

    monkeypatch.setattr(node_checks, "start_check", kill_and_check)
    observer, _ = nodes.search(folder, trials_per_cell=1)
    assert set(checked) == {stays.node_id, dies.node_id}
    assert_all_complete(observer, 2)
    assert {event["node"] for event in nodes.events()} == {stays.node_id}


def test_gpu_auto_is_refused_if_the_memory_of_gpus_is_unknown(nodes: PlacementCluster, folder: SearchFolder) -> None:
    nodes.add_node(num_cpus=1, num_gpus=1)
    with pytest.raises(SearchError, match=r"set it as resources\.gpu_memory, in GB: torch sees no GPU on a node"):
        nodes.search(folder, gpu="auto")


def test_fewer_trials_share_a_gpu_after_one_ran_out_of_memory_and_no_retry_is_used(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    nodes.add_node(num_cpus=4, num_gpus=1)
    observer, notices = nodes.search(
        folder, rules={"seconds": 0.3, "needs": 0.5}, gpu="auto", gpu_memory=80.0, trials_per_cell=3, max_retries=0
    )
    assert_all_complete(observer, 6)
    assert {record.spec.resources.gpu for record in observer.records} == {0.5}
    assert notices[0].startswith("gpu: auto: 4 trials per GPU (gpu: 0.25 each); the largest trial needs about 0.")
    assert notices[1].endswith(
        "ran out of GPU memory with 4 trials per GPU: from now on 3 trials per GPU (gpu: 0.3333 each)"
    )
    assert notices[-1].endswith("with 3 trials per GPU: from now on 2 trials per GPU (gpu: 0.5 each)")
    shares = [event["share"] for event in nodes.events()]
    assert shares == sorted(shares)
    assert set(shares) == {0.25, 0.3333, 0.5}
    assert max(record.attempt for record in observer.records) > 1


def test_a_trial_that_exceeds_a_whole_gpu_fails_after_max_retries(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    nodes.add_node(num_cpus=2, num_gpus=1)
    observer, _ = nodes.search(
        folder, rules={"needs": 2}, gpu="auto", gpu_memory=80.0, trials_per_cell=1, max_retries=1
    )
    assert [record.state for record in observer.records] == [State.FAIL] * 2
    for record in observer.records:
        assert "lost its worker 2 times; last cause: torch.OutOfMemoryError" in (record.error or "")
        assert record.spec.resources.gpu == 1.0
        assert record.attempt >= 3


def test_a_node_whose_workers_keep_dying_is_not_used_and_its_trials_are_retried_elsewhere(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    """The next test has a node on which CUDA fails."""
    good, broken = nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)
    rules = {"seconds": 0.5, "kills": [broken.node_id], "after": (broken.node_id, STRIKES)}
    observer, notices = nodes.search(folder, rules=rules, trials_per_cell=5, max_retries=1)
    assert_all_complete(observer, 10)
    losses = [line for line in notices if re.search("lost (its worker|their workers)", line)]
    assert losses
    notice, *changes = [line for line in notices if line not in losses]
    assert notice.startswith("not used for 30 minutes: node ")
    assert all(change.startswith("nodes with capacity: ") for change in changes), changes
    assert f": the workers of {STRIKES} trials died there and none finished; last cause: " in notice
    assert "worker process has died" in notice
    died = [event for event in nodes.events() if event["node"] == broken.node_id]
    # An attempt that had started before the last death may come on top.
    assert STRIKES <= len(died) <= STRIKES + 1
    assert len({event["pid"] for event in died}) == len(died), "no actor was reused after a death"
    assert len({json.dumps(event["configuration"]) for event in died}) == len(died), "each was retried elsewhere"
    assert {event["node"] for event in nodes.events()} == {good.node_id, broken.node_id}
    assert max(record.attempt for record in observer.records) == 2


def test_a_search_whose_only_node_is_broken_ends_with_the_reason_and_fails_no_trial(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    broken = nodes.add_node(num_cpus=1)
    observer, notices = nodes.search(folder, rules={"broken": [broken.node_id]}, halts=True, trials_per_cell=20)
    assert observer.records == []
    assert len(observer.starts) == len({start.trial_id for start in observer.starts}) == STRIKES
    assert notices[-1].startswith("no node is left to train on: node ")
    assert notices[-1].endswith("an illegal memory access was encountered")


def test_a_trial_returns_to_the_node_where_it_died_if_every_other_node_has_left(
    nodes: PlacementCluster, folder: SearchFolder
) -> None:
    broken, other = nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)
    observer = StartObserver()
    left: list[float] = []

    def remove(count: int) -> None:
        if not left and any(start.attempt == 2 for start in observer.starts):
            left.append(time.time())
            nodes.change_rules({})
            nodes.remove(other, kill=True)

    observer.on_start = remove
    rules = {"seconds": 5, "broken": [broken.node_id]}
    nodes.search(folder, observer=observer, rules=rules, trials_per_cell=1)
    assert left
    assert_all_complete(observer, 2)
    assert {event["node"] for event in nodes.events() if event["time"] > left[0] + 5} == {broken.node_id}
