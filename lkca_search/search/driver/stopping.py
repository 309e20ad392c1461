"""Stop of a driver before its search is finished: by a request from another process, or by a signal."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from lkca_search.errors import Interrupted
from lkca_search.faults import first_line
from lkca_search.layout import SearchFolder
from lkca_search.search.state.lease import Lease
from lkca_search.search.state.lease_status import read_lease, write_stop_request

_NOW = "now"
_LATER = "later"
_POLL_SECONDS = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def request_stop(folder: SearchFolder, *, now: bool, patience_seconds: float = 0.0) -> int:
    """Request a search's driver to stop, and return the driver's number.

    The driver reads the request at the next renewal of its lease. With `now`, it abandons running trials instead of
    finishing them. A driver that has just been started holds its lease a second later: wait `patience_seconds` for it.

    Raises:
        SearchError: No driver holds the search.
    """
    deadline = time.monotonic() + patience_seconds
    while not read_lease(folder).is_held and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return write_stop_request(folder, _NOW if now else _LATER)


def wait_until_stopped(folder: SearchFolder, driver: int) -> None:
    """Block until the driver with this number has ended."""
    while (status := read_lease(folder)).is_held and status.driver == driver:
        time.sleep(_POLL_SECONDS)


@contextmanager
def interrupts_start() -> Iterator[None]:
    """Raise Interrupted on Ctrl-C and SIGTERM in the block, which starts no trial yet.

    A signal is raised where the block is, or else at its end: Ray may swallow it while Ray starts.
    """
    with restored_signals(), received_signals() as received:
        if _is_main_thread():
            for handled in _SIGNALS:
                signal.signal(handled, _raise_interrupt)
        try:
            yield
            for number in received().intersection(_SIGNALS):
                _raise_interrupt(number, None)
        except (KeyboardInterrupt, SystemExit) as error:
            # Ray's own handler of SIGTERM exits, and is installed while Ray starts.
            by = "Ctrl-C" if isinstance(error, KeyboardInterrupt) and not error.args else "SIGTERM"
            raise Interrupted(f"stopped by {by} before a trial was started") from error


@contextmanager
def received_signals() -> Iterator[Callable[[], set[int]]]:
    """Yield a function that returns the numbers of the signals received so far in the block, whatever their handlers.

    It knows them also while a call of Ray keeps Python's handlers, which run in the main thread, from running.
    """
    if not _is_main_thread():
        yield set
        return
    received: set[int] = set()
    numbers, written = socket.socketpair()
    with numbers, written:
        numbers.setblocking(False)
        written.setblocking(False)
        earlier = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            yield lambda: _read_all(numbers, received)
        finally:
            signal.set_wakeup_fd(earlier)


def _read_all(numbers: socket.socket, received: set[int]) -> set[int]:
    """Add the numbers that wait in a socket to the received ones, and return these; a closed one has none."""
    with suppress(OSError):
        received.update(numbers.recv(4096))
    return received


def check_start(lease: Lease) -> None:
    """Raise Interrupted if `stop` was requested before a trial was started, or if another driver took over."""
    lease.ensure()
    if lease.stop_request is not None:
        raise Interrupted("stopped by `stop` before a trial was started")


@contextmanager
def restored_signals() -> Iterator[None]:
    """Restore the handlers of Ctrl-C and SIGTERM at the end of the block."""
    earlier = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if _is_main_thread():
            for number, handler in earlier.items():
                signal.signal(number, handler)


class StopController:
    """Controller that stops the driver on a request, Ctrl-C or SIGTERM.

    Signal handlers only store the signal. `check`, which the driver calls often, acts on it.
    """

    def __init__(self, lease: Lease, *, halt: Callable[[str], None], notify: Callable[[str], None]) -> None:
        """Create a controller.

        Args:
            lease: Lease of the driver, which receives stop requests.
            halt: Called with the reason for starting no further trial.
            notify: Called with a line for the user.
        """
        self.stops_now = False
        """True if running trials are abandoned; the next driver resumes them."""
        self._lease = lease
        self._halt = halt
        self._notify = notify
        self._is_stopping = False
        self._failure: Exception | None = None
        self._signals: list[int] = []
        self._num_signals = 0

    @contextmanager
    def capture_errors(self) -> Iterator[None]:
        """Keep an error of the block and stop now. Tune would treat it as the failure of a trial."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Stop now because of an error; keep the first one for `raise_failure`. Any thread may call this."""
        self._failure = self._failure or error
        self.stops_now = True

    def raise_failure(self) -> None:
        """Raise the first error that `capture_errors` has kept, if any."""
        if self._failure is not None:
            raise self._failure

    def install_signal_handlers(self) -> None:
        """Handle signals: Ctrl-C finishes running trials; a second Ctrl-C, or SIGTERM, abandons them."""
        if _is_main_thread():  # Python allows it in no other thread
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)

    def check(self) -> bool:
        """Halt if a stop was requested; return True if running trials are abandoned."""
        while self._signals:
            is_interrupt = self._signals.pop(0) == signal.SIGINT
            hint = "; Ctrl-C again stops now"
            self._stop("Ctrl-C" if is_interrupt else "SIGTERM", now=self._is_stopping or not is_interrupt, hint=hint)
        if self._lease.stop_request is not None:
            self._stop("`stop`", now=self._lease.stop_request == _NOW, hint="")
        return self.stops_now

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._num_signals += 1
        self._signals.append(number)  # printing here could interrupt another print
        if number == signal.SIGTERM or self._num_signals > 1:
            self._lease.may_wait = False

    def _stop(self, by: str, *, now: bool, hint: str) -> None:
        if self._failure is not None:
            if not self._is_stopping:
                self._notify(f"{by}: already stopping now, because of an error: {first_line(self._failure)}")
        elif now and not self.stops_now:
            self._notify(f"{by}: stopping now; running trials resume from their checkpoints in the next run")
        elif not self._is_stopping:
            self._notify(f"{by}: finishing running trials{hint}")
        self._is_stopping = True
        self.stops_now = self.stops_now or now
        self._halt(f"stopped by {by}")


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(*(["SIGTERM"] if number == signal.SIGTERM else []))


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
