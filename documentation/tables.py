"""Page of the Parquet tables: every column of every file with its type and meaning."""

from collections.abc import Mapping
from typing import Any

from documentation.markdown import NOTE, code, join, table
from lkca_search.records.inspection.kernel_table import kernels_table
from lkca_search.records.provenance import Provenance
from lkca_search.records.record import Record, Result, TestResult, TrialMetadata
from lkca_search.records.tables import curves_table, replicates_table, trials_table
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.metrics import METRICS

_USE = """\
    lkca-search export NAME --to tables/

`run` and `confirm` write `trials.parquet`, `curves.parquet`, `replicates.parquet` and `kernels.parquet` into the folder
of the search. `export` also writes the predictions and the numbers from them. `pandas.read_parquet` reads all of them.
A column is empty where its value does not apply, or where an earlier version did not record it. A metric or
hyperparameter of [your own](../own_code.md) adds a column with its name."""
_BY_HAND = {
    "replicate_id": "Id of the replicate: `trial_id` of its curve in `curves.parquet`.",
    "of_trial": "Id of the trial whose configuration the replicate has.",
    "seed_number": "Number of the seed of the replicate, from 0.",
    "search": "Name of the search.",
    "state": "`COMPLETE`, `PRUNED` or `FAIL`.",
    "package_version": "Version of this package.",
    "python_version": "Version of Python.",
    "torch_version": "Version of torch.",
    "ray_version": "Version of Ray.",
    "optuna_version": "Version of Optuna.",
}
_KERNELS = {
    "replicate_id": "Id of the replicate.",
    "search": "Name of the search.",
    "cell": "Key of the cell.",
    "family": "Model family.",
    "num_train_images": "Number of training images.",
    "draw": "Number of the subset draw.",
    "seed_number": "Number of the seed, from 0.",
    "kind": "Kernel of LKCA, attention by relative position, or receptive field.",
    "layer": "Number of the layer, from 0; empty for a receptive field.",
    "name": "Name of the layer in the model.",
    "num_groups": "Kernels or heads of the layer.",
    "grid_height": "Height of the token grid.",
    "grid_width": "Width of the token grid.",
    "height": "Height of the map.",
    "width": "Width of the map.",
    "unit": "Unit of the radii: tokens or pixels.",
    "radius_90": "Smallest distance within which the energy is at least 90% of all.",
    "radius_90_of_grid": "The same in sides of the grid, the shorter one.",
    "mass_radius_90": "The same for absolute weights in place of squares.",
    "flat_radius_90": "The same for equal weights on a map of this size.",
    "profile": "Share of the energy within 0, 1, 2, ... units.",
    "energy": "Squared weight per place (height, width), row by row.",
    "weights": "Weights (groups, height, width), row by row.",
}


def tables_page() -> str:
    """Return the page."""
    meanings = _meanings()
    made: dict[str, tuple[Any, Mapping[str, str]]] = {
        "trials": (trials_table([]), meanings),
        "curves": (curves_table([]), meanings),
        "replicates": (replicates_table([]), meanings),
        "kernels": (kernels_table({}, []), _KERNELS),
    }
    rows_of = {
        "trials": "One row per finished trial.",
        "curves": "One row per evaluation of each trial and replicate.",
        "replicates": "One row per replicate: the columns of a trial, and its test.",
        "kernels": "One row per replicate and layer, and one per receptive field.",
    }
    parts = ["# Parquet tables", NOTE, _USE]
    for name, (found, texts) in made.items():
        rows = [(code(field.name), field.type, texts.get(field.name, "")) for field in found.schema]
        parts += [f"## {name}.parquet", rows_of[name], table(("column", "type", "meaning"), rows)]
    parts += ["## predictions.parquet", "[Confirmation](../confirmation.md#predictions) has its columns."]
    return join(*parts)


def _meanings() -> dict[str, str]:
    """Return the meaning of each column, from the descriptions of the fields."""
    found = dict(_BY_HAND)
    for model in (Record, TrialSpec, Configuration, Result, TrialMetadata, Provenance):
        for name, field in model.model_fields.items():
            found.setdefault(name, field.description or "")
    found["samples"] = Result.model_fields["samples"].description or ""
    for name, field in TestResult.model_fields.items():
        found[f"test_{name}"] = field.description or ""
    for name, metric in METRICS.items():
        found.setdefault(name, f"{metric.label[0].upper()}{metric.label[1:]}.")
        if metric.test_field:
            found.setdefault(f"test_{metric.test_field}", f"The same on test images: see `{name}`.")
    return found
