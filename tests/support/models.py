"""Kept models made by short trainings, and descriptions without weights."""

from pathlib import Path
from typing import Any

import torch

from lkca_search.layout import MODEL, WEIGHTS
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.model_description import ModelDescription, ModelOrigin, Normalization, hash_weights
from lkca_search.records.predictions import Predictions
from lkca_search.records.record import Record, TestResult
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration, ImageShape
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


def write_model(folder: AnyPath, record: Record, *, weights: bytes = b"weights") -> ModelDescription:
    """Write a description that fits a record into a folder, beside weights of any content; nothing is trained."""
    assert record.facts is not None
    replicate = record.replicate
    description = ModelDescription(
        search=record.search,
        uid="0" * 32,
        cell=record.cell,
        trial_id=record.trial_id,
        round=1 if replicate else None,
        draw=replicate.draw if replicate else 0,
        seed=replicate.seed if replicate else None,
        configuration=record.spec.complete_configuration,
        dataset=record.spec.dataset,
        image_shape=ImageShape(8, 8, 1),
        num_classes=10,
        class_names=tuple(map(str, range(10))),
        normalization=Normalization(mean=(0.3,), std=(0.4,)),
        num_train_images=record.facts.num_train_images,
        num_parameters=record.facts.num_parameters,
        data_hash=record.facts.data_hash,
        subset_hash=record.facts.subset_hash,
        test_hash=record.test.data_hash if record.test else None,
        metrics={"val_accuracy": 0.5, **({"test_accuracy": record.test.accuracy} if record.test else {})},
        precision="float32",
        provenance=record.facts.provenance,
        packages={"torch": "2.14.0"},
        weights_sha256=hash_weights(weights),
        weights_bytes=len(weights),
    )
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / MODEL, description.model_dump_json().encode())
    return description
