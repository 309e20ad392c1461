"""Trainings that run now, as other processes see them: attempts without a record of the driver that holds the lease."""

import time
from pathlib import Path

from lkca_search.layout import START, SearchFolder, TrialFolder
from lkca_search.records.search.time_left import RunningTraining
from lkca_search.search.state.lease_status import LeaseStatus
from lkca_search.trial_listing import RecordListing


def running_trainings(folder: SearchFolder, listing: RecordListing, lease: LeaseStatus) -> list[RunningTraining]:
    """Return the unfinished trials, or replicates, of the running driver."""
    return [
        RunningTraining(
            cell=trial_id.split("/")[0],
            is_replicate=trial_id.count("/") > 1,
            seconds=_seconds_since_start(folder.trial(trial_id)),
        )
        for trial_id, driver in listing.drivers.items()
        if trial_id not in listing.records and lease.is_held and driver == lease.driver
    ]


def _seconds_since_start(trial: TrialFolder) -> float | None:
    """Return the seconds since the start of the latest attempt; None in an object store, which has another clock."""
    attempts = trial.attempts()
    start = attempts[-1] / START if attempts else None
    if not isinstance(start, Path):
        return None
    try:
        return max(0.0, time.time() - start.stat().st_mtime)
    except OSError:  # the training has just ended
        return None
