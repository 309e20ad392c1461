"""Searcher and scheduler of a queue: they end Tune's loop after an error, a stop or a halt, and choose trials."""

import errno
import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.tune.experiment import Trial

from lkca_search.layout import SearchFolder
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.ray_backend.capacity import Capacity
from lkca_search.search.ray_backend.placement import Placement, QueueScheduler, QueueSearcher
from lkca_search.search.state.lease import Lease, hold_lease
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs
from tests.support.search.toy import DIGITS, make_messages, make_spec


class Searching:
    """A searcher with its queue and stop controller. `fault` is raised whenever the lease is checked."""

    def __init__(self, folder: SearchFolder, lease: Lease) -> None:
        self.fault: Exception | None = None
        self.num_checks = 0
        self.notices: list[str] = []
        spec = make_spec()
        self.queue = Ledger(folder, spec, DIGITS, 10, Tracker(), ensure_lease=self.ensure_lease)
        self.stop_controller = StopController(lease, halt=self.queue.halt, notify=self.notices.append)
        self.capacity = Capacity(
            lambda: [{"CPU": 2.0}], max_concurrent=None, autoscales=False, notify=self.notices.append
        )
        placement = Placement(spec.resources, self.capacity, None, notify=self.notices.append)
        data_dirs = DataDirs(cache=Path("unused"), data_dir=None)
        self.searcher = QueueSearcher(self.queue, data_dirs, self.stop_controller, placement)

    def ensure_lease(self) -> None:
        self.num_checks += 1
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def searching(folder: SearchFolder) -> Iterator[Searching]:
    with hold_lease(folder) as lease:
        yield Searching(folder, lease)


def test_trials_are_suggested_up_to_the_capacity(searching: Searching) -> None:
    assert isinstance(searching.searcher.suggest("a"), dict)
    assert isinstance(searching.searcher.suggest("b"), dict)
    assert searching.searcher.suggest("c") is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_after_an_error_nothing_is_suggested_and_the_lease_is_not_checked_again(
    searching: Searching, number: int
) -> None:
    searching.fault = OSError(number, "from the disk")
    assert searching.searcher.suggest("a") == "FINISHED"
    searching.fault = None
    assert [searching.searcher.suggest(name) for name in "bcd"] == ["FINISHED"] * 3
    assert searching.num_checks == 1
    assert searching.stop_controller.check()
    with pytest.raises(OSError, match="from the disk"):
        searching.stop_controller.raise_failure()


def test_an_error_in_the_commit_of_a_trial_ends_the_search(searching: Searching) -> None:
    suggested = searching.searcher.suggest("a")
    assert isinstance(suggested, dict)
    *_, last = make_messages(Assignment.model_validate_json(suggested["assignment"]))
    searching.fault = OSError(errno.EDQUOT, "Disk quota exceeded")
    searching.searcher.on_trial_complete("a", {"message": last.model_dump_json()})
    assert searching.stop_controller.stops_now
    assert searching.searcher.suggest("b") == "FINISHED"


@pytest.mark.parametrize("end", ["halt", "stop"])
def test_a_halted_queue_is_finished_although_the_database_does_not_respond(searching: Searching, end: str) -> None:
    assert isinstance(searching.searcher.suggest("a"), dict)
    searching.fault = OSError(errno.ENOSPC, "from the disk")
    if end == "halt":
        searching.queue.halt("limits.hours")
    else:
        searching.stop_controller.fail(RuntimeError("lost"))
    started = time.monotonic()
    assert searching.searcher.suggest("b") == "FINISHED"
    assert time.monotonic() - started < 1.0
    assert searching.num_checks == 1


def test_the_scheduler_starts_the_newest_pending_trial_and_keeps_no_finished_one(searching: Searching) -> None:
    placement = Placement(searching.queue.spec.resources, searching.capacity, None, notify=searching.notices.append)
    scheduler = QueueScheduler(searching.queue, searching.stop_controller, placement)
    trials = []
    for name in "abc":
        suggested = searching.queue.assign()
        assert suggested is not None
        config = {"assignment": suggested.model_dump_json(), "avoided_nodes": []}
        trials.append(Trial(name, stub=True, config=config))
        scheduler.on_trial_add(None, trials[-1])
    assert scheduler.choose_trial_to_run(None) is trials[2]
    trials[2].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is trials[1]
    last = weakref.ref(trials[2])
    trials[2].status = Trial.TERMINATED
    del trials[2]
    assert scheduler.choose_trial_to_run(None) is trials[1]
    gc.collect()
    assert last() is None
