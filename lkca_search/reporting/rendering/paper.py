"""Figures for a paper, drawn by matplotlib: PNG, SVG and PDF, one column wide."""

import io
from math import ceil
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from lkca_search.reporting.rendering.curve_panels import draw_curve_panels
from lkca_search.reporting.rendering.multiples import draw_multiples
from lkca_search.reporting.rendering.parallel import draw_parallel
from lkca_search.reporting.values.figure import (
    HEAT_MAP_COLORS,
    HEAT_MAP_TEXT_COLOR,
    Drawing,
    Figure,
    HeatMap,
    Series,
    SmallMultiples,
    color_of,
    marker_of,
)
from lkca_search.reporting.values.numbers import format_tick
from lkca_search.reporting.values.panels import CurvePanels, ParallelCoordinates

FORMATS = ("png", "svg", "pdf")
SIZE_INCHES = (5.0, 3.2)
_DPI = 300
_FONT_SIZE = 8
_CHARACTER_INCHES, _MARKER_INCHES, _ROW_INCHES = 0.065, 0.55, 0.18
"""Size of a legend at this font size: width per character and of a marker with its margins, and height per row."""
_MAX_LEGEND_COLUMNS = 4
_MAX_TICK_CHARACTERS = 45
"""Characters of all labels of an axis of a heat map that fit side by side."""
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "star": "*"}
_STYLE: dict[Any, Any] = {
    "font.size": _FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",  # text stays text, not paths
    "pdf.fonttype": 42,  # TrueType; many publishers reject type 3
    "svg.hashsalt": "lkca-search",  # the same ids in every file
}
_NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata per format without a date, so that equal figures give equal bytes."""


def draw(figure: Drawing) -> dict[str, bytes]:
    """Return the content of a figure in every format: {extension: content}."""
    with rc_context(_STYLE):
        if not isinstance(figure, Figure | HeatMap):
            canvas = _draw_grid(figure)
            return {extension: _save(canvas, extension) for extension in FORMATS}
        canvas = Canvas(figsize=SIZE_INCHES, layout="constrained")
        axes = canvas.add_subplot()
        if isinstance(figure, HeatMap):
            _draw_heat_map(canvas, axes, figure)
        else:
            for series in figure.series:
                _draw_series(axes, series)
            _style_axes(axes, figure)
            _add_legend(canvas, axes)
        return {extension: _save(canvas, extension) for extension in FORMATS}


def _draw_grid(figure: SmallMultiples | CurvePanels | ParallelCoordinates) -> Canvas:
    match figure:
        case SmallMultiples():
            return draw_multiples(figure)
        case CurvePanels():
            return draw_curve_panels(figure)
        case ParallelCoordinates():
            return draw_parallel(figure)


def _save(canvas: Canvas, extension: str) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format=extension, dpi=_DPI, metadata=_NO_DATE[extension])
    return file.getvalue()


def _draw_heat_map(canvas: Canvas, axes: Axes, figure: HeatMap) -> None:
    values = [[float("nan") if value is None else value for value in row] for row in figure.values]
    colors = LinearSegmentedColormap.from_list(
        "scale", HEAT_MAP_COLORS if figure.strongest == "highest" else HEAT_MAP_COLORS[::-1]
    )
    lowest = None if figure.largest is None else 0.0
    image = axes.imshow(values, cmap=colors, aspect="auto", vmin=lowest, vmax=figure.largest)
    for y, row in enumerate(figure.texts):
        for x, text in enumerate(row):
            axes.text(x, y, text.replace("<br>", "\n"), ha="center", va="center", fontsize=6, color=HEAT_MAP_TEXT_COLOR)
    axes.set_xticks(range(len(figure.columns)), figure.columns)
    if sum(map(len, figure.columns)) > _MAX_TICK_CHARACTERS:
        axes.tick_params("x", rotation=90)
    axes.set_yticks(range(len(figure.rows)), figure.rows)
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    axes.grid(False)
    canvas.colorbar(image, ax=axes, label=figure.unit)


def _draw_series(axes: Axes, series: Series) -> None:
    color = color_of(series.color_index)
    label = series.name if series.in_legend else None
    if series.kind == "band":
        axes.fill_between(
            series.x, _ends(series.lower, series.y), _ends(series.upper, series.y), color=color, alpha=0.15, lw=0
        )
        axes.plot(series.x, series.y, color=color, lw=1, label=label)
    elif series.kind == "dots":
        axes.plot(series.x, series.y, ls="", marker="o", ms=2, color=color, alpha=0.4)
    elif series.kind == "line":
        axes.plot(series.x, series.y, color=color, label=label)
    else:
        style: dict[str, Any] = {
            "ls": "",
            "marker": _MARKERS[marker_of(series.color_index)],
            "ms": 4,
            "color": color,
            "label": series.name,
        }
        if any(end is not None for end in (*series.lower, *series.upper)):
            lower, upper = _ends(series.lower, series.y), _ends(series.upper, series.y)
            bars = [[abs(end - y) for end, y in zip(ends, series.y, strict=True)] for ends in (lower, upper)]
            axes.errorbar(series.x, series.y, yerr=bars, elinewidth=1, capsize=2, **style)
        else:
            axes.plot(series.x, series.y, **style)


def _ends(ends: tuple[float | None, ...], centers: tuple[float, ...]) -> list[float]:
    """Return the ends of error bars; the center itself for a point without an error bar."""
    return [y if end is None else end for end, y in zip(ends or (None,) * len(centers), centers, strict=True)]


def _style_axes(axes: Axes, figure: Figure) -> None:
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if figure.x_is_logarithmic:
        axes.set_xscale("log")
    if figure.y_is_logarithmic:
        axes.set_yscale("log")
    if figure.x_ticks:
        axes.set_xticks(figure.x_ticks, [format_tick(tick) for tick in figure.x_ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    elif figure.x_is_logarithmic:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
    if figure.y_ticks:
        axes.set_yticks(figure.y_ticks, [f"{tick:g}" for tick in figure.y_ticks])
        axes.yaxis.set_minor_locator(NullLocator())
    if figure.x_range:
        axes.set_xlim(*figure.x_range)
    if figure.y_range:
        axes.set_ylim(*figure.y_range)
    if figure.has_zero_line:
        axes.axhline(0, color="black", lw=0.8)


def _add_legend(canvas: Canvas, axes: Axes) -> None:
    """Add a legend above the axes, with as many columns as its names allow, and make room for its rows."""
    _, names = axes.get_legend_handles_labels()
    width, height = SIZE_INCHES
    widest = _MARKER_INCHES + _CHARACTER_INCHES * max(map(len, names), default=0)
    columns = min(max(int(width / widest), 1), _MAX_LEGEND_COLUMNS)
    canvas.set_size_inches(width, height + _ROW_INCHES * max(0, ceil(len(names) / columns) - 2))
    fontsize = _FONT_SIZE * min(1.0, width / widest)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, fontsize=fontsize)
