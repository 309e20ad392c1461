"""Capacity of a Ray cluster whose nodes join and leave: the number of trials that may be in flight."""

import time
from collections.abc import Callable, Sequence

from lkca_search.search.planning.packing import Resources, count_concurrent_trials, format_resources

REFRESH_SECONDS = 2.0
"""Time between two reads of the cluster's nodes."""
NOTIFY_SECONDS = 60.0
"""Time between two notices that no node has capacity."""


class Capacity:
    """Number of trials that may be in flight on the live nodes.

    Notifies the user while no node has capacity, and of nodes that join or leave.
    """

    def __init__(
        self,
        read_nodes: Callable[[], Sequence[Resources]],
        *,
        max_concurrent: int | None,
        autoscales: bool,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count on the nodes that `read_nodes` returns.

        `autoscales` is True if an autoscaler adds nodes for pending trials.
        """
        self._read_nodes = read_nodes
        self._max_concurrent = max_concurrent
        self.autoscales = autoscales
        """True if an autoscaler adds nodes for pending trials."""
        self._notify = notify
        self._clock = clock
        self._nodes: Sequence[Resources] = ()
        self._next_refresh = -float("inf")
        self._next_notice = -float("inf")
        self._is_waiting = False
        self._num_nodes: int | None = None
        """Nodes with capacity at the last read; None before the first one."""

    def count(self, resource_request: Resources) -> int:
        """Return the number of trials with this request that may be in flight, running ones included.

        Without an autoscaler, this is the number of slots on live nodes, at most `max_concurrent`. An autoscaler adds
        nodes only for pending trials: with one, this is `max_concurrent`, or by default one more than the slots.
        """
        now = self._clock()
        if now >= self._next_refresh:
            self._nodes = self._read_nodes()
            self._next_refresh = now + REFRESH_SECONDS
            self._notify_of_nodes(resource_request)
        slots = count_concurrent_trials(resource_request, self._nodes)
        self._notify_of_waiting(slots, resource_request, now)
        if self.autoscales:
            return slots + 1 if self._max_concurrent is None else self._max_concurrent
        return slots if self._max_concurrent is None else min(slots, self._max_concurrent)

    def _notify_of_nodes(self, resource_request: Resources) -> None:
        slots = [count_concurrent_trials(resource_request, [node]) for node in self._nodes]
        earlier, self._num_nodes = self._num_nodes, len(slots) - slots.count(0)
        if earlier and self._num_nodes not in (0, earlier):  # `_notify_of_waiting` states the loss of all, and its end
            self._notify(f"nodes with capacity: {self._num_nodes}, before {earlier}; {sum(slots)} trials at once")

    def _notify_of_waiting(self, slots: int, resource_request: Resources, now: float) -> None:
        if slots and self._is_waiting:
            self._notify(f"nodes have capacity again: {slots} trials at once")
            self._is_waiting, self._next_notice = False, -float("inf")
        elif not slots and now >= self._next_notice:
            cause = "waiting for the cluster to scale up" if self.autoscales else "waiting for a node"
            self._notify(
                f"no node has capacity for a trial, which requests {format_resources(resource_request)}: {cause}"
            )
            self._is_waiting, self._next_notice = True, now + NOTIFY_SECONDS
