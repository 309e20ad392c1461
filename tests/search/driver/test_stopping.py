"""Stop requests and signals, as the controller of one driver handles them."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import update

from lkca_search.errors import Interrupted, SearchError
from lkca_search.layout import SearchFolder
from lkca_search.search.driver.stopping import (
    StopController,
    check_start,
    interrupts_start,
    request_stop,
    restored_signals,
    wait_until_stopped,
)
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import DEFAULT_TIMING, Lease, hold_lease
from lkca_search.search.state.lease_status import LEASES
from tests.support.processes import wait_for


class Stopping:
    """A stop controller and what it caused."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.halt_reasons: list[str] = []
        self.notices: list[str] = []
        self.stop_controller = StopController(lease, halt=self.halt_reasons.append, notify=self.notices.append)


@pytest.fixture
def stopping(folder: SearchFolder) -> Iterator[Stopping]:
    with hold_lease(folder) as lease:
        yield Stopping(lease)


def test_without_a_request_or_signal_nothing_happens(stopping: Stopping) -> None:
    assert not stopping.stop_controller.check()
    assert stopping.halt_reasons == stopping.notices == []


@pytest.mark.parametrize(
    ("signals", "stops_now", "by"),
    [
        ([signal.SIGINT], [False], "Ctrl-C"),
        ([signal.SIGINT, signal.SIGINT], [False, True], "Ctrl-C"),
        ([signal.SIGTERM], [True], "SIGTERM"),
        ([signal.SIGINT, signal.SIGTERM], [False, True], "Ctrl-C"),
    ],
)
def test_ctrl_c_finishes_running_trials_and_a_second_one_or_sigterm_abandons_them(
    stopping: Stopping, signals: list[signal.Signals], stops_now: list[bool], by: str
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with restored_signals():
        stopping.stop_controller.install_signal_handlers()
        for number, expected in zip(signals, stops_now, strict=True):
            os.kill(os.getpid(), number)
            assert [stopping.stop_controller.check(), stopping.stop_controller.check()] == [expected, expected]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert stopping.halt_reasons[0] == f"stopped by {by}"
    assert len(stopping.notices) == len(signals)


def test_a_request_is_notified_once_and_a_later_one_can_stop_at_once(stopping: Stopping, folder: SearchFolder) -> None:
    for now, request in ((False, "later"), (True, "now"), (False, "later")):
        request_stop(folder, now=now)
        wait_for(lambda request=request: stopping.lease.stop_request == request)
        assert [stopping.stop_controller.check() for _ in range(3)] == [now or stopping.stop_controller.stops_now] * 3
    assert stopping.stop_controller.stops_now
    assert set(stopping.halt_reasons) == {"stopped by `stop`"}
    assert len(stopping.notices) == 2


def test_the_first_error_that_tune_must_not_see_stops_the_driver_and_is_raised_at_the_end(stopping: Stopping) -> None:
    for text in ("first", "second"):
        with stopping.stop_controller.capture_errors():
            raise RuntimeError(text)
    assert stopping.stop_controller.check()
    with pytest.raises(RuntimeError, match="first"):
        stopping.stop_controller.raise_failure()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_an_error_reports_the_error_and_not_that_trials_finish(
    stopping: Stopping, number: signal.Signals
) -> None:
    with restored_signals():
        stopping.stop_controller.install_signal_handlers()
        with stopping.stop_controller.capture_errors():
            raise OSError(28, "No space left on device")
        os.kill(os.getpid(), number)
        assert stopping.stop_controller.check()
    by = "SIGTERM" if number == signal.SIGTERM else "Ctrl-C"
    rule = f"{by}: already stopping now, because of an error: [Errno 28] No space left on device"
    assert stopping.notices == [rule]


@pytest.mark.parametrize(("signals", "may_wait"), [([2], True), ([2, 2], False), ([15], False)])
def test_a_driver_that_stops_now_waits_for_no_database(stopping: Stopping, signals: list[int], may_wait: bool) -> None:
    with restored_signals():
        stopping.stop_controller.install_signal_handlers()
        for number in signals:
            os.kill(os.getpid(), number)
    assert stopping.lease.may_wait is may_wait


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_before_the_first_trial_ends_the_start(number: signal.Signals, by: str) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"^stopped by {by} before a trial was started$"), interrupts_start():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_that_is_swallowed_before_the_first_trial_ends_the_start_at_its_end(
    number: signal.Signals, by: str
) -> None:
    def receive() -> None:
        with interrupts_start(), suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)

    with pytest.raises(Interrupted, match=f"^stopped by {by} before a trial was started$"):
        receive()
    with interrupts_start():
        pass  # an earlier signal has no effect on the next start


def test_the_exit_of_rays_own_handler_while_it_starts_ends_the_start_too() -> None:
    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM before a trial was started$"), interrupts_start():
        raise SystemExit(signal.SIGTERM)


def test_a_request_before_the_first_trial_is_kept_and_ends_the_start(stopping: Stopping, folder: SearchFolder) -> None:
    check_start(stopping.lease)
    request_stop(folder, now=False)
    wait_for(lambda: stopping.lease.stop_request == "later")
    with pytest.raises(Interrupted, match=r"^stopped by `stop` before a trial was started$"):
        check_start(stopping.lease)


def test_a_driver_that_was_replaced_commits_and_seals_nothing_at_its_start(
    stopping: Stopping, folder: SearchFolder
) -> None:
    engine = find_database(folder).engine()
    with engine.begin() as connection:
        connection.execute(update(LEASES).values(driver=LEASES.c.driver + 1))
    engine.dispose()
    time.sleep(2.5)
    with pytest.raises(Interrupted, match="was taken over by another driver"):
        check_start(stopping.lease)


def test_a_request_waits_for_a_driver_that_is_being_started(folder: SearchFolder) -> None:
    ends = threading.Event()

    def drive() -> None:
        time.sleep(0.5)
        with hold_lease(folder):
            ends.wait(30)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        assert request_stop(folder, now=False, patience_seconds=20.0) == 1
    finally:
        ends.set()
        driver.join()


def test_outside_the_main_thread_signal_handlers_stay_unchanged(stopping: Stopping) -> None:
    failures: list[BaseException] = []

    def drive() -> None:
        try:
            with restored_signals():
                stopping.stop_controller.install_signal_handlers()
        except BaseException as error:
            failures.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert not failures
    assert signal.getsignal(signal.SIGINT) is before


def test_a_request_stops_only_the_driver_that_was_running_when_it_was_made(folder: SearchFolder) -> None:
    with hold_lease(folder) as first:
        request_stop(folder, now=True)
        wait_for(lambda: first.stop_request == "now")
    with hold_lease(folder) as second:
        time.sleep(2.5 * DEFAULT_TIMING.heartbeat_seconds)
        assert second.stop_request is None


def test_a_stop_request_without_a_driver_is_refused(folder: SearchFolder) -> None:
    with pytest.raises(SearchError, match="search 'toy' is not running"):
        request_stop(folder, now=True)
    assert not list(folder.root.iterdir())


def test_waiting_for_the_end_lasts_until_the_driver_has_ended(folder: SearchFolder) -> None:
    with hold_lease(folder):
        driver = request_stop(folder, now=False)
        waiting = threading.Thread(target=wait_until_stopped, args=(folder, driver))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()
