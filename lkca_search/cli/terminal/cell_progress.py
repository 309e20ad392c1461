"""Progress of one cell, and of one running trial or replicate."""

from dataclasses import dataclass, field

from lkca_search.records.objectives import Plateau
from lkca_search.records.record import Result
from lkca_search.records.search.time_left import Mean
from lkca_search.tracking.tracker import TrialStart


@dataclass(kw_only=True)
class CellProgress:
    """Progress of one cell."""

    num_planned: int
    """Trials of the budget."""
    num_replicates: int
    """Replicates of the round, or those expected of the first one; 0 if none follow."""
    plateau: Plateau
    num_finished: int = 0
    num_replicated: int = 0
    """Finished replicates of the round."""
    best: float | None = None
    is_exhausted: bool = False
    """True if the sampler has no new suggestion."""
    planned_steps: Mean = field(default_factory=Mean)
    """Optimizer steps of trainings that are not pruned."""
    trial_steps: int = 0
    """Optimizer steps that the finished trials made."""
    replicate_steps: int = 0
    """Optimizer steps that the finished replicates of the round made."""
    num_running: int = 0
    """Running trials."""
    num_replicating: int = 0
    """Running replicates."""

    @property
    def is_closed(self) -> bool:
        """True if no further trial will start."""
        return self.is_exhausted or self.plateau.is_reached or self.num_finished >= self.num_planned

    @property
    def is_finished(self) -> bool:
        """True if no trial or replicate is left."""
        return self.is_closed and self.num_replicated >= self.num_replicates

    @property
    def steps(self) -> int:
        """Optimizer steps that the finished trials, and the finished replicates of the round, made."""
        return self.trial_steps + self.replicate_steps

    @property
    def num_waiting(self) -> int:
        """Trials that have not started."""
        return 0 if self.is_closed else max(0, self.num_planned - self.num_finished - self.num_running)

    @property
    def num_replicates_waiting(self) -> int:
        """Replicates that have not started."""
        return max(0, self.num_replicates - self.num_replicated - self.num_replicating)


@dataclass(kw_only=True)
class RunningProgress:
    """Progress of a running trial or replicate."""

    start: TrialStart
    started: float
    """Start of this attempt, by the clock of the display."""
    planned_steps: int | None = None
    """Optimizer steps of the complete training; None until its worker has reported them."""
    result: Result | None = None
    """Latest evaluation; None before the first one."""
