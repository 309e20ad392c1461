"""Calibration of the speed: short trainings of a few configurations, timed with the loop that trains all trials."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lkca_search.data.batches import Batches, Evaluation
from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images
from lkca_search.models.family import without_common
from lkca_search.records.trial import TrialSpec
from lkca_search.search.planning.speed import ASSUMED_COMPILE_SECONDS, FamilyLines, Speed, assumed_speed
from lkca_search.search.planning.workload import Workload
from lkca_search.search.state.manifests import split_seed
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import spec_of_dataset
from lkca_search.spec.configuration import LENGTH_NAMES
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.evaluation import evaluate
from lkca_search.training.images import DataDirs, open_all_train_images

CALIBRATION_SECONDS = 60.0
"""Approximate time limit of a calibration. A step that has started is finished."""
MEASURED_SECONDS = 1.5
"""Seconds of steps per configuration, after the warm-up, at which its measurement ends."""
_MAX_FITTED = 8
"""Maximum number of configurations to which lines are fitted."""
_MAX_INTERVALS = 20
"""Maximum number of timed intervals per configuration, including the warm-up."""
_INTERVAL_SECONDS = 0.1
"""Approximate length of an interval."""
_MAX_INTERVAL_STEPS = 50
_MAX_EVALUATED_IMAGES = 128
_LEARNING_RATE = 1e-6
"""Learning rate at which no training diverges. The time per step does not depend on it."""
_OWN_LENGTH: Mapping[str, None] = dict.fromkeys(("batch_size", *LENGTH_NAMES))
"""Names that a short training takes from its own section."""
_MIN_BATCH_SIZE = 8
_MIN_STEPS = 4
"""Minimum number of steps in a configuration's time limit, at the assumed speed. If needed, its batch is reduced."""


class Measurement(FrozenModel):
    """Times of one configuration."""

    family: str
    kind: str
    """Family, precision and compilation."""
    num_parameters: int
    """Trainable parameters of the model."""
    flops: int
    """Floating-point operations of the forward pass of one image."""
    batch_size: int
    """Images per timed step."""
    num_steps: int
    """Timed steps, without the warm-up."""
    start_seconds: float
    """Seconds before the first step."""
    step_seconds: float
    """Seconds per step."""
    evaluation_seconds: float
    """Seconds per validation image."""
    compile_seconds: float | None = None
    """Seconds of the compilation; None if the model is not compiled."""


class HoldoutResult(FrozenModel):
    """Prediction for one configuration that was measured and not fitted, and its error."""

    measured: Measurement
    predicted_trial_seconds: float
    """Seconds of its trial, predicted by lines through the other configurations."""
    measured_trial_seconds: float
    """Seconds of its trial, from its own seconds per step and per validation image."""
    error: float
    """Relative error of the prediction: 0.1 is 10% too long."""


class CalibrationRun(FrozenModel):
    """Measurements of a calibration."""

    device: str
    """`cpu` or `cuda`."""
    fitted: tuple[Measurement, ...]
    """Configurations to which the lines are fitted."""
    held_out: HoldoutResult | None
    """Configuration that tests the fit; None if there is only one configuration."""
    seconds: float
    """Duration of the calibration."""


@dataclass(frozen=True, kw_only=True)
class _Selection:
    fitted: list[Workload]
    held_out: Workload | None


def calibrate(
    spec: SearchSpec,
    workloads: Iterable[Workload],
    data_dirs: DataDirs,
    *,
    on_measured: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[CalibrationRun, Speed]:
    """Measure a few workloads, including the smallest and the largest of each family, and fit their speed.

    The number of threads and deterministic algorithms are set for the whole process, as before a trial.

    Args:
        spec: Spec of the search.
        workloads: Workloads from which a few are selected.
        data_dirs: Folders of the datasets.
        on_measured: Called after each measurement with the numbers of finished and of all measurements.

    Returns:
        The measurements, and the speed fitted to them.
    """
    started = time.perf_counter()
    selection = _select(list(workloads))
    images = open_all_train_images(spec, data_dirs)  # once per process, as in a worker
    # Small models first: large ones then get the remaining time. The held-out model is always measured.
    order = [
        *([selection.held_out] if selection.held_out else []),
        *sorted(selection.fitted, key=lambda workload: workload.step_flops),
    ]
    measured: list[tuple[Workload, Measurement]] = []
    for i, workload in enumerate(order):
        remaining = started + CALIBRATION_SECONDS - time.perf_counter()
        if remaining <= 0 and len(measured) > 1:
            break
        measured.append(
            (
                workload,
                _measure(
                    spec_of_dataset(spec, workload.configuration.dataset),
                    workload,
                    data_dirs,
                    images[workload.configuration.dataset],
                    budget_seconds=max(0.0, remaining) / (len(order) - i),
                ),
            )
        )
        on_measured(i + 1, len(order))
    fitted = measured[1:] if selection.held_out else measured
    speed = _fit(fitted)
    held_out = _compare_holdout(*measured[0], speed) if selection.held_out else None
    run = CalibrationRun(
        device=choose_device(spec.resources.gpu).type,
        fitted=tuple(measurement for _, measurement in fitted),
        held_out=held_out,
        seconds=time.perf_counter() - started,
    )
    return run, speed


def _select(workloads: list[Workload]) -> _Selection:
    """Select one workload to hold out, and up to eight to fit.

    The largest of each family go first, then the smallest, then one in between.
    """
    families: dict[str, dict[object, Workload]] = defaultdict(dict)
    for workload in sorted(workloads, key=lambda workload: workload.step_flops):
        model = without_common(workload.configuration), workload.configuration.dataset, workload.batch_size
        families[workload.kind].setdefault(model, workload)
    groups = sorted((list(group.values()) for group in families.values()), key=lambda group: -group[-1].step_flops)
    longest = max(groups, key=len)
    held_out = _nearest(longest[1:-1] or longest[1:], (longest[0].step_flops * longest[-1].step_flops) ** 0.5)
    groups = [[workload for workload in group if workload is not held_out] for group in groups]
    groups = [group for group in groups if group]
    largest = [group[-1] for group in groups]
    smallest = [group[0] for group in groups if len(group) > 1]
    between = [_nearest(group[1:-1], group[-1].step_flops / 2) for group in groups]
    ordered = [workload for workload in (*largest, *smallest, *between) if workload is not None]
    return _Selection(fitted=ordered[:_MAX_FITTED], held_out=held_out)


def _nearest(workloads: list[Workload], step_flops: float) -> Workload | None:
    return min(workloads, key=lambda workload: abs(workload.step_flops - step_flops), default=None)


def _measure(
    spec: SearchSpec, workload: Workload, data_dirs: DataDirs, images: Images, *, budget_seconds: float
) -> Measurement:
    device = choose_device(spec.resources.gpu)
    trial, interval = _short_trial(spec, workload, num_images=len(images), budget_seconds=budget_seconds)
    started = time.perf_counter()
    configure_torch(num_threads=trial.resources.cpu, deterministic=spec.training.deterministic)
    _, training = open_training(trial, data_dirs, device=device, images=images)
    clock = [time.perf_counter()]
    start_seconds = clock[0] - started
    for _ in training.results():  # one per interval, which ends with an evaluation; the first interval is the warm-up
        clock.append(time.perf_counter())
        is_enough = len(clock) >= 5 and clock[-1] - clock[1] >= MEASURED_SECONDS
        if is_enough or (len(clock) > 2 and clock[-1] - started >= budget_seconds):
            break
    interval_seconds = (clock[-1] - clock[1]) / (len(clock) - 2)
    validation = assign_images(images.labels, trial.data, trial.configuration, split_seed=trial.split_seed).validation
    # Validation images are normalized by their own statistics: these are fast to compute and do not affect the time.
    batches = Batches(images=images, indices=validation, batch_size=1, augment=(), seed=0, device=device)
    evaluation = Evaluation(
        images=images, indices=validation, mean=batches.mean, std=batches.std, batch_size=len(validation), device=device
    )
    with training.numerics.applied():
        evaluation_seconds = _mean_seconds(lambda: evaluate(training.model, evaluation, training.numerics.forward))
    return Measurement(
        family=workload.configuration.family,
        kind=workload.kind,
        num_parameters=workload.cost.num_parameters,
        flops=workload.cost.flops,
        batch_size=trial.training.batch_size,
        num_steps=interval * (len(clock) - 2),
        start_seconds=start_seconds,
        step_seconds=max(interval_seconds - evaluation_seconds, interval_seconds / 3) / interval,
        evaluation_seconds=evaluation_seconds / len(validation),
        compile_seconds=max(0.0, clock[1] - clock[0] - interval_seconds) if training.numerics.compiled else None,
    )


def _short_trial(
    spec: SearchSpec, workload: Workload, *, num_images: int, budget_seconds: float
) -> tuple[TrialSpec, int]:
    """Return a trial like the workload, with few validation images and many reports, and its steps per report."""
    on_gpu = choose_device(spec.resources.gpu).type != "cpu"
    assumed = assumed_speed(spec.resources.of_trial(), on_gpu=on_gpu)
    image_seconds = 3 * workload.cost.flops * assumed.step.overall.slope
    # A slow step is measured with fewer images: the lines are functions of operations, not of images.
    affordable = max(_MIN_BATCH_SIZE, int(budget_seconds / _MIN_STEPS / image_seconds))
    batch_size = min(workload.batch_size, affordable)
    interval = min(
        _MAX_INTERVAL_STEPS,
        max(1, round(_INTERVAL_SECONDS / (assumed.step.overall.intercept + batch_size * image_seconds))),
    )
    # The CPU of this machine may stand for a GPU, whose precisions it does not have.
    is_own_device = spec.resources.uses_gpu == on_gpu
    numerics = {"precision": workload.precision, "compile": "on" if workload.compiled else "off"}
    if not is_own_device:
        numerics = {"precision": "float32", "compile": "off"}
    validation = min(spec.data.validation, _MAX_EVALUATED_IMAGES / num_images)
    trial = TrialSpec(
        data=spec.data.model_copy(update={"validation": validation, "scale_validation": False}),
        training=TrainingSection(
            steps=interval * _MAX_INTERVALS,
            batch_size=batch_size,
            reports=_MAX_INTERVALS,
            deterministic=spec.training.deterministic,
        ),
        resources=spec.resources.of_trial(),
        configuration=workload.configuration.model_copy(
            update={**_OWN_LENGTH, "learning_rate": _LEARNING_RATE, **numerics}
        ),
        seed=derive_seed(spec.search.seed, "calibration"),
        split_seed=split_seed(spec),
    )
    return trial, interval


def _mean_seconds(action: Callable[[], object]) -> float:
    """Return the mean time of three calls."""
    started = time.perf_counter()
    for _ in range(3):
        action()
    return (time.perf_counter() - started) / 3


def _fit(timed: list[tuple[Workload, Measurement]]) -> Speed:
    steps: dict[str, list[tuple[float, float]]] = defaultdict(list)
    evaluations: dict[str, list[tuple[float, float]]] = defaultdict(list)
    compilations = [each.compile_seconds for _, each in timed if each.compile_seconds is not None]
    for _, measured in timed:
        steps[measured.kind].append((3 * measured.flops * measured.batch_size, measured.step_seconds))
        evaluations[measured.kind].append((measured.flops, measured.evaluation_seconds))
    return Speed(
        start_seconds=min(measured.start_seconds for _, measured in timed),
        step=FamilyLines.fit(steps),
        evaluation=FamilyLines.fit(evaluations),
        compile_seconds=max(compilations, default=ASSUMED_COMPILE_SECONDS),
    )


def _compare_holdout(workload: Workload, measured: Measurement, speed: Speed) -> HoldoutResult:
    predicted = speed.trial_seconds(workload)
    batch_ratio = workload.samples / workload.steps / measured.batch_size
    steps = workload.steps * measured.step_seconds * batch_ratio
    compilation = speed.compile_seconds * workload.compiled
    measured_seconds = speed.start_seconds + compilation + steps + workload.num_evaluated * measured.evaluation_seconds
    return HoldoutResult(
        measured=measured,
        predicted_trial_seconds=predicted,
        measured_trial_seconds=measured_seconds,
        error=predicted / measured_seconds - 1,
    )
