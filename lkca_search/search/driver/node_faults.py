"""Faults of workers per node, and the nodes that a driver does not use because workers keep dying there.

A worker that dies may be the fault of its trial (too large for the memory) or of its node (a broken GPU, a full disk,
too little memory). A trial that dies on a node where others finish is at fault itself. A node where one trial after
another dies is at fault.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lkca_search.faults import cut_text
from lkca_search.search.driver.messages import WorkerLocation

STRIKES = 5
"""Deaths in a row after which a node is not used. Workers that die at the same time count once."""
MIN_TRIALS = 3
"""Different trials that must have died in this row: one trial alone proves nothing about its node."""
EXCLUDED_SECONDS = 1800.0
"""Time for which a node is not used. After it, the node is used again, and the next death there excludes it again."""
_MAX_CAUSE = 240
"""Characters of a cause that are printed; Ray's description of a lost worker has several sentences."""


@dataclass
class _Row:
    """Deaths on one GPU of a node, or on its CPU, since a trial finished there."""

    strikes: int = 0
    newest: int = 0
    """Number of the newest attempt of all nodes at the last strike: later ones started after it."""
    deaths: dict[str, int] = field(default_factory=dict)
    """Number of deaths by trial."""
    num_suspicious: int = 0
    """Number of trials that may show a fault of the node: those that have not died too often under earlier drivers."""


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """Decision not to use a node any longer."""

    node: str
    """Ray's id of the node."""
    reason: str
    """Deaths on the node and the last cause, for the user."""
    deaths: dict[str, int]
    """Deaths by trial that were the node's fault: they use up no retry."""
    is_new: bool = True
    """False if the node was excluded already, and a trial that had started before died there."""


class NodeFaults:
    """Deaths of workers per node and GPU under one driver."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now on."""
        self._clock = clock
        self._rows: dict[tuple[str, str], _Row] = {}
        self._excluded: dict[str, tuple[float, str]] = {}
        """Time of the end of the exclusion, and its reason, by node; also of exclusions that are over."""
        self._died_on: dict[str, set[str]] = {}
        """Nodes on which a trial has died, by trial."""

    @property
    def excluded(self) -> dict[str, str]:
        """Reason by node that is not used at present."""
        now = self._clock()
        return {node: reason for node, (end, reason) in self._excluded.items() if now < end}

    def died_on(self, trial_id: str) -> frozenset[str]:
        """Return the nodes on which a trial has died: it is retried elsewhere if another node can run it."""
        return frozenset(self._died_on.get(trial_id, ()))

    def on_finished(self, location: WorkerLocation) -> None:
        """Count a trial that was trained to its end: its node is not at fault for the deaths so far."""
        for gpu in {"", location.gpu}:
            self._rows.pop((location.node, gpu), None)
        if location.node not in self.excluded:
            self._excluded.pop(location.node, None)

    def on_death(
        self, location: WorkerLocation, trial_id: str, cause: str, *, attempt: int, newest: int, is_suspicious: bool
    ) -> Exclusion | None:
        """Count a worker that died; return the exclusion of its node if it is at fault.

        Args:
            location: Node and GPU of the worker.
            trial_id: Trial of the worker.
            cause: Cause of the death.
            attempt: Number of the attempt, in the order in which this driver has started all of them.
            newest: Number of the newest attempt.
            is_suspicious: False if the trial has died too often under earlier drivers to show a fault of a node.
        """
        node = location.node
        self._died_on.setdefault(trial_id, set()).add(node)
        if reason := self.excluded.get(node):
            return Exclusion(node=node, reason=reason, deaths={trial_id: 1}, is_new=False)
        row = self._rows.setdefault((node, location.gpu), _Row())
        if attempt > row.newest:
            row.strikes, row.newest = row.strikes + 1, newest
        row.num_suspicious += is_suspicious and trial_id not in row.deaths
        row.deaths[trial_id] = row.deaths.get(trial_id, 0) + 1
        is_known = node in self._excluded  # it was excluded before, and no trial has finished there since
        if not (is_known or (row.strikes >= STRIKES and row.num_suspicious >= MIN_TRIALS)):
            return None
        del self._rows[node, location.gpu]
        again = "a worker died there again" if is_known else f"the workers of {len(row.deaths)} trials died there"
        last = cut_text(next(iter(cause.strip().splitlines()), "unknown"), _MAX_CAUSE)
        reason = f"{again} and none finished; last cause: {last}"
        self._excluded[node] = (self._clock() + EXCLUDED_SECONDS, reason)
        return Exclusion(node=node, reason=reason, deaths=row.deaths)

    def is_suspect(self, location: WorkerLocation) -> bool:
        """Return True while deaths of several trials on a node may be its own fault."""
        row = self._rows.get((location.node, location.gpu))
        return row is not None and row.num_suspicious >= MIN_TRIALS
