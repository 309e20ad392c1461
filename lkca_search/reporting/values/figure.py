"""Figures as data, with their palette; `rendering` draws them with Plotly and matplotlib."""

import math
from collections.abc import Sequence
from typing import Literal

from lkca_search.reporting.values.panels import CurvePanels, Numbers, ParallelCoordinates
from lkca_search.spec.base import FrozenModel

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6fdf", "#b8860b", "#3d9bd1", "#7f7f7f")
"""Colors of variants, in the order of the space file; the ninth variant has the first color again.

They are distinct for most readers, on white and on black, on paper and on screen (after Okabe & Ito 2008). Each has
a contrast of at least 3:1 to both pages.
"""
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
"""Markers of variants; there are fewer markers than colors, so two variants of one color have different markers."""
HEAT_MAP_COLORS = ("#f2f6fa", "#5aa2d6")
"""Colors of the weakest and the strongest number on a light page and on paper.

Both are light, so that dark text on them is legible, in gray too.
"""
HEAT_MAP_TEXT_COLOR = "#14181f"
HEAT_MAP_COLORS_ON_DARK = ("#1c2733", "#2f75a8")
"""The same on a dark page, where the strongest number has the brightest color and text is light."""
HEAT_MAP_TEXT_COLOR_ON_DARK = "#f4f7fa"
DIVERGING_COLORS = ("#1f5f9e", "#f7f7f7", "#b35806")
"""Colors of the most negative weight, of 0 and of the largest weight, on a light page and on paper.

Blue and orange are distinct for all common kinds of color vision, and 0 has the lightest color.
"""
DIVERGING_COLORS_ON_DARK = ("#6db8ff", "#1b2029", "#ff9f4a")
"""The same on a dark page, where 0 has the darkest color."""
_SHIFT = 0.012
"""Distance between series at the same size, as a share of the axis; without it, their error bars overlap."""
_ALONE = 2.0
"""Factor by which a logarithmic axis with a single tick extends to both sides of it."""
_MARGIN, _MARKER = 0.05, 0.02
"""Space beyond the numbers, and space for a marker at a possible value that ends the axis, as shares of the axis."""


Bounds = tuple[float | None, float | None]
"""Smallest and largest possible value; None for an open end."""


class Series(FrozenModel):
    """Points, a line or a band with one color and one legend entry."""

    name: str
    x: Numbers
    y: Numbers
    lower: tuple[float | None, ...] = ()
    """Lower ends of error bars or of the band; None for a point without an error bar."""
    upper: tuple[float | None, ...] = ()
    """Upper ends of error bars or of the band."""
    kind: Literal["points", "line", "band", "dots"] = "points"
    """Points with error bars, a line, a line in a band, or small dots for single draws."""
    color_index: int
    """Index in the palette; all series of a variant share it."""
    hover_texts: tuple[str, ...] = ()
    """One text per point, shown when the pointer is on it."""
    in_legend: bool = False
    """True if a line or a band has an entry in the legend; points always have one."""
    is_guide: bool = False
    """True for a line that results are compared with; it is none itself."""


class Figure(FrozenModel):
    """Figure with one pair of axes."""

    name: str
    """Name of its files, without extension: `learning_curves`."""
    title: str
    caption: str
    x_label: str
    y_label: str
    x_is_logarithmic: bool = False
    y_is_logarithmic: bool = False
    x_ticks: Numbers = ()
    """Ticks of the x-axis; if empty, the plotting library chooses them."""
    y_ticks: Numbers = ()
    """Ticks of the y-axis; if empty, the plotting library chooses them."""
    y_bounds: Bounds | None = None
    """Possible values, which end the y-axis; None if the plotting library ends it."""
    has_zero_line: bool = False
    """True if a line is drawn at y = 0."""
    has_legend: bool = True
    """True if the page shows a legend; without it, the first screen has a folded one."""
    is_small: bool = False
    """True if the page shows it beside other small figures, not over its full width."""
    if_empty: str = "no result has a number"
    """Reason in place of the figure if it has no point."""
    series: tuple[Series, ...]

    @property
    def is_empty(self) -> bool:
        """True if no result is in the figure."""
        return not any(series.x for series in self.series if not series.is_guide)

    @property
    def x_range(self) -> tuple[float, float] | None:
        """Ends of a logarithmic x-axis with a single tick; None if the plotting library fits it to the points."""
        return _ends_of_sizes(self.x_ticks) if self.x_is_logarithmic and len(self.x_ticks) == 1 else None

    @property
    def y_range(self) -> tuple[float, float] | None:
        """Ends of the y-axis: they fit all numbers and ticks, and are possible values. None without `y_bounds`."""
        numbers = [
            math.log(y) if self.y_is_logarithmic else y
            for series in self.series
            for y in (*series.y, *series.lower, *series.upper)
            if y is not None and (y > 0 or not self.y_is_logarithmic)
        ]
        if self.y_bounds is None or not numbers:
            return None
        ends = min(numbers), max(numbers)
        if self.y_is_logarithmic:
            highest = self.y_bounds[1]
            ends = _fit(ends, (None, None if highest is None else math.log(highest)), if_equal=math.log(_ALONE))
            ends = math.exp(ends[0]), math.exp(ends[1])
        else:
            ends = fit_axis(ends, self.y_bounds)
        return min((ends[0], *self.y_ticks)), max((ends[1], *self.y_ticks))


class HeatMap(FrozenModel):
    """Grid of numbers, drawn as colors with a text in each cell; rows run from top to bottom."""

    name: str
    """Name of its files, without extension."""
    title: str
    caption: str
    x_label: str
    y_label: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """Numbers, (rows, columns); None for an empty cell."""
    texts: tuple[tuple[str, ...], ...]
    """Text in each cell, (rows, columns)."""
    hover_texts: tuple[tuple[str, ...], ...]
    """Text shown when the pointer is on a cell, (rows, columns)."""
    unit: str
    """Label of the color scale."""
    largest: float | None = None
    """Number from which a cell has the last color; None for the largest number."""
    strongest: Literal["highest", "lowest"] = "highest"
    """Numbers with the strongest color: those of the best results."""


class Picture(FrozenModel):
    """Small image with lines of text below it."""

    png: bytes
    """Content of a PNG file."""
    lines: tuple[str, ...]
    """Lines of text; the first one is the title."""


class Gallery(FrozenModel):
    """Pictures side by side on the page; a report has no other files of them."""

    name: str
    """Name, unique on the page."""
    title: str
    caption: str
    pictures: tuple[Picture, ...]


class Panel(FrozenModel):
    """One map among small multiples."""

    values: tuple[Numbers, ...]
    """Numbers, (rows, columns), the first row on top."""
    center: tuple[float, float]
    """Row and column of the center, in cells."""
    radius: float | None
    """Radius of a circle around the center, in cells; None without one."""
    hover_text: str
    """Text shown when the pointer is on the panel."""


class SmallMultiples(FrozenModel):
    """Grid of maps on one color scale. Colors are linear in the square root of a number, so that small ones show."""

    name: str
    """Name of its files, without extension."""
    title: str
    caption: str
    columns: tuple[str, ...]
    """Headers of the columns of panels."""
    rows: tuple[str, ...]
    """Headers of the rows of panels."""
    panels: tuple[tuple[Panel | None, ...], ...]
    """Maps, (rows, columns); None for an empty place."""
    limit: float
    """Absolute value at the end of the scale, above 0."""
    is_signed: bool
    """True if numbers may be negative."""
    unit: str
    """Label of the color scale."""

    def shade(self, value: float) -> float:
        """Return the place of a number on the color scale, from -1 to 1."""
        return math.copysign(min(abs(value) / self.limit, 1.0) ** 0.5, value)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Places and labels of the ticks of the color scale."""
        numbers = (-1.0, -0.25, 0.0, 0.25, 1.0) if self.is_signed else (0.0, 0.25, 1.0)
        return tuple(
            (self.shade(share * self.limit), f"{share * self.limit:.2g}".replace("-", "−")) for share in numbers
        )


Drawing = Figure | HeatMap | SmallMultiples | CurvePanels | ParallelCoordinates


def side_shift(index: int, num_series: int, sizes: Sequence[float]) -> float:
    """Return the factor on training images that separates one of several series from the others."""
    low, high = _ends_of_sizes(sizes)
    return math.exp(_SHIFT * math.log(high / low) * (index - (num_series - 1) / 2))


def _ends_of_sizes(sizes: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest size; of a single one, the ends of its axis."""
    return (sizes[0], sizes[-1]) if len(sizes) > 1 else (sizes[0] / _ALONE, sizes[0] * _ALONE)


def fit_axis(ends: tuple[float, float], bounds: Bounds) -> tuple[float, float]:
    """Return the ends of a linear axis from the smallest and the largest number on it, and the possible values."""
    return _fit(ends, bounds, if_equal=abs(ends[0]) / 2 or 0.5)


def _fit(ends: tuple[float, float], bounds: Bounds, *, if_equal: float) -> tuple[float, float]:
    """Return the ends of an axis; `if_equal` is its space beyond the numbers if all of them are equal."""
    (low, high), (lowest, highest) = ends, bounds
    margin = _MARGIN * (high - low) or if_equal
    marker = _MARKER * (high - low + margin)
    low, high = low - margin, high + margin
    return (
        low if lowest is None else max(low, lowest - marker),
        high if highest is None else min(high, highest + marker),
    )


def color_of(index: int) -> str:
    """Return the color of a variant, by its index in the space file."""
    return COLORS[index % len(COLORS)]


def marker_of(index: int) -> str:
    """Return the marker of a variant, by its index in the space file."""
    return MARKERS[index % len(MARKERS)]
