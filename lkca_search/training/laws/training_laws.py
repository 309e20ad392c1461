"""Laws of a short training with your own code: it runs, repeats, and resumes from a checkpoint bit for bit."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lkca_search.data.store import Images
from lkca_search.own_code import describe_error
from lkca_search.records.record import TIMES, Result
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import LENGTH_NAMES, Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.images import DataDirs
from lkca_search.training.laws.model_laws import BrokenLaw
from lkca_search.training.loop import Training, TrainingDiverged

_STEPS = 3
_BATCH_SIZE = 8
_IMAGES_PER_CLASS = 4
_VALIDATION = 0.25
_PLAIN = {"compile": "off", "precision": "float32"}
"""Names whose value does not matter here; others would take minutes."""


def short_trial(spec: SearchSpec, configuration: Configuration) -> TrialSpec:
    """Return a trial of three steps of a configuration on all images that it gets."""
    cleared = dict.fromkeys(("images_per_class", "batch_size", *LENGTH_NAMES))
    return TrialSpec(
        data=spec.data.model_copy(update={"validation": _VALIDATION, "scale_validation": False}),
        training=TrainingSection(steps=_STEPS, reports=_STEPS, batch_size=_BATCH_SIZE),
        resources=spec.resources.of_trial(gpu=0).model_copy(update={"cpu": 1}),
        configuration=configuration.model_copy(update={**cleared, "data_fraction": 1.0, "draw": 0, **_PLAIN}),
        seed=0,
        split_seed=0,
        metrics=spec.search.measured,
    )


def few_images(images: Images) -> Images:
    """Return at most four images of each class."""
    order = np.argsort(images.labels, kind="stable")
    sorted_labels = images.labels[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_labels, sorted_labels)
    chosen = np.sort(order[rank < _IMAGES_PER_CLASS])
    return replace(images, pixels=np.ascontiguousarray(images.pixels[chosen]), labels=images.labels[chosen])


def check_training(trial: TrialSpec, images: Images, data_dirs: DataDirs) -> None:
    """Train a short trial twice, and a third time from the checkpoint after its second step.

    Raises:
        BrokenLaw: A step fails, or the results differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = _results(trial, images, data_dirs, checkpoints=Path(folder))
        again = _results(trial, images, data_dirs)
        if (step := _first_difference(first, again)) is not None:
            rule = "two trainings with one seed must be equal"
            raise BrokenLaw(
                f"{rule}, got {_losses(first, again, step)}: draw random numbers from torch's generator, or the one "
                "that is given, and keep no state outside of the object"
            )
        resumed = _results(trial, images, data_dirs, resume=Path(folder))
        if (step := _first_difference(first, resumed)) is not None:
            rule = f"a training resumed from a checkpoint after step {_STEPS - 1} must equal the uninterrupted one"
            raise BrokenLaw(
                f"{rule}, got {_losses(first, resumed, step)}: keep the state of a model in parameters and buffers, "
                "and that of an optimizer in its `state` and `param_groups`"
            )


def _results(
    trial: TrialSpec,
    images: Images,
    data_dirs: DataDirs,
    *,
    checkpoints: Path | None = None,
    resume: Path | None = None,
) -> list[Result]:
    """Return the result of each step; save a checkpoint before the last, or begin with the one that is saved."""
    results: list[Result] = []
    try:
        opened = open_training(
            trial, data_dirs, device=torch.device("cpu"), images=images, checkpoints=[resume] if resume else []
        )
        if opened[0].damaged_checkpoints:
            raise BrokenLaw(f"a checkpoint must load again, got {opened[0].damaged_checkpoints[0]}")
        for result in _train(opened[1]):
            results.append(result)
            if checkpoints is not None and result.step == _STEPS - 1:
                save_checkpoint(opened[1].state(), checkpoints, step=result.step)
    except BrokenLaw:
        raise
    except Exception as error:  # the user's code may raise anything
        where = f"step {len(results) + 1} of a short training failed" if results else "a short training failed"
        raise BrokenLaw(f"{where}: {describe_error(error)}") from error
    return results


def _train(training: Training) -> Iterator[Result]:
    try:
        yield from training.results()
    except TrainingDiverged:
        return  # a matter of the learning rate, which the search decides


def _first_difference(one: list[Result], two: list[Result]) -> int | None:
    """Return the index of the first result that differs; None if all are equal."""
    for index, (left, right) in enumerate(zip(one, two, strict=False)):
        if left.model_dump(exclude=TIMES) != right.model_dump(exclude=TIMES):
            return index
    return None if len(one) == len(two) else min(len(one), len(two))


def _losses(one: list[Result], two: list[Result], index: int) -> str:
    if index >= min(len(one), len(two)):
        return f"{len(one)} and {len(two)} steps"
    losses = f"losses of {one[index].train_loss:.8g} and {two[index].train_loss:.8g}"
    return f"{losses} (validation {one[index].val_loss:.8g} and {two[index].val_loss:.8g}) at step {one[index].step}"
