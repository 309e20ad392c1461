"""Kernels, attention and receptive fields of all cells of a round, and their change with the training images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lkca_search.analysis.kernels.inspected_cell import InspectedCell, inspected_cells
from lkca_search.analysis.kernels.mean_map import MeanMap, mean_map
from lkca_search.analysis.kernels.trend import slope_per_tenfold
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults, Variant
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.inspection.inspection import Kind, Maps
from lkca_search.records.inspection.measures import LayerMeasures
from lkca_search.records.inspection.radial import cumulative_shares
from lkca_search.spec.configuration import NAMES, SIZE_NAMES, Configuration

_ARCHITECTURE = ("patch_size", "kernel_size", "depth", "width", "num_heads", "num_kernels")
"""Names whose differences between sizes are stated beside a trend."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerResult:
    """One layer of a cell, over the replicates that have it."""

    number: int
    """Number of the layer, from 1."""
    kind: Kind
    grids: tuple[tuple[int, int], ...]
    """Grids of the replicates, without repetition."""
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths of the maps, without repetition."""
    num_groups: int
    """Kernels or heads of the first replicate."""
    radius: Estimate | None
    """Radius that holds 90% of the energy, in tokens; None if all weights are 0."""
    radius_of_grid: Estimate | None
    """The same in sides of the grid."""
    mass_radius: Estimate | None
    """Radius that holds 90% of the absolute weights, in tokens."""
    flat_radius: float
    """Radius that holds 90% of equal weights, in tokens: the mean over replicates."""
    mean: MeanMap | None
    """Mean map; None if the maps of the replicates differ in size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellKernels:
    """Kernels or attention, and receptive field, of one cell."""

    cell: InspectedCell
    layers: tuple[LayerResult, ...]
    radius: Estimate | None
    """Radius that holds 90% of the energy, in tokens: the mean over layers."""
    radius_of_grid: Estimate | None
    """The same in sides of the grid."""
    flat_radius: float
    """Radius of equal weights, in tokens: the mean over layers."""
    profile: tuple[Estimate, ...]
    """Share of the energy within 0, 1, 2, ... tokens in percent, the mean over layers; empty without layers."""
    flat_profile: tuple[float, ...]
    """The same of equal weights; empty unless all maps have one size."""
    field_radius: Estimate | None
    """Radius that holds 90% of the gradients, in pixels; None without a receptive field."""
    field_energy_radius: Estimate | None
    """The same of the squared gradients."""
    field_flat_radius: float
    """Radius of equal gradients of all pixels."""
    field_map: Maps | None
    """Mean over replicates of squared gradients that sum to 1, (rows, columns); None if they differ in size."""
    field_center: tuple[float, float]
    """Row and column of the center, in cells."""
    field_cell: int
    """Pixels per cell."""
    token: float | None
    """Side of a token in pixels; None if the replicates differ in it, or without kernels."""

    @property
    def variant(self) -> Variant:
        """Variant of the cell."""
        return self.cell.scores.variant

    @property
    def num_train_images(self) -> int:
        """Training images of every replicate."""
        return self.cell.scores.num_train_images

    @property
    def reach(self) -> float | None:
        """Largest displacement along an axis that the largest kernel has, in pixels; None without kernels."""
        sides = [max(size) for layer in self.layers if layer.kind == "kernel" for size in layer.sizes]
        return self.token * (max(sides) // 2) if sides and self.token is not None else None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Change of a radius of one variant per tenfold number of training images."""

    variant: str
    """Label of the variant."""
    quantity: str
    """`mean over layers`, `layer 3` or `receptive field`."""
    unit: str
    """Unit of the radius: `tokens` or `pixels`."""
    images: tuple[int, ...]
    """Training images of each size, ascending."""
    slope: Estimate | NotEstimable
    differences: tuple[str, ...]
    """Names of the architecture in which the configurations of the sizes differ."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelAnalysis:
    """Everything that the report has on kernels."""

    cells: tuple[CellKernels, ...]
    """Cells with at least one inspection, in the order of the space file."""
    trends: tuple[Trend, ...]
    num_without: int
    """Tested replicates without an inspection."""
    failures: tuple[str, ...]
    """Reasons for missing parts of inspections, each once, with the family."""

    def of_variant(self, variant: Variant) -> list[CellKernels]:
        """Return the cells of a variant, from few training images to many."""
        own = [cell for cell in self.cells if cell.variant == variant]
        return sorted(own, key=lambda cell: cell.num_train_images)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Variants with an inspection, in the order of the space file."""
        return tuple(dict.fromkeys(cell.variant for cell in self.cells))


def analyze_kernels(results: SearchResults, scores: RoundScores) -> KernelAnalysis:
    """Return the means over replicates with intervals over draws, and the trends."""
    every = inspected_cells(results, scores)
    cells = tuple(_cell(cell) for cell in every if cell.inspections)
    analysis = KernelAnalysis(
        cells=cells,
        trends=(),
        num_without=sum(cell.num_without for cell in every),
        failures=tuple(dict.fromkeys(_failures(every))),
    )
    trends = [trend for variant in analysis.variants for trend in _trends(analysis.of_variant(variant))]
    return KernelAnalysis(
        cells=cells, trends=tuple(trends), num_without=analysis.num_without, failures=analysis.failures
    )


def _failures(cells: Sequence[InspectedCell]) -> Iterator[str]:
    for cell in cells:
        for each in cell.inspections.values():
            yield from (f"{cell.scores.variant.label}: {failure}" for failure in each.failures)


def _cell(cell: InspectedCell) -> CellKernels:
    fields = [each.receptive_field for each in cell.inspections.values() if each.receptive_field is not None]
    tokens = {
        each.image_size[0] / layer.grid[0]
        for each in cell.inspections.values()
        for layer in each.layers
        if layer.kind == "kernel"
    }
    shapes = {field.energy.shape for field in fields}
    same = len({(field.energy.shape, field.center) for field in fields}) == 1
    return CellKernels(
        cell=cell,
        layers=tuple(_layer(cell, number) for number in range(cell.num_layers)),
        radius=cell.radius(cell.mean_values(lambda each: each.radius), maximum=cell.longest_tokens),
        radius_of_grid=cell.radius(cell.mean_values(lambda each: each.radius_of_grid), maximum=cell.longest_sides),
        flat_radius=_mean(cell.mean_values(lambda each: each.flat_radius)),
        profile=tuple(_profile(cell)),
        flat_profile=_flat_profile(cell),
        field_radius=cell.radius(cell.field_values(lambda each: each.gradient_radius), maximum=cell.longest_pixels),
        field_energy_radius=cell.radius(cell.field_values(lambda each: each.radius), maximum=cell.longest_pixels),
        field_flat_radius=_mean(cell.field_values(lambda each: each.flat_radius)),
        field_map=np.mean([_normalized(field.energy) for field in fields], axis=0) if same and shapes else None,
        field_center=fields[0].center if fields else (0.0, 0.0),
        field_cell=fields[0].cell if fields else 1,
        token=tokens.pop() if len(tokens) == 1 else None,
    )


def _layer(cell: InspectedCell, number: int) -> LayerResult:
    layers = list(cell.layers(number).values())
    return LayerResult(
        number=layers[0].layer,
        kind=layers[0].kind,
        grids=tuple(dict.fromkeys(layer.grid for layer in layers)),
        sizes=tuple(dict.fromkeys((layer.energy.shape[0], layer.energy.shape[1]) for layer in layers)),
        num_groups=layers[0].num_groups,
        radius=cell.radius(cell.layer_values(number, lambda each: each.radius), maximum=cell.longest_tokens),
        radius_of_grid=cell.radius(
            cell.layer_values(number, lambda each: each.radius_of_grid), maximum=cell.longest_sides
        ),
        mass_radius=cell.radius(cell.layer_values(number, lambda each: each.mass_radius), maximum=cell.longest_tokens),
        flat_radius=_mean(cell.layer_values(number, lambda each: each.flat_radius)),
        mean=mean_map([np.asarray(layer.weights, dtype=np.float64) for layer in layers]),
    )


def _profile(cell: InspectedCell) -> Iterator[Estimate]:
    """Yield the share within each radius, the mean over layers; beyond its last radius, a layer has all energy."""
    longest = max((len(each.profile) for found in cell.layer_measures.values() for each in found), default=0)
    for radius in range(longest):
        if (share := cell.share(cell.mean_values(partial(_share_within, radius=radius)))) is not None:
            yield share


def _share_within(measures: LayerMeasures, *, radius: int) -> float:
    return float(measures.profile[min(radius, len(measures.profile) - 1)])


def _flat_profile(cell: InspectedCell) -> tuple[float, ...]:
    shapes = {layer.energy.shape for each in cell.inspections.values() for layer in each.layers}
    return tuple((PERCENT * cumulative_shares(np.ones(shapes.pop()))).tolist()) if len(shapes) == 1 else ()


def _trends(cells: Sequence[CellKernels]) -> Iterator[Trend]:
    """Yield the trends of one variant: mean over layers, each layer that all sizes have, receptive field."""
    num_layers = min(len(cell.layers) for cell in cells)
    grids = {tuple(layer.grids for layer in cell.layers[:num_layers]) for cell in cells}
    if num_layers:
        shared = NotEstimable("the token grids of the sizes differ") if len(grids) > 1 else None
        yield _trend(cells, "mean over layers", lambda cell: cell.mean_values(lambda each: each.radius), shared)
        for index in range(num_layers):
            number = cells[0].layers[index].number
            yield _trend(cells, f"layer {number}", _layer_radius(index), shared)
    if any(cell.field_radius is not None for cell in cells):
        yield _trend(
            cells,
            "receptive field",
            lambda cell: cell.field_values(lambda each: each.gradient_radius),
            None,
            unit="pixels",
        )


def _layer_radius(index: int) -> Callable[[InspectedCell], Floats]:
    return lambda cell: cell.layer_values(index, lambda each: each.radius)


def _trend(
    cells: Sequence[CellKernels],
    quantity: str,
    values: Callable[[InspectedCell], Floats],
    reason: NotEstimable | None,
    *,
    unit: str = "tokens",
) -> Trend:
    images = [cell.num_train_images for cell in cells]
    maximum = max(cell.cell.longest_tokens if unit == "tokens" else cell.cell.longest_pixels for cell in cells)
    slope: Estimate | NotEstimable
    try:
        slope = reason or slope_per_tenfold(images, [values(cell.cell) for cell in cells], maximum=maximum)
    except NotEstimable as error:
        slope = error
    return Trend(
        variant=cells[0].variant.label,
        quantity=quantity,
        unit=unit,
        images=tuple(images),
        slope=slope,
        differences=tuple(_differences([each for cell in cells for each in cell.cell.configurations])),
    )


def _differences(configurations: Sequence[Configuration]) -> Iterator[str]:
    """Yield the names of the architecture in which configurations differ."""
    names = [name for name in _ARCHITECTURE if name in NAMES and name not in SIZE_NAMES]
    for name in names:
        if len({getattr(each, name) for each in configurations}) > 1:
            yield name


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _normalized(energy: Maps) -> Maps:
    total = float(energy.sum())
    return energy / total if total > 0 else energy
