"""What is told of a search while it runs. The base does nothing; a member shows or sends what it is told."""

from collections.abc import Sequence

from lkca_search.records.record import Record, Result
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.base import FrozenModel


class TrialStart(FrozenModel):
    """A trial or a replicate as it starts, or goes on."""

    trial_id: str
    cell: str
    number: int
    attempt: int
    spec: TrialSpec
    started: float
    """Start of the first attempt, in seconds since 1970."""
    replicate: Replication | None = None
    """What makes this a replicate; None for a trial."""


class Tracker:
    """Hears of every trial; may be told the same thing twice, after a continuation. Must never block or raise."""

    def trial_started(self, start: TrialStart) -> None:
        """A trial starts, or goes on as its next attempt."""

    def trial_reported(self, trial_id: str, result: Result) -> None:
        """A trial was evaluated."""

    def trial_finished(self, record: Record) -> None:
        """A trial's record is durable, and its study was told."""


class Trackers(Tracker):
    """Several trackers that hear the same."""

    def __init__(self, members: Sequence[Tracker]) -> None:
        self._members = tuple(members)

    def trial_started(self, start: TrialStart) -> None:
        for member in self._members:
            member.trial_started(start)

    def trial_reported(self, trial_id: str, result: Result) -> None:
        for member in self._members:
            member.trial_reported(trial_id, result)

    def trial_finished(self, record: Record) -> None:
        for member in self._members:
            member.trial_finished(record)
