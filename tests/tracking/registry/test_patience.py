"""A driver waits for a registration as long as it advances, and no longer."""

import time
from collections.abc import Callable, Iterator

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker


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

    tracker = MLflowTracker(opener, folder, pause_seconds=0.1)
    tracker.close(complete=True, best=None, patience_seconds=20)  # waits for the store, which takes seconds
    tracker = MLflowTracker(opener, folder, pause_seconds=0.1)
    begun = time.monotonic()
    tracker.close(complete=True, best=None, patience_seconds=3, register=register)
    assert time.monotonic() - begun < 3 * 3
    assert num_calls > 1, "an outage of some seconds is survived"
    assert tracker.last_fault is not None
    assert "the disk of the server is full" in tracker.last_fault.cause


def test_a_slow_registration_that_advances_has_the_patience_per_step(
    folder: SearchFolder, opener: Callable[[], MLflowStore]
) -> None:
    def register(_: MLflowStore) -> Iterator[str]:
        for _number in range(6):
            time.sleep(0.5)
            yield ""

    tracker = MLflowTracker(opener, folder, pause_seconds=0.1)
    tracker.close(complete=True, best=None, patience_seconds=2.0, register=register)
    assert tracker.last_fault is None
