"""A figure as a value: what is drawn, for whichever library draws it."""

from typing import Literal

from lkca_search.spec.base import FrozenModel

Numbers = tuple[float, ...]
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6fdf", "#b8860b", "#56b4e9", "#7f7f7f")
"""Colors of variants in the order of the space file (after Okabe & Ito 2008), distinct for most readers with color
blindness. The ninth variant starts again, with another marker."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
HEAT_MAP_COLORS = ("#f2f6fa", "#5aa2d6")
"""Colors of the least and the largest value of a heat map; light, so that dark text on them is legible in gray too."""
HEAT_MAP_TEXT_COLOR = "#14181f"


class Series(FrozenModel):
    """Points, a line or a band that share a colour and an entry of the legend."""

    name: str
    x: Numbers
    y: Numbers
    lower: tuple[float | None, ...] = ()
    """Lower ends of bars or of the band, where there are any; None for a point without."""
    upper: tuple[float | None, ...] = ()
    kind: Literal["points", "line", "band", "dots"] = "points"
    """Points with bars; a line; a band with its line; or small dots beside the points, one a draw."""
    colour: int
    """Place in the palette; series of one variant share it."""
    notes: tuple[str, ...] = ()
    """What is told of each point that is pointed at."""


class Figure(FrozenModel):
    """A figure with one pair of axes."""

    name: str
    """Of its files: `learning_curves`."""
    title: str
    caption: str
    x_label: str
    y_label: str
    x_is_logarithmic: bool = False
    y_is_logarithmic: bool = False
    x_ticks: Numbers = ()
    """Where the axis is marked; by default where the library likes."""
    y_ticks: Numbers = ()
    has_zero_line: bool = False
    """Whether a line is drawn at y = 0."""
    series: tuple[Series, ...]


class HeatMap(FrozenModel):
    """A field of numbers, rows from the top, as colours with what is said of each."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """A row of numbers each; None where there is none."""
    texts: tuple[tuple[str, ...], ...]
    """What is written in each field."""
    notes: tuple[tuple[str, ...], ...]
    """What is told of each field that is pointed at."""
    unit: str
    """Of the scale of colours."""


Drawing = Figure | HeatMap


def color_of(index: int) -> str:
    """Return the color of a variant, by its index in the space file."""
    return COLORS[index % len(COLORS)]


def marker_of(index: int) -> str:
    """Return the marker of a variant, by its index in the space file."""
    return MARKERS[index % len(MARKERS)]
