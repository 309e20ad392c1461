"""Sentences on kernels, attention and receptive fields, computed from their numbers."""

from collections.abc import Iterator

from lkca_search.analysis.kernels.kernel_analysis import CellKernels, KernelAnalysis, Trend
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.reporting.kernels.figures import format_radius
from lkca_search.reporting.values.numbers import (
    format_count,
    format_decimal,
    format_decimal_interval,
    format_tick,
    join_words,
    pluralize,
)

_MAX_FAILURES = 3
"""Most reasons for missing parts that are listed."""


def kernel_sentences(analysis: KernelAnalysis) -> Iterator[str]:
    """Yield the results per variant: radii at the smallest and largest size, their change, receptive fields."""
    for variant in analysis.variants:
        cells = analysis.of_variant(variant)
        if with_radius := [cell for cell in cells if cell.radius is not None]:
            yield " ".join((_radii(variant, with_radius), *_change(analysis, variant, "mean over layers")))
        if with_field := [cell for cell in cells if cell.field_radius is not None]:
            yield " ".join((_fields(variant, with_field), *_change(analysis, variant, "receptive field")))


def missing_sentences(analysis: KernelAnalysis, name: str) -> Iterator[str]:
    """Yield the reasons for missing replicates and parts; `name` is that of the search."""
    if analysis.num_without:
        number = pluralize(analysis.num_without, "tested replicate")
        verb = "has" if analysis.num_without == 1 else "have"
        yield (
            f"{number} {verb} no inspection: of an earlier version of LKCA Search, or the inspection failed. This "
            f"section is without them. `lkca-search inspect {name}` inspects those with kept weights."
        )
    zero = dict.fromkeys(cell.variant.label for cell in analysis.cells for layer in cell.layers if layer.radius is None)
    if zero:
        yield f"Some layers of {join_words(list(zero))} have no energy: all of their weights are 0."
    if analysis.failures:
        more = len(analysis.failures) - _MAX_FAILURES
        shown = "; ".join(analysis.failures[:_MAX_FAILURES])
        yield f"Parts of some inspections are missing: {shown}{f'; and {more} more' if more > 0 else ''}."


def _radii(variant: Variant, cells: list[CellKernels]) -> str:
    kind = cells[0].layers[0].kind
    noun = "the kernels" if kind == "kernel" else "the attention"
    ends = [cells[0], *cells[1:][-1:]]
    radii = join_words([f"{format_radius(cell.radius)} {_at(cell)}" for cell in ends if cell.radius is not None])
    flat = dict.fromkeys(format_decimal(cell.flat_radius) for cell in ends)
    return (
        f"{variant.label}: 90% of the energy of {noun} lies within a mean radius of {radii}, in tokens. Equal weights "
        f"would have {join_words(list(flat))}."
    )


def _fields(variant: Variant, cells: list[CellKernels]) -> str:
    ends = [cells[0], *cells[1:][-1:]]
    radii = join_words(
        [f"{format_radius(cell.field_radius)} {_at(cell)}" for cell in ends if cell.field_radius is not None]
    )
    reaches = dict.fromkeys(format_tick(cell.reach) for cell in ends if cell.reach is not None)
    reach = f" A kernel reaches {join_words(list(reaches))} pixels." if reaches else ""
    return f"{variant.label}: 90% of the gradients of the central feature lie within {radii}, in pixels.{reach}"


def _at(cell: CellKernels) -> str:
    return f"at {format_count(cell.num_train_images)} images"


def _change(analysis: KernelAnalysis, variant: Variant, quantity: str) -> Iterator[str]:
    """Yield the sentence on a trend, and on the configurations behind it."""
    trend = next((t for t in analysis.trends if t.variant == variant.label and t.quantity == quantity), None)
    if trend is None or len(set(trend.images)) < 2:
        return
    if isinstance(trend.slope, NotEstimable):
        yield f"Its change with training images is not estimable: {trend.slope}."
        return
    yield _slope(trend)
    if trend.differences:
        yield (
            f"The configurations of these sizes differ in {join_words(trend.differences)}, so the change may come from "
            "them."
        )


def _slope(trend: Trend) -> str:
    assert not isinstance(trend.slope, NotEstimable)
    interval = trend.slope.interval
    number = (
        f"{format_decimal(trend.slope.value, signed=True)} {format_decimal_interval(interval)}".rstrip()
        + f" {trend.unit} per tenfold training images"
    )
    if interval is None:
        return f"The change of the radius is {number}, without an interval: {trend.slope.reason}."
    if interval.contains(0.0):
        return f"No change of the radius with training images is shown: {number}."
    verb = "grows" if trend.slope.value > 0 else "shrinks"
    return f"The radius {verb} with training images: {number}."
