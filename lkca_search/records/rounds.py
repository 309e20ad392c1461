"""Rounds of confirmation. A round freezes configurations, is sealed by a hash, and never changes.

Each round is one look at the test images. A search that adds rounds until a difference is significant would claim false
differences too often, so each round spends 80% of the error rate that is left of 5%. Round 1 tests at 4%, round 2 at
0.8%, round 3 at 0.16%, and so on. The levels add up to at most 5% for any number of rounds. By Bonferroni's inequality,
the probability of any false claim in any round is at most 5%, for every dependence between rounds and for every rule
that ends the search. No number of rounds is planned in advance.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from lkca_search.layout import SearchFolder
from lkca_search.paths import list_paths
from lkca_search.records.finding import DamagedError, Finding, read_stored
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.trial import Replication
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.metrics import Direction
from lkca_search.spec.search_spec import SearchSpec

ERROR_RATE = 0.05
"""Largest probability that any round of a search claims a difference that does not exist."""
SPENT_SHARE = 0.8
"""Share of the error rate left that a round spends. A large share keeps most of the power for the first round."""
_FIELDS = TypeAdapter(dict[str, Any])


class Pick(FrozenModel):
    """Frozen configuration."""

    cell: str
    rank: int
    """Rank in its cell; 1 is the best."""
    trial_id: str
    """Id of the trial with this configuration."""
    value: float
    """Value of the leading metric, by which it was picked."""
    configuration: Configuration
    num_trials: int
    """Finished trials of the cell when it was picked."""
    num_tied: int | None = None
    """Trials of the cell with the best values of all metrics. None in a round of an old version, which picked the one
    with the lowest number."""


class Round(FrozenModel):
    """One round of confirmation."""

    number: int
    """Number of the round, from 1."""
    opened: float
    """Time of the seal, in seconds since 1970."""
    metric: str
    goal: Direction
    """Better direction of `metric`, the leading metric, by which configurations were picked."""
    repeats: tuple[int, ...] = ()
    """Draws of a repeated search. The best configuration of each repeat is trained on the draw at the same index."""
    draws: tuple[int, ...]
    """Numbers of the subset draws. The search trains on none of them."""
    num_seeds: int
    """Trainings per draw, each with another seed."""
    top: int
    """Configurations per cell, or fewer if a cell has fewer complete trials."""
    test_hash: str
    """SHA-256 of the test split's pixels and labels; of all hashes in `test_hashes` if the search has the factor
    `dataset`."""
    test_hashes: Mapping[str, str] = {}
    """SHA-256 of the test split's pixels and labels, per level of the factor `dataset`; empty without this factor."""
    num_trials: int
    """Finished trials of the search when the round was sealed."""
    num_trials_left: int
    """Trials that were still due; if above 0, some cells had not spent their budgets."""
    picks: tuple[Pick, ...]
    cells_without: tuple[str, ...]
    """Cells without a complete trial, so without a pick."""
    seal: str = ""
    """SHA-256 of all other fields."""

    @property
    def alpha(self) -> float:
        """Level of the round's tests: 0.04, 0.008, 0.0016, ... for round 1, 2, 3, ..."""
        return max(sys.float_info.min, ERROR_RATE * SPENT_SHARE * (1 - SPENT_SHARE) ** (self.number - 1))

    @property
    def hash_by_dataset(self) -> Mapping[str | None, str]:
        """Hash of the test images per level of the factor `dataset`; the level is None without this factor."""
        return {level: found for level, found in self.test_hashes.items()} or {None: self.test_hash}

    def replications(self) -> Iterator[tuple[Pick, Replication]]:
        """Yield each pick with each of its replications, in the order of training: by draw, then seed, then pick.

        In a repeated search, the picks of the first repeat have the first draw, and so on.
        """
        for i, draw in enumerate(self.draws):
            for seed in range(self.num_seeds):
                for pick in self.picks:
                    if not self.repeats or self.repeats[i] == pick.configuration.draw:
                        yield pick, Replication(of=pick.trial_id, draw=draw, seed=seed)

    @property
    def replicate_ids(self) -> frozenset[str]:
        """Ids of all replicates of the round."""
        return frozenset(replication.replicate_id for _, replication in self.replications())

    def sealed(self) -> "Round":
        """Return the round with its seal."""
        return self.model_copy(update={"seal": _seal_of(self.model_dump_json().encode())})


class RoundStatus(FrozenModel):
    """Progress of a round."""

    number: int
    num_replicates: int
    complete: int
    failed: int
    num_picks: int
    num_trials: int
    """Finished trials of the search when the round was sealed."""
    num_trials_since: int
    """Trials that finished after the seal; the best trial of a cell may have changed since. Below 0 if records are
    damaged or lost."""

    @property
    def num_left(self) -> int:
        """Number of replicates without a record."""
        return self.num_replicates - self.complete - self.failed


def correct_for_rounds(p_values: Sequence[float | None], alpha: float) -> list[float | None]:
    """Return p-values that are at most 0.05 exactly if the given ones are at most `alpha`, the level of their round.

    Corrected p-values of different rounds can be compared. None marks a comparison without a test.
    """
    factor = ERROR_RATE / alpha
    return [None if p is None else min(1.0, factor * p) for p in p_values]


def read_rounds(folder: SearchFolder) -> list[Round]:
    """Return the rounds of a search, in order; DamagedError for a round that is damaged or was changed."""
    rounds, findings = scan_rounds(folder)
    if findings:
        raise DamagedError(findings[0])
    return rounds


def scan_rounds(folder: SearchFolder) -> tuple[list[Round], list[Finding]]:
    """Return the intact rounds of a search, in order, and a finding per damaged one."""
    rounds, findings = [], []
    remedy = (
        f"restore the file from a backup. `lkca-search repair {folder.name}` sets it aside instead: the next round "
        "then has the next number, and a lower level"
    )
    for path in list_paths(folder.rounds, "*.json"):
        try:
            stored = read_stored(path, Round, remedy=remedy)
            if stored.seal == _seal_of(path.read_bytes()) and path.name == round_file(stored.number):
                rounds.append(stored)
                continue
            damage = f"a round of confirmation must match its seal, and this file was changed ({path.name})"
            findings.append(Finding(place=str(path), damage=damage, remedy=remedy))
        except DamagedError as error:
            findings.append(error.finding)
    return rounds, findings


def next_round_number(folder: SearchFolder) -> int:
    """Return the number of the next round. A damaged round that was set aside keeps its number, and so its level."""
    numbers = [int(path.name[:4]) for path in list_paths(folder.rounds, "*.json*") if path.name[:4].isdigit()]
    return max(numbers, default=0) + 1


def replicates_per_cell(spec: SearchSpec) -> int:
    """Return the number of replicates that the section `confirm` plans per cell; 0 without this section."""
    section = spec.confirm
    repeats = max(1, len(repeats_of(spec.factors, spec.exclude)))
    return 0 if section is None else section.top * section.seeds * section.draws // repeats


def round_statuses(folder: SearchFolder, *, num_trials: int, reader: RecordReader | None = None) -> list[RoundStatus]:
    """Return the status of each intact round of a search that has `num_trials` finished trials."""
    rounds, _ = scan_rounds(folder)
    replicates = (reader or RecordReader(folder)).replicates() if rounds else []
    return [_round_status(sealed, replicates, num_trials=num_trials) for sealed in rounds]


def combine_hashes(test_hashes: Mapping[str, str]) -> str:
    """Return one hash of the test images of several datasets, by the level of each."""
    return hashlib.sha256(json.dumps(dict(test_hashes), sort_keys=True).encode()).hexdigest()


def _seal_of(content: bytes) -> str:
    """Return the seal of a round's JSON, from the fields in it; later code may have more fields."""
    fields = _FIELDS.validate_json(content)
    for name in ("repeats", "test_hashes"):
        if not fields.get(name):
            fields.pop(name, None)  # the first rounds had no such field
    return hashlib.sha256(_FIELDS.dump_json({**fields, "seal": ""})).hexdigest()


def _round_status(sealed: Round, replicates: Sequence[Record], *, num_trials: int) -> RoundStatus:
    state_of = {record.trial_id: record.state for record in replicates}
    replicate_states = [state_of.get(replication.replicate_id) for _, replication in sealed.replications()]
    return RoundStatus(
        number=sealed.number,
        num_replicates=len(replicate_states),
        complete=replicate_states.count(State.COMPLETE),
        failed=replicate_states.count(State.FAIL),
        num_picks=len(sealed.picks),
        num_trials=sealed.num_trials,
        num_trials_since=num_trials - sealed.num_trials,
    )


def round_file(number: int) -> str:
    """Return the file name of a round."""
    return f"{number:04d}.json"
