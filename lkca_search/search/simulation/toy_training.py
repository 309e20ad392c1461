"""Simulated worker whose accuracy is a known function of configuration, seed and step."""

import math
import random
from collections.abc import Iterator, Mapping
from functools import cache

from lkca_search.records.provenance import Provenance
from lkca_search.records.record import Result, TrialMetadata
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration

OPTIMUM: Mapping[str, float] = {"learning_rate": 3e-3, "weight_decay": 1e-2, "kernel_size": 7, "depth": 6, "width": 128}
"""Values with the best accuracy; a configuration may lack some of these parameters."""
BEST_ACCURACY = 0.9
"""Noise-free accuracy at the optimum."""
_SCALES: Mapping[str, float] = {
    "learning_rate": 2.5,
    "weight_decay": 6.0,
    "kernel_size": 1.2,
    "depth": 1.2,
    "width": 1.5,
}
"""Deviation from the optimum, as a natural logarithm, that halves the accuracy."""


def toy_accuracy(configuration: Configuration) -> float:
    """Return the noise-free accuracy at the end of a training."""
    return BEST_ACCURACY / (1 + sum(deviation**2 for deviation in _deviations(configuration).values()))


class ToyTraining:
    """Simulated worker with a toy learning curve.

    The accuracy rises to its final value at a rate that grows with the learning rate, so that curves cross. The noise
    depends on (seed, report). Deeper and wider models take longer per report.
    """

    def __init__(self, *, noise: float = 0.005, num_steps: int = 1000) -> None:
        """Take the standard deviation of the accuracy, `noise`, and the number of steps per training."""
        self._noise = noise
        self._num_steps = num_steps

    def __call__(self, assignment: Assignment) -> Iterator[Message]:
        """Yield one message per report; the last one is `done`."""
        configuration, seed = assignment.spec.configuration, assignment.spec.seed
        num_reports = assignment.spec.training.num_reports
        final, rate = toy_accuracy(configuration), _rate(configuration)
        seconds = (configuration.depth or 6) * (configuration.width or 128) / 768
        for report in range(1, num_reports + 1):
            progress = report / num_reports
            mean = final * (1 - math.exp(-rate * progress)) / (1 - math.exp(-rate))
            accuracy = mean + random.Random(derive_seed(seed, report)).gauss(0, self._noise)
            result = Result(
                step=round(progress * self._num_steps),
                epoch=progress,
                samples=round(progress * self._num_steps),
                seconds=seconds * report,
                learning_rate=configuration.learning_rate,
                train_loss=1 - mean,
                val_loss=1 - mean,
                val_accuracy=min(1.0, max(0.0, accuracy)),
                time=seconds * report,
            )
            metadata = _metadata(self._num_steps) if report == 1 else None
            yield Message(metadata=metadata, result=result, done=report == num_reports)


def _deviations(configuration: Configuration) -> dict[str, float]:
    values = {name: getattr(configuration, name) for name in OPTIMUM}
    return {
        name: math.log(value / OPTIMUM[name]) / _SCALES[name] for name, value in values.items() if value is not None
    }


def _rate(configuration: Configuration) -> float:
    """Return the rate at which the accuracy rises, from 1.5 (almost linear) to 8 (almost a step)."""
    return min(8.0, max(1.5, 4 + 2 * math.log10(configuration.learning_rate / OPTIMUM["learning_rate"])))


@cache
def _metadata(num_steps: int) -> TrialMetadata:
    return TrialMetadata(
        model="toy",
        num_parameters=1,
        flops=1,
        activation_bytes=1,
        planned_steps=num_steps,
        num_train_images=1,
        num_validation_images=1,
        data_hash="toy",
        subset_hash="toy",
        validation_hash="toy",
        provenance=Provenance(
            git_commit="toy",
            package_version="toy",
            python_version="toy",
            torch_version="toy",
            ray_version="toy",
            optuna_version="toy",
            node="toy",
            device="toy",
            num_threads=1,
        ),
    )
