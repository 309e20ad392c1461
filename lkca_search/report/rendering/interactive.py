"""Figures as Plotly draws them in a page. The page has Plotly's script; a figure is its data alone."""

from typing import Any

import plotly.graph_objects as go

from lkca_search.report.values.figure import (
    HEAT_MAP_COLORS,
    HEAT_MAP_TEXT_COLOR,
    Drawing,
    Figure,
    HeatMap,
    Series,
    color_of,
    marker_of,
)
from lkca_search.report.values.numbers import format_count

_BAND = 0.15
"""Opacity of a band."""
_DOTS = 0.45


def plotly_json(figure: Drawing) -> str:
    """Data and layout of a figure, as JSON; colours of text and grid are the page's to set."""
    if isinstance(figure, HeatMap):
        drawn = go.Figure(data=_fields(figure), layout=_map_layout(figure))
    else:
        drawn = go.Figure(layout=_layout(figure))
        for series in figure.series:
            drawn.add_traces(_traces(series))
    text: str = drawn.to_json()
    return text


def _traces(series: Series) -> list[Any]:
    colour = color_of(series.colour)
    group = {"legendgroup": str(series.colour), "name": series.name}
    if series.kind == "band":
        context = [*series.x, *reversed(series.x)], [*series.upper, *reversed(series.lower)]
        edge = go.Scatter(
            x=context[0],
            y=context[1],
            fill="toself",
            fillcolor=_faint(colour, _BAND),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            **group,
        )
        line = go.Scatter(
            x=series.x, y=series.y, mode="lines", line={"color": colour}, hoverinfo="skip", showlegend=False, **group
        )
        return [edge, line]
    if series.kind == "dots":
        marker = {"color": colour, "size": 5, "opacity": _DOTS}
        return [
            go.Scatter(
                x=series.x, y=series.y, mode="markers", marker=marker, hoverinfo="skip", showlegend=False, **group
            )
        ]
    told = {"text": series.notes, "hovertemplate": "%{text}<extra></extra>"} if series.notes else {}
    return [
        go.Scatter(
            x=series.x,
            y=series.y,
            mode="lines" if series.kind == "line" else "markers",
            marker={"color": colour, "size": 9, "symbol": marker_of(series.colour)},
            line={"color": colour},
            error_y=_bars(series, colour),
            showlegend=series.kind == "points",
            **group,
            **told,
        )
    ]


def _bars(series: Series, colour: str) -> dict[str, Any] | None:
    if not any(end is not None for end in (*series.lower, *series.upper)):
        return None
    above = [0.0 if end is None else end - y for end, y in zip(series.upper, series.y, strict=True)]
    below = [0.0 if end is None else y - end for end, y in zip(series.lower, series.y, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour, "thickness": 1.5}


def _layout(figure: Figure) -> dict[str, Any]:
    x: dict[str, Any] = {"title": {"text": figure.x_label}, "type": "log" if figure.x_is_logarithmic else "linear"}
    if figure.x_ticks:
        x |= {"tickvals": figure.x_ticks, "ticktext": [format_count(tick) for tick in figure.x_ticks]}
    y: dict[str, Any] = {"title": {"text": figure.y_label}, "type": "log" if figure.y_is_logarithmic else "linear"}
    if figure.y_ticks:
        y |= {"tickvals": figure.y_ticks, "ticktext": [f"{tick:g}" for tick in figure.y_ticks]}
    if figure.has_zero_line:
        y |= {"zeroline": True, "zerolinewidth": 2}
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 60, "r": 16, "t": 16, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "showlegend": True,
        "hovermode": "closest",
        "template": "none",
    }


def _fields(figure: HeatMap) -> Any:
    return go.Heatmap(
        x=figure.columns,
        y=figure.rows,
        z=figure.values,
        text=figure.texts,
        texttemplate="%{text}",
        hovertext=figure.notes,
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=[[0, HEAT_MAP_COLORS[0]], [1, HEAT_MAP_COLORS[1]]],
        textfont={"color": HEAT_MAP_TEXT_COLOR},
        colorbar={"title": {"text": figure.unit}, "thickness": 12},
        xgap=2,
        ygap=2,
    )


def _map_layout(figure: HeatMap) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": figure.x_label}, "type": "category"},
        "yaxis": {"title": {"text": figure.y_label}, "type": "category", "autorange": "reversed"},
        "margin": {"l": 70, "r": 8, "t": 8, "b": 52},
        "template": "none",
    }


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
