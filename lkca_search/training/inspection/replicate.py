"""Inspection of a replicate after its test, in less than the time of one training step of 128 images.

It runs on a fixed number of test images, in float32 and eval mode. It changes neither the model nor a random state, and
no error of it is raised: a replicate does not fail because it cannot be inspected.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lkca_search.data.batches import Evaluation
from lkca_search.data.store import Images
from lkca_search.faults import first_line
from lkca_search.records.inspection.inspection import Inspection
from lkca_search.training.inspection.attention import attention_maps
from lkca_search.training.inspection.kernels import kernel_maps
from lkca_search.training.inspection.receptive_field import receptive_field
from lkca_search.training.inspection.spatial import Grid
from lkca_search.training.loop import Training
from lkca_search.training.trained_model import TrainedModel

NUM_IMAGES = 64
"""Test images of an inspection, at equal distances in the test split."""
_BATCH = 16
"""Images per batch: gradients of large images take much memory."""
T = TypeVar("T")


def inspect_replicate(training: Training, images: Images, *, device: torch.device) -> Inspection:
    """Inspect the model of a finished training that is evaluated, on test images normalized as its training images."""
    batches = training.batches
    # The import of the compiler takes a second, so it is left out for the other models.
    is_compiled = training.numerics.compiled
    with torch.compiler.set_stance("force_eager") if is_compiled else nullcontext():
        return inspect_model(training.evaluated_model, images, mean=batches.mean, std=batches.std, device=device)


def inspect_trained(trained: TrainedModel, images: Images) -> Inspection:
    """Inspect a kept model on test images normalized as its training images."""
    statistics = trained.description.normalization
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (statistics.mean, statistics.std))
    return inspect_model(trained.module, images, mean=mean, std=std, device=trained.device)


def inspect_model(model: nn.Module, images: Images, *, mean: Tensor, std: Tensor, device: torch.device) -> Inspection:
    """Inspect a trained model on its device; errors are recorded in `Inspection.failures`.

    Args:
        model: Model as it was tested.
        images: Test images.
        mean: Mean of each channel of the training images, (C,).
        std: Standard deviation of each channel, (C,).
        device: Device of the model.
    """
    started = time.perf_counter()
    shape: Grid = (images.shape.height, images.shape.width)
    chosen = np.unique(np.linspace(0, len(images.labels) - 1, NUM_IMAGES).round().astype(np.int64))
    failures: list[str] = []

    def batches() -> Iterator[Tensor]:
        evaluation = Evaluation(images=images, indices=chosen, mean=mean, std=std, batch_size=_BATCH, device=device)
        return (pixels for pixels, _ in evaluation)

    def attempt(part: str, run: Callable[[], T]) -> T | None:
        try:
            return run()
        except Exception as error:  # a model of your own or of timm may raise anything
            failures.append(f"{part}: {first_line(error)}")
            return None

    with _unchanged(model, device):
        kernels = attempt("kernels", lambda: list(kernel_maps(model)))
        attention = attempt("attention", lambda: attention_maps(model, batches(), shape))
        field = attempt("receptive field", lambda: receptive_field(model, batches(), shape))
    return Inspection(
        layers=(*(kernels or ()), *(attention or ())),
        receptive_field=field,
        num_images=len(chosen),
        image_size=shape,
        seconds=time.perf_counter() - started,
        failures=tuple(failures),
    )


@contextmanager
def _unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put a model into eval mode in the block, and restore its modes and the random states."""
    modes = {module: module.training for module in model.modules()}
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
