"""Estimates with a confidence interval, or with the reason why there is none."""

from lkca_search.errors import UserError
from lkca_search.spec.base import FrozenModel

CONFIDENCE_LEVEL = 0.95
"""Default confidence level of intervals."""


class NotEstimable(UserError):
    """Raised if the replicates do not support an estimate; the message is a reason for the report."""


class Interval(FrozenModel):
    """Confidence interval; an end is None if the data set no bound on that side."""

    lower: float | None
    upper: float | None
    level: float
    """Confidence level: the share of such intervals that contain the true value, 0.95 for 95%."""

    def contains(self, value: float) -> bool:
        """Return True if the value is in the interval, ends included."""
        return (self.lower is None or self.lower <= value) and (self.upper is None or value <= self.upper)


class Estimate(FrozenModel):
    """Estimated number with its interval, or with the reason why there is no interval."""

    value: float
    interval: Interval | None = None
    reason: str | None = None
    """Reason why there is no interval; None if there is one."""

    def within(self, lowest: float, highest: float) -> "Estimate":
        """Return the estimate with its interval cut to the possible values, which changes no coverage."""
        if self.interval is None:
            return self
        ends = (self.interval.lower, self.interval.upper)
        lower, upper = (None if end is None else min(max(end, lowest), highest) for end in ends)
        return Estimate(value=self.value, interval=Interval(lower=lower, upper=upper, level=self.interval.level))


def check_level(level: float) -> None:
    """Raise ValueError unless a level of confidence or power is between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"a level must be above 0 and below 1, got {level}")
