"""Kept models: weights as safetensors and their description as JSON, written by a worker and loaded by anyone.

Both files may come from elsewhere, so nothing in them is executed. safetensors holds numbers alone, and no pickle is
read. Only a family of your own needs code, that of its module, which is imported if the caller allows it.
"""

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from lkca_search.data.batches import Evaluation
from lkca_search.data.store import Images
from lkca_search.errors import UserError
from lkca_search.faults import first_line
from lkca_search.layout import MODEL, WEIGHTS
from lkca_search.models.registry import build_model, resolve
from lkca_search.own_code import code_hashes, is_dotted, other_code
from lkca_search.paths import AnyPath, parse_path, write_atomically
from lkca_search.records.finding import DamagedError, Finding
from lkca_search.records.model_description import (
    REMEDY,
    ModelDescription,
    ModelOrigin,
    Normalization,
    hash_weights,
    read_description,
    read_weights,
)
from lkca_search.records.record import Result, TestResult, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.training.backends.choice import apply_backends
from lkca_search.training.evaluation import EVALUATION_BATCH, evaluate
from lkca_search.training.loop import Training
from lkca_search.training.recipe.precision import Numerics
from lkca_search.training.state_check import check_state

PACKAGES = ("torch", "torchvision", "timm", "numpy", "safetensors")
"""Packages that compute and store a model."""
_HEADER_BYTES = 4_096
"""Bytes of a safetensors header, besides those per tensor."""
_ENTRY_BYTES = 512
"""Most bytes per tensor in the header besides its name: type, shape and place."""
_NAME_BYTES = 6
"""Most bytes per character of a name there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """Loaded model, which classifies images exactly as in the test of its training."""

    module: nn.Module
    """Model in evaluation mode: normalized images (B, C, H, W), float32 -> logits (B, K)."""
    description: ModelDescription
    """Origin, preprocessing, results and versions."""
    numerics: Numerics
    """Precision and memory layout of a forward pass."""
    device: torch.device
    """Device of the model."""

    def predict_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the class probabilities of images, (N, K), in the order of `description.class_names`.

        Args:
            images: Pixels from 0 to 255, (N, H, W, C), of the shape in `description.image_shape`.

        Raises:
            UserError: The images have another shape or type.
        """
        shape = self.description.image_shape
        if images.ndim != 4 or images.shape[1:] != tuple(shape) or images.dtype != np.uint8:
            rule = f"images must be uint8 of shape (N, {shape.height}, {shape.width}, {shape.channels})"
            raise UserError(f"{rule}, got {images.dtype} of shape {images.shape}")
        if len(images) == 0:
            return np.empty((0, self.description.num_classes), dtype=np.float32)
        with self.numerics.applied():
            return evaluate(self.module, self._batches(images), self.numerics.forward).probabilities

    def _batches(self, pixels: NDArray[np.uint8]) -> Evaluation:
        """Return the images in the batches of a test: other batches would round in another way."""
        statistics = self.description.normalization
        images = Images(
            name="images",
            pixels=pixels,
            labels=np.zeros(len(pixels), dtype=np.int64),
            class_names=self.description.class_names,
            content_hash="",
        )
        return Evaluation(
            images=images,
            indices=np.arange(len(pixels)),
            mean=torch.tensor(statistics.mean, dtype=torch.float32),
            std=torch.tensor(statistics.std, dtype=torch.float32),
            batch_size=EVALUATION_BATCH,
            device=self.device,
        )


def describe_model(
    training: Training,
    spec: TrialSpec,
    metadata: TrialMetadata,
    images: Images,
    origin: ModelOrigin,
    *,
    result: Result,
    test: TestResult | None = None,
) -> ModelDescription:
    """Return the description of a finished training, whose weights are not written yet.

    Args:
        training: Finished training.
        spec: Its spec.
        metadata: Its metadata.
        images: Its training images.
        origin: Search and trial to which it belongs.
        result: Its last result.
        test: Its test result; None for a trial.
    """
    metrics = {"val_loss": result.val_loss, "val_accuracy": result.val_accuracy, **result.metrics}
    if test is not None:
        tested = {"loss": test.loss, "accuracy": test.accuracy, **test.metrics}
        metrics |= {f"test_{name}": value for name, value in tested.items()}
    return ModelDescription(
        **origin.model_dump(),
        configuration=resolve(spec.complete_configuration, images.shape, len(images.class_names)),
        dataset=spec.dataset,
        image_shape=images.shape,
        image_size=spec.data.image_size,
        num_classes=len(images.class_names),
        class_names=images.class_names,
        normalization=Normalization(
            mean=tuple(training.batches.mean.tolist()), std=tuple(training.batches.std.tolist())
        ),
        num_train_images=metadata.num_train_images,
        num_parameters=metadata.num_parameters,
        data_hash=metadata.data_hash,
        subset_hash=metadata.subset_hash,
        test_hash=None if test is None else test.data_hash,
        metrics=metrics,
        precision=training.numerics.precision,
        compiled=training.numerics.compiled,
        channels_last=training.numerics.channels_last,
        backends=training.backends or (),
        provenance=metadata.provenance,
        packages={package: version(package) for package in PACKAGES},
        own_code=code_hashes(spec.own_code()),
    )


def save_model(folder: AnyPath, module: nn.Module, description: ModelDescription) -> ModelDescription:
    """Write the weights of a model and its description into a folder, each atomically; return the description.

    The description is written last, so that a model with a description is complete.

    Args:
        folder: Folder of the attempt.
        module: Trained model; its tensors may share memory.
        description: Description; size and hash of the weights are added to it.

    Raises:
        UserError: The state of the model has a value that is no tensor.
    """
    content = to_safetensors(module)
    description = description.model_copy(
        update={"weights_sha256": hash_weights(content), "weights_bytes": len(content)}
    )
    write_atomically(folder / WEIGHTS, content)
    write_atomically(folder / MODEL, description.model_dump_json(indent=1).encode())
    return description


def to_safetensors(module: nn.Module) -> bytes:
    """Return the state dict of a model in the format of safetensors; UserError if a value in it is no tensor."""
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            rule = "the state of a model must be tensors, since files of weights hold numbers alone"
            raise UserError(f"{rule}, got {type(value).__name__} as {name}: keep it in a buffer")
    # The format has no shared memory. Copies of one tensor are loaded into one tensor again.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    try:
        content: bytes = safetensors.torch.save(tensors, metadata={"format": "pt"})
    except (KeyError, SafetensorError) as error:
        types = ", ".join(sorted({str(tensor.dtype) for tensor in tensors.values()}))
        raise UserError(f"tensors of a model must have types that safetensors has, got {types}") from error
    return content


def load_trained(
    path: AnyPath | str, *, device: torch.device | str = "cpu", trust_own_code: bool = False
) -> TrainedModel:
    """Load a kept model. Its files are checked against each other, and nothing in them is executed.

    Args:
        path: Folder with both files, or one of the files: a path, or the URL of an object store.
        device: Device of the loaded model.
        trust_own_code: True to import the module of a family of your own, which runs its code.

    Raises:
        UserError: There is no model; the files are damaged or do not match (DamagedError); the family is your own and
            is not trusted, or its code has changed; the device cannot compute the model.
    """
    folder = _find_folder(parse_path(path) if isinstance(path, str) else path)
    description = read_description(folder)
    _check_own_code(description, folder, trusts=trust_own_code)
    skeleton = _skeleton(description, folder)
    state = _read_state(folder, description, skeleton)
    device = torch.device(device)
    with torch.random.fork_rng(devices=[]):  # initial weights are replaced, and must not change the caller's numbers
        module = _build(description, torch.device("cpu"))
    module.load_state_dict(state)
    module.to(device).eval()
    numerics = _numerics_of(description, device)
    numerics.prepare(module)
    apply_backends(module, description.backends)
    return TrainedModel(module=module, description=description, numerics=numerics, device=device)


def _find_folder(path: AnyPath) -> AnyPath:
    """Return the folder of a model at a path; UserError if there is none."""
    folder = path.parent if path.name in (WEIGHTS, MODEL) else path
    try:
        if (folder / MODEL).exists():
            return folder
    except NotADirectoryError:
        pass
    raise UserError(f"a model must be a folder with {MODEL} and {WEIGHTS}, got {path}: there is no {folder / MODEL}")


def _check_own_code(description: ModelDescription, folder: AnyPath, *, trusts: bool) -> None:
    """Raise UserError if the family is your own, and importing its module is not allowed or gives other code."""
    family = description.configuration.family
    if not is_dotted(family):
        return
    if not trusts:
        raise UserError(
            f"the model in {folder} has the family {family}, which is code of its own: loading the model imports the "
            f"module {family.rpartition('.')[0]} from your Python path and runs it. If you trust that module, allow it "
            "by trust_own_code=True"
        )
    top = family.partition(".")[0]
    known = {name: code for name, code in description.own_code.items() if name == top}
    if problem := other_code(known, owner="in its training"):
        again = f"lkca-search rerun {description.search} --trial {description.trial_id} --allow own-code --save FOLDER"
        remedy = f"Restore that version of the module, or train the model again with the code of now: `{again}`"
        raise UserError(f"the model in {folder} needs the code of its training, and this process {problem}. {remedy}")


def _build(description: ModelDescription, device: torch.device) -> nn.Module:
    with device:
        return build_model(description.configuration, description.image_shape, description.num_classes)


def _skeleton(description: ModelDescription, folder: AnyPath) -> nn.Module:
    """Return the described model without values, which takes no memory.

    Raises:
        UserError: The configuration breaks a rule, or the stated weights are larger than those of the model.
    """
    try:
        skeleton = _build(description, torch.device("meta"))
    except Exception as error:  # an edited configuration, or code of your own, may raise anything
        raise UserError(f"the model in {folder} cannot be built: {first_line(error)}") from error
    largest = _HEADER_BYTES + sum(
        each.numel() * each.element_size() + _ENTRY_BYTES + _NAME_BYTES * len(name)
        for name, each in skeleton.state_dict().items()
    )
    if description.weights_bytes > largest:
        damage = f"weights_bytes must be at most {largest:,} for this model, got {description.weights_bytes:,}"
        raise DamagedError(Finding(place=str(folder / MODEL), damage=damage, remedy=REMEDY))
    return skeleton


def _read_state(folder: AnyPath, description: ModelDescription, skeleton: nn.Module) -> dict[str, Tensor]:
    """Return the tensors in the file of weights, which must be those of the model."""
    content = read_weights(folder, description)
    try:
        state: dict[str, Tensor] = safetensors.torch.load(content)
        check_state(state, skeleton)
    except Exception as error:  # a file that is no safetensors raises almost anything
        damage = f"must have the tensors of the model in {MODEL}, got a file in which {first_line(error)}"
        raise DamagedError(Finding(place=str(folder / WEIGHTS), damage=damage, remedy=REMEDY)) from error
    return state


def _numerics_of(description: ModelDescription, device: torch.device) -> Numerics:
    """Return the numerics of the test on this device; a CPU computes in float32 where it lacks the precision."""
    on_cpu = device.type == "cpu"
    lacks = on_cpu and description.precision in ("tf32", "float16")
    return Numerics(
        precision="float32" if lacks else description.precision,
        channels_last=description.channels_last and not on_cpu,
        device_type=device.type,
    )
