"""Small multiples: data for the page, whose script draws them in the colors of the theme, and a figure for a paper."""

import base64
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Circle

from lkca_search.reporting.values.figure import DIVERGING_COLORS, DIVERGING_COLORS_ON_DARK, Panel, SmallMultiples

_STEPS = 127
"""Shades on each side of 0: a shade is one signed byte in the page."""
_WIDTH_INCHES = 5.0
_LABEL_INCHES = 0.55
"""Width of the headers of rows, and height of those of columns with the scale."""
_MAX_PANEL_INCHES = 1.2


def multiples_data(figure: SmallMultiples) -> dict[str, Any]:
    """Return the shades and labels that script.js draws."""
    return {
        "columns": figure.columns,
        "rows": figure.rows,
        "panels": [[_panel_data(figure, panel) for panel in row] for row in figure.panels],
        "ticks": figure.ticks,
        "signed": figure.is_signed,
        "unit": figure.unit,
        "colors": {"light": DIVERGING_COLORS, "dark": DIVERGING_COLORS_ON_DARK},
    }


def _panel_data(figure: SmallMultiples, panel: Panel | None) -> dict[str, Any] | None:
    if panel is None:
        return None
    shades = [round(_STEPS * figure.shade(value)) % 256 for row in panel.values for value in row]
    return {
        "height": len(panel.values),
        "width": len(panel.values[0]),
        "shades": base64.b64encode(bytes(shades)).decode(),
        "center": panel.center,
        "radius": panel.radius,
        "text": panel.hover_text,
    }


def draw_multiples(figure: SmallMultiples) -> Canvas:
    """Return the figure for a paper: one column wide, panels as large as fit."""
    num_rows, num_columns = len(figure.rows), len(figure.columns)
    side = min((_WIDTH_INCHES - _LABEL_INCHES) / num_columns, _MAX_PANEL_INCHES)
    size = (num_columns * side + 2 * _LABEL_INCHES, num_rows * side + 2 * _LABEL_INCHES)
    canvas = Canvas(figsize=size, layout=ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, 0.95)))
    colors = list(DIVERGING_COLORS if figure.is_signed else DIVERGING_COLORS[1:])
    shades = Normalize(-1.0 if figure.is_signed else 0.0, 1.0)
    scale = ScalarMappable(shades, LinearSegmentedColormap.from_list("scale", colors))
    every = canvas.subplots(num_rows, num_columns, squeeze=False)
    for row, of_row in enumerate(figure.panels):
        for column, panel in enumerate(of_row):
            _draw_panel(every[row][column], figure, panel, scale, shades)
    for column, header in enumerate(figure.columns):
        every[0][column].set_title(header, fontsize=7)
    for row, header in enumerate(figure.rows):
        every[row][0].set_ylabel(header, fontsize=7)
    bar = canvas.colorbar(scale, ax=every.ravel().tolist(), label=figure.unit, location="bottom", fraction=0.05)
    bar.set_ticks([place for place, _ in figure.ticks], labels=[label for _, label in figure.ticks])
    return canvas


def _draw_panel(
    axes: Axes, figure: SmallMultiples, panel: Panel | None, scale: ScalarMappable, norm: Normalize
) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(panel is not None)
        spine.set_linewidth(0.4)
    if panel is None:
        axes.set_facecolor("none")
        return
    shades = [[figure.shade(value) for value in row] for row in panel.values]
    axes.imshow(shades, cmap=scale.cmap, norm=norm, interpolation="nearest")
    if panel.radius is not None:
        row, column = panel.center
        axes.add_patch(Circle((column, row), panel.radius + 0.5, fill=False, lw=0.6, ls="--", color="#14181f"))
