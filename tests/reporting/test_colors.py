"""Colors of figures are legible in both themes, and the worst number never has the most conspicuous one."""

import json
import re
from importlib import resources
from itertools import pairwise

import pytest

from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.interactive import plotly_json
from lkca_search.reporting.values.figure import (
    COLORS,
    HEAT_MAP_COLORS,
    HEAT_MAP_COLORS_ON_DARK,
    HEAT_MAP_TEXT_COLOR,
    HEAT_MAP_TEXT_COLOR_ON_DARK,
    HeatMap,
)
from tests.support.search_results import law, make_search_results

STYLE = resources.files("lkca_search.reporting.rendering").joinpath("page", "style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#\w{6})", re.search(rf"{selector} {{(.*?)}}", STYLE, re.MULTILINE).group(1)))  # type: ignore[union-attr]
    for selector in (r"^:root", r':root\[data-theme="dark"\]')
)
THEMES = {
    "light": (LIGHT, HEAT_MAP_COLORS, HEAT_MAP_TEXT_COLOR),
    "dark": (DARK, HEAT_MAP_COLORS_ON_DARK, HEAT_MAP_TEXT_COLOR_ON_DARK),
}


def channels(color: str) -> list[int]:
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]


def luminance(rgb: list[float] | list[int]) -> float:
    """Return the relative luminance of WCAG 2.2."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in rgb]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: list[float] | list[int], other: list[float] | list[int]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def shades(colors: tuple[str, str], steps: int = 50) -> list[list[float]]:
    ends = [channels(color) for color in colors]
    return [[a + step / steps * (b - a) for a, b in zip(*ends, strict=True)] for step in range(steps + 1)]


def test_contrast_is_that_of_wcag() -> None:
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([119, 119, 119], [255, 255, 255]) == pytest.approx(4.48, abs=0.01)  # the known edge case #777


@pytest.mark.parametrize("theme", THEMES)
def test_text_in_every_cell_of_a_heat_map_is_legible(theme: str) -> None:
    _, colors, text = THEMES[theme]
    assert min(contrast(shade, channels(text)) for shade in shades(colors)) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_the_stronger_a_number_the_more_its_cell_stands_out_from_the_page(theme: str) -> None:
    page, colors, _ = THEMES[theme]
    found = [contrast(shade, channels(page["background"])) for shade in shades(colors)]
    assert all(weak < strong for weak, strong in pairwise(found))


def test_the_weakest_number_is_not_the_brightest_cell_of_a_dark_page() -> None:
    weakest, strongest = map(channels, HEAT_MAP_COLORS_ON_DARK)
    assert luminance(weakest) < luminance(strongest)


@pytest.mark.parametrize("theme", THEMES)
def test_texts_and_series_are_legible_on_the_page(theme: str) -> None:
    page, _, _ = THEMES[theme]
    for surface in ("background", "surface", "highlight"):
        assert contrast(channels(page["text"]), channels(page[surface])) >= 4.5
    for name in ("muted", "accent"):
        assert contrast(channels(page[name]), channels(page["background"])) >= 4.5
    for color in COLORS:  # lines and markers
        assert contrast(channels(color), channels(page["background"])) >= 3


@pytest.mark.parametrize(("metric", "is_reversed"), [("val_accuracy", False), ("val_loss", True)])
def test_the_best_number_has_the_strongest_color_whichever_direction_is_better(metric: str, is_reversed: bool) -> None:
    factors = {"family": ("lkca",), "kernel_size": (3, 5), "data_fraction": (0.1, 0.5)}
    search = {"trials_per_cell": 3, "metric": metric}
    report = make_report(make_search_results(law(), factors=factors, search=search))
    figures = {figure.name: figure for figure in report.figures if isinstance(figure, HeatMap)}
    (trace,) = json.loads(plotly_json(figures["map_lkca_kernel_size"]))["data"]
    assert trace["reversescale"] is is_reversed
    for figure in figures.values():
        assert figure.strongest == ("lowest" if is_reversed and figure.name.startswith("map_") else "highest")
