"""Section on the effect of each hyperparameter, from trials on validation images."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lkca_search.analysis.ablation import (
    Ablation,
    BestLevel,
    HeatMapEntry,
    MarginalEffect,
    ParameterLevel,
    compute_ablations,
)
from lkca_search.analysis.search_results import SearchResults
from lkca_search.report.values.figure import HeatMap
from lkca_search.report.values.metric_format import MetricFormat
from lkca_search.report.values.numbers import (
    format_count,
    pluralize,
)
from lkca_search.report.values.report import Section
from lkca_search.report.values.table import (
    Column,
    Table,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    text_cell,
)

_Entry = tuple[float | None, str, str]
"""Number, text and hover text of one cell of a heat map."""
_WITH_HEAT_MAPS = ("kernel_size", "depth", "width")
"""Hyperparameters with heat maps; factors have them too."""
_TITLE = "Effect of each hyperparameter"
_PARAGRAPHS = (
    "These results are from trials on validation images. They show where the search found good values; they are not a "
    "test. A sampler that learns from earlier trials tries some values less often, so their results are less certain.",
)
_NOT_ESTIMABLE = ("Not estimable: no hyperparameter has two values among the complete trials of one family.",)


def ablation_section(results: SearchResults, *, seed: int) -> Section:
    """Return the section; it has only a reason if no hyperparameter varies."""
    ablations = compute_ablations(results, generator=np.random.default_rng(seed))
    if not ablations:
        return Section(name="ablation", title=_TITLE, paragraphs=_NOT_ESTIMABLE)
    metric = MetricFormat(results.metric)
    mapped = [
        ablation for ablation in ablations if ablation.hyperparameter in (*_WITH_HEAT_MAPS, *results.spec.factors)
    ]
    return Section(
        name="ablation",
        title=_TITLE,
        paragraphs=_PARAGRAPHS,
        figures=tuple(figure for ablation in mapped for figure in _heat_maps(ablation, metric)),
        tables=(effect_table(ablations, metric), heat_map_table(mapped, metric)),
    )


def effect_table(ablations: Sequence[Ablation], metric: MetricFormat) -> Table:
    """Return the effect of each level of each hyperparameter in each family."""
    columns: list[Column[MarginalEffect]] = [
        Column("family", lambda effect: text_cell(effect.family)),
        Column("hyperparameter", lambda effect: text_cell(effect.hyperparameter)),
        Column("level", lambda effect: text_cell(effect.level.label)),
        Column(metric.difference_header("effect"), lambda effect: estimate_cell(effect.effect, metric.difference)),
        Column("95% interval", lambda effect: interval_cell(effect.effect, metric.difference_interval)),
        Column(
            metric.difference_header("difference from reference"),
            lambda effect: estimate_cell(effect.difference_from_reference, metric.difference),
        ),
        Column(
            "95% interval of difference",
            lambda effect: interval_cell(effect.difference_from_reference, metric.difference_interval),
        ),
        Column("blocks", lambda effect: number_cell(effect.num_blocks)),
        Column("trials", lambda effect: number_cell(effect.num_trials)),
    ]
    return make_table(
        name="effects",
        title="Marginal effects",
        caption=(
            f"Effects in {metric.difference_label}. A block is one combination of the levels of all other factors, "
            "including the size of the data. Effect: mean of a level minus the mean of all levels, within blocks, "
            "averaged over blocks with a 95% t interval. Difference from reference: difference to the base level of a "
            "factor, or to the smallest searched value, in matched blocks. Hyperparameters with many values are "
            "divided into three bins."
        ),
        columns=columns,
        rows=[effect for ablation in ablations for effect in ablation.effects],
    )


def heat_map_table(ablations: Sequence[Ablation], metric: MetricFormat) -> Table:
    """Return the numbers of all heat maps of the metric."""
    columns: list[Column[HeatMapEntry]] = [
        Column("family", lambda entry: text_cell(entry.family)),
        Column("hyperparameter", lambda entry: text_cell(entry.hyperparameter)),
        Column("level", lambda entry: text_cell(entry.level.label)),
        Column("training images", lambda entry: number_cell(entry.num_train_images, format_count)),
        Column(metric.header("best"), lambda entry: number_cell(entry.best, metric.value)),
        Column(metric.header("mean"), lambda entry: number_cell(entry.mean, metric.value)),
        Column("± half width", lambda entry: number_cell(entry.half_width, metric.value)),
        Column("trials", lambda entry: number_cell(entry.num_trials)),
    ]
    return make_table(
        name="fields",
        title="Numbers of the heat maps",
        caption=(
            f"{metric.label_in_unit.capitalize()} of the trials with one level and one number of training images. Best "
            f"is the {metric.metric.best}. The half width is that of the 95% t interval of the mean over trials."
        ),
        columns=columns,
        rows=[entry for ablation in ablations for entry in ablation.heat_map],
    )


def _heat_maps(ablation: Ablation, metric: MetricFormat) -> Iterator[HeatMap]:
    """Yield the metric by level and training images, and the distribution of the best level."""
    name, family = ablation.hyperparameter, ablation.family
    entries = {(entry.level.index, entry.num_train_images): entry for entry in ablation.heat_map}
    best_levels = {best.num_train_images: best for best in ablation.best_levels}
    yield _heat_map(
        ablation,
        name="map",
        title=f"{family}: {name} and training images",
        caption=f"{metric.best_label.capitalize()}, and the number of trials. Point at a cell for the mean.",
        unit=metric.header("best"),
        entry=lambda level, images: _value_entry(entries.get((level.index, images)), metric),
    )
    yield _heat_map(
        ablation,
        name="optimum",
        title=f"{family}: best {name}",
        caption="Share of the bootstrap samples of trials in which the best trial has this value.",
        unit="share, %",
        entry=lambda level, images: _share_entry(best_levels[images], level),
    )


def _heat_map(
    ablation: Ablation,
    *,
    name: str,
    title: str,
    caption: str,
    unit: str,
    entry: Callable[[ParameterLevel, int], _Entry],
) -> HeatMap:
    sizes = sorted({item.num_train_images for item in ablation.heat_map})
    entries = [[entry(level, size) for size in sizes] for level in ablation.levels]
    return HeatMap(
        name=f"{name}_{_to_file_name(ablation.family)}_{ablation.hyperparameter}",
        title=title,
        caption=caption,
        x_label="training images",
        y_label=ablation.hyperparameter,
        columns=tuple(map(format_count, sizes)),
        rows=tuple(level.label for level in ablation.levels),
        values=tuple(tuple(value for value, _, _ in row) for row in entries),
        texts=tuple(tuple(text for _, text, _ in row) for row in entries),
        hover_texts=tuple(tuple(hover for _, _, hover in row) for row in entries),
        unit=unit,
    )


def _value_entry(entry: HeatMapEntry | None, metric: MetricFormat) -> _Entry:
    if entry is None:
        return None, "", "no trial"
    half_width = "" if entry.half_width is None else f" ± {metric.value(entry.half_width)}"
    hover = (
        f"{entry.hyperparameter} {entry.level.label}, {format_count(entry.num_train_images)} images: best "
        f"{metric.value_with_unit(entry.best)}, mean {metric.value_with_unit(entry.mean)}{half_width}, "
        f"{pluralize(entry.num_trials, 'trial')}"
    )
    return entry.best, f"{metric.value(entry.best)}<br>of {entry.num_trials}", hover


def _share_entry(best: BestLevel, level: ParameterLevel) -> _Entry:
    share = 100 * best.bootstrap_shares[level.index]
    hover = (
        f"{format_count(best.num_train_images)} images: the best trial has {best.hyperparameter} {level.label} in "
        f"{share:.0f}% of the bootstrap samples of {pluralize(best.num_trials, 'trial')}"
    )
    return share, f"{share:.0f}%", hover


def _to_file_name(text: str) -> str:
    """Return a text with only characters that a file name may have."""
    return "".join(char if char.isalnum() else "_" for char in text)
