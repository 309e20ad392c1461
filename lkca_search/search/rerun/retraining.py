"""Retraining of a recorded trial in this process, and comparison with the recorded result."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice

from lkca_search.data.store import Images
from lkca_search.environment.redaction import command_line
from lkca_search.errors import MissingFolderError
from lkca_search.paths import AnyPath
from lkca_search.records.model_description import ModelOrigin
from lkca_search.records.record import TIMES, Result, State, TrialMetadata
from lkca_search.records.rerun import Change, Repeated, RerunOutcome, RerunRecord, Tolerance, Verdict
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.differences import find_changes, find_edits, split_changes
from lkca_search.search.rerun.tolerance import (
    ReplicateValue,
    bounds_of,
    cut_to_bounds,
    describe_tolerance,
    tolerance_of_fresh,
    tolerance_of_repeat,
)
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.loop import Training, TrainingDiverged
from lkca_search.training.trained_model import describe_model, save_model
from lkca_search.training.weights_hash import weights_hash


@dataclass(frozen=True, kw_only=True)
class RecordedTraining:
    """Recorded training, and further results that a rerun is compared with."""

    file: TrialFile
    """Training and its result; the training may be edited."""
    repeats: Repeated
    """Search, trial and run of the recorded training."""
    replicates: tuple[ReplicateValue, ...] = ()
    """Values of the replicates of its configuration, whose spread gives the tolerance."""
    packages: Mapping[str, str] | None = None
    """Versions of all packages of the recorded training; None if only their hash is known."""
    is_fresh: bool = False
    """True if another seed or draw than the recorded one is trained: the result is then compared by its tolerance."""

    @property
    def label(self) -> str:
        """Name of the training among several: its draw and seed."""
        return f"draw={self.file.trial.configuration.draw},seed={self.file.trial.seed}"


@dataclass(frozen=True, kw_only=True)
class OpenedRerun:
    """Rerun that is ready to train, with its differences from the recorded training."""

    recorded: RecordedTraining
    trial: TrialSpec
    images: Images
    """Training images."""
    metadata: TrialMetadata
    training: Training
    edits: tuple[str, ...]
    """Edits of the training, which make it no repeat."""
    changes: tuple[Change, ...]
    """Notable and harmless changes of code and machine, the strongest first."""
    started: float = field(default_factory=time.time)


def open_rerun(recorded: RecordedTraining, data_dirs: DataDirs, *, allowed: Collection[str] = ()) -> OpenedRerun:
    """Build the training of a rerun, and compare its data, code and machine with the recorded ones.

    Args:
        recorded: Training and its recorded result.
        data_dirs: Folders of the datasets.
        allowed: Areas in which a fatal difference is an edit instead of an error: the keys of `AREAS`.

    Raises:
        RerunRefused: The rerun would train something else than was recorded.
        UserError: The data cannot be read, or the configuration breaks a rule.
    """
    file = _with_fresh_randomness(recorded) if recorded.is_fresh else recorded.file
    configure_torch(num_threads=file.trial.resources.cpu, deterministic=file.trial.training.deterministic)
    trial = _with_used_numerics(file.trial, file.facts)
    backends = (file.facts.backends or ()) if file.facts else None
    device = choose_device(trial.resources.gpu)
    try:
        images = open_train_images(trial.data, data_dirs)
    except MissingFolderError as error:
        raise error.with_step("add data.dataset=") from error
    metadata, training = open_training(trial, data_dirs, device=device, images=images, backends=backends)
    provenance = metadata.provenance.model_copy(update={"command_line": command_line()})
    metadata = metadata.model_copy(update={"provenance": provenance})
    if recorded.is_fresh and file.facts is not None and _has_new_draw(recorded.file):
        subset = {"subset_hash": metadata.subset_hash, "validation_hash": metadata.validation_hash}
        file = file.model_copy(update={"facts": file.facts.model_copy(update=subset)})
    changes = find_changes(file, metadata, packages=recorded.packages)
    further, changes = split_changes(file, changes, allowed=allowed)
    return OpenedRerun(
        recorded=recorded,
        trial=trial,
        images=images,
        metadata=metadata,
        training=training,
        edits=(*find_edits(file, metadata), *further),
        changes=tuple(changes),
    )


def train(
    opened: OpenedRerun, *, on_result: Callable[[Result], None] = lambda _: None, save: AnyPath | None = None
) -> RerunRecord:
    """Train a rerun to the end of its schedule, and compare it; a pruned trial ends at its last recorded result.

    An edited training always takes its whole schedule.

    Args:
        opened: Rerun to train.
        on_result: Called with each result.
        save: Folder in which the trained model is kept; None for no model.
    """
    file, training = opened.recorded.file, opened.training
    ends_early = not opened.edits and not opened.recorded.is_fresh and _ends_early(file)
    curve: list[Result] = []
    error, weights = None, None
    try:
        for result in islice(training.results(), file.num_reports) if ends_early else training.results():
            curve.append(result)
            on_result(result)
    except TrainingDiverged as failure:
        error = str(failure)
    else:
        weights = weights_hash(training.evaluated_model)
    metadata = opened.metadata.model_copy(
        update={"nondeterministic": training.nondeterministic, "weights_hash": weights}
    )
    if save is not None and curve:
        description = describe_model(training, opened.trial, metadata, opened.images, _origin(opened), result=curve[-1])
        save_model(save, training.evaluated_model, description)
    return RerunRecord(
        repeats=opened.recorded.repeats,
        outcome=_compare(opened, curve, weights, error),
        spec=opened.trial,
        facts=metadata,
        curve=tuple(curve),
        started=opened.started,
        finished=time.time(),
    )


def _origin(opened: OpenedRerun) -> ModelOrigin:
    repeats = opened.recorded.repeats
    return ModelOrigin(
        search=repeats.search,
        uid=repeats.uid,
        cell=repeats.trial_id.partition("/")[0],
        trial_id=repeats.trial_id,
        draw=opened.trial.configuration.draw,
    )


def _compare(opened: OpenedRerun, curve: list[Result], weights: str | None, error: str | None) -> RerunOutcome:
    recorded, file = opened.recorded, opened.recorded.file
    value = curve[-1].value(file.metric) if curve else None
    is_repeat = not opened.edits and not recorded.is_fresh and error is None
    verdict, reason, tolerance = _judge(opened, curve, weights, error)
    if file.state is None and curve and not opened.training.is_last(curve[-1]):
        ended = f"step {curve[-1].step} of {opened.training.last_step}"
        reason = f"{reason}; the file states no final state: ended at its last result, {ended}"
    return RerunOutcome(
        trial_id=file.trial_id,
        metric=file.metric,
        is_repeat=is_repeat,
        recorded=file.value,
        value=value,
        difference=value - file.value if is_repeat and value is not None and file.value is not None else None,
        step=opened.training.step,
        verdict=verdict,
        reason=reason,
        tolerance=tolerance,
        seed=opened.trial.seed,
        draw=opened.trial.configuration.draw,
        edits=opened.edits,
        changes=opened.changes,
        error=error,
    )


def _judge(
    opened: OpenedRerun, curve: list[Result], weights: str | None, error: str | None
) -> tuple[Verdict, str, Tolerance | None]:
    """Return the verdict, its reason, and the tolerance if it was used."""
    recorded, file = opened.recorded, opened.recorded.file
    if error is not None:
        return Verdict.NOT_COMPARED, "the training failed", None
    if opened.edits:
        return Verdict.NOT_COMPARED, "the training was edited", None
    if not curve or (file.value is None and not file.curve):
        return Verdict.NOT_COMPARED, "there is no recorded value", None
    value = curve[-1].value(file.metric)
    found = None
    if not recorded.is_fresh:
        found = _first_difference(file, curve, weights)
        if found is None:
            hashed = file.facts is not None and file.facts.weights_hash is not None and weights is not None
            return Verdict.IDENTICAL, f"{_describe(file, with_weights=hashed)} equal bit for bit", None
    if recorded.is_fresh:
        tolerance = tolerance_of_fresh(file.trial.configuration.draw, recorded.replicates)
    elif file.value is None:
        tolerance = "there is no recorded value"
    else:
        tolerance = tolerance_of_repeat(file.value, recorded.replicates)
    start = f"{found}; " if found else ""
    if isinstance(tolerance, str):
        repeated = Verdict.WITHIN_TOLERANCE if value == file.value else Verdict.DIFFERENT
        return Verdict.UNDECIDED if recorded.is_fresh else repeated, f"{start}{tolerance}", None
    bounds = bounds_of(file.metric, opened.trial.metrics)
    tolerance = cut_to_bounds(tolerance, bounds)
    verdict = Verdict.WITHIN_TOLERANCE if tolerance.contains(value) else Verdict.DIFFERENT
    return verdict, f"{start}{describe_tolerance(tolerance, bounds)}", tolerance


def _first_difference(file: TrialFile, curve: list[Result], weights: str | None) -> str | None:
    """Return the first number that differs from the recorded one; None if all are equal."""
    if file.curve:
        if len(file.curve) != len(curve):
            return f"{len(curve)} results in place of {len(file.curve)}"
        for old, new in zip(file.curve, curve, strict=True):
            for name, value in old.model_dump(exclude=TIMES | {"metrics"}).items():
                if value != getattr(new, name):
                    return f"{name} differs from step {old.step} on"
            for name, value in old.metrics.items():
                if value != new.metrics.get(name):
                    return f"{name} differs from step {old.step} on"
    elif curve[-1].value(file.metric) != file.value:
        return f"{file.metric} differs"
    was = file.facts.weights_hash if file.facts else None
    return "the weights differ" if None not in (was, weights) and was != weights else None


def _describe(file: TrialFile, *, with_weights: bool) -> str:
    compared = f"all {len(file.curve)} results" if file.curve else f"the last {file.metric}"
    if with_weights:
        return f"{compared} and the final weights are"
    return f"{compared} are" if len(file.curve) > 1 else f"{compared} is"


def _has_new_draw(file: TrialFile) -> bool:
    """Return True if the training has another draw than the recorded one."""
    return file.recorded_trial is not None and file.trial.configuration.draw != file.recorded_trial.configuration.draw


def _with_fresh_randomness(recorded: RecordedTraining) -> TrialFile:
    """Return the file with the seed and draw of the training as the recorded ones, so that they are no edits."""
    file = recorded.file
    if file.recorded_trial is None:
        return file
    draw = {"draw": file.trial.configuration.draw}
    configuration = file.recorded_trial.configuration.model_copy(update=draw)
    trial = file.recorded_trial.model_copy(update={"seed": file.trial.seed, "configuration": configuration})
    return file.model_copy(update={"recorded_trial": trial})


def _with_used_numerics(trial: TrialSpec, facts: TrialMetadata | None) -> TrialSpec:
    """Return the trial with the precision and compilation of the recorded training in place of `auto`.

    Trainings of earlier versions used float32 and did not compile.
    """
    if facts is None:
        return trial
    used = {"precision": facts.used_precision or "float32", "compile": "on" if facts.compiled else "off"}
    update = {name: value for name, value in used.items() if getattr(trial.configuration, name) == "auto"}
    return trial.model_copy(update={"configuration": trial.configuration.model_copy(update=update)})


def _ends_early(file: TrialFile) -> bool:
    """Return True if the recorded training may have ended before its schedule.

    The results of a failed trial end at its failure, which the rerun reaches by itself.
    """
    return file.num_reports > 0 and file.state in (State.PRUNED, None)
