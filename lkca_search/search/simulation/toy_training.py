"""A training that trains nothing: its accuracy is a known function of the configuration, the seed and the step."""

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
"""Where the accuracy is best, among the names that a configuration has."""
BEST_ACCURACY = 0.9
"""The accuracy there, without noise."""
_SCALES: Mapping[str, float] = {
    "learning_rate": 2.5,
    "weight_decay": 6.0,
    "kernel_size": 1.2,
    "depth": 1.2,
    "width": 1.5,
}
"""By how much the logarithm of a name may be off its optimum until the accuracy is half of the best."""


def toy_accuracy(configuration: Configuration) -> float:
    """The accuracy at the end of a training, without noise."""
    return BEST_ACCURACY / (1 + sum(miss**2 for miss in _misses(configuration).values()))


class ToyTraining:
    """A worker of simulated searches.

    Accuracy rises towards its end at a rate that grows with the learning rate, so that curves cross; noise is drawn
    from (seed, report). A report takes longer the deeper and wider the model.
    """

    def __init__(self, *, noise: float = 0.005, num_steps: int = 1000) -> None:
        """`noise` is the standard deviation of an accuracy; a training has `num_steps` steps."""
        self._noise = noise
        self._num_steps = num_steps

    def __call__(self, assignment: Assignment) -> Iterator[Message]:
        """Yield a message a report, the last one `done`."""
        configuration, seed = assignment.spec.configuration, assignment.spec.seed
        num_reports = assignment.spec.training.num_reports
        end, rate = toy_accuracy(configuration), _rate(configuration)
        seconds = (configuration.depth or 6) * (configuration.width or 128) / 768
        for report in range(1, num_reports + 1):
            share = report / num_reports
            risen = end * (1 - math.exp(-rate * share)) / (1 - math.exp(-rate))
            accuracy = risen + random.Random(derive_seed(seed, report)).gauss(0, self._noise)
            result = Result(
                step=round(share * self._num_steps),
                epoch=share,
                samples=round(share * self._num_steps),
                seconds=seconds * report,
                learning_rate=configuration.learning_rate,
                train_loss=1 - risen,
                val_loss=1 - risen,
                val_accuracy=min(1.0, max(0.0, accuracy)),
                time=seconds * report,
            )
            facts = _facts(self._num_steps) if report == 1 else None
            yield Message(facts=facts, result=result, done=report == num_reports)


def _misses(configuration: Configuration) -> dict[str, float]:
    values = {name: getattr(configuration, name) for name in OPTIMUM}
    return {
        name: math.log(value / OPTIMUM[name]) / _SCALES[name] for name, value in values.items() if value is not None
    }


def _rate(configuration: Configuration) -> float:
    """How fast the accuracy rises: from 1.5, almost evenly, to 8, almost at once."""
    return min(8.0, max(1.5, 4 + 2 * math.log10(configuration.learning_rate / OPTIMUM["learning_rate"])))


@cache
def _facts(num_steps: int) -> TrialMetadata:
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
