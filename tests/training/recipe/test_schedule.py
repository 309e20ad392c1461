import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkca_search.spec.configuration import Configuration
from lkca_search.spec.sections import TrainingSection
from lkca_search.training.recipe.schedule import Schedule, planned_steps

LENGTHS = st.integers(1, 200)
SIZES = st.integers(1, 500)


def make(**changes: float) -> Schedule:
    options: dict[str, float] = {"steps": 100, "warmup_fraction": 0.1, "learning_rate": 1e-2}
    options |= changes
    configuration = Configuration(
        warmup_fraction=options["warmup_fraction"], learning_rate=float(options["learning_rate"])
    )
    return Schedule.plan(TrainingSection(steps=int(options["steps"])), configuration, num_images=10)


def rates(schedule: Schedule) -> list[float]:
    return [schedule.learning_rate(step) for step in range(schedule.steps)]


def batch_sizes(num_images: int, batch_size: int) -> list[int]:
    """Count the batch sizes of an epoch."""
    sizes, left = [], num_images
    while left > 0:
        sizes.append(min(batch_size, left))
        left -= sizes[-1]
    if batch_size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [batch_size + 1]  # a single image that is left over joins the batch before it
    return sizes


@given(epochs=LENGTHS, batch_size=SIZES, num_images=SIZES)
def test_a_length_in_epochs_includes_every_batch_of_each_epoch(epochs: int, batch_size: int, num_images: int) -> None:
    training = TrainingSection(epochs=epochs, batch_size=batch_size)
    assert planned_steps(training, num_images=num_images) == epochs * len(batch_sizes(num_images, batch_size))


@given(steps=LENGTHS, batch_size=SIZES, num_images=SIZES)
def test_a_length_in_steps_is_the_number_of_steps(steps: int, batch_size: int, num_images: int) -> None:
    assert planned_steps(TrainingSection(steps=steps, batch_size=batch_size), num_images=num_images) == steps


@given(samples=st.integers(1, 5000), batch_size=SIZES, num_images=SIZES)
def test_a_length_in_samples_ends_with_the_batch_that_reaches_it(
    samples: int, batch_size: int, num_images: int
) -> None:
    sizes = batch_sizes(num_images, batch_size)
    seen = steps = 0
    while seen < samples:
        seen += sizes[steps % len(sizes)]
        steps += 1
    assert planned_steps(TrainingSection(samples=samples, batch_size=batch_size), num_images=num_images) == steps


@given(
    epochs=LENGTHS,
    bounds=st.tuples(st.integers(1, 5000), st.integers(1, 5000)).map(sorted),
    batch_size=SIZES,
    sizes=st.tuples(st.integers(1, 60_000), st.integers(1, 60_000)).map(sorted),
)
def test_steps_stay_between_floor_and_cap_and_never_fall_as_the_subset_grows(
    epochs: int, bounds: list[int], batch_size: int, sizes: list[int]
) -> None:
    floor, cap = bounds
    training = TrainingSection(epochs=epochs, min_steps=floor, max_steps=cap, batch_size=batch_size)
    small, large = (planned_steps(training, num_images=size) for size in sizes)
    assert floor <= small <= large <= cap
    unbounded = epochs * math.ceil(sizes[1] / batch_size)
    assert large == min(max(unbounded, floor), cap)


@given(num_images=st.integers(1, 60_000))
def test_a_floor_alone_and_a_cap_alone_bound_one_side(num_images: int) -> None:
    unbounded = planned_steps(TrainingSection(epochs=10), num_images=num_images)
    assert planned_steps(TrainingSection(epochs=10, min_steps=300), num_images=num_images) == max(unbounded, 300)
    assert planned_steps(TrainingSection(epochs=10, max_steps=300), num_images=num_images) == min(unbounded, 300)


@given(num_images=st.integers(1, 60_000), reports=st.integers(1, 50))
def test_a_floor_of_at_least_the_reports_gives_every_subset_the_same_number_of_reports(
    num_images: int, reports: int
) -> None:
    training = TrainingSection(epochs=1, min_steps=50, reports=reports)
    assert len(Schedule.plan(training, Configuration(), num_images=num_images).reports) == reports


@given(warmup_fraction=st.floats(0, 0.99), num_images=SIZES)
def test_the_warm_up_is_a_fraction_of_the_bounded_length(warmup_fraction: float, num_images: int) -> None:
    training = TrainingSection(epochs=3, min_steps=40, max_steps=90, batch_size=16)
    schedule = Schedule.plan(training, Configuration(warmup_fraction=warmup_fraction), num_images=num_images)
    assert schedule.warmup_steps == round(warmup_fraction * planned_steps(training, num_images=num_images))


@given(steps=st.integers(1, 3000), reports=st.integers(1, 300))
def test_reports_have_the_requested_number_evenly_spaced_and_end_with_the_last_step(steps: int, reports: int) -> None:
    training = TrainingSection(steps=steps, reports=reports)
    planned = Schedule.plan(training, Configuration(), num_images=10).reports
    assert len(planned) == min(reports, steps)
    assert planned[-1] == steps
    gaps = {after - before for before, after in zip((0, *planned), planned, strict=False)}
    spacing = steps / len(planned)
    assert gaps <= {math.floor(spacing), math.ceil(spacing)}
    assert min(gaps) >= 1


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (TrainingSection(epochs=7, batch_size=4), 7),
        (TrainingSection(epochs=7, batch_size=4, reports=2), 2),
        (TrainingSection(epochs=7, batch_size=4, min_steps=30), 20),
        (TrainingSection(epochs=70, batch_size=4, max_steps=30), 20),
        (TrainingSection(steps=100), 20),
        (TrainingSection(samples=1000, batch_size=4), 20),
        (TrainingSection(steps=3), 3),
    ],
    ids=[
        "one per epoch",
        "as requested",
        "20 with a floor",
        "20 with a cap",
        "20 of steps",
        "20 of samples",
        "at most one per step",
    ],
)
def test_num_reports_has_a_default(training: TrainingSection, expected: int) -> None:
    assert len(Schedule.plan(training, Configuration(), num_images=10).reports) == expected


@pytest.mark.parametrize("num_images", [1, 9, 10, 11, 101])
def test_one_report_per_epoch_falls_on_the_epochs_last_step(num_images: int) -> None:
    training = TrainingSection(epochs=5, batch_size=10)
    steps_per_epoch = len(batch_sizes(num_images, 10))
    planned = Schedule.plan(training, Configuration(), num_images=num_images).reports
    assert planned == tuple(epoch * steps_per_epoch for epoch in range(1, 6))


@given(steps=LENGTHS, warmup_fraction=st.floats(0, 0.99), learning_rate=st.floats(1e-8, 10, exclude_min=True))
def test_the_learning_rate_rises_to_its_peak_then_falls_to_its_floor(
    steps: int, warmup_fraction: float, learning_rate: float
) -> None:
    schedule = make(steps=steps, warmup_fraction=warmup_fraction, learning_rate=learning_rate)
    planned, warmup = rates(schedule), schedule.warmup_steps
    assert warmup == round(warmup_fraction * steps)
    assert planned[:warmup] == pytest.approx([learning_rate * (i + 1) / warmup for i in range(warmup)])
    assert planned[:warmup] == sorted(planned[:warmup])
    assert planned[warmup : warmup + 1] == pytest.approx([learning_rate][: steps - warmup])
    assert planned[warmup:] == sorted(planned[warmup:], reverse=True)
    assert max(planned) == pytest.approx(learning_rate)
    assert min(planned[warmup:], default=learning_rate) >= min(1e-6, learning_rate)


def test_without_a_warm_up_the_first_step_has_the_peak_learning_rate() -> None:
    assert rates(make(warmup_fraction=0.0))[0] == pytest.approx(1e-2)


def test_the_learning_rate_decays_to_the_floor_as_half_a_cosine() -> None:
    schedule = make(steps=1000, warmup_fraction=0.0)
    assert schedule.learning_rate(500) == pytest.approx((1e-2 + 1e-6) / 2)
    assert schedule.learning_rate(1000) == pytest.approx(1e-6)
    assert schedule.learning_rate(999) < 2e-6


def test_a_training_of_one_step_has_the_peak_learning_rate() -> None:
    assert rates(make(steps=1, warmup_fraction=0.0)) == rates(make(steps=1, warmup_fraction=0.9)) == [1e-2]


def planned_rates(steps: int = 100, **values: object) -> list[float]:
    values = {"learning_rate": 1.0, "warmup_fraction": 0.1, "final_lr_fraction": 0.2, **values}
    configuration = Configuration.model_validate(values)
    return rates(Schedule.plan(TrainingSection(steps=steps), configuration, num_images=10))


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant", "warmup_stable_decay"])
def test_every_schedule_rises_linearly_to_the_peak(decay: str) -> None:
    planned = planned_rates(schedule=decay, **({"final_lr_fraction": None} if decay == "constant" else {}))
    assert planned[:11] == pytest.approx([*(i / 10 for i in range(1, 11)), 1.0])


def test_each_schedule_falls_in_its_own_way() -> None:
    assert planned_rates(schedule="linear")[55] == pytest.approx(0.6)
    assert planned_rates(schedule="cosine")[55] == pytest.approx(0.6)
    assert planned_rates(schedule="cosine")[32] == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 22 / 90)))
    assert planned_rates(schedule="linear")[32] == pytest.approx(1 - 0.8 * 22 / 90)
    assert planned_rates(schedule="constant", final_lr_fraction=None)[10:] == [1.0] * 90
    stable = planned_rates(schedule="warmup_stable_decay")
    assert stable[10:81] == [1.0] * 71
    assert stable[80:] == pytest.approx([1 - 0.8 * i / 20 for i in range(20)])


@pytest.mark.parametrize("decay", ["cosine", "linear", "warmup_stable_decay"])
@pytest.mark.parametrize("final", [0.0, 0.2, 1.0])
def test_a_schedule_ends_near_the_fraction_of_the_peak_that_is_given(decay: str, final: float) -> None:
    assert planned_rates(1000, schedule=decay, final_lr_fraction=final)[-1] == pytest.approx(final, abs=6e-3)


def test_a_long_warm_up_leaves_the_decay_of_a_stable_schedule_what_remains() -> None:
    planned = planned_rates(10, schedule="warmup_stable_decay", warmup_fraction=0.9)
    assert planned == pytest.approx([*(i / 9 for i in range(1, 10)), 1.0])
