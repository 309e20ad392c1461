"""Figures for the page, drawn by Plotly. The page has Plotly's script; a figure is only its data and layout."""

import math
from typing import Any

import plotly.graph_objects as go

from lkca_search.reporting.values.figure import (
    HEAT_MAP_COLORS,
    HEAT_MAP_COLORS_ON_DARK,
    HEAT_MAP_TEXT_COLOR,
    HEAT_MAP_TEXT_COLOR_ON_DARK,
    Figure,
    HeatMap,
    Series,
    color_of,
    marker_of,
)
from lkca_search.reporting.values.numbers import format_tick

_BAND_OPACITY = 0.15
_DOT_OPACITY = 0.45


def plotly_json(figure: Figure | HeatMap) -> str:
    """Return data and layout of a figure as JSON; script.js sets the colors of text and grid by the theme."""
    if isinstance(figure, HeatMap):
        drawn = go.Figure(data=_heat_map(figure), layout=_heat_map_layout(figure))
    else:
        drawn = go.Figure(layout=_layout(figure))
        for series in figure.series:
            drawn.add_traces(_traces(series))
    text: str = drawn.to_json()
    return text


def _traces(series: Series) -> list[Any]:
    color = color_of(series.color_index)
    group = {"legendgroup": str(series.color_index), "name": series.name}
    hidden: dict[str, Any] = {"hoverinfo": "skip", "showlegend": False, **group}
    if series.kind == "band":
        edge = go.Scatter(
            x=[*series.x, *reversed(series.x)],
            y=[*series.upper, *reversed(series.lower)],
            mode="lines",  # by default Plotly marks the ends of a band with few points
            fill="toself",
            fillcolor=_with_opacity(color, _BAND_OPACITY),
            line={"width": 0},
            **hidden,
        )
        line = {**hidden, "showlegend": series.in_legend}
        return [edge, go.Scatter(x=series.x, y=series.y, mode="lines", line={"color": color}, **line)]
    if series.kind == "dots":
        marker = {"color": color, "size": 5, "opacity": _DOT_OPACITY}
        return [go.Scatter(x=series.x, y=series.y, mode="markers", marker=marker, **hidden)]
    hover = {"text": series.hover_texts, "hovertemplate": "%{text}<extra></extra>"} if series.hover_texts else {}
    return [
        go.Scatter(
            x=series.x,
            y=series.y,
            mode="lines" if series.kind == "line" else "markers",
            marker={"color": color, "size": 9, "symbol": marker_of(series.color_index)},
            line={"color": color},
            error_y=_error_bars(series, color),
            showlegend=series.kind == "points" or series.in_legend,
            **group,
            **hover,
        )
    ]


def _error_bars(series: Series, color: str) -> dict[str, Any] | None:
    if not any(end is not None for end in (*series.lower, *series.upper)):
        return None
    above = [0.0 if end is None else end - y for end, y in zip(series.upper, series.y, strict=True)]
    below = [0.0 if end is None else y - end for end, y in zip(series.lower, series.y, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": color, "thickness": 1.5}


def _layout(figure: Figure) -> dict[str, Any]:
    x: dict[str, Any] = {"title": {"text": figure.x_label}, "type": "log" if figure.x_is_logarithmic else "linear"}
    if figure.x_ticks:
        x |= {"tickvals": figure.x_ticks, "ticktext": [format_tick(tick) for tick in figure.x_ticks]}
    y: dict[str, Any] = {"title": {"text": figure.y_label}, "type": "log" if figure.y_is_logarithmic else "linear"}
    if figure.y_ticks:
        y |= {"tickvals": figure.y_ticks, "ticktext": [f"{tick:g}" for tick in figure.y_ticks]}
    if figure.x_range:
        x |= {"range": _on_axis(figure.x_range, is_logarithmic=True)}
    if figure.y_range:
        y |= {"range": _on_axis(figure.y_range, is_logarithmic=figure.y_is_logarithmic)}
    if figure.has_zero_line:
        y |= {"zeroline": True, "zerolinewidth": 2, "rangemode": "tozero"}
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 60, "r": 16, "t": 16, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "showlegend": figure.has_legend,
        "hovermode": "closest",
        "template": "none",
    }


def _on_axis(ends: tuple[float, float], *, is_logarithmic: bool) -> list[float]:
    """Return the ends of an axis as Plotly expects them: as exponents of 10 on a logarithmic one."""
    return [math.log10(end) for end in ends] if is_logarithmic else list(ends)


def _heat_map(figure: HeatMap) -> Any:
    return go.Heatmap(
        x=figure.columns,
        y=figure.rows,
        z=figure.values,
        text=figure.texts,
        texttemplate="%{text}",
        hovertext=figure.hover_texts,
        hovertemplate="%{hovertext}<extra></extra>",
        zmin=None if figure.largest is None else 0.0,
        zmax=figure.largest,
        reversescale=figure.strongest == "lowest",
        meta={
            "light": _theme(HEAT_MAP_COLORS, HEAT_MAP_TEXT_COLOR),
            "dark": _theme(HEAT_MAP_COLORS_ON_DARK, HEAT_MAP_TEXT_COLOR_ON_DARK),
        },
        colorbar={"title": {"text": figure.unit, "side": "right"}, "thickness": 12},
        xgap=2,
        ygap=2,
    )


def _theme(colors: tuple[str, str], text_color: str) -> dict[str, Any]:
    """Return what script.js sets in a heat map for one theme."""
    return {"colorscale": [[0, colors[0]], [1, colors[1]]], "textfont": {"color": text_color}}


def _heat_map_layout(figure: HeatMap) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": figure.x_label}, "type": "category", "automargin": True},
        "yaxis": {"title": {"text": figure.y_label}, "type": "category", "autorange": "reversed", "automargin": True},
        "margin": {"l": 70, "r": 8, "t": 8, "b": 52},
        "template": "none",
    }


def _with_opacity(color: str, opacity: float) -> str:
    """Return a color `#rrggbb` in the form `rgba(...)`."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
