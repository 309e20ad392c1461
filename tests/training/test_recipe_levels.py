"""Trainings whose batch size, augmentations and length are levels: they equal those of sections, and resume exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lkca_search.augmentations import AUGMENTATION_SETS, AUGMENTATIONS, augment_rule
from lkca_search.records.record import Result
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from tests.support.trainings import measured, weights_hash

TINY = {"patch_size": 4, "kernel_size": 3, "depth": 1, "width": 8, "data_fraction": 0.1}
LISTS = st.lists(st.sampled_from(AUGMENTATIONS), unique=True, max_size=4).filter(lambda names: not augment_rule(names))
LENGTHS = st.one_of(
    st.fixed_dictionaries({"epochs": st.integers(1, 3)}),
    st.fixed_dictionaries({"steps": st.integers(3, 9)}),
    st.fixed_dictionaries({"samples": st.integers(30, 400)}),
)


def spec(*, training: dict[str, Any], augment: tuple[str, ...] = (), **levels: Any) -> TrialSpec:
    return TrialSpec(
        data=DataSection(dataset="digits", augment=augment),
        training=TrainingSection(reports=3, **training),
        resources=TrialResources(),
        configuration=Configuration.model_validate({**TINY, **levels}),
        seed=1,
        split_seed=2,
    )


def opened(trial: TrialSpec, data_dirs: DataDirs, *checkpoints: Path) -> Training:
    configure_torch(num_threads=1)
    return open_training(trial, data_dirs, device=torch.device("cpu"), checkpoints=checkpoints)[1]


def numbers(results: list[Result], training: Training) -> tuple[list[dict[str, Any]], str]:
    return [measured(each) for each in results], weights_hash(training)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch_size=st.sampled_from((2, 16, 33, 500)),
    augment=st.one_of(st.sampled_from(sorted(AUGMENTATION_SETS)), LISTS),
    length=LENGTHS,
)
def test_a_training_with_any_levels_equals_that_of_the_sections_and_resumes_at_every_report(
    batch_size: int,
    augment: str | list[str],
    length: dict[str, int],
    data_dirs: DataDirs,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    levels = spec(training={"epochs": 1, "min_steps": 7}, batch_size=batch_size, augment=augment, **length)
    training = opened(levels, data_dirs)
    whole = numbers(list(training.results()), training)
    bounds = {"min_steps": 7} if "epochs" in length else {}
    sections = spec(training={**length, **bounds, "batch_size": batch_size}, augment=levels.data.augment)
    assert sections.training == levels.training
    training = opened(sections, data_dirs)
    assert numbers(list(training.results()), training) == whole
    attempts: list[Path] = []
    curve: list[Result] = []
    while len(curve) < len(whole[0]):
        training = opened(levels, data_dirs, *attempts)
        results = training.results()
        assert [next(results) for _ in curve] == curve
        curve.append(next(results))
        attempts.append(tmp_path_factory.mktemp("attempt"))
        save_checkpoint(training.state(), attempts[-1], step=curve[-1].step)
    assert numbers(curve, training) == whole
