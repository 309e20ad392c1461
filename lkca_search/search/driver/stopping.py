"""Ending a driver before its search is done: from another process by a request, from its terminal by a signal."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lkca_search.layout import SearchFolder
from lkca_search.search.state.lease import Lease
from lkca_search.search.state.lease_status import read_lease, write_stop_request

_NOW = "now"
_LATER = "later"
_LOOK_SECONDS = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def request_stop(folder: SearchFolder, *, now: bool) -> int:
    """Ask a search's driver to end, `now` without finishing what runs; SearchError if there is no driver.

    Returns the driver's number. It hears of it at the next beat of its lease.
    """
    return write_stop_request(folder, _NOW if now else _LATER)


def wait_until_stopped(folder: SearchFolder, driver: int) -> None:
    """Wait until the driver with this number has ended."""
    while (status := read_lease(folder)).is_held and status.driver == driver:
        time.sleep(_LOOK_SECONDS)


@contextmanager
def restored_signals() -> Iterator[None]:
    """Give Ctrl-C and SIGTERM back at the end to who had them, whoever takes them inside."""
    earlier = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if _is_main_thread():
            for number, handler in earlier.items():
                signal.signal(number, handler)


class StopController:
    """Hears that the driver is to end: by a request, Ctrl-C or SIGTERM. It is asked often, and acts when asked."""

    def __init__(self, lease: Lease, *, halt: Callable[[str], None], notify: Callable[[str], None]) -> None:
        """`halt` lets no further trial start, for the reason given; `notify` tells the user what happens now."""
        self.stops_now = False
        """Whether trials that run are abandoned; the next driver goes on with them."""
        self._lease = lease
        self._halt = halt
        self._notify = notify
        self._is_stopping = False
        self._failure: Exception | None = None
        self._signals: list[int] = []

    @contextmanager
    def capture_errors(self) -> Iterator[None]:
        """Take what is raised inside, and stop at once: Tune would take it for the failure of a trial."""
        try:
            yield
        except Exception as error:
            self._failure = self._failure or error
            self.stops_now = True

    def raise_failure(self) -> None:
        """Raise what was taken first, if anything was."""
        if self._failure is not None:
            raise self._failure

    def install_signal_handlers(self) -> None:
        """Take Ctrl-C, which finishes what runs and abandons it the second time, and SIGTERM, which abandons it."""
        if _is_main_thread():  # no other thread may
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)

    def check(self) -> bool:
        """Halt if the driver is to end; return whether trials that run are abandoned."""
        while self._signals:
            is_interrupt = self._signals.pop(0) == signal.SIGINT
            again = "; Ctrl-C again stops at once"
            self._stop("Ctrl-C" if is_interrupt else "SIGTERM", now=self._is_stopping or not is_interrupt, hint=again)
        if self._lease.stop_request is not None:
            self._stop("`stop`", now=self._lease.stop_request == _NOW, hint="")
        return self.stops_now

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)  # a signal may come in the middle of a print, so that nothing can be said here

    def _stop(self, by: str, *, now: bool, hint: str) -> None:
        if now and not self.stops_now:
            self._notify(f"{by}: stopping at once; what runs goes on from its checkpoint another time")
        elif not self._is_stopping:
            self._notify(f"{by}: finishing what runs{hint}")
        self._is_stopping = True
        self.stops_now = self.stops_now or now
        self._halt(f"stopped by {by}")


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
