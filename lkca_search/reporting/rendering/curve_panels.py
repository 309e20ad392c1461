"""Panels with curves: data for the page, whose script draws them, and a figure for a paper."""

from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from lkca_search.reporting.values.panels import CURVE_COLORS, CurvePanel, CurvePanels, PanelCurve

_WIDTH_INCHES = 5.0
_PANEL_INCHES = 1.05
_LABEL_INCHES = 0.85
"""Height of the legend, and of the label of the x-axis."""
_MAX_COLUMNS = 5
_STYLES: dict[str, dict[str, Any]] = {
    "trial": {"lw": 0.5, "alpha": 0.5},
    "best": {"lw": 1.1},
    "mean": {"lw": 1.1, "ls": (0, (4, 1.5))},
}


def panels_data(figure: CurvePanels) -> dict[str, Any]:
    """Return the curves and labels that panels.js draws."""
    return {
        "panels": [
            {"title": panel.title, "curves": [_curve_data(figure, curve) for curve in panel.curves]}
            for panel in figure.panels
        ],
        "columns": figure.num_columns,
        "x": figure.x_label,
        "y": figure.y_label,
        "range": figure.y_range,
        "decimals": figure.num_decimals,
        "unit": figure.unit,
        "legend": dict(figure.legend),
        "colors": CURVE_COLORS,
    }


def _curve_data(figure: CurvePanels, curve: PanelCurve) -> dict[str, Any]:
    def short(numbers: tuple[float, ...]) -> list[float]:
        return [round(number, figure.num_decimals + 1) for number in numbers]

    band = {"lower": short(curve.lower), "upper": short(curve.upper)} if curve.lower else {}
    return {"role": curve.role, "label": curve.label, "x": [int(x) for x in curve.x], "y": short(curve.y), **band}


def draw_curve_panels(figure: CurvePanels) -> Canvas:
    """Return the figure for a paper: one column wide, with at most 5 panels in a row."""
    num_columns = min(figure.num_columns, len(figure.panels), _MAX_COLUMNS)
    num_rows = ceil(len(figure.panels) / num_columns)
    canvas = Canvas(figsize=(_WIDTH_INCHES, num_rows * _PANEL_INCHES + _LABEL_INCHES), layout="constrained")
    places = canvas.subplots(num_rows, num_columns, squeeze=False, sharey=True).ravel().tolist()
    for index, axes in enumerate(places):
        if index < len(figure.panels):
            _draw_panel(axes, figure, figure.panels[index])
        else:
            axes.set_axis_off()
    canvas.supxlabel(figure.x_label, fontsize=7)
    canvas.supylabel(figure.y_label, fontsize=7)
    handles = [
        places[0].plot([], [], color=CURVE_COLORS[role], label=name, **_STYLES[role])[0] for role, name in figure.legend
    ]
    canvas.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=6)
    return canvas


def _draw_panel(axes: Axes, figure: CurvePanels, panel: CurvePanel) -> None:
    axes.set_title(panel.title, fontsize=6)
    axes.tick_params(labelsize=6)
    axes.set_ylim(*figure.y_range)
    axes.locator_params(axis="x", nbins=3)
    for curve in panel.curves:
        color = CURVE_COLORS[curve.role]
        if curve.lower:
            axes.fill_between(curve.x, curve.lower, curve.upper, color=color, alpha=0.2, lw=0)
        marker = "." if len(curve.x) == 1 else ""
        axes.plot(curve.x, curve.y, color=color, marker=marker, ms=3, **_STYLES[curve.role])
