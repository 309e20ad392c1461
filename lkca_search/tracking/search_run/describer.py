"""Description of a running search, which is written at its start, at times and at its end."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lkca_search.faults import first_line

if TYPE_CHECKING:
    from lkca_search.tracking.search_run.search_run import SearchContent, SearchRun  # the thread imports MLflow

Describe = Callable[["SearchRun"], "SearchContent"]
"""Function that returns the present content of the run of a search."""
_PAUSE_SECONDS = 600.0
"""Shortest time between two descriptions of a running search, so that trials cost nothing."""


class Describer:
    """Writer of the description of one search. It raises only errors of the store."""

    def __init__(self, describe: Describe | None, notify: Callable[[str], None]) -> None:
        """Set the function that describes a running search; None writes nothing. `notify` receives its errors."""
        self._describe = describe
        self._notify = notify
        self._due = float("-inf")

    def refresh(self, run: "SearchRun") -> None:
        """Describe a running search, unless it was described a short time ago."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PAUSE_SECONDS
            self.write(run, self._describe)

    def write(self, run: "SearchRun", describe: Describe | None) -> None:
        """Describe a search by a function; None writes nothing."""
        if describe is None:
            return
        try:
            content = describe(run)
        except Exception as error:  # results that cannot be described delay no run
            self._notify(f"the run of the search is not described: {type(error).__name__}: {first_line(error)}")
            return
        run.describe(content)
