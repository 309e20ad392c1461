"""Figures of kernels, attention and receptive fields: maps side by side, profiles, radii against training images."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.kernels.kernel_analysis import CellKernels, KernelAnalysis, LayerResult
from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.reporting.values.figure import COLORS, Drawing, Figure, Panel, Series, SmallMultiples, side_shift
from lkca_search.reporting.values.numbers import format_count, format_decimal, format_decimal_interval, format_estimate

_Value = Callable[[CellKernels], Estimate | None]
MAX_VARIANTS = 6
"""Most variants whose maps are shown; the Parquet file has all."""
_MAX_SIDE = 64
"""Longest side of a panel in cells; larger maps are averaged over squares."""


def kernel_figures(results: SearchResults, analysis: KernelAnalysis) -> Iterator[Drawing]:
    """Yield the figures of the section."""
    with_layers = [variant for variant in analysis.variants if any(c.layers for c in analysis.of_variant(variant))]
    for number, variant in enumerate(with_layers[:MAX_VARIANTS], start=1):
        cells = analysis.of_variant(variant)
        if (maps := _layer_maps(variant, cells, number)) is not None:
            yield maps
        yield _profiles(variant, cells, number)
    if with_layers and len({cell.num_train_images for cell in analysis.cells}) > 1:
        yield _radii(results, analysis, with_layers)
    if any(cell.field_radius is not None for cell in analysis.cells):
        yield _field_radii(results, analysis)
    if (fields := _field_maps(analysis)) is not None:
        yield fields


def _layer_maps(variant: Variant, cells: Sequence[CellKernels], number: int) -> SmallMultiples | None:
    """Return the mean map of each layer, one row per size of the data."""
    numbers = sorted({layer.number for cell in cells for layer in cell.layers})
    shown = [layer.mean for cell in cells for layer in cell.layers if layer.mean is not None]
    if not shown:
        return None
    limit = max(float(np.abs(mean.values).max()) for mean in shown)
    is_kernel = cells[0].layers[0].kind == "kernel"
    noun = "kernels" if is_kernel else "attention by relative position"
    return SmallMultiples(
        name=f"kernel_maps_{number}",
        title=f"{variant.label}: {noun}, mean over replicates",
        caption=_maps_caption(is_kernel, num_groups=max(layer.num_groups for c in cells for layer in c.layers)),
        columns=tuple(f"layer {each}" for each in numbers),
        rows=tuple(_images(cell) for cell in cells),
        panels=tuple(tuple(_layer_panel(cell, each) for each in numbers) for cell in cells),
        limit=limit,
        is_signed=any((mean.values < 0).any() for mean in shown),
        unit="weight, of a map with energy 1",
    )


def _maps_caption(is_kernel: bool, *, num_groups: int) -> str:
    """Return the caption of the maps of one variant."""
    weight = "the weight that a token gives to the token at that displacement from it, which is in the center at 0"
    groups = f" and over the {num_groups} {'kernels' if is_kernel else 'heads'} of a layer" if num_groups > 1 else ""
    origin = (
        "A kernel and the weights around it can change sign and scale together without an effect. So each kernel is "
        "scaled to energy 1, its sign is aligned with the others, and the largest weight of the mean is positive. "
        if is_kernel
        else "Attention is averaged over test images and over the queries that have a token at the displacement, then "
        "scaled to energy 1. Class tokens are left out. "
    )
    return (
        f"Each square is {weight}: the mean over replicates{groups}. {origin}All panels have one scale. Colors are "
        "linear in the square root of the weight. The dashed circle encloses 90% of the energy, the mean over draws. A "
        "mean shows little if its replicates agree little: the table of radii has their agreement."
    )


def _layer_panel(cell: CellKernels, number: int) -> Panel | None:
    layer = next((each for each in cell.layers if each.number == number), None)
    if layer is None or layer.mean is None:
        return None
    values = layer.mean.values
    height, width = values.shape
    return Panel(
        values=_rows(values),
        center=((height - 1) / 2, (width - 1) / 2),
        radius=None if layer.radius is None else layer.radius.value,
        hover_text=f"{cell.variant.label}, {_images(cell)}, layer {number}: {_describe_radius(layer)}",
    )


def _describe_radius(layer: LayerResult) -> str:
    if layer.radius is None:
        return "all weights are 0"
    height, width = layer.sizes[0]
    agreement = layer.mean.agreement if layer.mean else None
    agree = "" if agreement is None else f", agreement of replicates {format_decimal(agreement)}"
    return f"{height}x{width}, 90% of the energy within {format_radius(layer.radius)} tokens{agree}"


def format_radius(estimate: Estimate) -> str:
    """Return a radius with two decimals, followed by its interval if it has one."""
    return f"{format_decimal(estimate.value)} {format_decimal_interval(estimate.interval)}".rstrip()


def _profiles(variant: Variant, cells: Sequence[CellKernels], number: int) -> Figure:
    """Return the share of the energy within each radius, one band per size of the data."""
    kind = "kernels" if cells[0].layers[0].kind == "kernel" else "attention"
    flat = tuple(_flat_series(cells))
    gray = " The gray line is a map of this size with equal weights." if flat else ""
    return Figure(
        name=f"energy_profile_{number}",
        title=f"{variant.label}: energy of the {kind} within a radius",
        caption=(
            "Share of the squared weights of a layer within a Euclidean radius, the mean over layers and draws, with "
            f"95% intervals over draws at each radius alone.{gray}"
        ),
        x_label="radius, tokens",
        y_label="energy within the radius, %",
        y_bounds=(0.0, 100.0),
        if_empty="all weights are 0",
        series=(*(_profile_series(cell, index) for index, cell in enumerate(cells) if cell.profile), *flat),
    )


def _profile_series(cell: CellKernels, index: int) -> Series:
    values = tuple(estimate.value for estimate in cell.profile)
    ends = [(each.interval.lower, each.interval.upper) if each.interval else (None, None) for each in cell.profile]
    has_band = any(lower is not None for lower, _ in ends)
    lower = tuple(low if low is not None else value for (low, _), value in zip(ends, values, strict=True))
    upper = tuple(high if high is not None else value for (_, high), value in zip(ends, values, strict=True))
    return Series(
        name=_images(cell),
        x=tuple(map(float, range(len(values)))),
        y=values,
        lower=lower if has_band else (),
        upper=upper if has_band else (),
        kind="band" if has_band else "line",
        color_index=index,
        in_legend=True,
        hover_texts=tuple(
            f"{_images(cell)}: {format_estimate(each)}% within {radius}" for radius, each in enumerate(cell.profile)
        ),
    )


def _flat_series(cells: Sequence[CellKernels]) -> Iterator[Series]:
    """Yield the profile of equal weights, if all maps of a variant have one size."""
    profiles = {cell.flat_profile for cell in cells}
    if len(profiles) == 1 and (shares := profiles.pop()):
        yield Series(
            name="equal weights",
            x=tuple(map(float, range(len(shares)))),
            y=shares,
            kind="line",
            color_index=len(COLORS) - 1,
            in_legend=True,
            is_guide=True,
        )


def _radii(results: SearchResults, analysis: KernelAnalysis, variants: Sequence[Variant]) -> Figure:
    """Return the radius that holds 90% of the energy against training images, in sides of the grid."""
    return _against_images(
        analysis,
        [(variant, _color(results, variant)) for variant in variants],
        name="kernel_radius",
        title="Radius that holds 90% of the energy, against training images",
        caption=(
            "Squared weights of kernels and of attention by relative position: the mean over layers and draws with "
            "95% intervals over draws. The radius is in sides of the token grid (the shorter one), so that grids of "
            "different sizes have one axis."
        ),
        y_label="radius, sides of the grid",
        value=lambda cell: cell.radius_of_grid,
    )


def _field_radii(results: SearchResults, analysis: KernelAnalysis) -> Figure:
    return _against_images(
        analysis,
        [(variant, _color(results, variant)) for variant in analysis.variants],
        name="field_radius",
        title="Radius of the effective receptive field, against training images",
        caption=(
            "Radius that holds 90% of the gradients of the central feature with respect to the pixels: the mean over "
            "draws with 95% intervals over draws."
        ),
        y_label="radius, pixels",
        value=lambda cell: cell.field_radius,
    )


def _against_images(
    analysis: KernelAnalysis,
    variants: Sequence[tuple[Variant, int]],
    *,
    value: _Value,
    name: str,
    title: str,
    caption: str,
    y_label: str,
) -> Figure:
    sizes = sorted({cell.num_train_images for cell in analysis.cells})
    series = []
    for index, (variant, color) in enumerate(variants):
        cells = [cell for cell in analysis.of_variant(variant) if value(cell) is not None]
        if cells:
            series.append(_points(variant, cells, color, value, shift=side_shift(index, len(variants), sizes)))
    return Figure(
        name=name,
        title=title,
        caption=caption,
        y_label=y_label,
        y_bounds=(0.0, None),
        x_label="training images",
        x_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        series=tuple(series),
    )


def _points(variant: Variant, cells: Sequence[CellKernels], color: int, value: _Value, *, shift: float) -> Series:
    estimates = [estimate for cell in cells if (estimate := value(cell)) is not None]
    return Series(
        name=variant.label,
        x=tuple(cell.num_train_images * shift for cell in cells),
        y=tuple(estimate.value for estimate in estimates),
        lower=tuple(each.interval.lower if each.interval else None for each in estimates),
        upper=tuple(each.interval.upper if each.interval else None for each in estimates),
        color_index=color,
        hover_texts=tuple(
            f"{variant.label}, {_images(cell)}: {format_radius(estimate)}"
            for cell, estimate in zip(cells, estimates, strict=True)
        ),
    )


def _field_maps(analysis: KernelAnalysis) -> SmallMultiples | None:
    """Return the mean receptive field of each variant, one column per size of the data."""
    variants = [v for v in analysis.variants if any(c.field_map is not None for c in analysis.of_variant(v))]
    if not variants:
        return None
    sizes = sorted({cell.num_train_images for cell in analysis.cells})
    found = {(cell.variant, cell.num_train_images): cell for cell in analysis.cells}
    return SmallMultiples(
        name="receptive_fields",
        title="Effective receptive fields, mean over replicates",
        caption=(
            "Gradient of the central feature with respect to each pixel: the root of the mean square over test images "
            "and replicates, summed over channels. The largest value of each panel is 1, and colors are linear in its "
            "square root, so that pixels outside the patch of the feature show. The dashed circle encloses 90% of the "
            "gradients, the mean over draws."
        ),
        columns=tuple(f"{format_count(size)} images" for size in sizes),
        rows=tuple(variant.label for variant in variants[:MAX_VARIANTS]),
        panels=tuple(
            tuple(_field_panel(found.get((variant, size))) for size in sizes) for variant in variants[:MAX_VARIANTS]
        ),
        limit=1.0,
        is_signed=False,
        unit="gradient, of the largest",
    )


def _field_panel(cell: CellKernels | None) -> Panel | None:
    if cell is None or cell.field_map is None or not cell.field_map.max() > 0:
        return None
    values, factor = _shrink(np.asarray(cell.field_map, dtype=np.float64))
    row, column = ((position + 0.5) / factor - 0.5 for position in cell.field_center)
    radius = cell.field_radius
    return Panel(
        values=_rows(np.sqrt(values / values.max())),
        center=(row, column),
        radius=None if radius is None else radius.value / (cell.field_cell * factor),
        hover_text=f"{cell.variant.label}, {_images(cell)}"
        + (f": 90% within {format_radius(radius)} pixels" if radius else ""),
    )


def _shrink(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Return means over squares of a map that is too large for a panel, and the side of the squares."""
    factor = -(-max(values.shape) // _MAX_SIDE)
    if factor == 1:
        return values, 1
    padded = np.pad(values, [(0, -side % factor) for side in values.shape], mode="edge")
    height, width = padded.shape
    return padded.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3)), factor


def _rows(values: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in values)


def _images(cell: CellKernels) -> str:
    return f"{format_count(cell.num_train_images)} images"


def _color(results: SearchResults, variant: Variant) -> int:
    """Return the color of a variant: its index in the space file."""
    return list(dict.fromkeys(results.variants.values())).index(variant)
