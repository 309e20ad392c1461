"""Page of the names in MLflow: parameters, metrics and tags of the run of a trial or replicate."""

from documentation.markdown import NOTE, code, join, table
from lkca_search.records.record import Result, TestResult
from lkca_search.records.trial import Replication
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.metrics import METRICS
from lkca_search.tracking.run_fields import final_metrics, final_params, final_tags, points, start_tags
from lkca_search.tracking.search_run.order import ORDER
from lkca_search.tracking.tracker import TrialStart
from tests.support.records import make_record

_USE = """\
A search is a parent run. Each trial and each replicate is a child run, and [MLflow](../mlflow.md) explains datasets and
registered models. Example of a filter in MLflow's page: `params.family = "lkca" and metrics.val_accuracy > 0.9`."""
_TAGS = {
    "cell": "key of the cell",
    "dataset": "dataset of the training",
    "family": "model family",
    "data_fraction": "fraction of the training images",
    "images_per_class": "training images per class",
    "draw": "number of the subset draw",
    "of_trial": "trial whose configuration a replicate has",
    "seed_number": "number of the seed of a replicate",
    "state": "final state: `COMPLETE`, `PRUNED` or `FAIL`",
    "attempt": "number of the attempt that finished",
    "model": "description of the model",
    "data_hash": "SHA-256 of the training split",
    "subset_hash": "SHA-256 of the training images' indices",
    "validation_hash": "SHA-256 of the validation images' indices",
    "used_precision": "type of matrix products and convolutions",
    "compiled": "`True` if torch.compile compiled the model",
    "lkca_backend": "backends of LKCA",
    "node": "machine of the training",
    "device": "`cpu`, or the name of the GPU",
    "error": "error of a failed trial",
    ORDER: "place among the runs of the search, best first; the search's own run is first",
}
_PARAMETERS = {
    "seed": "seed of the training",
    "planned_steps": "optimizer steps of a complete training; written at its end",
    "final_learning_rate": "learning rate at the end of a complete training; written at its end",
}
_SEARCH = """\
Parameters: the levels of each factor, and the range of each parameter, under the names below; `data.validation`,
`search.sampler` and other settings of all trainings. A parameter keeps its first value: a search that is extended has
its present space in the artifact `spec.json`.

Metrics: `trials/finished`, `trials/failed`, `best_val_accuracy` of the best trial, `best val_accuracy/CELL` per cell,
after a confirmation `test_accuracy/CELL`, the mean over the replicates of a cell, and after a report
`test_accuracy/difference lkca - vit at 116`, the difference of two variants with that many training images. Accuracies
and their differences are shares of 1, where the report has percent and points. `CELL` is the alias of the cell, such as
`lkca-0_1`. Other metrics have their own names in place of `val_accuracy`."""


def mlflow_page() -> str:
    """Return the page. The names are those of the run of one recorded replicate."""
    further = {name: 0.5 for name, metric in METRICS.items() if metric.can_lead and name not in Result.model_fields}
    tested = {metric.test_field: 0.5 for name, metric in METRICS.items() if name in further and metric.test_field}
    trial = make_record()
    record = trial.model_copy(
        update={
            "curve": tuple(each.model_copy(update={"metrics": further}) for each in trial.curve),
            "replicate": Replication(of=trial.trial_id, draw=1, seed=0),
            "test": TestResult(num_images=10, data_hash="t" * 64, loss=0.5, accuracy=0.5, metrics=tested),
        }
    )
    fields = TrialStart.model_fields
    start = TrialStart.model_validate({name: getattr(record, name) for name in fields})
    parameters = [param.key for param in final_params(start, record)]
    evaluations = list(dict.fromkeys(metric.key for metric in points(record.curve)))
    ends = [metric.key for metric in final_metrics(record)]
    tags = [*start_tags(start), *(tag.key for tag in final_tags(record))]
    return join(
        "# Names in MLflow",
        NOTE,
        _USE,
        "## Metrics per evaluation",
        table(("metric", "meaning"), [(code(name), _metric(name)) for name in evaluations]),
        "## Metrics at the end",
        "Metrics that begin with `test_` are those of a replicate.",
        table(("metric", "meaning"), [(code(name), _metric(name)) for name in ends]),
        "## Parameters",
        "A run has a parameter per name of its configuration that applies, and those of its training. For example:",
        table(("parameter", "meaning"), [(code(name), _parameter(name)) for name in parameters]),
        "## Tags",
        table(("tag", "meaning"), [(code(name), _TAGS.get(name, "")) for name in dict.fromkeys(tags)]),
        "## Run of the search",
        _SEARCH,
    )


def _metric(name: str) -> str:
    kind, _, rest = name.partition("_")
    if kind in ("max", "min") and rest in METRICS:
        return f"{'largest' if kind == 'max' else 'smallest'} {METRICS[rest].label} of the curve"
    if kind == "test":
        return f"{rest.replace('_', ' ')} on the test images"
    if name in Result.model_fields:
        return Result.model_fields[name].description or ""
    return METRICS[name].label if name in METRICS else name.replace("_", " ")


def _parameter(name: str) -> str:
    field = Configuration.model_fields.get(name)
    return (field.description or "") if field else _PARAMETERS.get(name, "")
