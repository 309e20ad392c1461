"""Figures of many trials as data: small panels with curves, and parallel coordinates."""

from typing import Literal

from lkca_search.spec.base import FrozenModel

Numbers = tuple[float, ...]
Role = Literal["trial", "best", "mean"]
"""Kind of a curve: of a trial, of a best trial, or a mean over replicates."""

CURVE_COLORS = {"trial": "#7f7f7f", "best": "#0072b2", "mean": "#d55e00"}
"""Colors of the curves of other trials, of the best trial and of the mean of replicates, on white and on black."""
SHADES = ("#c3d3e2", "#0b5394")
"""Colors of the worst and of the best trial on a light page and on paper; the best one is far from the background."""
SHADES_ON_DARK = ("#34465c", "#8fd3ff")
"""The same on a dark page."""
MARKED_COLOR = "#d55e00"
"""Color of the best trials, on white and on black."""


class PanelCurve(FrozenModel):
    """Curve in a panel: of a trial, of a best trial, or a mean in its band."""

    role: Role
    label: str
    """Text above the numbers of a point to which the reader points."""
    x: Numbers
    y: Numbers
    lower: Numbers = ()
    """Lower end of the band of a mean."""
    upper: Numbers = ()
    """Upper end of the band of a mean."""


class CurvePanel(FrozenModel):
    """Axes with the curves of one cell."""

    title: str
    curves: tuple[PanelCurve, ...]


class CurvePanels(FrozenModel):
    """Panels with one y-axis, and an x-axis each."""

    name: str
    """Name of its files, without extension."""
    title: str
    caption: str
    x_label: str
    y_label: str
    y_range: tuple[float, float]
    num_decimals: int
    """Decimals of a number on the y-axis."""
    unit: str
    """Unit of a number on the y-axis; empty for a plain number."""
    legend: tuple[tuple[Role, str], ...]
    """Name of each kind of curve that some panel has."""
    num_columns: int
    """Panels in a row, if they fit."""
    panels: tuple[CurvePanel, ...]


class ParallelAxis(FrozenModel):
    """Axis of parallel coordinates."""

    label: str
    ticks: tuple[tuple[float, str], ...]
    """Places from 0 to 1, and labels."""


class ParallelLine(FrozenModel):
    """Line of one trial over all axes."""

    label: str
    """Name of the trial."""
    places: Numbers
    """Place on each axis, from 0 to 1."""
    texts: tuple[str, ...]
    """Value on each axis."""
    shade: float
    """Place on the color scale: 0 for the worst, 1 for the best value."""
    is_marked: bool


class ParallelCoordinates(FrozenModel):
    """Lines over parallel axes; later lines are above earlier ones."""

    name: str
    """Name of its files, without extension."""
    title: str
    caption: str
    axes: tuple[ParallelAxis, ...]
    lines: tuple[ParallelLine, ...]
    unit: str
    """Label of the color scale, which is the last axis."""
    ends: tuple[str, str]
    """Values of the worst and of the best line."""
    mark: str
    """Name of the marked lines."""
