"""What a driver and a worker say to each other."""

from lkca_search.records.record import Result, TestResult, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel


class Assignment(FrozenModel):
    """What a worker needs to train a trial, or to go on with it."""

    trial_id: str
    spec: TrialSpec
    attempt: int
    attempt_folder: str
    """Where this attempt, and no other, writes its checkpoints."""
    earlier_folders: tuple[str, ...]
    """Where earlier attempts left theirs."""
    data_hash: str | None = None
    subset_hash: str | None = None
    """What the trial's facts must say of its images, where that is known beforehand."""
    test_hash: str | None = None
    """Of the test images that a replicate is tested on at its end; None for a trial, which is not."""
    checkpoint_seconds: float


class Message(FrozenModel):
    """What a worker says of its trial after each step."""

    facts: TrialMetadata | None = None
    """None until data and model stand."""
    result: Result | None = None
    test: TestResult | None = None
    """With a replicate's last result."""
    error: str | None = None
    """The trial's own fault; it is over."""
    done: bool = False
    """Whether this is the last message."""
