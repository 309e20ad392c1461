"""Kept models made by short trainings, and descriptions without weights."""

from pathlib import Path
from typing import Any

import torch

from lkca_search.records.model_description import ModelDescription, ModelOrigin
from lkca_search.records.predictions import Predictions
from lkca_search.records.record import TestResult
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.testing import evaluate_on_test, open_test_images
from lkca_search.training.trained_model import describe_model, save_model

DATA = DataSection(dataset="digits")
ORIGIN = ModelOrigin(search="made", uid="0" * 32, cell="all", trial_id="all/0/draw=1,seed=0", round=1, draw=1, seed=0)
TINY: dict[str, Any] = {"family": "lkca", "patch_size": 2, "depth": 1, "width": 16, "learning_rate": 1e-2}


def train_model(
    folder: Path, data_dirs: DataDirs, *, steps: int = 30, **configuration: Any
) -> tuple[ModelDescription, TestResult, Predictions]:
    """Train a model on the digits as a worker does, keep it in a folder, and return its description and its test."""
    cpu = torch.device("cpu")
    spec = TrialSpec(
        data=DATA,
        training=TrainingSection(steps=steps, reports=1),
        resources=TrialResources(),
        configuration=Configuration(**{**TINY, **configuration}),
        seed=0,
        split_seed=0,
    )
    metadata, training = open_training(spec, data_dirs, device=cpu)
    *_, result = training.results()
    test, predictions = evaluate_on_test(training, open_test_images(DATA, data_dirs), device=cpu)
    images = open_train_images(DATA, data_dirs)
    description = describe_model(training, spec, metadata, images, ORIGIN, result=result, test=test)
    return save_model(folder, training.evaluated_model, description), test, predictions
