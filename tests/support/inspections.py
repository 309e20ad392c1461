"""Inspections made without training: Gaussian kernels and attention whose spread a test chooses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.inspection.inspection import Inspection, Kind, LayerMaps, ReceptiveField
from lkca_search.records.inspection.radial import distances

Spread = Callable[[str, int, int, int, int], float]
"""Standard deviation of a kernel in tokens, by family, training images, draw, seed and layer."""
GRID = (8, 8)


def gaussian(spread: float, side: int = 15, center: tuple[float, float] | None = None) -> np.ndarray:
    """Return a kernel; its energy has the radius spread sqrt(ln 10), up to the lattice."""
    return np.exp(-(distances((side, side), center) ** 2) / (2 * spread**2)).astype(np.float32)


def make_layer(
    weights: np.ndarray, *, kind: Kind = "kernel", layer: int = 1, grid: tuple[int, int] = GRID
) -> LayerMaps:
    """Return the maps of a layer from its weights, (groups, height, width)."""
    maps = np.asarray(weights, dtype=np.float32)
    return LayerMaps(
        kind=kind,
        layer=layer,
        name=f"blocks.{layer - 1}.mixer",
        grid=grid,
        num_groups=len(maps),
        weights=maps,
        energy=(maps**2).sum(axis=0),
        mass=np.abs(maps).sum(axis=0),
    )


def make_inspection(
    spreads: tuple[float, ...], *, sign: float = 1.0, kind: Kind = "kernel", groups: int = 1, field: float | None = 6.0
) -> Inspection:
    """Return an inspection with a Gaussian kernel per layer, and a Gaussian receptive field of that spread."""
    center = (17.5, 17.5)
    return Inspection(
        layers=tuple(
            make_layer(np.stack([sign * gaussian(spread)] * groups), kind=kind, layer=number)
            for number, spread in enumerate(spreads, start=1)
        ),
        receptive_field=None
        if field is None
        else ReceptiveField(name="blocks", grid=GRID, energy=gaussian(field, 32, center) ** 2, center=center, cell=1),
        num_images=64,
        image_size=(32, 32),
        seconds=0.1,
    )


def with_inspections(results: SearchResults, spread: Spread, *, layers: int = 2) -> SearchResults:
    """Return results with inspections: kernels of lkca, attention of vit, of other families only a field."""
    inspections = {}
    for record in results.replicates:
        if record.test is None or record.replicate is None or record.facts is None:
            continue
        family = record.spec.configuration.family
        key = family, record.facts.num_train_images, record.replicate.draw, record.replicate.seed
        numbers = range(layers if family in ("lkca", "vit") else 0)
        inspections[record.trial_id] = make_inspection(
            tuple(spread(*key, number) for number in numbers),
            sign=(-1.0) ** record.replicate.seed if family == "lkca" else 1.0,
            kind="attention" if family == "vit" else "kernel",
            groups=2 if family == "vit" else 1,
            field=4 * spread(*key, 0),
        )
    return replace(results, inspections=inspections)
