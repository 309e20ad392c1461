"""Estimate of the time left, with the times of a search that lost one of its two nodes, and was confirmed."""

from typing import Any

import pytest

from lkca_search.records.record import Record
from lkca_search.records.search.time_left import RunningTraining, TrainingTimes, estimate_left
from tests.support.records import make_record, make_result

BEGAN = 1000.0
SMALL, LARGE = 0.1, 1.0
ENDED = {
    ("lkca", SMALL): [(0, 26, 11.1), (0, 28.4, 10.5), (26, 41.8, 14.9), (54, 67, 12.7), (59, 92, 9.7)],
    ("lkca", LARGE): [(0, 54.2, 36.9), (28, 68, 39.3), (59, 88, 28.8)],
    ("vit", SMALL): [(0, 36, 20.6), (36, 58.6, 21.7), (59, 82, 14.1)],
}
"""Start, end and seconds of training of each trial that had ended 93 s after the start, by family and data fraction."""
RUNNING = {("vit", LARGE): [51.0, 34.0], ("lkca", LARGE): [34.0]}
"""Seconds of the trials that ran then. Four others had lost their workers."""
NUM_TRIALS, NUM_REPLICATES, NUM_SLOTS = 6, 3, 4
TRUE_SECONDS = 204.0


def cell_of(family: str, fraction: float) -> str:
    return f"family={family},data_fraction={fraction}"


def ended(**rest: Any) -> list[Record]:
    records = []
    for (family, fraction), times in ENDED.items():
        for number, (start, end, seconds) in enumerate(times):
            curve = (make_result(20, 0.5).model_copy(update={"seconds": seconds}),)
            given = {"curve": curve, "started": BEGAN + start, "finished": BEGAN + end, **rest}
            records.append(make_record(number, family=family, data_fraction=fraction, **given))
    return sorted(records, key=lambda record: record.finished)


def waiting(num_replicates: int = NUM_REPLICATES) -> dict[str, tuple[int, int]]:
    keys = [(family, fraction) for family in ("lkca", "vit") for fraction in (SMALL, LARGE)]
    started = {key: len(ENDED.get(key, [])) + len(RUNNING.get(key, [])) for key in keys}
    return {cell_of(*key): (NUM_TRIALS - started[key], num_replicates) for key in keys}


def running() -> list[RunningTraining]:
    return [
        RunningTraining(cell=cell_of(*key), is_replicate=False, seconds=seconds)
        for key, times in RUNNING.items()
        for seconds in times
    ]


def test_after_the_loss_of_a_node_the_estimate_is_that_of_the_slots_left_with_the_confirmation() -> None:
    left = estimate_left(TrainingTimes(ended()), waiting(), running(), driver=1, num_slots=NUM_SLOTS)
    assert left is not None
    assert left.seconds == pytest.approx(TRUE_SECONDS, rel=0.25)


def test_a_cell_without_a_finished_trial_is_expected_to_take_longer_than_its_running_trials_have_taken() -> None:
    times = TrainingTimes(ended())
    left = estimate_left(times, waiting(), running(), driver=1, num_slots=NUM_SLOTS)
    assert left is not None
    overall = times.expected(cell_of("vit", LARGE), is_replicate=False, driver=1)
    assert overall is not None
    assert overall < 51.0, "the trials of the other cells are shorter"
    num_waiting = waiting()[cell_of("vit", LARGE)][0]
    assert left.cells[cell_of("vit", LARGE)] > num_waiting * 51.0 / NUM_SLOTS


def test_a_training_that_takes_longer_than_expected_is_not_about_to_end() -> None:
    late = RunningTraining(cell=cell_of("lkca", SMALL), is_replicate=False, seconds=60.0)
    left = estimate_left(TrainingTimes(ended()), {}, [late], driver=1, num_slots=1)
    assert left is not None
    assert left.seconds == pytest.approx(60.0 / (5 + 1 + 1)), "five have ended, one runs, and one is expected"


def test_a_confirmation_that_follows_waits_for_the_start_of_its_workers() -> None:
    """The first trials of a driver took about 16 s longer than their trainings."""
    times, few = TrainingTimes(ended()), waiting(0)
    without = estimate_left(times, few, [], driver=1, num_slots=NUM_SLOTS)
    followed = estimate_left(times, waiting(), [], driver=1, num_slots=NUM_SLOTS)
    assert without is not None
    assert followed is not None
    trained = sum(NUM_REPLICATES * (times.expected(cell, is_replicate=True, driver=1) or 0.0) for cell in few)
    assert followed.seconds - without.seconds == pytest.approx(trained / NUM_SLOTS + times.start(1))
    assert times.start(1) == pytest.approx(16.4, abs=1.0)
