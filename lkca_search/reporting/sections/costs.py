"""Section on the leading metric and cost: Pareto fronts, importance of hyperparameters, and shorter searches."""

from collections.abc import Iterator, Sequence

from lkca_search.analysis.importance import EVALUATOR, Importance, compute_importances
from lkca_search.analysis.pareto import CostPoint, cost_front, cost_points
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.records.search.mlflow_runs import MlflowRuns
from lkca_search.reporting.sections.search_length import best_of_k_table
from lkca_search.reporting.values.figure import Figure, Series
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_compact, format_count, format_percent
from lkca_search.reporting.values.report import Section
from lkca_search.reporting.values.table import (
    NOT_ESTIMABLE,
    Column,
    Table,
    TableCell,
    make_table,
    number_cell,
    text_cell,
)

_Row = tuple[str, CostPoint]
"""Name of a cost, and one point of its Pareto front."""


def cost_section(results: SearchResults, runs: MlflowRuns, *, seed: int) -> Section:
    """Return the section; it has only a reason if no trial is complete."""
    metric = MetricFormat(results.metric)
    title = f"{capitalize(metric.label)} and cost"
    points = cost_points(results)
    if not points:
        return Section(name="costs", title=title, paragraphs=("Not estimable: no trial is complete.",))
    best_of_k = best_of_k_table(results)
    importances = importance_table(compute_importances(results, seed=seed), metric)
    tables = (pareto_table(points, metric, runs), importances)
    if isinstance(best_of_k, NotEstimable):
        reason = f"The expected best of k trials is not estimable: {best_of_k}."
        return Section(
            name="costs", title=title, figures=(pareto_figure(points, metric),), tables=tables, paragraphs=(reason,)
        )
    return Section(name="costs", title=title, figures=(pareto_figure(points, metric),), tables=(*tables, best_of_k))


def importance_table(importances: Sequence[Importance], metric: MetricFormat) -> Table:
    """Return the importance of each searched hyperparameter in each cell."""
    names = list(dict.fromkeys(name for importance in importances for name, _ in importance.shares))
    used = {each.num_used for each in importances if each.num_used and each.num_used < each.num_trials}
    sampled = "".join(f" In cells with more than {count}, {count} drawn at random are used." for count in used)
    columns: list[Column[Importance]] = [
        Column("cell", lambda importance: text_cell(importance.cell)),
        Column("trials", lambda importance: number_cell(importance.num_trials)),
        *(_share_column(name) for name in names),
        Column(NOT_ESTIMABLE, lambda importance: text_cell(importance.reason)),
    ]
    return make_table(
        name="importances",
        title=f"Importance of hyperparameters ({EVALUATOR})",
        caption=(
            f"Share in percent of the variance of {metric.label} between complete trials of a cell that each "
            f"hyperparameter explains, by {EVALUATOR} (Hutter et al. 2014). Pruned trials are left out, which is a "
            f"bias if a pruner was used.{sampled}"
        ),
        columns=columns,
        rows=importances,
    )


def _share_column(name: str) -> Column[Importance]:
    return Column(name, lambda importance: _share_cell(dict(importance.shares).get(name)))


def _share_cell(share: float | None) -> TableCell:
    return number_cell(None if share is None else 100 * share, format_percent)


def pareto_table(points: Sequence[CostPoint], metric: MetricFormat, runs: MlflowRuns) -> Table:
    """Return the fronts by parameters and FLOPs at each size, and the front by training images over all sizes."""
    rows: list[_Row] = [("training images", point) for point in cost_front(points, "num_train_images")]
    for size in sorted({point.num_train_images for point in points}):
        of_size = [point for point in points if point.num_train_images == size]
        rows += [("parameters", point) for point in cost_front(of_size, "num_parameters")]
        rows += [("FLOPs", point) for point in cost_front(of_size, "flops")]
    columns: list[Column[_Row]] = [
        Column("cost", lambda row: text_cell(row[0])),
        Column("training images", lambda row: number_cell(row[1].num_train_images, format_count)),
        Column("family", lambda row: text_cell(row[1].family)),
        Column("trial", lambda row: text_cell(row[1].trial_id, link=runs.page(row[1].trial_id))),
        Column("parameters", lambda row: number_cell(row[1].num_parameters, format_compact)),
        Column("FLOPs", lambda row: number_cell(row[1].flops, format_compact)),
        Column(metric.axis_label, lambda row: number_cell(row[1].metric_value, metric.value)),
    ]
    return make_table(
        name="pareto",
        title="Pareto fronts",
        caption=(
            f"Trials to which no other trial is at least equal in {metric.label} and cost, and better in one. The "
            "front by training images is over all trials. The fronts by parameters and by FLOPs of one image's forward "
            "pass are over trials with the same number of training images."
        ),
        columns=columns,
        rows=rows,
    )


def pareto_figure(points: Sequence[CostPoint], metric: MetricFormat) -> Figure:
    """Return the metric against FLOPs at the largest size, with the front of each family."""
    size = max(point.num_train_images for point in points)
    of_size = [point for point in points if point.num_train_images == size]
    families = list(dict.fromkeys(point.family for point in points))
    return Figure(
        name="pareto_flops",
        title=f"{capitalize(metric.label)} against FLOPs, {format_count(size)} training images",
        caption=(
            "All complete trials with the largest number of training images. A line joins the Pareto front of each "
            "family. The x-axis is logarithmic."
        ),
        x_label="FLOPs per image",
        y_label=metric.axis_label,
        y_bounds=metric.bounds,
        x_is_logarithmic=True,
        series=tuple(
            series
            for index, family in enumerate(families)
            for series in _family(index, family, [point for point in of_size if point.family == family], metric)
        ),
    )


def _family(color_index: int, family: str, points: Sequence[CostPoint], metric: MetricFormat) -> Iterator[Series]:
    if not points:
        return
    best = cost_front(points, "flops")
    yield Series(
        name=f"{family}, front",
        x=tuple(float(point.flops) for point in best),
        y=tuple(point.metric_value for point in best),
        kind="line",
        color_index=color_index,
    )
    yield Series(
        name=family,
        x=tuple(float(point.flops) for point in points),
        y=tuple(point.metric_value for point in points),
        color_index=color_index,
        hover_texts=tuple(
            f"{point.trial_id}: {metric.value_with_unit(point.metric_value)}, {format_compact(point.flops)} FLOPs, "
            f"{format_compact(point.num_parameters)} parameters"
            for point in points
        ),
    )
