"""Small trainings on digits, and their outcome without times."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lkca_search.data.store import Images
from lkca_search.data.subsets import Holdout, draw_subset, hold_out
from lkca_search.records.record import TIMES, Result, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training

CPU = torch.device("cpu")
TINY = {"patch_size": 2, "depth": 2, "width": 16, "drop_path_rate": 0.2, "learning_rate": 3e-3}
LKCA = Configuration.model_validate({"family": "lkca", "kernel_size": 3, **TINY})
VIT = Configuration.model_validate({"family": "vit", "num_heads": 4, "pooling": "class_token", **TINY})
SPEC = TrialSpec(
    data=DataSection(dataset="digits", augment=("crop", "flip")),
    training=TrainingSection(steps=30, batch_size=32, reports=6),
    resources=TrialResources(),
    configuration=LKCA,
    seed=1,
    split_seed=2,
)
FAMILIES = {"lkca": SPEC, "vit": SPEC.model_copy(update={"configuration": VIT})}


def opened(spec: TrialSpec, data_dirs: DataDirs, *checkpoints: Path) -> tuple[TrialMetadata, Training]:
    configure_torch(num_threads=spec.resources.cpu)
    return open_training(spec, data_dirs, device=CPU, checkpoints=checkpoints)


def outcome(spec: TrialSpec, data_dirs: DataDirs) -> tuple[list[dict[str, Any]], str]:
    """Train to the end and return curve and weights."""
    _, training = opened(spec, data_dirs)
    return [measured(result) for result in training.results()], weights_hash(training)


def measured(result: Result) -> dict[str, Any]:
    """Return a result without its times."""
    return result.model_dump(exclude=TIMES)


def weights_hash(training: Training) -> str:
    weights = training.model.state_dict().values()
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights)).hexdigest()


def changed(spec: TrialSpec, **changes: object) -> TrialSpec:
    """Return the spec with other values, in the first section that has their names."""
    values, left = spec.model_dump(), dict(changes)
    for section in (values, values["data"], values["training"], values["resources"], values["configuration"]):
        section.update({name: left.pop(name) for name in left.keys() & section.keys()})
    return TrialSpec.model_validate(values)


def split(spec: TrialSpec, images: Images) -> tuple[Holdout, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the holdout and the training subset."""
    configuration = spec.configuration
    seed = derive_seed(spec.split_seed, "validation")
    holdout = hold_out(images.labels, fraction=spec.data.validation, seed=seed)
    draw = derive_seed(spec.split_seed, "draw", configuration.draw)
    assert configuration.data_fraction is not None
    return holdout, draw_subset(images.labels, holdout.train, fraction=configuration.data_fraction, seed=draw)
