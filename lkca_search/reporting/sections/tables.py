"""Tables of curves, selection and compute."""

import re
from collections.abc import Sequence

from lkca_search.analysis.compute_spent import ComputeSpent
from lkca_search.analysis.curve_analysis import CurveAnalysis, CurveContrast, VariantCurve
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import SelectionEffect
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.records.rounds import Pick
from lkca_search.records.search.mlflow_runs import MlflowRuns
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    capitalize,
    format_compact,
    format_count,
    format_count_interval,
    format_decimal,
    format_decimal_interval,
    format_duration,
    format_epochs,
    format_number,
    format_percent,
    format_ratio,
    format_ratio_interval,
)
from lkca_search.reporting.values.table import (
    NOT_ESTIMABLE,
    Column,
    Table,
    TableCell,
    counted_cell,
    estimable,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    range_cell,
    reason_cell,
    share_cell,
    text_cell,
    value_and_interval_cell,
)


def curve_table(curves: CurveAnalysis, metric: MetricFormat) -> Table:
    """Return the power law of each variant, or the reason why none is estimable."""
    columns: list[Column[VariantCurve]] = [
        Column("variant", lambda curve: text_cell(curve.variant.label)),
        Column("sizes", lambda curve: number_cell(len(curve.points))),
        Column(metric.header("α"), lambda curve: estimate_cell(_alpha(curve), metric.value)),
        Column("95% interval of α", lambda curve: interval_cell(_alpha(curve), metric.interval)),
        Column("γ", lambda curve: estimate_cell(_gamma(curve), format_decimal)),
        Column("95% interval of γ", lambda curve: interval_cell(_gamma(curve), format_decimal_interval)),
        Column(NOT_ESTIMABLE, lambda curve: reason_cell(curve.law)),
    ]
    return make_table(
        name="curves",
        title="Power laws",
        caption=(
            f"Power law e(n) = α + η n^γ of the {metric.error_in_unit}, fitted by weighted least squares, with 95% "
            "bootstrap intervals over draws. α is the part of the error that more images do not remove. γ is the rate "
            "at which the error falls."
        ),
        columns=columns,
        rows=curves.curves,
    )


def _alpha(curve: VariantCurve) -> Estimate | None:
    return None if isinstance(curve.law, NotEstimable) else curve.law.alpha


def _gamma(curve: VariantCurve) -> Estimate | None:
    return None if isinstance(curve.law, NotEstimable) else curve.law.gamma


def efficiency_table(curves: CurveAnalysis, reference: str) -> Table:
    """Return the data efficiency of the reference and its crossover with each other variant."""
    columns: list[Column[CurveContrast]] = [
        Column("other", lambda contrast: text_cell(contrast.other.label)),
        Column("data efficiency", lambda contrast: estimate_cell(_data_efficiency(contrast), format_ratio)),
        Column(
            "95% interval of data efficiency",
            lambda contrast: interval_cell(_data_efficiency(contrast), format_ratio_interval),
        ),
        Column("crossover, images", lambda contrast: estimate_cell(_crossover(contrast), format_count)),
        Column(
            "95% interval of crossover", lambda contrast: interval_cell(_crossover(contrast), format_count_interval)
        ),
        Column(
            "difference of γ",
            lambda contrast: estimate_cell(
                estimable(contrast.exponent_difference), lambda value: format_decimal(value, signed=True)
            ),
        ),
        Column(
            "95% interval of difference",
            lambda contrast: interval_cell(estimable(contrast.exponent_difference), format_decimal_interval),
        ),
        Column(NOT_ESTIMABLE, lambda contrast: _efficiency_reasons(contrast, reference)),
    ]
    return make_table(
        name="efficiencies",
        title="Data efficiency and crossover",
        caption=(
            "Data efficiency: number of training images that the other variant needs, divided by the number that "
            f"{reference} needs, for the same test error. It is a geometric mean over all errors that both curves "
            f"reach within the measured sizes. Above 1, {reference} needs fewer images. Crossover: number of images at "
            "which the lead changes, between two sizes at which corrected tests decide for different variants. Both "
            "are read from the points, joined by power laws, with 95% bootstrap intervals over draws. An end … of a "
            "data efficiency is beyond the measured sizes, and one of a crossover beyond these two sizes. Difference "
            f"of γ: γ of {reference} minus γ of the other. Below 0, the error of {reference} falls faster. None of "
            "these numbers has a canonical source."
        ),
        columns=columns,
        rows=curves.contrasts,
    )


def _data_efficiency(contrast: CurveContrast) -> Estimate | None:
    return None if isinstance(contrast.data_efficiency, NotEstimable) else contrast.data_efficiency.ratio


def _crossover(contrast: CurveContrast) -> Estimate | None:
    return None if isinstance(contrast.crossover, NotEstimable) else contrast.crossover.num_train_images


def _efficiency_reasons(contrast: CurveContrast, reference: str) -> TableCell:
    """Return the reasons, with the labels of the variants in place of A and B."""
    labels = {"A": reference, "B": contrast.other.label}
    reasons = reason_cell(contrast.data_efficiency, contrast.crossover, contrast.exponent_difference)
    return text_cell(re.sub(r"\b[AB]\b", lambda side: labels[side[0]], reasons.text))


def selection_table(selections: Sequence[SelectionEffect], metric: MetricFormat) -> Table:
    """Return the best validation value of each cell and the values of its replicates."""
    columns: list[Column[SelectionEffect]] = [
        Column("variant", lambda effect: text_cell(effect.variant)),
        Column("training images", lambda effect: number_cell(effect.num_train_images, format_count)),
        Column("selected from", lambda effect: counted_cell(effect.num_trials, "trial")),
        Column("selected, validation", lambda effect: number_cell(effect.picked, metric.value)),
        Column("replicates, validation", lambda effect: value_and_interval_cell(effect.validation, metric.estimate)),
        Column("replicates, test", lambda effect: value_and_interval_cell(effect.test, metric.estimate)),
        Column(
            metric.difference_header("selection bias"),
            lambda effect: number_cell(effect.selection_bias, metric.difference),
        ),
        Column(metric.difference_header("gap to test"), lambda effect: number_cell(effect.test_gap, metric.difference)),
    ]
    return make_table(
        name="selection",
        title="Selection effect",
        caption=(
            f"{capitalize(metric.label_in_unit)} of the selected trial and of its replicates on the same images, and "
            f"{metric.test_label} of the replicates. Replicates are means over draws with 95% intervals. Selection "
            "bias and gap to test: by how much the selected trial on validation images is better than its replicates "
            "on validation images and on test images. Both include noise from the draw and the seed."
        ),
        columns=columns,
        rows=selections,
    )


def compute_table(spent: Sequence[ComputeSpent]) -> Table:
    """Return trials, steps, time and FLOPs of each cell."""
    columns: list[Column[ComputeSpent]] = [
        Column("cell", lambda cell: text_cell(cell.cell)),
        Column("training images", lambda cell: number_cell(cell.num_train_images, format_count)),
        Column("trials", lambda cell: share_cell(cell.num_finished, cell.budget)),
        Column("complete", lambda cell: number_cell(cell.complete)),
        Column("pruned", lambda cell: number_cell(cell.pruned)),
        Column("failed", lambda cell: number_cell(cell.failed)),
        Column("planned steps", lambda cell: number_cell(cell.planned_steps, format_count)),
        Column("steps", lambda cell: number_cell(cell.steps, format_count)),
        Column("epochs", lambda cell: range_cell(cell.epochs, format_epochs)),
        Column("saved, %", lambda cell: number_cell(100 * cell.share_saved, format_percent)),
        Column("images seen", lambda cell: number_cell(cell.samples, format_compact)),
        Column("time", lambda cell: number_cell(cell.seconds, format_duration)),
        Column("FLOPs", lambda cell: number_cell(round(cell.flops), format_compact)),
        Column("parameters", lambda cell: range_cell(cell.num_parameters, format_compact)),
        Column("deviations", lambda cell: text_cell("; ".join(cell.deviations))),
    ]
    return make_table(
        name="budgets",
        title="Compute per cell",
        caption=(
            "Compute that the trials of each cell used. Planned steps are the maximum that the trials were allowed, "
            "pruned or not. Epochs are passes over the training images per complete trial. Saved is the share of the "
            "planned steps that pruning and patience saved. FLOPs are those of training: three forward passes per "
            "image. Highlighted cells had another budget than the other cells of their size."
        ),
        columns=columns,
        rows=spent,
        highlight=lambda cell: bool(cell.deviations),
    )


def pick_table(results: SearchResults, scores: RoundScores, runs: MlflowRuns) -> Table:
    """Return the configurations that the round retrained, with the values of their hyperparameters."""
    columns: list[Column[Pick]] = [
        Column("cell", lambda pick: text_cell(pick.cell)),
        Column("rank", lambda pick: number_cell(pick.rank)),
        Column("trial", lambda pick: text_cell(pick.trial_id.rpartition("/")[2], link=runs.page(pick.trial_id))),
        Column(scores.round.metric, lambda pick: number_cell(pick.value, lambda value: format_number(value, 4))),
        *(_hyperparameter_column(name) for name in results.spec.parameters if name != "draw"),
    ]
    return make_table(
        name="picks",
        title="Frozen configurations",
        caption=(
            f"Configurations that the round retrained, the best of each cell by {results.metric.label}, "
            "with their hyperparameters. Fixed values and levels are in the methods."
        ),
        columns=columns,
        rows=scores.round.picks,
    )


def _hyperparameter_column(name: str) -> Column[Pick]:
    return Column(name, lambda pick: _hyperparameter_cell(pick.configuration.model_dump().get(name)))


def _hyperparameter_cell(value: object) -> TableCell:
    if isinstance(value, bool):
        return text_cell(str(value).lower())
    if isinstance(value, str):
        return text_cell(value)
    assert value is None or isinstance(value, int | float)
    return number_cell(value, "{:g}".format if isinstance(value, int) else "{:.3g}".format)
