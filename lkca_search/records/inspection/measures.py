"""Radii and profiles of an inspection: the numbers that reports and tables have of each layer and receptive field."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lkca_search.records.inspection.inspection import LayerMaps, ReceptiveField
from lkca_search.records.inspection.radial import Floats, cumulative_shares, distances, radius_of_share


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMeasures:
    """Radii of one layer in tokens; NaN for a layer whose weights are all 0."""

    radius: float
    """Radius that holds 90% of the energy: of the squared weights of all groups."""
    mass_radius: float
    """Radius that holds 90% of the absolute weights of all groups; those of attention are probabilities."""
    flat_radius: float
    """Radius that holds 90% of a map of this size with equal weights."""
    profile: Floats
    """Share of the energy within 0, 1, 2, ... tokens, (radii,)."""
    longest: float
    """Largest distance of a token from the center of the map, in tokens: no radius is larger."""
    side: int
    """Shorter side of the grid, in tokens."""

    @property
    def radius_of_grid(self) -> float:
        """Radius in sides of the grid, the shorter one."""
        return self.radius / self.side


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldMeasures:
    """Radius of a receptive field in pixels; NaN for a model without gradients."""

    radius: float
    """Radius that holds 90% of the energy: of the mean squared gradients."""
    gradient_radius: float
    """Radius that holds 90% of their roots, the size of the gradients: the radius of Luo et al.

    The shortcuts of a network keep most of the squares in the patch of the feature itself."""
    flat_radius: float
    """Radius that holds 90% of equal gradients of all pixels."""
    profile: Floats
    """Share of the squared gradients within 0, 1, 2, ... cells, (radii,)."""
    longest: float
    """Largest distance of a pixel from the central feature: no radius is larger."""
    cell: int
    """Pixels per cell."""


def measure_layer(layer: LayerMaps) -> LayerMeasures:
    """Return the radii and the profile of a layer."""
    return LayerMeasures(
        radius=radius_of_share(layer.energy),
        mass_radius=radius_of_share(layer.mass),
        flat_radius=radius_of_share(np.ones(layer.energy.shape)),
        profile=cumulative_shares(layer.energy),
        longest=float(distances(layer.energy.shape).max()),
        side=min(layer.grid),
    )


def measure_field(field: ReceptiveField) -> FieldMeasures:
    """Return the radius and the profile of a receptive field."""
    return FieldMeasures(
        radius=field.cell * radius_of_share(field.energy, center=field.center),
        gradient_radius=field.cell * radius_of_share(np.sqrt(field.energy), center=field.center),
        flat_radius=field.cell * radius_of_share(np.ones(field.energy.shape), center=field.center),
        profile=cumulative_shares(field.energy, field.center),
        longest=field.cell * float(distances(field.energy.shape, field.center).max()),
        cell=field.cell,
    )


def layer_columns(layer: LayerMaps) -> dict[str, Any]:
    """Return the measures of a layer as columns of a table."""
    found = measure_layer(layer)
    return {
        "kind": layer.kind,
        "layer": layer.layer,
        "num_groups": layer.num_groups,
        "unit": "token",
        "radius_90": found.radius,
        "radius_90_of_grid": found.radius_of_grid,
        "mass_radius_90": found.mass_radius,
        "flat_radius_90": found.flat_radius,
        "profile": found.profile,
        "weights": layer.weights.ravel(),
    }


def field_columns(field: ReceptiveField, image_side: int) -> dict[str, Any]:
    """Return the measures of a receptive field as columns of a table; `image_side` is the shorter side in pixels."""
    found = measure_field(field)
    return {
        "kind": "receptive_field",
        "unit": "pixel",
        "radius_90": found.radius,
        "radius_90_of_grid": found.radius / image_side,
        "mass_radius_90": found.gradient_radius,
        "flat_radius_90": found.flat_radius,
        "profile": found.profile,
    }
