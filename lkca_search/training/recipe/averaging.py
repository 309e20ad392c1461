"""Exponential moving average of a model's weights (Polyak averaging, arXiv 1806.05594)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Return the running average of a model; call `update_parameters(model)` after each optimizer step.

    Parameters and buffers (the statistics of BatchNorm) are averaged; counters are copied. The first update copies the
    model, so that its initial weights never count.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        if averages[0].is_floating_point():
            # The argument is a copy on the device: to read it would wait for a GPU at every step.
            decay_now = averaging_decay(int(average.n_averaged), decay)
            torch._foreach_lerp_(list(averages), list(current), 1 - decay_now)
        else:
            for counter, value in zip(averages, current, strict=True):
                counter.copy_(value)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average


def averaging_decay(num_averaged: int, decay: float) -> float:
    """Return the decay of an update after `num_averaged` earlier ones: it rises to `decay`, as in TensorFlow.

    A constant decay of 0.999 would hold the weights of the first steps for thousands of steps.
    """
    return min(decay, (1 + num_averaged) / (10 + num_averaged))
