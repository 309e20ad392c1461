"""Made-up results of a search with several datasets, with accuracies that a test chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record
from lkca_search.records.rounds import Round
from tests.support.search_results import make_search_results

DatasetAccuracy = Callable[[str, str, int, int, int], float | None]
"""Test accuracy, 0 to 1, by dataset, family, training images, draw and seed; None for a missing replicate."""
CLASSES = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}
LEVELS = {"cifar10": 0.6, "cifar100": 0.3, "tiny_imagenet": 0.2}
"""Mean accuracy of each dataset."""


def normal(*, leads: Mapping[str, float] | float = 0.0, spread: float = 0.01, noise: int = 0) -> DatasetAccuracy:
    """Return accuracies around the level of the dataset, with noise of draw and seed; `leads` are those of lkca."""

    def accuracy(dataset: str, family: str, images: int, draw: int, seed: int) -> float:
        lead = leads if isinstance(leads, float) else leads[dataset]
        key = [noise, list(CLASSES).index(dataset), images, draw]
        shared = np.random.default_rng(key).normal(0, spread)
        own = np.random.default_rng([*key, seed, len(family)]).normal(0, spread)
        mean = LEVELS[dataset] + 0.02 * np.log2(images / 1000) + (lead if family == "lkca" else 0.0)
        return float(np.clip(mean + shared + own, 0, 1))

    return accuracy


def make_dataset_results(
    accuracy: DatasetAccuracy | None,
    *,
    datasets: Sequence[str] = tuple(CLASSES),
    families: Sequence[str] = ("lkca", "vit"),
    fractions: Sequence[float] = (0.1, 0.5),
    **changes: Any,
) -> SearchResults:
    """Return a search of several datasets; without `accuracy` it is not confirmed."""
    factors = {"dataset": tuple(datasets), "family": tuple(families), "data_fraction": tuple(fractions)}
    results = make_search_results((lambda *key: 0.5) if accuracy else None, data={}, **{"factors": factors, **changes})
    replicates = [_with_accuracy(record, accuracy) for record in results.replicates] if accuracy else []
    return replace(
        results,
        trials=[_with_classes(record) for record in results.trials],
        replicates=[record for record in replicates if record is not None],
        rounds=[_with_hashes(sealed, datasets) for sealed in results.rounds],
    )


def _with_accuracy(record: Record, accuracy: DatasetAccuracy) -> Record | None:
    configuration, facts, replicate = record.spec.configuration, record.facts, record.replicate
    assert facts is not None
    assert replicate is not None
    assert record.test is not None
    key = str(configuration.dataset), configuration.family, facts.num_train_images, replicate.draw, replicate.seed
    value = accuracy(*key)
    if value is None:
        return None
    test = record.test.model_copy(update={"accuracy": value})
    return _with_classes(record.model_copy(update={"test": test, "value": value}))


def _with_classes(record: Record) -> Record:
    assert record.facts is not None
    number = CLASSES[str(record.spec.configuration.dataset)]
    return record.model_copy(update={"facts": record.facts.model_copy(update={"num_classes": number})})


def _with_hashes(sealed: Round, datasets: Sequence[str]) -> Round:
    return sealed.model_copy(update={"test_hashes": {name: f"{index}" * 64 for index, name in enumerate(datasets)}})
