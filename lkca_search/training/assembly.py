"""From a trial spec to a training that is ready to run: data, subset, model, schedule, checkpoint."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lkca_search.data.batches import Batches, Evaluation
from lkca_search.data.datasets.download_cache import Progress
from lkca_search.data.store import Images, open_images
from lkca_search.data.subsets import assign_images, indices_hash
from lkca_search.models.cost import measure_cost
from lkca_search.models.registry import build_model, find_family
from lkca_search.paths import AnyPath
from lkca_search.records.provenance import gather_provenance
from lkca_search.records.record import TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.spec.resources import GpuShare
from lkca_search.spec.search_spec import DataSection
from lkca_search.training.checkpoints import load_newest_checkpoint
from lkca_search.training.loop import Training
from lkca_search.training.schedule import Schedule

EVALUATION_BATCH = 512
"""Images that are evaluated at once."""


@dataclass(frozen=True, kw_only=True)
class DataDirs:
    """Where a machine finds images, and where it keeps them decoded."""

    cache: Path
    """Folder of decoded datasets."""
    data_dir: Path | None
    """Folder of datasets by name: LKCA_DATA_DIR."""


def open_train_images(
    data: DataSection, place: DataDirs, *, progress: Progress = lambda file, received, total: None
) -> Images:
    """Open the training split of a space file's dataset, downloaded and decoded first where it is not; DataError."""
    return open_images(
        data.dataset,
        "train",
        cache=place.cache,
        data_dir=place.data_dir,
        image_size=data.image_size,
        progress=progress,
    )


def open_training(
    spec: TrialSpec, place: DataDirs, *, device: torch.device, checkpoints: Iterable[AnyPath] = ()
) -> tuple[TrialMetadata, Training]:
    """Make a training from its spec, continued from the newest checkpoint in the given folders.

    Sets the number of threads and deterministic algorithms for the whole process. Raises UserError where the
    data or the configuration cannot be had.
    """
    num_threads = spec.resources.cpu
    _make_deterministic(num_threads)
    images = open_train_images(spec.data, place)
    configuration, training = spec.configuration, spec.training
    assigned = assign_images(images.labels, spec.data, configuration, split_seed=spec.split_seed)
    schedule = Schedule.plan(training, configuration, num_images=len(assigned.train))
    batches = Batches(
        images=images,
        indices=assigned.train,
        batch_size=training.batch_size,
        augment=spec.data.augment,
        seed=spec.seed,
        device=device,
    )
    num_classes = len(images.class_names)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(spec.seed, "weights"))
        model = build_model(configuration, images.shape, num_classes).to(device)
    result = Training(
        model=model,
        batches=batches,
        validation=Evaluation(
            images=images,
            indices=assigned.validation,
            mean=batches.mean,
            std=batches.std,
            batch_size=EVALUATION_BATCH,
            device=device,
        ),
        schedule=schedule,
        configuration=configuration,
        seed=spec.seed,
        patience=training.patience,
    )
    state = load_newest_checkpoint(checkpoints)
    if state is not None:
        result.load_state(state)
    facts = TrialMetadata(
        **_model_facts(configuration, images.shape, num_classes, batch_size=batches.batch_size),
        planned_steps=schedule.steps,
        num_train_images=len(assigned.train),
        num_validation_images=len(assigned.validation),
        data_hash=images.content_hash,
        subset_hash=indices_hash(assigned.train),
        validation_hash=indices_hash(assigned.validation),
        provenance=gather_provenance(
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", num_threads=num_threads
        ),
    )
    return facts, result


def _model_facts(
    configuration: Configuration, shape: ImageShape, num_classes: int, *, batch_size: int
) -> dict[str, Any]:
    """What is known of a trial from its model alone."""
    family = find_family(configuration.family)
    assert family is not None
    cost = measure_cost(lambda: build_model(configuration, shape, num_classes), shape, batch_size=batch_size)
    return {"model": family.label, **asdict(cost)}


def choose_device(gpu: GpuShare) -> torch.device:
    """The device that a share of a GPU asks for: the first visible GPU, or the CPU where none is asked or there."""
    return torch.device("cuda", 0) if gpu != 0 and torch.cuda.is_available() else torch.device("cpu")


def gpu_memory_bytes() -> int | None:
    """Memory of the first visible GPU, all of it; None where torch sees none."""
    return torch.cuda.mem_get_info(0)[1] if torch.cuda.is_available() else None


def _make_deterministic(num_threads: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
