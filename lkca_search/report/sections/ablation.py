"""The sections that rest on trials, and so on validation images: ablation, and costs."""

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
from lkca_search.report.sections.costs import cost_section
from lkca_search.report.values.figure import HeatMap
from lkca_search.report.values.numbers import (
    NO_VALUE,
    format_count,
    format_interval,
    format_percent,
    format_points,
    pluralize,
)
from lkca_search.report.values.report import Section
from lkca_search.report.values.table import Field, Table, number, text
from lkca_search.seeds import derive_seed

_Entry = tuple[float | None, str, str]
"""A number, what is written in its field, and what is told of it."""
_MAPPED = ("kernel_size", "depth", "width")
"""Names that have heat maps wherever they vary; factors have them, too."""
_VALIDATION = (
    "All of this is of trials on validation images: it shows where the search found what, and is no test. What a "
    "sampler that learns tried less often, it knows less well."
)


def ablation_sections(results: SearchResults) -> list[Section]:
    """The sections for which there are complete trials."""
    seed = derive_seed(results.spec.search.seed, "views")
    found = compute_ablations(results, generator=np.random.default_rng(seed))
    mapped = [each for each in found if each.hyperparameter in (*_MAPPED, *results.spec.factors)]
    sections = []
    if found:
        sections.append(
            Section(
                name="ablation",
                title="What each name does",
                paragraphs=(_VALIDATION,),
                figures=tuple(figure for each in mapped for figure in _maps(each)),
                tables=(effect_table(found), field_table(mapped)),
            )
        )
    costs = cost_section(results, seed=seed)
    return [*sections, costs] if costs else sections


def effect_table(found: Sequence[Ablation]) -> Table:
    """What each level of each name does in each family."""
    return Table(
        name="effects",
        title="Marginal effects",
        caption=(
            "In points of validation accuracy. Effect: the mean of a level less that of all levels of the name, "
            "within blocks (the same levels of all other factors, the size of the data among them), averaged over "
            "blocks with a 95% t interval over them. Against the reference: the difference to the base level of a "
            "factor, or to the smallest of what was searched, in matched blocks. Numbers of many values are put into "
            "three bins."
        ),
        columns=(
            *("family", "name", "level", "effect, points", "95% interval", "against the reference"),
            *("95% interval of it", "blocks", "trials"),
        ),
        rows=tuple(_effect(effect) for each in found for effect in each.effects),
    )


def _effect(found: MarginalEffect) -> tuple[Field, ...]:
    matched = found.difference_from_reference
    return (
        text(found.family),
        text(found.hyperparameter),
        text(found.level.label),
        number(found.effect.value, format_points(found.effect.value)),
        text(format_interval(found.effect.interval, signed=True)),
        number(matched.value, format_points(matched.value)) if matched else text(NO_VALUE),
        text(format_interval(matched.interval, signed=True) if matched else ""),
        number(found.num_blocks, f"{found.num_blocks}"),
        number(found.num_trials, f"{found.num_trials}"),
    )


def field_table(found: Sequence[Ablation]) -> Table:
    """The fields of all heat maps, in full."""
    return Table(
        name="fields",
        title="Fields of the heat maps",
        caption=(
            "Validation accuracy in percent of the trials with a level of a name and so many training images: their "
            "best, their mean with the half width of its 95% t interval over trials, and how many there are."
        ),
        columns=("family", "name", "level", "training images", "best, %", "mean, %", "± half width", "trials"),
        rows=tuple(
            (
                text(field.family),
                text(field.hyperparameter),
                text(field.level.label),
                number(field.num_train_images, format_count(field.num_train_images)),
                number(field.best, format_percent(field.best)),
                number(field.mean, format_percent(field.mean)),
                text(NO_VALUE)
                if field.half_width is None
                else number(field.half_width, format_percent(field.half_width)),
                number(field.num_trials, f"{field.num_trials}"),
            )
            for each in found
            for field in each.heat_map
        ),
    )


def _maps(found: Ablation) -> Iterator[HeatMap]:
    """How a name and the size of the data go together, and where the best value lies."""
    fields = {(field.level.index, field.num_train_images): field for field in found.heat_map}
    best_levels = {best_level.num_train_images: best_level for best_level in found.best_levels}
    yield _heat_map(
        found,
        name="map",
        title=f"{found.family}: {found.hyperparameter} and training images",
        caption="Best validation accuracy in percent, and of how many trials; more on pointing at it.",
        unit="best, %",
        entry=lambda level, images: _field_entry(fields.get((level.index, images))),
    )
    yield _heat_map(
        found,
        name="optimum",
        title=f"{found.family}: where the best {found.hyperparameter} lies",
        caption="Share of bootstrap samples of the trials in which the best trial has this value.",
        unit="share, %",
        entry=lambda level, images: _share_entry(best_levels[images], level),
    )


def _heat_map(
    found: Ablation, *, name: str, title: str, caption: str, unit: str, entry: Callable[[ParameterLevel, int], _Entry]
) -> HeatMap:
    sizes = sorted({field.num_train_images for field in found.heat_map})
    entries = [[entry(level, size) for size in sizes] for level in found.levels]
    return HeatMap(
        name=f"{name}_{_plain(found.family)}_{found.hyperparameter}",
        title=title,
        caption=caption,
        x_label="training images",
        y_label=found.hyperparameter,
        columns=tuple(map(format_count, sizes)),
        rows=tuple(level.label for level in found.levels),
        values=tuple(tuple(value for value, _, _ in row) for row in entries),
        texts=tuple(tuple(shown for _, shown, _ in row) for row in entries),
        notes=tuple(tuple(note for _, _, note in row) for row in entries),
        unit=unit,
    )


def _field_entry(found: HeatMapEntry | None) -> _Entry:
    if found is None:
        return None, "", "no trial"
    spread = "" if found.half_width is None else f" ± {format_percent(found.half_width)}"
    note = (
        f"{found.hyperparameter} {found.level.label}, {format_count(found.num_train_images)} images: best {format_percent(found.best)}%, mean "
        f"{format_percent(found.mean)}%{spread}, {pluralize(found.num_trials, 'trial')}"
    )
    return found.best, f"{format_percent(found.best)}<br>of {found.num_trials}", note


def _share_entry(found: BestLevel, level: ParameterLevel) -> _Entry:
    share = 100 * found.bootstrap_shares[level.index]
    note = (
        f"{format_count(found.num_train_images)} images: {found.hyperparameter} {level.label} holds the best in {share:.0f}% of the "
        f"bootstrap samples of {pluralize(found.num_trials, 'trial')}"
    )
    return share, f"{share:.0f}%", note


def _plain(name: str) -> str:
    """A name that a file can have."""
    return "".join(mark if mark.isalnum() else "_" for mark in name)
