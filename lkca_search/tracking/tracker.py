"""Interface for trackers: callbacks for the trials of a running search."""

from collections.abc import Sequence

from lkca_search.records.record import Record, Result, TrialMetadata
from lkca_search.records.rounds import Round
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

    def trial_described(self, trial_id: str, metadata: TrialMetadata) -> None:
        """Handle the properties of a running trial, known before its first step."""

    def trial_reported(self, trial_id: str, result: Result) -> None:
        """Handle an evaluation of a running trial."""

    def trial_requeued(self, trial_id: str) -> None:
        """Handle the loss of a trial's worker: the trial waits for its next attempt."""

    def trial_finished(self, record: Record) -> None:
        """Handle a finished trial. Its record is durable, and its Optuna study has the outcome."""

    def round_started(self, round_: Round) -> None:
        """Handle the start of a confirmation, or its continuation: replicates of this round follow."""

    def halted(self, reason: str) -> None:
        """Handle the decision to start no further trial or replicate. Running ones finish."""

    def abandoned(self) -> None:
        """Handle the exit of the process by a fault after which nothing is ended in order."""


class Trackers(Tracker):
    """Group of trackers that receive the same calls in order."""

    def __init__(self, members: Sequence[Tracker]) -> None:
        """Group trackers; each call goes to them in this order."""
        self._members = tuple(members)

    def trial_started(self, start: TrialStart) -> None:
        """Forward the start of an attempt to all members."""
        for member in self._members:
            member.trial_started(start)

    def trial_described(self, trial_id: str, metadata: TrialMetadata) -> None:
        """Forward the properties of a trial to all members."""
        for member in self._members:
            member.trial_described(trial_id, metadata)

    def trial_reported(self, trial_id: str, result: Result) -> None:
        """Forward an evaluation to all members."""
        for member in self._members:
            member.trial_reported(trial_id, result)

    def trial_requeued(self, trial_id: str) -> None:
        """Forward the loss of a worker to all members."""
        for member in self._members:
            member.trial_requeued(trial_id)

    def trial_finished(self, record: Record) -> None:
        """Forward a finished trial to all members."""
        for member in self._members:
            member.trial_finished(record)

    def round_started(self, round_: Round) -> None:
        """Forward the start of a confirmation to all members."""
        for member in self._members:
            member.round_started(round_)

    def halted(self, reason: str) -> None:
        """Forward the decision to start no further trial to all members."""
        for member in self._members:
            member.halted(reason)

    def abandoned(self) -> None:
        """Forward the exit of the process to all members."""
        for member in self._members:
            member.abandoned()
