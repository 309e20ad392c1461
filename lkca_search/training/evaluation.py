"""Evaluation of a model on held-out images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

EVALUATION_BATCH = 512
"""Images per batch of an evaluation."""


Forward = Callable[[nn.Module, Tensor], Tensor]
"""Function (model, images) -> logits in float32, in the precision of a training."""


def forward_as_is(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (B, K) of images (B, C, H, W)."""
    logits: Tensor = model(images)
    return logits


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Loss, accuracy and the outputs of a model on all images, from one pass."""

    loss: float
    """Mean cross-entropy."""
    accuracy: float
    logits: Tensor
    """Outputs, (N, K), on the CPU."""
    labels: NDArray[np.int64]
    """True classes, (N,)."""

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the logits, (N, K)."""
        probabilities: NDArray[np.float32] = self.logits.softmax(dim=1).numpy()
        return probabilities


@torch.inference_mode()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], forward: Forward = forward_as_is) -> Evaluated:
    """Evaluate a model on batches of images (B, C, H, W) and labels (B,).

    The model is in eval mode during the evaluation, and in its former mode after it.
    """
    outputs = list(predict(model, batches, forward))
    loss, accuracy = score(outputs)
    logits, labels = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    return Evaluated(loss=loss, accuracy=accuracy, logits=logits.float(), labels=labels.numpy())


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], forward: Forward = forward_as_is
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (B, K) and labels (B,) of each batch.

    The model is in eval mode until the last batch, and in its former mode after it.
    """
    was_training = model.training
    model.eval()
    for images, labels in batches:
        yield forward(model, images), labels
    model.train(was_training)


def score(predictions: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy over batches of logits (B, K) and labels (B,)."""
    loss, correct, count = 0.0, 0, 0
    for logits, labels in predictions:
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += int((logits.argmax(dim=1) == labels).sum().item())
        count += len(labels)
    return loss / count, correct / count
