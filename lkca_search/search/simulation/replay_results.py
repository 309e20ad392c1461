"""Comparison of a replayed search with its records: steps saved and accuracy lost, per cell and in total."""

import statistics
from collections.abc import Mapping, Sequence

from lkca_search.records.record import Record, State
from lkca_search.search.simulation.recorded_training import CUT_SHORT
from lkca_search.search.state.best_trials import best_record
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.sections import SearchSection

ALL_CELLS = "all cells"
CLOSE = 0.005
"""Largest distance from the recorded best value that counts as close to it: 0.5 points of an accuracy."""


class CellReplay(FrozenModel):
    """Comparison of one cell, or of all cells together, with its records."""

    cell: str
    num_trials: int
    num_pruned: int
    num_cut_short: int
    """Trials whose recorded curve was pruned and that would train longer here; they end with that curve."""
    num_steps: int
    """Optimizer steps in the replay."""
    num_recorded_steps: int
    """Optimizer steps in the records."""
    share_saved: float
    """Share of the recorded steps that the replay saves."""
    best_value: float | None
    """Best value of a complete trial; None if there is none, and for all cells together."""
    recorded_best: float | None
    regret: float | None
    """Difference by which the best value is worse than the recorded one; for all cells the largest."""
    mean_regret: float | None
    """The regret of a cell; for all cells the mean."""
    share_to_close: float
    """Share of the recorded steps that are spent when a complete trial is close to the recorded best; 1 if none is."""
    best_pruned: float
    """1 if the best recorded trial is pruned in the replay, else 0; for all cells the mean."""


class Spread(FrozenModel):
    """Mean and 95% interval of a number over shuffled orders, or over seeds."""

    mean: float
    low: float
    high: float


class CellSpread(FrozenModel):
    """Comparison of one cell with its records, over shuffled orders or seeds."""

    cell: str
    num_pruned: Spread
    share_saved: Spread
    regret: Spread | None
    """None if no order has a complete trial; for all cells together, of the largest regret per order."""
    mean_regret: Spread | None
    """Regret of a cell; for all cells together, of the mean regret per order."""
    share_to_close: Spread
    best_pruned: float
    """Share of the orders in which the best recorded trial is pruned."""


class Replay(FrozenModel):
    """Comparison of a search, replayed with another pruner or sampler, with its records."""

    search: str
    metric: str
    pruner: str
    sampler: str | None
    """None if the recorded suggestions are replayed."""
    num_slots: int
    num_seeds: int
    """Number of additional replays, with shuffled orders or other seeds."""
    num_recorded_pruned: int
    """Recorded trials that were pruned, so that their curves are incomplete."""
    cells: tuple[CellReplay, ...]
    """Replay in the recorded order, or with the search's own seed; the last entry is all cells together."""
    spreads: tuple[CellSpread, ...]
    """Replays with shuffled orders or other seeds; empty if `num_seeds` is 0."""


def compare_cell(
    cell: str,
    *,
    recorded: Sequence[Record],
    simulated: Sequence[Record],
    used: Mapping[str, Record],
    search: SearchSection,
) -> CellReplay:
    """Compare the simulated trials of a cell with its recorded ones; `used` maps simulated trials to records."""
    best, recorded_best = best_record(simulated, search), best_record(recorded, search)
    best_value = best.value if best else None
    recorded_value = recorded_best.value if recorded_best else None
    regret = None
    if best_value is not None and recorded_value is not None:
        regret = search.signs[0] * (recorded_value - best_value)
    num_steps, num_recorded_steps = _num_steps(simulated), _num_steps(recorded)
    states_of_best = {
        record.state for record in simulated if recorded_best is not None and used[record.trial_id] is recorded_best
    }
    return CellReplay(
        cell=cell,
        num_trials=len(simulated),
        num_pruned=sum(record.state is State.PRUNED for record in simulated),
        num_cut_short=sum(record.error == CUT_SHORT for record in simulated),
        num_steps=num_steps,
        num_recorded_steps=num_recorded_steps,
        share_saved=_share_saved(num_steps, num_recorded_steps),
        best_value=best_value,
        recorded_best=recorded_value,
        regret=regret,
        mean_regret=regret,
        share_to_close=_share_to_close(simulated, recorded_value, num_recorded_steps, search),
        best_pruned=float(states_of_best == {State.PRUNED}),
    )


def combine_cells(cells: Sequence[CellReplay]) -> CellReplay:
    """Combine the comparisons of several cells into one for all of them."""
    num_steps = sum(cell.num_steps for cell in cells)
    num_recorded_steps = sum(cell.num_recorded_steps for cell in cells)
    regrets = [cell.regret for cell in cells if cell.regret is not None]
    return CellReplay(
        cell=ALL_CELLS,
        num_trials=sum(cell.num_trials for cell in cells),
        num_pruned=sum(cell.num_pruned for cell in cells),
        num_cut_short=sum(cell.num_cut_short for cell in cells),
        num_steps=num_steps,
        num_recorded_steps=num_recorded_steps,
        share_saved=_share_saved(num_steps, num_recorded_steps),
        best_value=None,
        recorded_best=None,
        regret=max(regrets, default=None),
        mean_regret=statistics.fmean(regrets) if regrets else None,
        share_to_close=statistics.fmean(cell.share_to_close for cell in cells),
        best_pruned=statistics.fmean(cell.best_pruned for cell in cells),
    )


def summarize_cell(replays: Sequence[CellReplay]) -> CellSpread:
    """Summarize several replays of one cell."""
    regrets = [replay.regret for replay in replays if replay.regret is not None]
    mean_regrets = [replay.mean_regret for replay in replays if replay.mean_regret is not None]
    return CellSpread(
        cell=replays[0].cell,
        num_pruned=_spread([replay.num_pruned for replay in replays]),
        share_saved=_spread([replay.share_saved for replay in replays]),
        regret=_spread(regrets) if regrets else None,
        mean_regret=_spread(mean_regrets) if mean_regrets else None,
        share_to_close=_spread([replay.share_to_close for replay in replays]),
        best_pruned=statistics.fmean(replay.best_pruned for replay in replays),
    )


def _num_steps(records: Sequence[Record]) -> int:
    return sum(record.curve[-1].step for record in records if record.curve)


def _share_to_close(
    simulated: Sequence[Record], recorded_best: float | None, num_recorded_steps: int, search: SearchSection
) -> float:
    if recorded_best is None:
        return 1.0
    num_steps = 0
    for record in simulated:
        num_steps += _num_steps([record])
        value = record.value if record.state is State.COMPLETE else None
        if value is not None and search.signs[0] * (recorded_best - value) <= CLOSE + 1e-9:
            return min(1.0, num_steps / num_recorded_steps)
    return 1.0


def _share_saved(num_steps: int, num_recorded_steps: int) -> float:
    return 1 - num_steps / num_recorded_steps if num_recorded_steps else 0.0


def _spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(mean=values[0], low=values[0], high=values[0])
    low, *_, high = statistics.quantiles(values, n=40, method="inclusive")
    return Spread(mean=statistics.fmean(values), low=low, high=high)
