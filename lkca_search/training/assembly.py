"""Assembly of a training from its spec: images, subset, batches, model, schedule, checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import nn

from lkca_search.data.batches import Batches, Evaluation, largest_batch
from lkca_search.data.store import Images
from lkca_search.data.subsets import Holdout, assign_images, indices_hash
from lkca_search.models.registry import build_model, find_family, model_cost, resolve
from lkca_search.paths import AnyPath
from lkca_search.records.provenance import LayerBackend, gather_provenance
from lkca_search.records.record import ModelDefaults, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.seeds import derive_seed
from lkca_search.training.backends.choice import LayerSettings, choose_backends, read_backends
from lkca_search.training.checkpoints import load_newest_checkpoint
from lkca_search.training.device import device_name, torch_build
from lkca_search.training.evaluation import EVALUATION_BATCH
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.loop import Training
from lkca_search.training.recipe.loss import make_loss
from lkca_search.training.recipe.precision import resolve_numerics
from lkca_search.training.recipe.schedule import Schedule


def open_training(
    spec: TrialSpec,
    data_dirs: DataDirs,
    *,
    device: torch.device,
    checkpoints: Sequence[AnyPath] = (),
    images: Images | None = None,
    backends: tuple[LayerBackend, ...] | None = None,
) -> tuple[TrialMetadata, Training]:
    """Build a training from its spec, and resume it from the newest good checkpoint in the given folders.

    Call `configure_torch` first: the result depends on its settings. The backend of LKCA layers is that of the
    checkpoint, or else of an earlier attempt in these folders, or else measured.

    Args:
        spec: Training to build.
        data_dirs: Folders of the datasets.
        device: Device of the model.
        checkpoints: Folders of earlier attempts.
        images: Training images if they are open already.
        backends: Backends of a recorded training to take, instead of measured ones; layers of other shapes estimate
            theirs.

    Raises:
        UserError: The data cannot be read, or the configuration breaks a rule.
    """
    if images is None:
        images = open_train_images(spec.data, data_dirs)
    holdout = assign_images(images.labels, spec.data, spec.configuration, split_seed=spec.split_seed)
    batches, validation = _open_batches(spec, images, holdout, device)
    model = _seeded_model(spec, images, device)
    schedule = Schedule.plan(spec.training, spec.configuration, num_images=len(holdout.train))
    numerics = resolve_numerics(spec.configuration, model, device=device, steps=schedule.steps)
    numerics.prepare(model)
    training = Training(
        model=model,
        batches=batches,
        validation=validation,
        schedule=schedule,
        configuration=spec.configuration,
        loss=make_loss(spec.configuration, images.labels[holdout.train], len(images.class_names), device),
        seed=spec.seed,
        metrics=spec.metrics,
        patience=spec.training.patience,
        numerics=numerics,
    )
    damaged = load_newest_checkpoint(checkpoints, training.load_state)
    if training.step == 0:
        given = (*(backends or ()), *read_backends(checkpoints))
        _use_backends(training, device, given, measure=backends is None)
    return _metadata(spec, images, holdout, training, device, damaged), training


def _open_batches(
    spec: TrialSpec, images: Images, holdout: Holdout, device: torch.device
) -> tuple[Batches, Evaluation]:
    """Return the training batches, and the validation images normalized by their statistics."""
    batches = Batches(
        images=images,
        indices=holdout.train,
        batch_size=spec.training.batch_size,
        augment=spec.data.augment,
        seed=spec.seed,
        device=device,
    )
    validation = Evaluation(
        images=images,
        indices=holdout.validation,
        mean=batches.mean,
        std=batches.std,
        batch_size=EVALUATION_BATCH,
        device=device,
    )
    return batches, validation


def _seeded_model(spec: TrialSpec, images: Images, device: torch.device) -> nn.Module:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(spec.seed, "weights"))
        return build_model(spec.configuration, images.shape, len(images.class_names)).to(device)


def _use_backends(training: Training, device: torch.device, given: tuple[LayerBackend, ...], *, measure: bool) -> None:
    """Choose the backends of LKCA layers under the settings of the training."""
    numerics = training.numerics
    settings = LayerSettings(
        batch_size=_largest_batch(training.batches),
        device=device,
        device_name=device_name(device),
        precision=numerics.precision,
        dtype=numerics.dtype,
        context=numerics.autocast,
    )
    with numerics.applied():
        training.use_backends(choose_backends(training.model, settings, given=given, measure=measure))


def _metadata(
    spec: TrialSpec,
    images: Images,
    holdout: Holdout,
    training: Training,
    device: torch.device,
    damaged_checkpoints: tuple[str, ...],
) -> TrialMetadata:
    family = find_family(spec.configuration.family)
    assert family is not None
    resolved = resolve(spec.configuration, images.shape, len(images.class_names))
    batches = training.batches
    numerics = training.numerics
    cost = model_cost(
        spec.configuration,
        images.shape,
        len(images.class_names),
        batch_size=_largest_batch(batches),
        precision=numerics.precision,
    )
    return TrialMetadata(
        model=family.label,
        **asdict(cost),
        planned_steps=training.last_step,
        num_train_images=len(holdout.train),
        num_validation_images=len(holdout.validation),
        last_batch=batches.last_batch,
        expected_overlap=holdout.expected_overlap,
        num_classes=len(images.class_names),
        data_hash=images.content_hash,
        subset_hash=indices_hash(holdout.train),
        validation_hash=indices_hash(holdout.validation),
        description=ModelDefaults(
            configuration=resolved,
            initialization=family.describe_initialization(resolved),
            pooling=family.describe_pooling(resolved),
        ),
        damaged_checkpoints=damaged_checkpoints,
        used_precision=numerics.precision,
        compiled=numerics.compiled,
        channels_last=numerics.channels_last,
        backends=training.backends,
        provenance=gather_provenance(
            device=device_name(device),
            num_threads=torch.get_num_threads(),
            own_code=spec.own_code(),
            build=torch_build(device),
        ),
    )


def _largest_batch(batches: Batches) -> int:
    return largest_batch(batches.num_images, batches.batch_size)
