"""Tables of kernels, attention and receptive fields: radii per layer, receptive fields beside kernels, trends."""

from collections.abc import Iterator

from lkca_search.analysis.kernels.kernel_analysis import CellKernels, KernelAnalysis, LayerResult, Trend
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.reporting.values.numbers import (
    format_count,
    format_decimal,
    format_decimal_interval,
    format_tick,
    join_words,
)
from lkca_search.reporting.values.table import (
    NOT_ESTIMABLE,
    Column,
    Table,
    TableCell,
    estimable,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    reason_cell,
    text_cell,
)

_LayerRow = tuple[CellKernels, LayerResult]


def kernel_tables(analysis: KernelAnalysis) -> Iterator[Table]:
    """Yield the tables of the section."""
    rows = [(cell, layer) for cell in analysis.cells for layer in cell.layers]
    if rows:
        yield _layer_table(rows)
    if any(cell.field_radius is not None for cell in analysis.cells):
        yield _field_table(analysis)
    if analysis.trends:
        yield _trend_table(analysis)


def _layer_table(rows: list[_LayerRow]) -> Table:
    columns: list[Column[_LayerRow]] = [
        Column("variant", lambda row: text_cell(row[0].variant.label)),
        Column("training images", lambda row: number_cell(row[0].num_train_images, format_count)),
        Column("layer", lambda row: number_cell(row[1].number)),
        Column("weights", lambda row: text_cell(row[1].kind)),
        Column("size", lambda row: text_cell(_sizes(row[1]))),
        Column("90% radius, tokens", lambda row: estimate_cell(row[1].radius, format_decimal)),
        Column("95% interval", lambda row: interval_cell(row[1].radius, format_decimal_interval)),
        Column("90% radius, sides of the grid", lambda row: estimate_cell(row[1].radius_of_grid, format_decimal)),
        Column("of equal weights, tokens", lambda row: number_cell(row[1].flat_radius, format_decimal)),
        Column("of absolute weights, tokens", lambda row: estimate_cell(row[1].mass_radius, format_decimal)),
        Column("agreement", _agreement),
    ]
    return make_table(
        name="kernel_layers",
        title="Radius per layer",
        caption=(
            "The 90% radius is the smallest distance in tokens within which the squared weights are at least 90% of "
            "all, over all kernels or heads of a layer: the mean over draws with a 95% interval over draws. The same "
            "for equal weights on a map of this size, and for absolute weights, which are probabilities in attention. "
            "Agreement is the mean absolute cosine between the maps of two replicates: 1 if they are equal. Intervals "
            "are not corrected for the number of layers."
        ),
        columns=columns,
        rows=rows,
    )


def _sizes(layer: LayerResult) -> str:
    sizes = " or ".join(f"{height}x{width}" for height, width in layer.sizes)
    noun = "kernels" if layer.kind == "kernel" else "heads"
    return f"{sizes}, {layer.num_groups} {noun}" if layer.num_groups > 1 else sizes


def _agreement(row: _LayerRow) -> TableCell:
    mean = row[1].mean
    return number_cell(None if mean is None else mean.agreement, format_decimal)


def _field_table(analysis: KernelAnalysis) -> Table:
    columns: list[Column[CellKernels]] = [
        Column("variant", lambda cell: text_cell(cell.variant.label)),
        Column("training images", lambda cell: number_cell(cell.num_train_images, format_count)),
        Column("90% radius, pixels", lambda cell: estimate_cell(cell.field_radius, format_decimal)),
        Column("95% interval", lambda cell: interval_cell(cell.field_radius, format_decimal_interval)),
        Column("of squared gradients, pixels", lambda cell: estimate_cell(cell.field_energy_radius, format_decimal)),
        Column("of equal gradients, pixels", lambda cell: number_cell(cell.field_flat_radius, format_decimal)),
        Column("90% radius of kernels, pixels", _kernel_pixels),
        Column("reach of a kernel, pixels", lambda cell: number_cell(cell.reach, format_tick)),
    ]
    return make_table(
        name="receptive_fields",
        title="Effective receptive field beside the kernels",
        caption=(
            "Radius that holds 90% of the gradients of the central feature with respect to the pixels (Luo et al. "
            "2016), of the last output with height and width: the mean over draws with a 95% interval. A gradient is "
            "the root of its mean square over images, summed over channels. Shortcuts keep most of the squares in the "
            "patch of the feature itself. The radius of equal gradients is that of a model that uses all pixels alike. "
            "The radius of the kernels, of squared weights, is the mean over layers, times the side of a token. The "
            "reach is the largest displacement of a tap along an axis."
        ),
        columns=columns,
        rows=[cell for cell in analysis.cells if cell.field_radius is not None],
    )


def _kernel_pixels(cell: CellKernels) -> TableCell:
    if cell.radius is None or cell.token is None:
        return number_cell(None)
    return number_cell(cell.token * cell.radius.value, format_decimal)


def _signed(value: float) -> str:
    return format_decimal(value, signed=True)


def _trend_table(analysis: KernelAnalysis) -> Table:
    columns: list[Column[Trend]] = [
        Column("variant", lambda trend: text_cell(trend.variant)),
        Column("radius of", lambda trend: text_cell(trend.quantity)),
        Column("unit", lambda trend: text_cell(trend.unit)),
        Column("change per tenfold images", lambda trend: estimate_cell(estimable(trend.slope), _signed)),
        Column("95% interval", lambda trend: interval_cell(estimable(trend.slope), format_decimal_interval)),
    ]
    if any(trend.differences for trend in analysis.trends):
        columns.append(Column("configurations differ in", lambda trend: text_cell(join_words(trend.differences))))
    if any(isinstance(trend.slope, NotEstimable) for trend in analysis.trends):
        columns.append(Column(NOT_ESTIMABLE, lambda trend: reason_cell(trend.slope)))
    return make_table(
        name="kernel_trends",
        title="Change of the radii with training images",
        caption=(
            "Slope of a least-squares line in the logarithm of the training images, per draw, then the mean over draws "
            "with Student's 95% interval over draws. The first line of a variant is the mean over its layers. "
            "Intervals are not corrected for the number of lines. Where the configurations of the sizes differ, a "
            "change may come from them."
        ),
        columns=columns,
        rows=analysis.trends,
    )
