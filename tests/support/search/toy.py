"""A small search with a toy worker: the result of a trial is a known function of its configuration."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

from lkca_search.records.provenance import gather_provenance
from lkca_search.records.record import Record, Result, TrialMetadata
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.search_spec import SearchSpec

DIGITS = ImageShape(8, 8, 1)


class DriverCrash(BaseException):
    """Simulated end of the driver's process."""


def make_spec(**search: Any) -> SearchSpec:
    """Return a search of two cells of tiny models over learning rate and kernel size, with two reports per trial."""
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca", "vit")},
            "parameters": {
                "kernel_size": {"choice": (3, 5, 7), "when": {"family": ("lkca",)}},
                "learning_rate": {"float": (1e-4, 1e-1), "log": True},
                "patch_size": {"value": 2},
                "depth": {"value": 1},
                "width": {"value": 24},
            },
            "training": {"steps": 20, "reports": 2},
            "search": {"trials_per_cell": 3, "sampler": "random", **search},
        }
    )


def toy_accuracy(assignment: Assignment) -> float:
    """Return an accuracy whose maximum, 1.0, is at a learning rate of 1e-2."""
    return 1 / (1 + (math.log10(assignment.spec.configuration.learning_rate) + 2) ** 2)


@cache
def make_metadata() -> TrialMetadata:
    """Return what every toy worker reports about its trial."""
    return TrialMetadata(
        model="toy",
        num_parameters=1,
        flops=1,
        activation_bytes=1,
        planned_steps=20,
        num_train_images=10,
        num_validation_images=5,
        data_hash="data",
        subset_hash="subset",
        validation_hash="validation",
        provenance=gather_provenance(device="cpu", num_threads=1),
    )


def make_messages(assignment: Assignment) -> Iterator[Message]:
    """Yield the messages of a worker whose trial succeeds."""
    for report in (1, 2):
        result = Result(
            step=10 * report,
            epoch=float(report),
            samples=100 * report,
            seconds=0.1 * report,
            learning_rate=0.1,
            train_loss=1.0,
            val_loss=1.0,
            val_accuracy=toy_accuracy(assignment) * report / 2,
            time=1000.0 + report,
        )
        yield Message(metadata=make_metadata() if report == 1 else None, result=result, done=report == 2)


def train(ledger: Ledger, assignment: Assignment) -> Record:
    """Train a trial until its end or until it is pruned."""
    for message in make_messages(assignment):
        if ledger.on_message(assignment.trial_id, message):
            break
    return ledger.finish(assignment.trial_id)


def train_all(ledger: Ledger) -> list[Record]:
    """Train every due trial, one after another."""
    records = []
    while (assignment := ledger.assign()) is not None:
        records.append(train(ledger, assignment))
    return records
