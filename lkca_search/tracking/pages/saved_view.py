"""Views of a search on MLflow's page of runs: columns, filter, order and charts, in tags of the experiment.

MLflow's page writes such a tag for its command "Share". A URL with the key of the tag opens the view.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import SIZE_NAMES
from lkca_search.spec.domains import Fixed
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.search_run.order import ORDER
from lkca_search.tracking.search_run.search_run import EXPERIMENT_KIND, TRAINING, SearchRun

ViewKind = Literal["trials", "curves", "charts", "replicates"]
"""Table of trials, mean learning curves per family and size, charts over all trials, and table of replicates."""
VIEW_TAG = "mlflow.sharedViewState."
_NOTE = (
    "Values on few validation images do not rank cells. Click the name of a search for its test results and its report."
)
"""Description of the experiment, which MLflow shows above all runs in one line. A text of a user stays."""
_DATA = ("family", "dataset", *SIZE_NAMES)
_LEADING = (*_DATA, "kernel_size", "depth", "width", "learning_rate")
"""Names whose columns are first."""
_MAX_NAMES, _MAX_AXES = 20, 8
"""Most parameters that are columns, and axes of the parallel coordinates. A tag has at most 5,000 characters."""
_MAX_COLLAPSED = 40
"""Most groups that are closed in the list of runs."""
_SECTION, _WIDE = "lkca-charts", "lkca-wide-charts"
"""Sections with two charts per line, and with one."""
_SHOWN = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}


def save_views(run: SearchRun, spec: SearchSpec, *, search: str, is_confirmed: bool) -> dict[str, str]:
    """Save the views of a search, and return the path and query of their pages by a title, and of its run's page.

    A view that is saved already is not written again. Raises any error of the store: a server may be read-only.
    """
    uid, is_placed = run.tags[SEARCH_UID][:16], ORDER in run.tags
    pages: dict[str, str] = {}
    present = run.client.get_experiment(run.experiment).tags
    tags = {EXPERIMENT_KIND: TRAINING, **({} if MLFLOW_RUN_NOTE in present else {MLFLOW_RUN_NOTE: _NOTE})}
    for kind in _kinds(is_confirmed=is_confirmed):
        state = view_state(spec, search, kind, is_placed=is_placed)
        tags[f"{VIEW_TAG}{uid}-{kind}"] = json.dumps(state)
        pages[kind] = view_page(run.experiment, f"{uid}-{kind}", is_chart=kind in ("curves", "charts"))
    for name, text in tags.items():
        if present.get(name) != text:
            run.client.set_experiment_tag(run.experiment, name, text)
    return {**pages, "search": run.page}


def view_page(experiment: str, key: str, *, is_chart: bool = False) -> str:
    """Return the path and query of MLflow's page with a saved view, as a table or as charts."""
    mode = {"compareRunsMode": "CHART"} if is_chart else {}
    query = {"workflowType": "machine_learning", "viewStateShareKey": key, **mode}
    return f"#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def view_state(spec: SearchSpec, search: str, kind: ViewKind, *, is_placed: bool = True) -> Mapping[str, Any]:
    """Return the state of the page, in the names of MLflow's "Share". Other names keep the page's defaults.

    With `is_placed`, the run of the search and all others have a tag with their order, and a table begins with that
    run. Charts leave it out: it has no result of a training.
    """
    leading, ascending = spec.search.metrics[0], spec.search.directions[0] == "minimize"
    if kind == "replicates":
        leading, ascending = "test_accuracy", False
    is_table = kind in ("trials", "replicates")
    runs = "replicate" if kind == "replicates" else "trial"
    columns = _columns(spec, leading)
    order = {"orderByKey": f"metrics.`{leading}`", "orderByAsc": ascending}
    condition = f"tags.kind = '{runs}'"
    if is_table and is_placed:
        order = {"orderByKey": f"tags.`{ORDER}`", "orderByAsc": True}
        condition = f"tags.kind != '{'trial' if runs == 'replicate' else 'replicate'}' AND tags.kind != 'rerun'"
    charts = _charts(spec, kind, leading)
    used = {chart["metricSectionId"] for chart in charts}
    return {
        "searchFilter": f"tags.search = '{search}' AND {condition}",
        **order,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "FIRST_20_RUNS" if is_table else "SHOW_ALL",
        "compareRunSections": [section for section in _sections(search) if section["uuid"] in used],
        "compareRunCharts": charts,
        "isAccordionReordered": True,
        "hideEmptyCharts": False,  # the page takes a chart of two parameters for empty
        **(_groups(spec) if kind == "curves" else {}),
    }


def _sections(search: str) -> Sequence[Mapping[str, Any]]:
    return (
        {"uuid": _SECTION, "name": search, "columns": 2, "cardHeight": 400, **_SHOWN},
        {"uuid": _WIDE, "name": f"{search}: all names", "columns": 1, "cardHeight": 400, **_SHOWN},
    )


def _kinds(*, is_confirmed: bool) -> Sequence[ViewKind]:
    return ("trials", "curves", "charts", *(("replicates",) if is_confirmed else ()))


def _columns(spec: SearchSpec, leading: str) -> list[str]:
    names = _varied(spec)
    columns = (
        *(f"metrics.`{metric}`" for metric in (leading, *spec.search.metrics)),
        *(["metrics.`num_validation_images`"] if leading in spec.search.metrics else []),
        *(f"params.`{name}`" for name in names if name in _DATA),
        "metrics.`num_train_images`",
        *(f"params.`{name}`" for name in names),
        "metrics.`num_parameters`",
    )
    return list(dict.fromkeys(columns))


def _charts(spec: SearchSpec, kind: ViewKind, leading: str) -> list[Mapping[str, Any]]:
    """Return the charts of a view. A chart of groups has the mean over the runs of each, and their range."""
    metric, names = spec.search.metrics[0], _varied(spec)
    curve = _card("LINE", metricKey=metric, selectedMetricKeys=[metric], xAxisKey="step", lineSmoothness=0)
    if kind == "curves":
        return [curve, _card("BAR", metricKey=metric)]
    sizes = _card("SCATTER", xaxis=_axis("num_train_images"), yaxis=_axis(leading))
    return [curve, sizes, *_kernel_charts(names, leading), *_parallel_charts(spec, names, leading)]


def _parallel_charts(spec: SearchSpec, names: Sequence[str], leading: str) -> list[Mapping[str, Any]]:
    """Return parallel coordinates of all runs, then those of the runs with parameters that have a condition.

    The page leaves out a run that lacks a parameter of the chart.
    """
    always = [name for name in names if name not in spec.parameters or not spec.parameters[name].when]
    charts = [always] if always == names else [always, list(names)]
    return [
        _card(
            "PARALLEL",
            uuid=f"lkca-parallel-{number}",
            metricSectionId=_WIDE,
            selectedParams=axes[:_MAX_AXES],
            selectedMetrics=[leading],
            showAllRuns=True,
        )
        for number, axes in enumerate(charts)
    ]


def _kernel_charts(names: Sequence[str], leading: str) -> list[Mapping[str, Any]]:
    """Return the chart of kernel size against the size of the data, colored by the metric, if both differ."""
    size = next((name for name in names if name in SIZE_NAMES), None)
    if "kernel_size" not in names or size is None:
        return []
    axes = {"xaxis": _axis(size, "PARAM"), "yaxis": _axis("kernel_size", "PARAM"), "zaxis": _axis(leading)}
    return [_card("CONTOUR", **axes)]


def _groups(spec: SearchSpec) -> Mapping[str, Any]:
    """Return the state in which trials are grouped by family and size of the data, or by cell if neither differs.

    Groups are closed, so that the list of runs has one line each.
    """
    names = [name for name in ("dataset", "family", *SIZE_NAMES) if name in spec.factors]
    keys = [{"mode": "param", "groupByData": name} for name in names] or [{"mode": "tag", "groupByData": "cell"}]
    every = cells(spec)
    groups = {tuple(f"param.{name}.{cell.levels.get(name)}" for name in names) for cell in every}
    if not names:
        groups = {(f"tag.cell.{cell.key}",) for cell in every}
    closed = {",".join(group): False for group in sorted(groups)[:_MAX_COLLAPSED]}
    return {"groupBy": {"aggregateFunction": "average", "groupByKeys": keys}, "groupsExpanded": closed}


def _card(kind: str, **values: Any) -> Mapping[str, Any]:
    """Return a chart of the page."""
    fixed = {"deleted": False, "isGenerated": False, "runsCountToCompare": 100, "metricSectionId": _SECTION}
    return {"type": kind, "uuid": f"lkca-{kind.lower()}", **fixed, **values}


def _axis(name: str, kind: Literal["METRIC", "PARAM"] = "METRIC") -> Mapping[str, str]:
    return {"key": name, "type": kind}


def _varied(spec: SearchSpec) -> Sequence[str]:
    """Return the names that differ between trials, those first that most readers look for."""
    searched = [name for name, domain in spec.parameters.items() if not isinstance(domain, Fixed)]
    matched = ["width"] if "match_parameters" in spec.parameters else []
    names = dict.fromkeys((*spec.factors, *searched, *matched))
    ordered = sorted(names, key=lambda name: _LEADING.index(name) if name in _LEADING else len(_LEADING))
    return ordered[:_MAX_NAMES]
