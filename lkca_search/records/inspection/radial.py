"""Distribution of energy over the distance from a center: profiles, and the radius that holds a share of it.

The distance of two tokens, or of two pixels, is the Euclidean one between their centers. Nothing is subtracted from the
energy: a weight of 0 already means that a token has no effect.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHARE = 0.9
"""Share of the energy that the reported radius holds."""
_TOLERANCE = 1e-9
"""Share of the energy that counts as a rounding error."""


def distances(shape: tuple[int, int], center: tuple[float, float] | None = None) -> Floats:
    """Return the distance of each cell from a center, by default that of the array, (height, width)."""
    middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2) if center is None else center
    rows, columns = (np.arange(side) - position for side, position in zip(shape, middle, strict=True))
    found: Floats = np.hypot(rows[:, None], columns[None, :])
    return found


def radius_of_share(
    energy: NDArray[np.floating], *, share: float = SHARE, center: tuple[float, float] | None = None
) -> float:
    """Return the radius that holds a share of the energy, (height, width), in cells; NaN if there is no energy.

    It is the smallest distance of a cell such that the cells up to it have at least this share. A single cell at the
    center has radius 0.
    """
    order, total = _by_distance(energy, center)
    if not total > 0:
        return float("nan")
    radii, cumulated = order
    index = int(np.searchsorted(cumulated, (share - _TOLERANCE) * total))
    return float(radii[min(index, len(radii) - 1)])


def cumulative_shares(energy: NDArray[np.floating], center: tuple[float, float] | None = None) -> Floats:
    """Return the share of the energy within 0, 1, 2, ... cells of the center, up to all of it, (radii,).

    It is NaN if there is no energy.
    """
    (radii, cumulated), total = _by_distance(energy, center)
    limits = np.arange(int(np.ceil(radii[-1])) + 1) + _TOLERANCE
    if not total > 0:
        return np.full(len(limits), np.nan)
    count = np.searchsorted(radii, limits, side="right")
    shares: Floats = np.where(count > 0, cumulated[np.maximum(count - 1, 0)], 0.0) / total
    return shares


def _by_distance(
    energy: NDArray[np.floating], center: tuple[float, float] | None
) -> tuple[tuple[Floats, Floats], float]:
    """Return the distances of all cells in order with the energy up to each, and the total energy."""
    height, width = energy.shape
    away = distances((height, width), center).ravel()
    values = np.asarray(energy, dtype=np.float64).ravel()
    order = np.argsort(away, kind="stable")
    cumulated: Floats = np.cumsum(values[order])
    return (away[order], cumulated), float(cumulated[-1])
