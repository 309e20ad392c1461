"""Loss of a training: cross-entropy with label smoothing and weights of classes."""

from collections.abc import Sequence

import torch
from torch import nn

from lkca_search.data.subsets import Indices
from lkca_search.spec.configuration import Configuration


def make_loss(configuration: Configuration, labels: Indices, num_classes: int, device: torch.device) -> nn.Module:
    """Return the loss of a training on images with these labels: logits (B, K), labels -> scalar.

    Equal weights of classes are left out, so that the loss is that of `class_weights: none`, bit for bit.
    """
    weight = None
    if configuration.class_weights == "balanced":
        counts = torch.from_numpy(labels).bincount(minlength=num_classes).tolist()
        weights = balanced_weights(counts)
        weight = None if len(set(weights)) == 1 else torch.tensor(weights, dtype=torch.float32, device=device)
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=configuration.label_smoothing)


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Return n / (K n_k) for each class k with n_k of n images, as scikit-learn; 0 for a class without images."""
    return [sum(counts) / (len(counts) * count) if count else 0.0 for count in counts]
