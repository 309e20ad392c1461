"""Freezing the best of each cell in a new round of confirmation."""

import time
from collections.abc import Iterator, Sequence
from itertools import count, islice

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.objectives import trial_values
from lkca_search.records.record import Record
from lkca_search.records.rounds import Pick, Round, read_rounds, round_file
from lkca_search.spec.cells import cells
from lkca_search.spec.domains import FloatRange
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection


def open_round(
    folder: SearchFolder,
    spec: SearchSpec,
    section: ConfirmSection,
    records: Sequence[Record],
    *,
    test_hash: str,
    num_trials_left: int,
) -> Round:
    """Freeze the best configurations of every cell in a new round; SearchError if there is none in any cell."""
    by_cell = {cell.key: [record for record in records if record.cell == cell.key] for cell in cells(spec)}
    picks = [pick for key in by_cell for pick in _picks(key, by_cell[key], spec, section.top)]
    if not picks:
        raise SearchError(f"search {folder.name!r} has no complete trial yet, so there is nothing to confirm")
    new = Round(
        number=len(read_rounds(folder)) + 1,
        opened=time.time(),
        metric=spec.search.metrics[0],
        goal=spec.search.directions[0],
        repeats=tuple(int(draw) for draw in repeats_of(spec.factors, spec.exclude)),
        draws=tuple(islice(fresh_draws(spec), section.draws)),
        num_seeds=section.seeds,
        top=section.top,
        test_hash=test_hash,
        num_trials=len(records),
        num_trials_left=num_trials_left,
        picks=tuple(picks),
        cells_without=tuple(key for key in by_cell if key not in {pick.cell for pick in picks}),
    ).sealed()
    write_atomically(folder.rounds / round_file(new.number), new.model_dump_json(indent=1).encode())
    return new


def fresh_draws(spec: SearchSpec) -> Iterator[int]:
    """Numbers of draws that no trial of a search trains on, ascending."""
    used: set[object] = {0}
    if "draw" in spec.factors:
        used = set(spec.factors["draw"].levels)
    elif "draw" in spec.parameters:
        domain = spec.parameters["draw"]
        assert not isinstance(domain, FloatRange)
        used = {0, *domain.values()}  # 0 where its condition does not hold
    return (draw for draw in count() if draw not in used)


def _picks(cell: str, records: Sequence[Record], spec: SearchSpec, top: int) -> Iterator[Pick]:
    complete = [(found, record) for record in records if (found := trial_values(record, spec.search))]

    def order(pair: tuple[tuple[float, ...], Record]) -> tuple[float, ...]:
        """Of equals in the leading metric the one that is ahead in the others, then the one that comes first."""
        return (*(-sign * value for sign, value in zip(spec.search.signs, pair[0], strict=True)), pair[1].number)

    for rank, (found, record) in enumerate(sorted(complete, key=order)[:top], start=1):
        yield Pick(
            cell=cell,
            rank=rank,
            trial_id=record.trial_id,
            value=found[0],
            configuration=record.spec.configuration,
            num_trials=len(records),
        )
