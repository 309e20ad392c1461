"""The tables of a report, as values."""

import re
from collections.abc import Sequence

import numpy as np

from lkca_search.analysis.compute_spent import ComputeSpent
from lkca_search.analysis.curve_analysis import CurveAnalysis, CurveContrast, VariantCurve
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import SelectionEffect, mean_accuracy
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.report.values.numbers import (
    NO_VALUE,
    format_compact,
    format_count,
    format_count_interval,
    format_decimal,
    format_duration,
    format_estimate,
    format_interval,
    format_percent,
    format_points,
    format_ratio,
    format_ratio_interval,
)
from lkca_search.report.values.table import Field, Table, number, text
from lkca_search.seeds import derive_seed


def accuracies(scores: RoundScores) -> Table:
    """What each cell is worth on the test images."""
    rows = []
    for cell in scores.cells:
        found = mean_accuracy(cell)
        generator = np.random.default_rng(derive_seed("interquartile mean", cell.cell))
        middle = interquartile_mean(cell.accuracies, generator=generator)
        rows.append(
            (
                text(cell.variant.label),
                number(cell.num_train_images, format_count(cell.num_train_images)),
                _percent(found),
                text(format_interval(found.interval) or found.reason or ""),
                number(middle.value, format_estimate(middle)),
                number(cell.accuracies.size - cell.num_missing, f"{cell.accuracies.size - cell.num_missing}"),
                text(_missing(cell.num_missing, cell.num_failed)),
            )
        )
    return Table(
        name="accuracies",
        title="Test accuracy",
        caption=(
            "Test accuracy in percent: mean over draws of the mean over seeds, with its 95% t interval over draws; "
            "and the interquartile mean of all replicates, with its 95% bootstrap interval over draws."
        ),
        columns=(
            *("variant", "training images", "test accuracy, %", "95% interval", "interquartile mean, %"),
            *("replicates", "missing"),
        ),
        rows=tuple(rows),
    )


def curves(scarcity: CurveAnalysis) -> Table:
    """The laws through the points of every variant, or why there is none."""
    return Table(
        name="curves",
        title="Laws of scarcity",
        caption=(
            "The law e(n) = α + η n^γ through the test errors in percent, by weighted least squares, with 95% "
            "bootstrap intervals over draws: α is what no number of images takes away, γ how fast the error falls."
        ),
        columns=("variant", "sizes", "α, %", "interval of α", "γ", "interval of γ", "why there is none"),
        rows=tuple(_curve(each) for each in scarcity.curves),
    )


def _curve(found: VariantCurve) -> tuple[Field, ...]:
    head = (text(found.variant.label), number(len(found.points), f"{len(found.points)}"))
    law = found.law
    if isinstance(law, NotEstimable):
        return (*head, text(NO_VALUE), text(""), text(NO_VALUE), text(""), text(str(law)))
    return (
        *head,
        number(law.alpha.value, format_percent(law.alpha.value)),
        text(format_interval(law.alpha.interval)),
        number(law.gamma.value, format_decimal(law.gamma.value)),
        text(_two_digits(law.gamma)),
        text(""),
    )


def efficiencies(scarcity: CurveAnalysis, reference: str) -> Table:
    """How many times the images the others need, and where the lead passes."""
    return Table(
        name="efficiencies",
        title="Data efficiency and crossover",
        caption=(
            f"Data efficiency: how many times the training images of {reference} the other needs for the same test "
            "error, a geometric mean over all errors that both curves take within the measured sizes; above 1 "
            f"{reference} needs fewer. Crossover: the number of images at which the lead passes for good. Both are "
            "read off the points, joined by power laws, with 95% bootstrap intervals over draws; an end … lies beyond "
            "the sizes that were measured. Difference of γ: below 0 the error of the reference falls faster. None of "
            "these numbers has a canonical source."
        ),
        columns=(
            *("other", "data efficiency", "interval", "crossover, images", "interval of it", "difference of γ"),
            *("interval of γ", "why not"),
        ),
        rows=tuple(_efficiency(each, reference) for each in scarcity.contrasts),
    )


def _efficiency(found: CurveContrast, reference: str) -> tuple[Field, ...]:
    refused = [
        str(each)
        for each in (found.data_efficiency, found.crossover, found.exponent_difference)
        if isinstance(each, NotEstimable)
    ]
    sides = {"A": reference, "B": found.other.label}
    reasons = {re.sub(r"\b[AB]\b", lambda side: sides[side[0]], reason) for reason in refused}
    ratio = None if isinstance(found.data_efficiency, NotEstimable) else found.data_efficiency.ratio
    passing = None if isinstance(found.crossover, NotEstimable) else found.crossover
    crossing = passing.num_train_images if passing else None
    exponents = None if isinstance(found.exponent_difference, NotEstimable) else found.exponent_difference
    return (
        text(found.other.label),
        number(ratio.value, format_ratio(ratio.value)) if ratio else text(NO_VALUE),
        text(format_ratio_interval(ratio.interval) if ratio else ""),
        number(crossing.value, format_count(crossing.value)) if crossing else text("none" if passing else NO_VALUE),
        text(format_count_interval(crossing.interval) if crossing else ""),
        number(exponents.value, format_decimal(exponents.value, signed=True)) if exponents else text(NO_VALUE),
        text(_two_digits(exponents) if exponents else ""),
        text("; ".join(sorted(reasons))),
    )


def selection_table(selections: Sequence[SelectionEffect]) -> Table:
    """From the best validation accuracy to test."""
    return Table(
        name="selection",
        title="Selection effect",
        caption=(
            "The validation accuracy of the trial that was picked, that of its replicates on the same validation "
            "images, and their test accuracy, in percent; means over draws with 95% t intervals. Luck is what the "
            "pick was above its replicates."
        ),
        columns=(
            *("variant", "training images", "picked from", "picked, validation", "replicates, validation"),
            *("replicates, test", "luck, points", "drop to test, points"),
        ),
        rows=tuple(
            (
                text(each.variant),
                number(each.num_train_images, format_count(each.num_train_images)),
                number(each.num_trials, f"{each.num_trials} trials"),
                number(each.picked, format_percent(each.picked)),
                number(each.validation.value, format_estimate(each.validation)),
                number(each.test.value, format_estimate(each.test)),
                number(each.selection_bias, format_points(each.selection_bias)),
                number(each.test_gap, format_points(each.test_gap)),
            )
            for each in selections
        ),
    )


def spending_table(compute_spent: Sequence[ComputeSpent]) -> Table:
    """What each cell spent."""
    return Table(
        name="budgets",
        title="Realised budgets",
        caption=(
            "What the trials of each cell spent. Planned steps are the cap that trials had, pruned or not; saved is "
            "what pruning and patience left of it. FLOPs are those of training, three forward passes an image. Cells "
            "that did not have the budget of the others of their size stand out."
        ),
        columns=(
            *("cell", "training images", "trials", "pruned", "failed", "planned steps", "steps", "saved, %"),
            *("images seen", "time", "FLOPs", "parameters", "out of tolerance"),
        ),
        rows=tuple(_spending(each) for each in compute_spent),
        marked=tuple(place for place, each in enumerate(compute_spent) if each.deviations),
    )


def _spending(found: ComputeSpent) -> tuple[Field, ...]:
    images, sizes = found.num_train_images, found.num_parameters
    return (
        text(found.cell),
        number(images, format_count(images)) if images is not None else text(NO_VALUE),
        number(found.num_finished, f"{found.num_finished} of {found.budget}"),
        number(found.pruned, f"{found.pruned}"),
        number(found.failed, f"{found.failed}"),
        number(found.planned_steps, format_count(found.planned_steps)),
        number(found.steps, format_count(found.steps)),
        number(100 * found.share_saved, format_percent(100 * found.share_saved)),
        number(found.samples, format_compact(found.samples)),
        number(found.seconds, format_duration(found.seconds)),
        number(found.flops, format_compact(found.flops)),
        text(" to ".join(dict.fromkeys(map(format_compact, sizes))) if sizes else NO_VALUE),
        text("; ".join(found.deviations)),
    )


def picks(results: SearchResults, scores: RoundScores) -> Table:
    """The configurations that were frozen, in what they differ."""
    found = [pick for pick in scores.round.picks]
    chosen = [{**pick.configuration.model_dump(exclude={"draw"})} for pick in found]
    names = [name for name in results.spec.parameters if name != "draw"]
    return Table(
        name="picks",
        title="Frozen configurations",
        caption=(
            f"What was frozen in each cell, by {scores.round.metric} on validation images: the values of what was "
            "searched. Fixed values and levels are in the methods."
        ),
        columns=("cell", "rank", "trial", scores.round.metric, *names),
        rows=tuple(
            (
                text(pick.cell),
                number(pick.rank, f"{pick.rank}"),
                text(pick.trial_id.rpartition("/")[2]),
                number(pick.value, f"{pick.value:.4f}"),
                *(_value(values.get(name)) for name in names),
            )
            for pick, values in zip(found, chosen, strict=True)
        ),
    )


def _value(value: object) -> Field:
    if value is None:
        return text(NO_VALUE)
    if isinstance(value, bool | str):
        return text(str(value).lower() if isinstance(value, bool) else value)
    assert isinstance(value, int | float)
    return number(float(value), f"{value:g}" if isinstance(value, int) else f"{value:.3g}")


def _percent(found: Estimate) -> Field:
    return number(found.value, format_percent(found.value))


def _missing(num_missing: int, num_failed: int) -> str:
    failed = f", {num_failed} failed" if num_failed else ""
    return f"{num_missing}{failed}" if num_missing else ""


def _two_digits(found: Estimate) -> str:
    if found.interval is None:
        return found.reason or ""
    lower, upper = found.interval.lower, found.interval.upper
    return f"[{'−∞' if lower is None else format_decimal(lower)}, {'∞' if upper is None else format_decimal(upper)}]"
