"""Lines on trials that have lost their workers and resume: one line per loss, and few if many are lost."""

import time
from collections.abc import Callable

from lkca_search.faults import cut_text

_GATHER_SECONDS = 2.0
"""Seconds after a loss in which further ones join its line: a lost node takes all of its workers."""
_MIN_SECONDS = 30.0
"""Least time between two lines."""
_MAX_NAMED = 3
_MAX_CAUSE = 200
"""Characters of a cause that are printed: Ray nests its reasons, and the last one is the cause."""


class LostWorkers:
    """Trials that have lost their workers since the last line."""

    def __init__(self, notify: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Print lines by `notify`; `clock` returns seconds."""
        self._notify, self._clock = notify, clock
        self._trial_ids: list[str] = []
        self._cause = ""
        self._next_line = -float("inf")

    def add(self, trial_id: str, cause: str) -> None:
        """Add a trial that resumes on another worker."""
        if not self._trial_ids:
            self._next_line = max(self._next_line, self._clock() + _GATHER_SECONDS)
        self._trial_ids.append(trial_id)
        self._cause = (cause.strip().splitlines() or [""])[-1].split(". ")[0]  # Ray adds several sentences

    def flush(self) -> None:
        """Print the line if it is due. Call this repeatedly."""
        if not self._trial_ids or self._clock() < self._next_line:
            return
        named, more = self._trial_ids[:_MAX_NAMED], len(self._trial_ids) - _MAX_NAMED
        subject = (
            f"{named[0]} has lost its worker and resumes on another one"
            if len(self._trial_ids) == 1
            else f"{len(self._trial_ids)} trials have lost their workers and resume on others "
            f"({', '.join(named)}{f' and {more} more' if more > 0 else ''})"
        )
        self._notify(f"{subject}; cause: {cut_text(self._cause, _MAX_CAUSE)}")
        self._trial_ids = []
        self._next_line = self._clock() + _MIN_SECONDS
