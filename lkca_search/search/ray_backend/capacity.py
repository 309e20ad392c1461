"""Room: how many trials may be in flight at this moment, on nodes that come and go."""

import time
from collections.abc import Callable, Sequence

from lkca_search.search.planning.packing import Resources, count_concurrent_trials, format_resources

LOOK_SECONDS = 2.0
"""After which nodes are looked at again."""
SAY_SECONDS = 60.0
"""After which it is said again that there is no room yet."""


class Capacity:
    """Counts what the nodes that are alive have room for, and says where that is nothing."""

    def __init__(
        self,
        read_nodes: Callable[[], Sequence[Resources]],
        *,
        max_concurrent: int | None,
        scales: bool,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`scales` says whether an autoscaler starts nodes for trials that wait: such trials there must be then."""
        self._read_nodes = read_nodes
        self._max_concurrent = max_concurrent
        self._scales = scales
        self._notify = notify
        self._clock = clock
        self._nodes: Sequence[Resources] = ()
        self._next_look = -float("inf")
        self._next_say = -float("inf")
        self._has_waited = False

    def count(self, asked: Resources) -> int:
        """Return how many trials may be in flight, those that run included, if each asks for so much.

        As many as there is room for; on a cluster that scales `max_concurrent`, or else one more, so that it grows.
        """
        now = self._clock()
        if now >= self._next_look:
            self._nodes = self._read_nodes()
            self._next_look = now + LOOK_SECONDS
        slots = count_concurrent_trials(asked, self._nodes)
        self._tell(slots, asked, now)
        if self._scales:
            return slots + 1 if self._max_concurrent is None else self._max_concurrent
        return slots if self._max_concurrent is None else min(slots, self._max_concurrent)

    def _tell(self, slots: int, asked: Resources, now: float) -> None:
        if slots and self._has_waited:
            self._notify(f"there is room again: {slots} trials at once")
            self._has_waited, self._next_say = False, -float("inf")
        elif not slots and now >= self._next_say:
            whom = "waiting for the cluster to scale up" if self._scales else "waiting for a node"
            self._notify(f"no node has room for a trial, which asks for {format_resources(asked)}: {whom}")
            self._has_waited, self._next_say = True, now + SAY_SECONDS
