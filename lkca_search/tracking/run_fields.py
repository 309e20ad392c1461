"""Name, parameters, metrics and tags of the MLflow run of a trial."""

from collections.abc import Iterable
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from lkca_search.records.record import Record, Result
from lkca_search.spec.metrics import METRICS
from lkca_search.tracking.tracker import TrialStart

CURVE = tuple(name for name in Result.model_fields if name not in ("step", "time"))
"""Metrics logged for every result."""
_TAGS = ("family", "data_fraction", "images_per_class", "draw")


def run_name(start: TrialStart) -> str:
    """Return a short name from the cell's levels and the trial's number: `lkca 0.1 #3`.

    The name of a replicate ends with its draw and seed.
    """
    levels = [part.rpartition("=")[2] for part in start.cell.split(",")]
    replicate = f" draw {start.replicate.draw} seed {start.replicate.seed}" if start.replicate else ""
    return f"{' '.join(levels)} #{start.number}{replicate}"


def start_params(start: TrialStart) -> list[Param]:
    """Return the configuration and the seed as parameters."""
    values: dict[str, Any] = {**start.spec.configuration.model_dump(exclude_none=True), "seed": start.spec.seed}
    return [Param(name, str(value)) for name, value in values.items()]


def start_tags(start: TrialStart) -> dict[str, str]:
    """Return the cell, and its levels that are useful as search filters."""
    configuration = start.spec.configuration
    levels = {name: str(value) for name in _TAGS if (value := getattr(configuration, name)) is not None}
    replicated = {"of_trial": start.replicate.of, "seed_number": str(start.replicate.seed)} if start.replicate else {}
    return {"cell": start.cell, **levels, **replicated}


def points(results: Iterable[Result]) -> list[Metric]:
    """Return one point per result and metric."""
    return [
        Metric(name, getattr(result, name), round(result.time * 1000), result.step)
        for result in results
        for name in CURVE
    ]


def final_metrics(record: Record) -> list[Metric]:
    """Return the best values of a finished trial's curve, the costs of its model and the test result."""
    timestamp = round(record.finished * 1000)
    values: dict[str, float] = {}
    if record.curve:
        for name, metric in METRICS.items():
            if metric.can_lead:
                best = max if metric.sign > 0 else min
                values[f"best_{name}"] = best(float(getattr(result, name)) for result in record.curve)
    if record.facts:
        values["num_parameters"] = record.facts.num_parameters
        values["flops"] = record.facts.flops
        values["num_train_images"] = record.facts.num_train_images
    if record.test:
        values |= {"test_accuracy": record.test.accuracy, "test_loss": record.test.loss}
    # Step 0: the UI then draws one bar per run in place of a curve with one point.
    return [Metric(name, value, timestamp, 0) for name, value in values.items()]


def final_tags(record: Record) -> list[RunTag]:
    """Return the state of a finished trial, the hashes of its data, its node and its device."""
    tags = {"state": record.state.value, "attempt": str(record.attempt)}
    if record.error:
        tags["error"] = record.error[-4000:]
    if record.facts:
        names = ("model", "data_hash", "subset_hash", "validation_hash")
        tags |= {name: getattr(record.facts, name) for name in names}
        tags |= {"node": record.facts.provenance.node, "device": record.facts.provenance.device}
    return [RunTag(name, value) for name, value in tags.items()]
