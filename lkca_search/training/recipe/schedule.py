"""Schedule of a trial: number of steps, evaluations, and the learning rate of each step.

The learning rate is a function of the step: it resumes without a state, which the schedulers of torch have. timm's have
no `warmup_stable_decay`, and another warm-up than the one that results so far have used.
"""

import math
from dataclasses import dataclass
from typing import Self

from lkca_search.data.batches import count_batches
from lkca_search.recipe import DECAY_FRACTION, final_learning_rate
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.sections import TrainingSection


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps, reports and learning rates of a training."""

    steps: int
    """Optimizer steps of the whole training."""
    reports: tuple[int, ...]
    """Steps after which the trial is evaluated; the last one is `steps`."""
    warmup_steps: int
    """Steps of linear warm-up."""
    peak: float
    """Peak learning rate."""
    final: float
    """Learning rate at the end of a decay."""
    decay: str
    """Learning rate after the warm-up: a `schedule` of a configuration."""

    @classmethod
    def plan(cls, training: TrainingSection, configuration: Configuration, *, num_images: int) -> Self:
        """Return the schedule of one configuration on a subset of `num_images`."""
        steps = planned_steps(training, num_images=num_images)
        count = min(training.num_reports, steps)
        return cls(
            steps=steps,
            reports=tuple(round(i * steps / count) for i in range(1, count + 1)),
            warmup_steps=round(configuration.warmup_fraction * steps),
            peak=configuration.learning_rate,
            final=final_learning_rate(configuration.learning_rate, configuration.final_lr_fraction),
            decay=configuration.schedule,
        )

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: linear warm-up, then the decay."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        start = self._decay_start
        if start is None or step < start:
            return self.peak
        progress = (step - start) / max(1, self.steps - start)
        share = 0.5 * (1 + math.cos(math.pi * progress)) if self.decay == "cosine" else 1 - progress
        return self.final + (self.peak - self.final) * share

    @property
    def _decay_start(self) -> int | None:
        """First step of the decay; None if the learning rate stays at its peak."""
        if self.decay == "constant":
            return None
        if self.decay == "warmup_stable_decay":
            return max(self.warmup_steps, self.steps - round(DECAY_FRACTION * self.steps))
        return self.warmup_steps


def planned_steps(training: TrainingSection, *, num_images: int) -> int:
    """Return the number of optimizer steps of a training, whose length is in epochs, steps or samples.

    The last batch of an epoch may have another size. A length in epochs is raised to its floor and cut at its cap.
    """
    batch_size = min(training.batch_size, num_images)
    steps_per_epoch = count_batches(num_images, batch_size)
    if training.steps is not None:
        return training.steps
    if training.epochs is not None:
        steps = max(training.epochs * steps_per_epoch, training.min_steps or 1)
        return steps if training.max_steps is None else min(steps, training.max_steps)
    epochs, rest = divmod(training.samples or 0, num_images)
    return epochs * steps_per_epoch + math.ceil(rest / batch_size)
