"""Interface for trackers: callbacks for the trials of a running search."""

from collections.abc import Sequence

from lkca_search.records.record import Record, Result
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.base import FrozenModel


class TrialStart(FrozenModel):
    """Start of one attempt at a trial or replicate."""

    trial_id: str
    cell: str
    number: int
    attempt: int
    spec: TrialSpec
    started: float
    """Start of the first attempt, in seconds since 1970."""
    replicate: Replication | None = None
    """Draw and seed of a replicate; None for a trial."""


class Tracker:
    """Base class of trackers. It does nothing.

    A resumed search may repeat calls. Callbacks must not block or raise.
    """

    def trial_started(self, start: TrialStart) -> None:
        """Handle the start of an attempt."""

    def trial_reported(self, trial_id: str, result: Result) -> None:
        """Handle an evaluation of a running trial."""

    def trial_finished(self, record: Record) -> None:
        """Handle a finished trial. Its record is durable, and its Optuna study has the outcome."""


class Trackers(Tracker):
    """Group of trackers that receive the same calls in order."""

    def __init__(self, members: Sequence[Tracker]) -> None:
        """Group trackers; each call goes to them in this order."""
        self._members = tuple(members)

    def trial_started(self, start: TrialStart) -> None:
        """Forward the start of an attempt to all members."""
        for member in self._members:
            member.trial_started(start)

    def trial_reported(self, trial_id: str, result: Result) -> None:
        """Forward an evaluation to all members."""
        for member in self._members:
            member.trial_reported(trial_id, result)

    def trial_finished(self, record: Record) -> None:
        """Forward a finished trial to all members."""
        for member in self._members:
            member.trial_finished(record)
