"""Rounds of confirmation: the latest one, or a new one sealed with the best configurations of each cell."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.objectives import find_ties, rank_trials, trial_values
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import (
    Pick,
    Round,
    combine_hashes,
    next_round_number,
    read_rounds,
    round_file,
    round_statuses,
)
from lkca_search.search.state.best_trials import without_complete_trial
from lkca_search.spec.cells import cells
from lkca_search.spec.domains import FloatRange
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection


def find_or_open_round(
    folder: SearchFolder,
    spec: SearchSpec,
    section: ConfirmSection,
    reader: RecordReader,
    *,
    test_hashes: Mapping[str | None, str],
    num_trials_left: int,
    new_round: bool,
) -> Round:
    """Return the latest round. Seal a new one if there is none, or if `new_round` and the latest one is finished.

    `test_hashes` has the hash of the test images per level of the factor `dataset`; the level is None without it.

    Raises:
        SearchError: The test images differ from those of an earlier round, or no cell has a complete trial.
    """
    rounds, records = read_rounds(folder), reader.trials()
    for earlier in rounds:
        for level, known in earlier.hash_by_dataset.items():
            if (found := test_hashes.get(level, known)) != known:
                images = "test images" if level is None else f"test images of {level}"
                rule = f"{images} must be those of round {earlier.number}, with hash {known}"
                raise SearchError(f"{rule}, got {found}: restore the dataset, or confirm in a new search")
    if rounds and (not new_round or round_statuses(folder, num_trials=len(records), reader=reader)[-1].num_left):
        return rounds[-1]
    return open_round(folder, spec, section, records, test_hashes=test_hashes, num_trials_left=num_trials_left)


def design_conflict(existing: Round, requested: Mapping[str, int], command: str) -> str | None:
    """Describe the differences between a round and the requested draws, seeds and top; return None if equal.

    `command` seals a round with the requested values, if the existing one is finished.
    """
    design = {"draws": len(existing.draws), "seeds": existing.num_seeds, "top": existing.top}
    differing = [name for name, value in requested.items() if value != design[name]]
    if not differing:
        return None
    has, got = (" and ".join(f"{name} {values[name]}" for name in differing) for values in (design, requested))
    return f"round {existing.number} has {has}, got {got}: finish it, then seal another by `{command}`"


def open_round(
    folder: SearchFolder,
    spec: SearchSpec,
    section: ConfirmSection,
    records: Sequence[Record],
    *,
    test_hashes: Mapping[str | None, str],
    num_trials_left: int,
) -> Round:
    """Seal a new round with the best configurations of every cell; raise SearchError if no trial is complete."""
    by_cell = {cell.key: [record for record in records if record.cell == cell.key] for cell in cells(spec)}
    picks = [pick for key in by_cell for pick in _picks(key, by_cell[key], spec, section.top)]
    if not picks:
        raise SearchError(without_complete_trial(folder.name, records))
    by_level = {level: found for level, found in test_hashes.items() if level is not None}
    new = Round(
        number=next_round_number(folder),
        opened=time.time(),
        metric=spec.search.metrics[0],
        goal=spec.search.directions[0],
        repeats=tuple(int(draw) for draw in repeats_of(spec.factors, spec.exclude)),
        draws=tuple(islice(unused_draws(spec), section.draws)),
        num_seeds=section.seeds,
        top=section.top,
        test_hash=combine_hashes(by_level) if by_level else test_hashes[None],
        test_hashes=by_level,
        num_trials=len(records),
        num_trials_left=num_trials_left,
        picks=tuple(picks),
        cells_without=tuple(key for key in by_cell if key not in {pick.cell for pick in picks}),
    ).sealed()
    write_atomically(folder.rounds / round_file(new.number), new.model_dump_json(indent=1).encode())
    return new


def unused_draws(spec: SearchSpec) -> Iterator[int]:
    """Yield the numbers of subset draws that no trial of a search trains on, in ascending order."""
    used: set[object] = {0}
    if "draw" in spec.factors:
        factor = spec.factors["draw"]
        used = {*factor.levels, *((0,) if factor.when else ())}  # draw is 0 if its condition does not hold
    elif "draw" in spec.parameters:
        domain = spec.parameters["draw"]
        assert not isinstance(domain, FloatRange)
        used = {0, *domain.values()}
    return (draw for draw in count() if draw not in used)


def _picks(cell: str, records: Sequence[Record], spec: SearchSpec, top: int) -> Iterator[Pick]:
    ranked = rank_trials(records, spec.search)
    num_tied = len(find_ties(ranked, spec.search))
    for rank, record in enumerate(ranked[:top], start=1):
        yield Pick(
            cell=cell,
            rank=rank,
            trial_id=record.trial_id,
            value=trial_values(record, spec.search)[0],
            configuration=record.spec.configuration,
            num_trials=len(records),
            num_tied=num_tied,
        )
