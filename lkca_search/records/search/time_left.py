"""Estimate of the time that a driver needs for its trials and replicates, from the finished trials."""

import statistics
from collections.abc import Mapping, Sequence

Seconds = Mapping[str, Sequence[float]]
"""Seconds of the finished trials, by the key of their cell."""


def estimate_cell(cell: str, left: float, seconds: Seconds, num_slots: int) -> float | None:
    """Return the time to finish a cell: the mean time per trial for each trial left; None without any time.

    Args:
        cell: Key of the cell. A cell without finished trials has the mean of all.
        left: Trials to be finished; a running one counts half.
        seconds: Seconds of the finished trials.
        num_slots: Trials and replicates that run at the same time; 0 if none runs.
    """
    mean = _mean_of(cell, seconds)
    return None if mean is None or not num_slots else mean * left / num_slots


def estimate_search(
    cells: Mapping[str, float | None], replicates_left: float, seconds: Seconds, num_slots: int
) -> float | None:
    """Return the time to finish all cells and replicates; None if a cell has no estimate.

    Args:
        cells: Estimate of each cell.
        replicates_left: Replicates to be finished; a running one counts half. Each is assumed to last as long as the
            trials of its cell, and each cell to have as many.
        seconds: Seconds of the finished trials.
        num_slots: Trials and replicates that run at the same time.
    """
    known = [left for left in cells.values() if left is not None]
    means = [mean for cell in cells if (mean := _mean_of(cell, seconds)) is not None]
    if len(known) < len(cells) or not means:
        return None
    return sum(known) + statistics.fmean(means) * replicates_left / num_slots


def _mean_of(cell: str, seconds: Seconds) -> float | None:
    own = seconds[cell] or [each for of_cell in seconds.values() for each in of_cell]
    return statistics.fmean(own) if own else None
