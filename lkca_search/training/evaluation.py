"""Evaluation of a model on held-out images."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EVALUATION_BATCH = 512
"""Images per batch of an evaluation."""


@torch.inference_mode()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy over batches of images (B, C, H, W) and labels (B,).

    The model is in eval mode during the evaluation, and in its former mode after it.
    """
    was_training = model.training
    model.eval()
    loss, correct, count = 0.0, 0, 0
    for images, labels in batches:
        logits = model(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += int((logits.argmax(dim=1) == labels).sum().item())
        count += len(labels)
    model.train(was_training)
    return loss / count, correct / count
