"""A number that was estimated, how surely, and the reason where that cannot be said."""

from lkca_search.errors import UserError
from lkca_search.spec.base import FrozenModel

CONFIDENCE_LEVEL = 0.95
"""Confidence of an interval, unless another is asked for."""


class NotEstimable(UserError):
    """The replicates do not support what is asked of them; the message is a sentence for the report."""


class Interval(FrozenModel):
    """A confidence interval; an end is None where the data set no bound on that side."""

    lower: float | None
    upper: float | None
    level: float
    """Share of such intervals that hold the truth, 0.95 for 95%."""

    def contains(self, value: float) -> bool:
        return (self.lower is None or self.lower <= value) and (self.upper is None or value <= self.upper)


class Estimate(FrozenModel):
    """An estimate, with an interval or with the reason why there is none."""

    value: float
    interval: Interval | None = None
    reason: str | None = None
    """Why there is no interval; None where there is one."""


def check_level(level: float) -> None:
    """ValueError unless a level, of confidence or of power, lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"a level must be above 0 and below 1, got {level}")
