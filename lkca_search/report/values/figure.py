"""A figure as a value: what is drawn, for whichever library draws it."""

from typing import Literal

from lkca_search.spec.base import FrozenModel

Numbers = tuple[float, ...]


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
