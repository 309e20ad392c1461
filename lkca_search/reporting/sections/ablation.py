"""Section on the effect of each hyperparameter, from trials on validation images."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from lkca_search.analysis.ablation.ablations import Ablation, HeatMapEntry, compute_ablations
from lkca_search.analysis.ablation.best_level import BestLevel, Source
from lkca_search.analysis.ablation.effects import MarginalEffect
from lkca_search.analysis.ablation.levels import ParameterLevel
from lkca_search.analysis.ablation.observations import DataSize
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.file_names import plain_name
from lkca_search.reporting.values.figure import HeatMap
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_count, pluralize
from lkca_search.reporting.values.report import Section
from lkca_search.reporting.values.table import (
    NOT_ESTIMABLE,
    Column,
    Table,
    TableCell,
    counted_cell,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    range_cell,
    text_cell,
)

_Entry = tuple[float | None, str, str]
"""Number, text and hover text of one cell of a heat map."""
_WITH_HEAT_MAPS = ("kernel_size", "depth", "width")
"""Hyperparameters with heat maps; factors have them too."""
_BestRow = tuple[Ablation, BestLevel, ParameterLevel | None]
"""Hyperparameter, size and level; the level is None if the probabilities are not estimable."""
_PRIOR = (
    "The prior probability that the hyperparameter has no effect is one half. Without an effect, all levels have equal "
    "probabilities."
)
_TITLE = "Effect of each hyperparameter"
_PARAGRAPHS = (
    "Effects and values describe the complete trials on validation images; they are not a test. A best level is from "
    "trials too, or from replicates on test images, as its caption says. Trials of one size share the validation "
    "images, and trials of one size and draw share the training images. A pruned trial does not count.",
)
_NOT_ESTIMABLE = ("Not estimable: no hyperparameter has two values among the complete trials of one family.",)


def ablation_section(results: SearchResults, scores: RoundScores | None, *, seed: int) -> Section:
    """Return the section; it has only a reason if no hyperparameter varies.

    `scores` are those of a round; they are None if the search is not confirmed.
    """
    ablations = compute_ablations(results, scores, generator=np.random.default_rng(seed))
    if not ablations:
        return Section(name="ablation", title=_TITLE, paragraphs=_NOT_ESTIMABLE)
    metric = MetricFormat(results.metric)
    mapped = [
        ablation for ablation in ablations if ablation.hyperparameter in (*_WITH_HEAT_MAPS, *results.spec.factors)
    ]
    return Section(
        name="ablation",
        title=_TITLE,
        paragraphs=(*_PARAGRAPHS, *(reason for ablation in mapped for reason in _missing_maps(ablation))),
        figures=tuple(figure for ablation in mapped for figure in _heat_maps(ablation, metric)),
        tables=(effect_table(ablations, metric), best_level_table(ablations, metric), heat_map_table(mapped, metric)),
    )


def effect_table(ablations: Sequence[Ablation], metric: MetricFormat) -> Table:
    """Return the effect of each level of each hyperparameter in each family."""
    columns: list[Column[MarginalEffect]] = [
        Column("family", lambda effect: text_cell(effect.family)),
        Column("hyperparameter", lambda effect: text_cell(effect.hyperparameter)),
        Column("level", lambda effect: text_cell(effect.level.label)),
        Column(metric.difference_header("effect"), lambda effect: estimate_cell(effect.effect, metric.difference)),
        Column("95% interval", lambda effect: interval_cell(effect.effect, metric.difference_interval, missing="")),
        Column(
            metric.difference_header("difference from reference"),
            lambda effect: estimate_cell(effect.difference_from_reference, metric.difference),
        ),
        Column(
            "95% interval of difference",
            lambda effect: interval_cell(effect.difference_from_reference, metric.difference_interval, missing=""),
        ),
        Column("interval over", lambda effect: text_cell(effect.unit)),
        Column("blocks", lambda effect: number_cell(effect.num_blocks)),
        Column("trials", lambda effect: number_cell(effect.num_trials)),
        Column("no interval because", lambda effect: text_cell(effect.effect.reason)),
    ]
    return make_table(
        name="effects",
        title="Marginal effects",
        caption=(
            f"Effects in {metric.difference_label}. A block is one combination of the levels of all other factors, "
            "including the size of the data. Effect: mean of a level minus the mean of all levels, within blocks, "
            "averaged over blocks. Difference from reference: difference to the base level of a factor, or to the "
            "smallest level, in matched blocks. Sizes are no units of a 95% t interval, since they share images. "
            "An interval over repeats is about other repeats of the search. An interval over trials is about other "
            "trials on the same training images. Both are conditional on the validation images. No interval is "
            "corrected for the number of levels. A range of floats, and a long range of integers, has three bins."
        ),
        columns=columns,
        rows=[effect for ablation in ablations for effect in ablation.effects],
    )


def best_level_table(ablations: Sequence[Ablation], metric: MetricFormat) -> Table:
    """Return the probability that each level is best, for each hyperparameter, family and size."""
    columns: list[Column[_BestRow]] = [
        Column("family", lambda row: text_cell(row[0].family)),
        Column("hyperparameter", lambda row: text_cell(row[0].hyperparameter)),
        Column("training images", lambda row: _size_cell(row[1].size)),
        Column("level", lambda row: text_cell(row[2].label if row[2] else "")),
        Column("probability of the best, %", lambda row: number_cell(_probability(row[1], row[2]), _format_share)),
        Column("from", lambda row: text_cell("") if row[1].reason else counted_cell(row[1].num_units, _unit(row[1]))),
        Column(NOT_ESTIMABLE, lambda row: text_cell(row[1].reason)),
    ]
    return make_table(
        name="best_levels",
        title="Probability that a level is best",
        caption=f"{_best_caption('trials', metric)} {_best_caption('replicates', metric)} {_PRIOR}",
        columns=columns,
        rows=[row for ablation in ablations for row in _best_rows(ablation)],
    )


def heat_map_table(ablations: Sequence[Ablation], metric: MetricFormat) -> Table:
    """Return the numbers of all heat maps of the metric."""
    columns: list[Column[HeatMapEntry]] = [
        Column("family", lambda entry: text_cell(entry.family)),
        Column("hyperparameter", lambda entry: text_cell(entry.hyperparameter)),
        Column("level", lambda entry: text_cell(entry.level.label)),
        Column("training images", lambda entry: _size_cell(entry.size)),
        Column(metric.header("best"), lambda entry: number_cell(entry.best, metric.value)),
        Column(metric.header("mean"), lambda entry: number_cell(entry.mean, metric.value)),
        Column(
            metric.difference_header("standard deviation"), lambda entry: number_cell(entry.deviation, metric.value)
        ),
        Column("trials", lambda entry: number_cell(entry.num_trials)),
    ]
    return make_table(
        name="fields",
        title="Numbers of the heat maps",
        caption=(
            f"{capitalize(metric.label_in_unit)} of the trials with one level and one size of the data. Best "
            f"is the {metric.metric.best}. The standard deviation is over these trials, which differ in their other "
            "hyperparameters."
        ),
        columns=columns,
        rows=[entry for ablation in ablations for entry in ablation.heat_map],
    )


def _heat_maps(ablation: Ablation, metric: MetricFormat) -> Iterator[HeatMap]:
    """Yield the metric by level and training images, and the probability that each level is best."""
    name, family = ablation.hyperparameter, ablation.family
    entries = {(entry.level.index, entry.size): entry for entry in ablation.heat_map}
    best_levels = {best.size: best for best in ablation.best_levels}
    yield _heat_map(
        ablation,
        name="map",
        title=f"{family}: {name} and training images",
        caption=f"{capitalize(metric.best_label)}, and the number of trials. Point at a cell for the mean.",
        unit=metric.header("best"),
        strongest=metric.metric.best,
        entry=lambda level, size: _value_entry(entries.get((level.index, size)), metric),
    )
    if any(best.reason is None for best in ablation.best_levels):
        yield _heat_map(
            ablation,
            name="optimum",
            title=f"{family}: probability of the best {name}",
            caption=f"{_best_caption(ablation.best_levels[0].source, metric)} {_PRIOR}",
            unit="probability, %",
            entry=lambda level, size: _probability_entry(best_levels.get(size), level),
        )


def _missing_maps(ablation: Ablation) -> Iterator[str]:
    """Yield the reason in place of the heat map of the best level, if there is none."""
    reasons: dict[str, list[str]] = {}
    for best in ablation.best_levels:
        if best.reason is None:
            return
        reasons.setdefault(best.reason, []).append(_format_size(best.size))
    described = "; ".join(f"{reason} (at {', '.join(sizes)} images)" for reason, sizes in reasons.items())
    yield f"Best {ablation.hyperparameter} of {ablation.family}: not estimable, {described}."


def _heat_map(
    ablation: Ablation,
    *,
    name: str,
    title: str,
    caption: str,
    unit: str,
    strongest: Literal["highest", "lowest"] = "highest",
    entry: Callable[[ParameterLevel, DataSize], _Entry],
) -> HeatMap:
    sizes = sorted({item.size for item in ablation.heat_map}, key=lambda size: size.smallest)
    entries = [[entry(level, size) for size in sizes] for level in ablation.levels]
    return HeatMap(
        name=f"{name}_{plain_name(ablation.family)}_{ablation.hyperparameter}",
        title=title,
        caption=caption,
        x_label="training images",
        y_label=ablation.hyperparameter,
        columns=tuple(map(_format_size, sizes)),
        rows=tuple(level.label for level in ablation.levels),
        values=tuple(tuple(value for value, _, _ in row) for row in entries),
        texts=tuple(tuple(text for _, text, _ in row) for row in entries),
        hover_texts=tuple(tuple(hover for _, _, hover in row) for row in entries),
        unit=unit,
        strongest=strongest,
    )


def _value_entry(entry: HeatMapEntry | None, metric: MetricFormat) -> _Entry:
    if entry is None:
        return None, "", "no trial"
    deviation = "" if entry.deviation is None else f" (standard deviation {metric.value(entry.deviation)})"
    hover = (
        f"{entry.hyperparameter} {entry.level.label}, {_format_size(entry.size)} images: best "
        f"{metric.value_with_unit(entry.best)}, mean {metric.value_with_unit(entry.mean)}{deviation}, "
        f"{pluralize(entry.num_trials, 'trial')}"
    )
    return entry.best, f"{metric.value(entry.best)}<br>of {entry.num_trials}", hover


def _probability_entry(best: BestLevel | None, level: ParameterLevel) -> _Entry:
    if best is None or best.reason:
        return None, "", f"not estimable: {best.reason if best else 'not confirmed at this size'}"
    share = _probability(best, level)
    if share is None:
        return None, "", "no trial"
    hover = f"{_format_size(best.size)} images, {level.label}: {_format_share(share)}%, from {_units(best)}"
    return share, f"{_format_share(share)}%", hover


def _format_size(size: DataSize) -> str:
    """Return a number of training images, or a range: 360, 450 to 1,800."""
    return " to ".join(format_count(number) for number in dict.fromkeys((size.smallest, size.largest)))


def _size_cell(size: DataSize) -> TableCell:
    if size.smallest == size.largest:
        return number_cell(size.smallest, format_count)
    return range_cell((size.smallest, size.largest), format_count)


def _best_rows(ablation: Ablation) -> Iterator[_BestRow]:
    for best in ablation.best_levels:
        if best.reason:
            yield ablation, best, None
        else:
            yield from ((ablation, best, level) for level in ablation.levels)


def _probability(best: BestLevel, level: ParameterLevel | None) -> float | None:
    """Return the probability of a level in percent; None if there is none."""
    probability = best.probabilities[level.index] if level and best.probabilities else None
    return None if probability is None else 100 * probability


def _format_share(share: float) -> str:
    """Return a probability in whole percent; sampled probabilities are not 0 or 100%."""
    return "<1" if share < 1 else ">99" if share > 99 else f"{share:.0f}"


def _units(best: BestLevel) -> str:
    return pluralize(best.num_units, _unit(best))


def _unit(best: BestLevel) -> str:
    return "trial" if best.source == "trials" else "draw"


def _best_caption(source: Source, metric: MetricFormat) -> str:
    if source == "trials":
        return (
            f"From trials: probability that a level has the {metric.metric.best} mean {metric.label} over the other "
            "hyperparameters as tried. The estimate is a Gaussian process with a noise term, over the complete trials "
            "of one size. Interactions count as noise, and a level without a trial is left out. The probability is "
            "conditional on the training and validation images."
        )
    return (
        f"From draws: probability that the configurations found with a level have the {metric.metric.best} mean "
        f"{metric.test_label} over draws. Replicates of all levels are paired by draw. It is conditional on these "
        "configurations and test images."
    )
