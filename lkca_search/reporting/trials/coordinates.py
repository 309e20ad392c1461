"""Section with the trials of each family in parallel coordinates."""

from collections.abc import Sequence

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.trials.axes import Axis, number_axis
from lkca_search.analysis.trials.coordinates import SIZE, FamilyTrials, family_trials
from lkca_search.file_names import plain_name
from lkca_search.records.search.mlflow_runs import MlflowRuns
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count
from lkca_search.reporting.values.panels import ParallelAxis, ParallelCoordinates, ParallelLine
from lkca_search.reporting.values.report import Section


def coordinate_section(results: SearchResults, runs: MlflowRuns) -> Section:
    """Return the section; a family without a figure has the reason in its place."""
    metric = MetricFormat(results.metric)
    found = family_trials(results)
    reasons = [
        f"Parallel coordinates of {family}: left out, {trials}."
        for family, trials in found.items()
        if isinstance(trials, NotEstimable)
    ]
    figures = [_figure(trials, metric, runs) for trials in found.values() if not isinstance(trials, NotEstimable)]
    explanation = [_explanation(figures, metric)] if figures else [] if found else ["No trial is finished."]
    return Section(
        name="trials",
        title="Trials in parallel coordinates",
        paragraphs=(*explanation, *reasons),
        figures=tuple(figures),
    )


def _figure(trials: FamilyTrials, metric: MetricFormat, runs: MlflowRuns) -> ParallelCoordinates:
    last = number_axis(metric.axis_label, trials.values, [metric.value_with_unit(value) for value in trials.values])
    axes = (*trials.axes, last)
    is_higher_better = metric.metric.direction == "maximize"
    worst, best = sorted(trials.values, reverse=not is_higher_better)[:: len(trials.values) - 1]
    return ParallelCoordinates(
        name=f"parallel_{plain_name(trials.family)}",
        title=f"{trials.family}: trials by {metric.label}",
        caption=_caption(trials),
        axes=tuple(ParallelAxis(label=axis.label, ticks=axis.ticks) for axis in axes),
        lines=tuple(
            _line(trial_id, index, axes, runs, is_marked=trial_id in trials.best, is_higher_better=is_higher_better)
            for index, trial_id in enumerate(trials.trial_ids)
        ),
        unit=metric.axis_label,
        ends=(metric.value(worst), metric.value(best)),
        mark=f"best trial {trials.groups}",
    )


def _line(
    trial_id: str,
    index: int,
    axes: tuple[Axis, ...],
    runs: MlflowRuns,
    *,
    is_marked: bool,
    is_higher_better: bool,
) -> ParallelLine:
    place = axes[-1].places[index]
    run_id = runs.ids.get(trial_id)
    return ParallelLine(
        label=f"{trial_id}, MLflow run {run_id}" if run_id else trial_id,
        places=tuple(axis.places[index] for axis in axes),
        texts=tuple(axis.texts[index] for axis in axes),
        shade=place if is_higher_better else 1 - place,
        is_marked=is_marked,
    )


def _explanation(figures: Sequence[ParallelCoordinates], metric: MetricFormat) -> str:
    parts = [
        f"One line per complete trial, colored by its {metric.label}; the best are marked. Drag along an "
        "axis to keep the lines that cross this part, and click on the axis to release it. Pruned trials are left "
        "out. The numbers are from validation images and test nothing."
    ]
    if any(axis.label == SIZE for figure in figures for axis in figure.axes):
        parts.append(
            "The number of training images may change the metric more than a hyperparameter does: keep one number of "
            "them to compare configurations."
        )
    return " ".join(parts)


def _caption(trials: FamilyTrials) -> str:
    if len(trials.trial_ids) == trials.num_complete:
        return f"All {format_count(trials.num_complete)} complete trials."
    return (
        f"{format_count(len(trials.trial_ids))} of {format_count(trials.num_complete)} complete trials: "
        f"the best {trials.groups}, and others that are evenly spaced in order of cells and numbers."
    )
