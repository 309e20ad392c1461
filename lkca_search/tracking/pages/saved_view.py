"""View of a search on MLflow's page of runs: its columns, filter, order and charts, in a tag of the experiment.

MLflow's page writes such a tag for its command "Share". A URL with the key of the tag opens the view.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode

from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.spec.domains import Fixed
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.experiment import find_experiment

ViewKind = Literal["trial", "replicate"]
"""Kind of the runs in a view: the value of their tag `kind`."""
VIEW_TAG = "mlflow.sharedViewState."
_DATA = ("family", "dataset", "data_fraction", "images_per_class")
_LEADING = (*_DATA, "kernel_size", "depth", "width", "learning_rate")
"""Names whose columns are first."""
_MAX_NAMES, _MAX_AXES = 20, 8
"""Most parameters that are columns, and axes of the parallel coordinates. A tag has at most 5,000 characters."""
_SECTION = "lkca-charts"
_SHOWN = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}


def save_views(
    client: MlflowClient, home: Home, spec: SearchSpec, *, uid: str, search: str, is_confirmed: bool
) -> dict[str, str]:
    """Save the views of a search, and return the path and query of their pages by a title.

    There is none if the search has no run in the store, or if the views cannot be saved: a server may be read-only.
    """
    if (experiment := find_experiment(client, home)) is None:
        return {}
    try:
        trials = save_view(client, experiment, spec, uid=uid, search=search, kind="trial")
        pages = {"trials": view_page(experiment, trials), "charts": view_page(experiment, trials, charts=True)}
        if is_confirmed:
            key = save_view(client, experiment, spec, uid=uid, search=search, kind="replicate")
            pages["replicates"] = view_page(experiment, key)
    except Exception:  # any error of a store
        return {}
    return pages


def save_view(client: MlflowClient, experiment: str, spec: SearchSpec, *, uid: str, search: str, kind: ViewKind) -> str:
    """Save the view of the trials or replicates of a search, and return its key.

    A view that is saved already is not written again.
    """
    key, state = f"{uid[:16]}-{kind}", json.dumps(view_state(spec, search, kind))
    if client.get_experiment(experiment).tags.get(VIEW_TAG + key) != state:
        client.set_experiment_tag(experiment, VIEW_TAG + key, state)
    return key


def view_page(experiment: str, key: str, *, charts: bool = False) -> str:
    """Return the path and query of MLflow's page with a saved view, as a table or as charts."""
    mode = {"compareRunsMode": "CHART"} if charts else {}
    query = {"workflowType": "machine_learning", "viewStateShareKey": key, **mode}
    return f"#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def view_state(spec: SearchSpec, search: str, kind: ViewKind) -> Mapping[str, Any]:
    """Return the state of the page, in the names of MLflow's "Share". Other names keep the page's defaults."""
    metrics = list(spec.search.metrics)
    if kind == "trial":
        leading, ascending = metrics[0], spec.search.directions[0] == "minimize"
    else:
        leading, ascending = "test_accuracy", False
    names = _varied(spec)
    columns = list(
        dict.fromkeys(
            (
                *(f"metrics.`{metric}`" for metric in (leading, *metrics)),
                *(f"params.`{name}`" for name in names if name in _DATA),
                "metrics.`num_train_images`",
                *(f"params.`{name}`" for name in names),
                "metrics.`num_parameters`",
            )
        )
    )
    return {
        "searchFilter": f"tags.search = '{search}' AND tags.kind = '{kind}'",
        "orderByKey": f"metrics.`{leading}`",
        "orderByAsc": ascending,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunSections": [{"uuid": _SECTION, "name": search, **_SHOWN}],
        "compareRunCharts": [
            _card("LINE", metricKey=metrics[0], selectedMetricKeys=[metrics[0]], xAxisKey="step", lineSmoothness=0),
            _card("SCATTER", xaxis=_axis("num_train_images"), yaxis=_axis(leading)),
            _card("PARALLEL", selectedParams=names[:_MAX_AXES], selectedMetrics=[leading], showAllRuns=True),
        ],
        "isAccordionReordered": True,
    }


def _card(kind: str, **values: Any) -> Mapping[str, Any]:
    """Return a chart of the page."""
    fixed = {"deleted": False, "isGenerated": False, "runsCountToCompare": 100, "metricSectionId": _SECTION}
    return {"type": kind, "uuid": f"lkca-{kind.lower()}", **fixed, **values}


def _axis(metric: str) -> Mapping[str, str]:
    return {"key": metric, "type": "METRIC"}


def _varied(spec: SearchSpec) -> Sequence[str]:
    """Return the names that differ between trials, those first that most readers look for."""
    searched = [name for name, domain in spec.parameters.items() if not isinstance(domain, Fixed)]
    matched = ["width"] if "match_parameters" in spec.parameters else []
    names = dict.fromkeys((*spec.factors, *searched, *matched))
    ordered = sorted(names, key=lambda name: _LEADING.index(name) if name in _LEADING else len(_LEADING))
    return ordered[:_MAX_NAMES]
