"""Rounds of confirmation: what was frozen, when and from what. A round is sealed: written once, and never changed."""

import hashlib
from collections.abc import Iterator, Sequence

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import list_paths
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.trial import Replication
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.metrics import Direction


class Pick(FrozenModel):
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


class Round(FrozenModel):
    """One round of confirmation."""

    number: int
    """From 1."""
    opened: float
    """When it was sealed, in seconds since 1970."""
    metric: str
    goal: Direction
    """The leading metric, by which configurations were picked, and which direction of it is better."""
    repeats: tuple[int, ...] = ()
    """The draws that the search was repeated on, if it was: the best of each repeat is trained on one of `draws`."""
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
        """All that is to be trained, in the order in which it is: every pick on one draw with one seed, and so on.

        Of a search that was repeated, the picks of the first repeat on the first draw, and so on.
        """
        for place, draw in enumerate(self.draws):
            for seed in range(self.num_seeds):
                for pick in self.picks:
                    if not self.repeats or self.repeats[place] == pick.configuration.draw:
                        yield pick, Replication(of=pick.trial_id, draw=draw, seed=seed)

    def sealed(self) -> "Round":
        """The same with its seal."""
        unsealed = self.model_copy(update={"seal": ""})
        content = unsealed.model_dump_json(exclude=None if self.repeats else {"repeats"}).encode()
        return self.model_copy(update={"seal": hashlib.sha256(content).hexdigest()})


class RoundStatus(FrozenModel):
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
    for path in list_paths(folder.rounds, "*.json"):
        found = Round.model_validate_json(path.read_bytes())
        if found.seal != found.sealed().seal or path.name != round_file(found.number):
            raise SearchError(f"a round of confirmation must be as it was sealed; this was changed ({path})")
        rounds.append(found)
    return rounds


def round_statuses(folder: SearchFolder, *, num_trials: int, reader: RecordReader | None = None) -> list[RoundStatus]:
    """Return the status of each round of a search that has `num_trials` finished trials."""
    rounds = read_rounds(folder)
    replicates = (reader or RecordReader(folder)).replicates() if rounds else []
    return [_round_status(found, replicates, num_trials=num_trials) for found in rounds]


def _round_status(found: Round, replicates: Sequence[Record], *, num_trials: int) -> RoundStatus:
    states = {record.trial_id: record.state for record in replicates}
    own = [states.get(replication.replicate_id) for _, replication in found.replications()]
    return RoundStatus(
        number=found.number,
        num_replicates=len(own),
        complete=own.count(State.COMPLETE),
        failed=own.count(State.FAIL),
        num_picks=len(found.picks),
        num_trials=found.num_trials,
        num_trials_since=num_trials - found.num_trials,
    )


def round_file(number: int) -> str:
    """The name of a round's file."""
    return f"{number:04d}.json"
