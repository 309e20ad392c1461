"""Name, parameters, metrics, tags and datasets of the MLflow run of a trial."""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from lkca_search.file_names import shorten_name
from lkca_search.recipe import final_learning_rate
from lkca_search.records.record import Record, Result
from lkca_search.records.search.dataset import SearchDataset
from lkca_search.spec.metrics import METRICS, find_metric, name_of
from lkca_search.tracking.search_run.order import ORDER, ORDER_WITHOUT_RESULT, order_of
from lkca_search.tracking.tracker import TrialStart

CURVE = tuple(name for name in Result.model_fields if name not in ("step", "time", "metrics"))
"""Metrics logged for every result, before those in `Result.metrics`."""
RESULTS_PER_CALL = 120
"""Results per `log_batch` call. With parameters and tags, they stay below MLflow's limit of 1000 items per call.
A step is therefore written completely or not at all."""
_LEADING = ("val_accuracy", "val_loss")
"""Metrics with which an earlier version could compare trials."""
_MAX_RUN_NAME = 250
"""Longest name of a run in MLflow's databases."""
_TAGS = ("family", "data_fraction", "images_per_class", "draw")
_MAX_DATASET_NAME = 500
"""Longest name of a dataset in MLflow's databases."""
_DIGEST_CHARACTERS = 12
"""Characters of a hash in a digest. MLflow's databases store 36, and its page shows all of them."""


def run_name(start: TrialStart) -> str:
    """Return a short name from the cell's levels and the trial's number: `lkca 0.1 #3`.

    The name of a replicate ends with its draw and seed.
    """
    levels = [part.rpartition("=")[2] for part in start.cell.split(",")]
    replicate = f" draw {start.replicate.draw} seed {start.replicate.seed}" if start.replicate else ""
    ending = f" #{start.number}{replicate}"
    return shorten_name(" ".join(levels), max_bytes=_MAX_RUN_NAME - len(ending)) + ending


def start_params(start: TrialStart) -> list[Param]:
    """Return the configuration, with the values of the sections of the space file, and the seed as parameters."""
    values: dict[str, Any] = {
        **start.spec.complete_configuration.model_dump(exclude_none=True),
        "seed": start.spec.seed,
    }
    return [Param(name, str(value)) for name, value in values.items()]


def start_tags(start: TrialStart) -> dict[str, str]:
    """Return the cell, the dataset, and levels of the cell that are useful as search filters."""
    configuration = start.spec.configuration
    levels = {name: str(value) for name in _TAGS if (value := getattr(configuration, name)) is not None}
    replicated = {"of_trial": start.replicate.of, "seed_number": str(start.replicate.seed)} if start.replicate else {}
    return {"cell": start.cell, "dataset": start.spec.dataset, **levels, **replicated, ORDER: ORDER_WITHOUT_RESULT}


def start_note(start: TrialStart, search: str, page: str) -> str:
    """Return the description of the run of a trial: Markdown with a link to the page of its search."""
    place = f"of the cell `{start.cell}` in the search [{search}]({page})"
    if start.replicate is None:
        return f"Trial {start.number} {place}. Its result is the last value of `{name_of(start.spec.metrics[0])}`."
    design = f"draw {start.replicate.draw}, seed {start.replicate.seed}"
    return f"Replicate of trial {start.number} {place}: retrained on {design}, and tested once (`test_accuracy`)."


def running_tags(start: TrialStart, result: Result) -> list[RunTag]:
    """Return the place of a running trial among the trials of its search. A replicate has none before its test."""
    if start.replicate:
        return []
    leading = start.spec.metrics[0]
    value = result.value(name) if (name := name_of(leading)) in (*CURVE, *result.metrics) else None
    return [RunTag(ORDER, order_of(value, sign=find_metric(leading).sign, images=start.spec))]


def final_params(start: TrialStart, record: Record) -> list[Param]:
    """Return the parameters of a finished trial: those of its start, and the values that they and its data imply."""
    configuration, facts = record.spec.configuration, record.facts
    peak, fraction = configuration.learning_rate, configuration.final_lr_fraction
    final_rate = peak if configuration.schedule == "constant" else final_learning_rate(peak, fraction)
    values = {"final_learning_rate": final_rate, **({"planned_steps": facts.planned_steps} if facts else {})}
    return [*start_params(start), *(Param(name, str(value)) for name, value in values.items())]


def points(results: Iterable[Result]) -> list[Metric]:
    """Return one point per result and metric."""
    return [
        Metric(name, result.value(name), round(result.time * 1000), result.step)
        for result in results
        for name in (*CURVE, *result.metrics)
    ]


def final_metrics(record: Record) -> list[Metric]:
    """Return the extremes of a finished trial's curve, the costs of its model and the test result.

    `max_val_accuracy` and `min_val_loss` are extremes over the curve. The result of a trial is its last value, as in
    `best_val_accuracy` of the search's run, and in the tables.
    """
    timestamp = round(record.finished * 1000)
    values: dict[str, float] = {}
    if record.curve:
        for name, sign in _signs(record).items():
            extreme = max if sign > 0 else min
            values[_extreme(name, sign)] = extreme(result.value(name) for result in record.curve)
    if record.facts:
        values["num_parameters"] = record.facts.num_parameters
        values["flops"] = record.facts.flops
        values["num_train_images"] = record.facts.num_train_images
        values["num_validation_images"] = record.facts.num_validation_images
    if record.test:
        measured = {"accuracy": record.test.accuracy, "loss": record.test.loss, **record.test.metrics}
        values |= {f"test_{name}": value for name, value in measured.items()}
    # Step 0: the UI then draws one bar per run in place of a curve with one point.
    return [Metric(name, value, timestamp, 0) for name, value in values.items()]


def best_metric(record: Record) -> Metric:
    """Return the metric of a search's run for its best trial: the last value, by which trials are compared."""
    assert record.value is not None
    return Metric(_best(record.metric), record.value, round(record.finished * 1000), 0)


def is_outdated(names: Collection[str]) -> bool:
    """Return True if the metrics of a trial's run are those of an earlier version.

    There, `best_val_accuracy` of a trial was the maximum of its curve.
    """
    return any(_best(name) in names and _extreme(name, METRICS[name].sign) not in names for name in _LEADING)


def replaced_metrics(record: Record, *, timestamp: int) -> list[Metric]:
    """Return `best_val_accuracy` and `best_val_loss` with the last value, for the run of an earlier version.

    MLflow cannot delete a metric. The names then mean the same in all runs: a last value. `timestamp` is the present
    time, as the latest value is shown.
    """
    last = record.curve[-1]
    return [Metric(_best(name), float(getattr(last, name)), timestamp, 0) for name in _LEADING]


def _signs(record: Record) -> dict[str, int]:
    """Return the sign of each metric that every result of a trial has, by its name."""
    named = {name_of(metric): find_metric(metric) for metric in record.spec.metrics}
    metrics = {name: metric for name, metric in {**METRICS, **named}.items() if metric.can_lead}
    return {
        name: metric.sign
        for name, metric in metrics.items()
        if name in _LEADING or all(name in result.metrics for result in record.curve)
    }


def _extreme(name: str, sign: int) -> str:
    return f"{'max' if sign > 0 else 'min'}_{name}"


def _best(name: str) -> str:
    return f"best_{name}"


def final_tags(record: Record) -> list[RunTag]:
    """Return the state of a finished trial, its place, the hashes of its data, its node and its device."""
    tags = {"state": record.state.value, "attempt": str(record.attempt), ORDER: _place(record)}
    if record.error:
        tags["error"] = record.error[-4000:]
    if record.facts:
        names = ("model", "data_hash", "subset_hash", "validation_hash")
        tags |= {name: getattr(record.facts, name) for name in names}
        tags |= {
            "used_precision": record.facts.used_precision or "float32",
            "compiled": str(bool(record.facts.compiled)),
        }
        if record.facts.backends:
            tags["lkca_backend"] = "+".join(sorted({each.backend for each in record.facts.backends}))
        tags |= {"node": record.facts.provenance.node, "device": record.facts.provenance.device}
    return [RunTag(name, value) for name, value in tags.items()]


def _place(record: Record) -> str:
    """Return the place of a finished run: of a trial by images and metric, of a replicate by its test accuracy."""
    if record.replicate:
        return order_of(record.test.accuracy if record.test else None, sign=1)
    return order_of(record.value, sign=find_metric(record.spec.metrics[0]).sign, images=record.spec)


Context = Literal["train", "validation", "test"]


def dataset_inputs(record: Record) -> list[DatasetInput]:
    """Return the training, validation and test images of a finished trial, for MLflow's column of datasets.

    A trial has no test images. The result is empty for a trial that failed before its data were opened.
    """
    return [
        DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)]) for context, dataset in _datasets(record)
    ]


def search_inputs(datasets: Iterable[SearchDataset]) -> list[DatasetInput]:
    """Return the training splits of a search, for the run of the search."""
    found = (
        Dataset(
            name=_name(each.dataset, None),
            digest=each.data_hash[:_DIGEST_CHARACTERS],
            source_type=_source(each.dataset)[0],
            source=_source(each.dataset)[1],
            profile=json.dumps({"num_images": each.num_images, "data_hash": each.data_hash}),
        )
        for each in datasets
    )
    return [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "train")]) for dataset in found]


def find_dataset(record: Record, context: Context) -> Dataset | None:
    """Return the images of a finished trial in one context; None if it has opened none."""
    return dict(_datasets(record)).get(context)


def _datasets(record: Record) -> Iterator[tuple[Context, Dataset]]:
    """Yield each context with its images. Equal digests mean equal images."""
    facts, test = record.facts, record.test
    if facts is None:
        return
    configuration = record.spec.configuration
    part = {"draw": configuration.draw, "data_hash": facts.data_hash, "subset_hash": facts.subset_hash}
    size = {"data_fraction": configuration.data_fraction, "images_per_class": configuration.images_per_class}
    training = {name: value for name, value in {**size, **part}.items() if value is not None}
    held_out = {"data_hash": facts.data_hash, "validation_hash": facts.validation_hash}
    hashes = facts.data_hash, facts.subset_hash
    yield "train", _dataset(record, hashes, facts.num_train_images, training)
    hashes = facts.data_hash, facts.validation_hash
    yield "validation", _dataset(record, hashes, facts.num_validation_images, held_out)
    if test is not None:
        yield "test", _dataset(record, (test.data_hash,), test.num_images, {"data_hash": test.data_hash})


def _dataset(record: Record, hashes: Iterable[str], num_images: int, profile: dict[str, Any]) -> Dataset:
    assert record.facts is not None
    counts = {"num_images": num_images, "num_classes": record.facts.num_classes}
    place = record.spec.data.place_of(record.spec.configuration.dataset)
    source_type, source = _source(place)
    return Dataset(
        name=_name(place, record.spec.configuration.dataset),
        digest="-".join(text[:_DIGEST_CHARACTERS] for text in hashes),
        source_type=source_type,
        source=source,
        profile=json.dumps({name: value for name, value in {**counts, **profile}.items() if value is not None}),
    )


def _name(place: str, level: str | None) -> str:
    """Return the level of the factor `dataset`, or the name of a dataset or of its folder."""
    return shorten_name(level or Path(place.removesuffix("/")).name, max_bytes=_MAX_DATASET_NAME)


def _source(place: str) -> tuple[str, str]:
    """Return the type and the JSON of a source that MLflow can read: a path, or the name that the code has."""
    kind, _, path = place.partition(":")
    if kind in ("folder", "parquet"):
        return "local", json.dumps({"uri": str(Path(path).absolute())})
    source = CodeDatasetSource(tags={"mlflow.source.name": "lkca-search", "dataset": place})
    return "code", source.to_json()
