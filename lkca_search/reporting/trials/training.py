"""Section on training: curves of trials and replicates on validation images, and their runs in MLflow."""

import math
from collections.abc import Iterator, Sequence

from lkca_search.analysis.late_gain import LateGain
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.trials.training_curves import (
    MAX_POINTS,
    MAX_TRIALS,
    CellCurves,
    MeanCurve,
    TrialCurve,
)
from lkca_search.file_names import plain_name
from lkca_search.records.record import State
from lkca_search.records.search.mlflow_runs import MlflowRuns
from lkca_search.reporting.trials.runs import run_table
from lkca_search.reporting.trials.training_length import length_table
from lkca_search.reporting.values.figure import Bounds, fit_axis
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_count, join_words, pluralize
from lkca_search.reporting.values.panels import CurvePanel, CurvePanels, PanelCurve, Role
from lkca_search.reporting.values.report import Section

MAX_PANELS = 30
"""Panels of one figure."""
MAX_FIGURES = 8
"""Figures with curves; cells beyond them are left out."""


def training_section(
    results: SearchResults,
    scores: RoundScores | None,
    curves: Sequence[CellCurves],
    gains: Sequence[LateGain],
    runs: MlflowRuns,
) -> Section:
    """Return the section; it has only a reason if no trial has a result."""
    title = "Training curves"
    if not curves:
        return Section(name="training", title=title, paragraphs=("No trial has a result.",))
    metric = MetricFormat(results.metric)
    chunks = _chunks(curves)
    left_out = [cell.cell for _, chunk in chunks[MAX_FIGURES:] for cell in chunk]
    explanation = _explanation(curves, metric, of_repeats=bool(results.repeats))
    missing = f"Without a panel, as there are more than {MAX_FIGURES} figures: {join_words(left_out)}."
    y_range = _y_range(curves, metric.bounds)
    table = run_table(results, scores.round if scores else None, runs)
    return Section(
        name="training",
        title=title,
        paragraphs=(explanation, *((missing,) if left_out else ())),
        figures=tuple(
            _figure(name, chunk, metric, y_range, runs, of_repeats=bool(results.repeats))
            for name, chunk in chunks[:MAX_FIGURES]
        ),
        tables=(*((length_table(results, gains),) if gains else ()), *((table,) if table else ())),
    )


def _chunks(curves: Sequence[CellCurves]) -> list[tuple[str, list[CellCurves]]]:
    """Return the cells of each figure with its name: those of one family, MAX_PANELS at most."""
    chunks = []
    variants = list(dict.fromkeys(cell.variant for cell in curves))
    for family in dict.fromkeys(cell.family for cell in curves):
        of_family = [cell for cell in curves if cell.family == family]
        cells = sorted(of_family, key=lambda cell: (variants.index(cell.variant), cell.num_train_images))
        parts = [cells[start : start + MAX_PANELS] for start in range(0, len(cells), MAX_PANELS)]
        for index, part in enumerate(parts):
            chunks.append((family if len(parts) == 1 else f"{family}, part {index + 1} of {len(parts)}", part))
    return chunks


def _figure(
    name: str,
    cells: Sequence[CellCurves],
    metric: MetricFormat,
    y_range: tuple[float, float],
    runs: MlflowRuns,
    *,
    of_repeats: bool,
) -> CurvePanels:
    titles = len({cell.variant.label for cell in cells}) > 1
    sizes = {cell.num_train_images for cell in cells}
    return CurvePanels(
        name=f"training_{plain_name(name)}",
        title=f"{name}: {metric.label} during training",
        caption=_caption(cells),
        x_label="steps",
        y_label=metric.axis_label,
        y_range=y_range,
        num_decimals=1 if metric.metric.is_percentage else 3,
        unit=metric.metric.unit,
        legend=tuple(_legend(cells, of_repeats=of_repeats)),
        num_columns=len(sizes),
        panels=tuple(
            CurvePanel(title=_panel_title(cell, with_variant=titles), curves=tuple(_curves(cell, metric, runs)))
            for cell in cells
        ),
    )


def _legend(cells: Sequence[CellCurves], *, of_repeats: bool) -> Iterator[tuple[Role, str]]:
    if any(cell.others for cell in cells):
        yield "trial", "other trials"
    if any(cell.best for cell in cells):
        yield "best", "best trial of each repeat" if of_repeats else "best trial"
    if any(cell.replicates for cell in cells):
        yield "mean", "mean of the replicates"


def _explanation(curves: Sequence[CellCurves], metric: MetricFormat, *, of_repeats: bool) -> str:
    """Return the text that explains all figures."""
    images = "The trials of a cell" + (" and of one repeat" if of_repeats else "") + " share the validation images"
    parts = [
        f"{capitalize(metric.label_in_unit)} after each report, one panel per cell. {images}, on which the best one "
        "was chosen, so its end is too good on average."
    ]
    if any(cell.replicates for cell in curves):
        parts.append(
            "Replicates train the chosen configuration again. Their line is the mean over "
            f"{'repeats' if of_repeats else 'draws'}, and their band is from the lowest to the highest "
            f"{'repeat' if of_repeats else 'draw'}; seeds are averaged first. The band is not a confidence interval."
        )
    parts.append(
        f"A curve shows at most {MAX_POINTS} reports, evenly spaced; data/curves.parquet has all. All figures have one "
        "y-axis, and each panel has its own x-axis. A curve may leave its panel early in the training."
    )
    return " ".join(parts)


def _caption(cells: Sequence[CellCurves]) -> str:
    """Return the number of drawn trials, and of those that are left out."""
    drawn, every = sum(len(cell.best) + len(cell.others) for cell in cells), sum(cell.num_trials for cell in cells)
    failed = sum(cell.num_failed for cell in cells)
    text = f"All {pluralize(every, 'trial')} with a result."
    if drawn < every:
        text = (
            f"{format_count(drawn)} of {pluralize(every, 'trial')}: per cell the best one, and at most {MAX_TRIALS} "
            "others, evenly spaced in order of their numbers."
        )
    return f"{text} {capitalize(pluralize(failed, 'failed trial'))} left out." if failed else text


def _panel_title(cell: CellCurves, *, with_variant: bool) -> str:
    images = " to ".join(format_count(number) for number in dict.fromkeys(cell.num_train_images))
    return f"{cell.variant.label}, {images} images" if with_variant else f"{images} images"


def _curves(cell: CellCurves, metric: MetricFormat, runs: MlflowRuns) -> Iterator[PanelCurve]:
    for role, group in (("trial", cell.others), ("best", cell.best)):
        for curve in group:
            yield PanelCurve(
                role="best" if role == "best" else "trial",
                label=_trial_label(curve, runs, is_best=role == "best"),
                x=tuple(map(float, curve.steps)),
                y=curve.values,
            )
    if (mean := cell.replicates) is not None:
        yield PanelCurve(
            role="mean",
            label=_mean_label(mean),
            x=tuple(map(float, mean.steps)),
            y=mean.means,
            lower=mean.lowest,
            upper=mean.highest,
        )


def _trial_label(curve: TrialCurve, runs: MlflowRuns, *, is_best: bool) -> str:
    states = ["the best", *(["pruned"] if curve.state is State.PRUNED else [])]
    state = f" ({', '.join(states if is_best else states[1:])})" if is_best or len(states) > 1 else ""
    run_id = runs.ids.get(curve.trial_id)
    return f"trial {curve.number}{state}{f', MLflow run {run_id}' if run_id else ''}"


def _mean_label(mean: MeanCurve) -> str:
    numbers = join_words([trial_id.rpartition("/")[2] for trial_id in mean.of])
    trials = f"trial {numbers}" if len(mean.of) == 1 else f"trials {numbers}"
    return f"mean of {pluralize(mean.num_replicates, 'replicate')} of {trials}"


def _y_range(curves: Sequence[CellCurves], bounds: Bounds) -> tuple[float, float]:
    """Return the range of best trials, bands and last values; curves of other trials may begin outside."""
    values = [value for cell in curves for curve in cell.best for value in curve.values]
    values += [curve.last for cell in curves for curve in cell.others]
    values += [
        value for cell in curves if cell.replicates for value in (*cell.replicates.lowest, *cell.replicates.highest)
    ]
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    return fit_axis((min(finite), max(finite)), bounds)
