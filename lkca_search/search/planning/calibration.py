"""The calibration: a few steps of a few configurations, timed with the loop that trains them, and what follows for all."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lkca_search.data.batches import Batches, Evaluation
from lkca_search.data.subsets import assign_images
from lkca_search.models.family import without_common
from lkca_search.records.trial import TrialSpec
from lkca_search.search.planning.speed import FamilyLines, Speed, assumed_speed
from lkca_search.search.planning.workload import Workload
from lkca_search.search.state.manifests import split_seed
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.evaluation import evaluate
from lkca_search.training.images import DataDirs, open_train_images

CALIBRATION_SECONDS = 60.0
"""What a calibration takes at most, about: no step is cut short."""
_MOST_FITTED = 8
"""Configurations that lines are fitted through."""
_MEASURED_SECONDS = 1.5
"""Seconds of steps, after the warm-up, that are enough of one configuration."""
_MOST_INTERVALS = 20
"""Looks at the clock, the warm-up included, at most."""
_INTERVAL_SECONDS = 0.1
"""Between two looks, about."""
_MOST_STEPS = 50
"""Steps between two looks at the clock, at most."""
_EVALUATED = 128
"""Validation images whose evaluation is timed."""
_LEARNING_RATE = 1e-6
"""At which no training diverges; the time does not depend on it."""
_FEWEST_IMAGES = 8
"""Of a step that is timed."""
_STEPS_AFFORDED = 4
"""Steps, by the rough figure, that a configuration's share of the time is to suffice for."""


class Measurement(FrozenModel):
    """One configuration that was timed."""

    family: str
    num_parameters: int
    """Learnable parameters of the model."""
    flops: int
    """Floating-point operations of one image's forward pass."""
    batch_size: int
    """Images of the steps that were timed."""
    num_steps: int
    """Steps that were timed, after the warm-up."""
    start_seconds: float
    """Seconds before the first step."""
    step_seconds: float
    """Seconds a step."""
    evaluation_seconds: float
    """Seconds a validation image."""


class HoldoutResult(FrozenModel):
    """The configuration that was timed and not fitted: what the others say of it, beside what was measured."""

    measured: Measurement
    predicted_trial_seconds: float
    """Of its whole trial, by the lines through the other configurations."""
    measured_trial_seconds: float
    """Of its whole trial, by its own seconds a step and a validation image."""
    error: float
    """Predicted by measured, less 1: 0.1 is 10% too long."""


class CalibrationRun(FrozenModel):
    """What was timed."""

    device: str
    """`cpu` or `cuda`."""
    fitted: tuple[Measurement, ...]
    """The configurations that the lines go through."""
    held_out: HoldoutResult | None
    """One more, to hold against the lines; None where there is only one configuration."""
    seconds: float
    """How long the calibration took."""


@dataclass(frozen=True, kw_only=True)
class _Picked:
    fitted: list[Workload]
    held_out: Workload | None


def calibrate(
    spec: SearchSpec,
    workloads: Iterable[Workload],
    data_dirs: DataDirs,
    *,
    on_measured: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[CalibrationRun, Speed]:
    """Time a few of the workloads, the smallest and the largest of each family among them, and fit lines through them.

    As with a trial, the number of threads and deterministic algorithms are set for the whole process.
    `on_measured` is told how many are done, of how many.
    """
    begun = time.perf_counter()
    picked = _pick(list(workloads))
    # From small to large, so that the large ones have what the small ones leave of the time; the one held out is sure.
    order = [*([picked.held_out] if picked.held_out else []), *sorted(picked.fitted, key=lambda each: each.step_flops)]
    timed: list[tuple[Workload, Measurement]] = []
    for i, workload in enumerate(order):
        left = begun + CALIBRATION_SECONDS - time.perf_counter()
        if left <= 0 and len(timed) > 1:
            break
        timed.append((workload, _measure(spec, workload, data_dirs, budget_seconds=max(0.0, left) / (len(order) - i))))
        on_measured(i + 1, len(order))
    fitted = timed[1:] if picked.held_out else timed
    speed = _fit(fitted)
    held_out = _hold(*timed[0], speed) if picked.held_out else None
    calibration = CalibrationRun(
        device=choose_device(spec.resources.gpu).type,
        fitted=tuple(measured for _, measured in fitted),
        held_out=held_out,
        seconds=time.perf_counter() - begun,
    )
    return calibration, speed


def _pick(workloads: list[Workload]) -> _Picked:
    """Of each family the largest, then the smallest, then one half as large, eight in all; and one to hold out."""
    families: dict[str, dict[object, Workload]] = defaultdict(dict)
    for workload in sorted(workloads, key=lambda each: each.step_flops):
        model = without_common(workload.configuration), workload.batch_size
        families[workload.configuration.family].setdefault(model, workload)
    by_size = sorted((list(own.values()) for own in families.values()), key=lambda own: -own[-1].step_flops)
    varied = max(by_size, key=len)
    held_out = _nearest(varied[1:-1] or varied[1:], (varied[0].step_flops * varied[-1].step_flops) ** 0.5)
    rest = [own for own in ([each for each in own if each is not held_out] for own in by_size) if own]
    halves = [_nearest(own[1:-1], own[-1].step_flops / 2) for own in rest]
    ordered = [*(own[-1] for own in rest), *(own[0] for own in rest if len(own) > 1), *halves]
    return _Picked(fitted=[each for each in ordered if each is not None][:_MOST_FITTED], held_out=held_out)


def _nearest(workloads: list[Workload], step_flops: float) -> Workload | None:
    return min(workloads, key=lambda each: abs(each.step_flops - step_flops), default=None)


def _measure(spec: SearchSpec, workload: Workload, data_dirs: DataDirs, *, budget_seconds: float) -> Measurement:
    device = choose_device(spec.resources.gpu)
    images = open_train_images(spec.data, data_dirs)
    trial, interval = _short_trial(spec, workload, num_images=len(images), budget_seconds=budget_seconds)
    begun = time.perf_counter()
    configure_torch(num_threads=trial.resources.cpu)
    _, training = open_training(trial, data_dirs, device=device)
    clock = [time.perf_counter()]
    start_seconds = clock[0] - begun
    for _ in training.results():  # each is an interval and an evaluation; the first is the warm-up
        clock.append(time.perf_counter())
        enough = len(clock) >= 5 and clock[-1] - clock[1] >= _MEASURED_SECONDS
        if enough or (len(clock) > 2 and clock[-1] - begun >= budget_seconds):
            break
    interval_seconds = (clock[-1] - clock[1]) / (len(clock) - 2)
    held = assign_images(images.labels, trial.data, trial.configuration, split_seed=trial.split_seed).validation
    # Statistics of their own: cheaper than those of the training images, and the time does not depend on them.
    own = Batches(images=images, indices=held, batch_size=1, augment=(), seed=0, device=device)
    evaluation = Evaluation(
        images=images, indices=held, mean=own.mean, std=own.std, batch_size=len(held), device=device
    )
    evaluation_seconds = _seconds(lambda: evaluate(training.model, evaluation))
    return Measurement(
        family=workload.configuration.family,
        num_parameters=workload.cost.num_parameters,
        flops=workload.cost.flops,
        batch_size=trial.training.batch_size,
        num_steps=interval * (len(clock) - 2),
        start_seconds=start_seconds,
        step_seconds=max(interval_seconds - evaluation_seconds, interval_seconds / 3) / interval,
        evaluation_seconds=evaluation_seconds / len(held),
    )


def _short_trial(
    spec: SearchSpec, workload: Workload, *, num_images: int, budget_seconds: float
) -> tuple[TrialSpec, int]:
    """A trial that is like the workload, but has few validation images, and the number of steps between its reports."""
    rough = assumed_speed(spec.resources.of_trial(), on_gpu=choose_device(spec.resources.gpu).type != "cpu")
    image_seconds = 3 * workload.cost.flops * rough.step.overall.slope
    # Where a step would take too long it is timed with fewer images: the lines go over operations.
    affordable = max(_FEWEST_IMAGES, int(budget_seconds / _STEPS_AFFORDED / image_seconds))
    batch_size = min(workload.batch_size, affordable)
    interval = min(
        _MOST_STEPS, max(1, round(_INTERVAL_SECONDS / (rough.step.overall.base + batch_size * image_seconds)))
    )
    validation = min(spec.data.validation, _EVALUATED / num_images)
    trial = TrialSpec(
        data=spec.data.model_copy(update={"validation": validation, "scale_validation": False}),
        training=TrainingSection(steps=interval * _MOST_INTERVALS, batch_size=batch_size, reports=_MOST_INTERVALS),
        resources=spec.resources.of_trial(),
        configuration=workload.configuration.model_copy(update={"learning_rate": _LEARNING_RATE}),
        seed=derive_seed(spec.search.seed, "calibration"),
        split_seed=split_seed(spec),
    )
    return trial, interval


def _seconds(act: Callable[[], object]) -> float:
    """Mean seconds of three times."""
    begun = time.perf_counter()
    for _ in range(3):
        act()
    return (time.perf_counter() - begun) / 3


def _fit(timed: list[tuple[Workload, Measurement]]) -> Speed:
    steps: dict[str, list[tuple[float, float]]] = defaultdict(list)
    evaluations: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _, measured in timed:
        steps[measured.family].append((3 * measured.flops * measured.batch_size, measured.step_seconds))
        evaluations[measured.family].append((measured.flops, measured.evaluation_seconds))
    return Speed(
        start_seconds=min(measured.start_seconds for _, measured in timed),
        step=FamilyLines.fit(steps),
        evaluation=FamilyLines.fit(evaluations),
    )


def _hold(workload: Workload, measured: Measurement, speed: Speed) -> HoldoutResult:
    predicted = speed.trial_seconds(workload)
    share = workload.samples / workload.steps / measured.batch_size
    steps = workload.steps * measured.step_seconds * share
    found = speed.start_seconds + steps + workload.num_evaluated * measured.evaluation_seconds
    return HoldoutResult(
        measured=measured,
        predicted_trial_seconds=predicted,
        measured_trial_seconds=found,
        error=predicted / found - 1,
    )
