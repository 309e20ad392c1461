"""A driver waits for a registration as long as it advances, and no longer."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker


def open_tracker(folder: SearchFolder, opener: Callable[[], MLflowStore]) -> MLflowTracker:
    """Return a tracker whose store is open."""
    opened = threading.Event()

    def open_store() -> MLflowStore:
        store = opener()
        opened.set()
        return store

    tracker = MLflowTracker(open_store, folder, pause_seconds=0.1)
    assert opened.wait(100)
    return tracker


@pytest.mark.parametrize("num_steps", [0, 3])
def test_a_registration_that_always_fails_at_one_step_is_given_up(
    num_steps: int, folder: SearchFolder, opener: Callable[[], MLflowStore]
) -> None:
    num_calls = 0

    def register(_: MLflowStore) -> Iterator[str]:
        nonlocal num_calls
        num_calls += 1
        yield from [""] * num_steps
        raise RuntimeError("the disk of the server is full")

    tracker = open_tracker(folder, opener)
    begun = time.monotonic()
    tracker.close(complete=True, best=None, patience_seconds=3, register=register)
    assert time.monotonic() - begun < 30
    assert num_calls > 1, "a short outage is survived"
    assert tracker.last_fault is not None
    assert "the disk of the server is full" in tracker.last_fault.cause


def test_a_slow_registration_that_advances_has_the_patience_per_step(
    folder: SearchFolder, opener: Callable[[], MLflowStore]
) -> None:
    def register(_: MLflowStore) -> Iterator[str]:
        for _number in range(6):
            time.sleep(1)
            yield ""

    tracker = open_tracker(folder, opener)
    tracker.close(complete=True, best=None, patience_seconds=4, register=register)
    assert tracker.last_fault is None
