"""Parallel coordinates: data for the page, whose script draws them, and a figure for a paper."""

from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from lkca_search.reporting.values.panels import (
    MARKED_COLOR,
    SHADES,
    SHADES_ON_DARK,
    ParallelCoordinates,
)

_WIDTH_INCHES, _HEIGHT_INCHES = 5.0, 3.0
_MARGIN = 0.04
"""Space above and below the places of an axis, as a share of it."""
_LABEL_CHARACTERS = 70
"""Characters of all labels of axes that fit side by side."""


def parallel_data(figure: ParallelCoordinates) -> dict[str, Any]:
    """Return the lines and axes that parallel.js draws."""
    return {
        "axes": [{"label": axis.label, "ticks": axis.ticks} for axis in figure.axes],
        "lines": [
            {
                "label": line.label,
                "places": [round(place, 4) for place in line.places],
                "texts": line.texts,
                "shade": round(line.shade, 3),
                **({"marked": True} if line.is_marked else {}),
            }
            for line in figure.lines
        ],
        "unit": figure.unit,
        "ends": figure.ends,
        "mark": figure.mark,
        "colors": {"light": SHADES, "dark": SHADES_ON_DARK, "marked": MARKED_COLOR},
    }


def draw_parallel(figure: ParallelCoordinates) -> Canvas:
    """Return the figure for a paper, one column wide."""
    canvas = Canvas(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), layout="constrained")
    axes = canvas.add_subplot()
    halo = [withStroke(linewidth=2, foreground="white")]
    colors = LinearSegmentedColormap.from_list("scale", list(SHADES))
    for line in figure.lines:
        color = MARKED_COLOR if line.is_marked else colors(line.shade)
        axes.plot(line.places, color=color, lw=1.2 if line.is_marked else 0.6, alpha=0.9)
    for index, axis in enumerate(figure.axes):
        axes.axvline(index, color="#14181f", lw=0.6)
        for place, label in axis.ticks:
            axes.text(index, place, f" {label}", fontsize=5, va="center", path_effects=halo)
    labels = [axis.label for axis in figure.axes]
    rotation = 20 if sum(map(len, labels)) > _LABEL_CHARACTERS else 0
    axes.set_xticks(range(len(labels)), labels, fontsize=6, rotation=rotation)
    axes.set_yticks([])
    axes.set_ylim(-_MARGIN, 1 + _MARGIN)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = canvas.colorbar(ScalarMappable(Normalize(0, 1), colors), ax=axes, label=figure.unit, fraction=0.04)
    bar.set_ticks([0, 1], labels=list(figure.ends), fontsize=6)
    mark = Line2D([], [], color=MARKED_COLOR, label=figure.mark)
    canvas.legend(handles=[mark], loc="outside upper center", frameon=False, fontsize=6)
    return canvas
