"""Rounds of confirmation: what was frozen, when and from what. A round is sealed: written once, and never changed."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice

from lkca_search.configuration import Configuration
from lkca_search.errors import SearchError
from lkca_search.records import Record, State, read_replicates
from lkca_search.remote_path import find
from lkca_search.search.cells import cells
from lkca_search.search.objectives import values
from lkca_search.space import FloatRange
from lkca_search.spec import ConfirmSection, Goal, SearchSpec
from lkca_search.storage import SearchFolder, write_atomically
from lkca_search.trial import Replication
from lkca_search.value import Value


class Pick(Value):
    """A configuration that was frozen."""

    cell: str
    rank: int
    """1 for the best of its cell."""
    trial_id: str
    """The trial that it is of."""
    value: float
    """What it was picked by: the leading metric, on validation images."""
    configuration: Configuration
    num_trials: int
    """Finished trials of the cell that it was picked from."""


class Round(Value):
    """One round of confirmation."""

    number: int
    """From 1."""
    opened: float
    """When it was sealed, in seconds since 1970."""
    metric: str
    goal: Goal
    """The leading metric, by which configurations were picked, and which direction of it is better."""
    draws: tuple[int, ...]
    """Numbers of its subset draws, none of which the search trains on."""
    num_seeds: int
    """Trainings on each draw."""
    top: int
    """Configurations of each cell, as far as it has so many complete trials."""
    test_hash: str
    """SHA-256 of the test split's pixels and labels."""
    num_trials: int
    """Finished trials of the search that it was frozen from."""
    num_trials_left: int
    """Trials that were still due: above 0, cells were compared that had not spent their budgets."""
    picks: tuple[Pick, ...]
    cells_without: tuple[str, ...]
    """Cells without a complete trial, of which nothing could be picked."""
    seal: str = ""
    """SHA-256 of all of the above."""

    def replications(self) -> Iterator[tuple[Pick, Replication]]:
        """All that is to be trained, in the order in which it is: every pick on one draw with one seed, and so on."""
        for draw in self.draws:
            for seed in range(self.num_seeds):
                for pick in self.picks:
                    yield pick, Replication(of=pick.trial_id, draw=draw, seed=seed)

    def sealed(self) -> "Round":
        """The same with its seal."""
        content = self.model_copy(update={"seal": ""}).model_dump_json().encode()
        return self.model_copy(update={"seal": hashlib.sha256(content).hexdigest()})


class RoundStanding(Value):
    """How far a round has come."""

    number: int
    num_replicates: int
    complete: int
    failed: int
    num_picks: int
    num_trials: int
    """Finished trials that it was frozen from."""
    num_trials_since: int
    """Trials that finished after it was frozen: the best of a cell may be another by now."""

    @property
    def num_left(self) -> int:
        """Replicates without a record."""
        return self.num_replicates - self.complete - self.failed


def read_rounds(folder: SearchFolder) -> list[Round]:
    """The rounds of a search, in order; SearchError for one that is not what its seal says."""
    rounds = []
    for path in find(folder.rounds, "*.json"):
        found = Round.model_validate_json(path.read_bytes())
        if found.seal != found.sealed().seal or path.name != _file(found.number):
            raise SearchError(f"a round of confirmation must be as it was sealed; this was changed ({path})")
        rounds.append(found)
    return rounds


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
        goal=spec.search.goals[0],
        draws=tuple(islice(fresh_draws(spec), section.draws)),
        num_seeds=section.seeds,
        top=section.top,
        test_hash=test_hash,
        num_trials=len(records),
        num_trials_left=num_trials_left,
        picks=tuple(picks),
        cells_without=tuple(key for key in by_cell if key not in {pick.cell for pick in picks}),
    ).sealed()
    write_atomically(folder.rounds / _file(new.number), new.model_dump_json(indent=1).encode())
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


def round_standings(folder: SearchFolder, *, num_trials: int) -> list[RoundStanding]:
    """How far each round of a search has come, where so many trials are finished."""
    rounds = read_rounds(folder)
    replicates = read_replicates(folder) if rounds else []
    return [_standing(found, replicates, num_trials=num_trials) for found in rounds]


def _standing(found: Round, replicates: Sequence[Record], *, num_trials: int) -> RoundStanding:
    states = {record.trial_id: record.state for record in replicates}
    own = [states.get(replication.replicate_id) for _, replication in found.replications()]
    return RoundStanding(
        number=found.number,
        num_replicates=len(own),
        complete=own.count(State.COMPLETE),
        failed=own.count(State.FAIL),
        num_picks=len(found.picks),
        num_trials=found.num_trials,
        num_trials_since=num_trials - found.num_trials,
    )


def _picks(cell: str, records: Sequence[Record], spec: SearchSpec, top: int) -> Iterator[Pick]:
    signs = [-1 if goal == "maximize" else 1 for goal in spec.search.goals]
    complete = [(found, record) for record in records if (found := values(record, spec.search))]

    def order(pair: tuple[tuple[float, ...], Record]) -> tuple[float, ...]:
        """Of equals in the leading metric the one that is ahead in the others, then the one that comes first."""
        return (*(sign * value for sign, value in zip(signs, pair[0], strict=True)), pair[1].number)

    for rank, (found, record) in enumerate(sorted(complete, key=order)[:top], start=1):
        yield Pick(
            cell=cell,
            rank=rank,
            trial_id=record.trial_id,
            value=found[0],
            configuration=record.spec.configuration,
            num_trials=len(records),
        )


def _file(number: int) -> str:
    return f"{number:04d}.json"
