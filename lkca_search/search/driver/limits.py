"""The limits of a driver: when it starts nothing further, though something is due."""

import time

from lkca_search.records.record import State
from lkca_search.spec.search_spec import LimitsSection


class Limits:
    """Counts hours and failures."""

    def __init__(self, section: LimitsSection, *, opened: float | None = None) -> None:
        """Hours count from `opened`, a time of `time.monotonic`; by default from now."""
        self._section = section
        self._opened = time.monotonic() if opened is None else opened
        self._num_failed = 0

    def count(self, state: State) -> None:
        """Take into account how a training ended."""
        self._num_failed += state is State.FAIL

    @property
    def reached(self) -> str | None:
        """The limit that is reached, in words; None while none is."""
        hours, most = self._section.hours, self._section.max_failures
        if hours is not None and time.monotonic() - self._opened >= hours * 3600:
            return f"limits.hours: {hours:g} have passed"
        if most is not None and self._num_failed > most:
            return f"limits.max_failures: {self._num_failed} have failed, {most} may"
        return None
