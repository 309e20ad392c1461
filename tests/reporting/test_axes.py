"""Axes of figures: points of one size are at its tick, and no impossible value has a place."""

import json
import math
import re
from xml.etree import ElementTree

import pytest

from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.interactive import plotly_json
from lkca_search.reporting.rendering.paper import SIZE_INCHES, draw
from lkca_search.reporting.values.figure import Figure, Series
from lkca_search.reporting.values.report import Report
from tests.support.inspections import with_inspections
from tests.support.predictions import with_class_predictions
from tests.support.search_results import law, make_search_results

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
NEAR = 0.05
"""Share of an axis within which points of one size are drawn side by side."""


def report_of(fractions: tuple[float, ...], *, num_images: int, draws: int = 3) -> Report:
    results = make_search_results(law(), families=("lkca", "vit", "resnet"), fractions=fractions, draws=draws, seeds=1)
    results = with_class_predictions(results, 3, num_images=num_images)
    return make_report(with_inspections(results, lambda *where: 1.2))


@pytest.fixture(scope="module")
def single() -> Report:
    return report_of((0.02,), num_images=15)


def figures_of(report: Report) -> list[Figure]:
    return [figure for figure in report.figures if isinstance(figure, Figure)]


def test_points_of_a_single_size_are_beside_its_tick_on_the_page(single: Report) -> None:
    figures = [figure for figure in figures_of(single) if figure.x_ticks]
    assert {"learning_curves", "differences", "error_consistency", "field_radius"} <= {each.name for each in figures}
    for figure in figures:
        low, high = json.loads(plotly_json(figure))["layout"]["xaxis"]["range"]
        places = [(math.log10(x) - low) / (high - low) for series in figure.series for x in series.x]
        assert all(abs(place - 0.5) < NEAR for place in places), figure.name
        of_variants = {series.x[0] for series in figure.series if series.kind == "points"}
        assert len(of_variants) == len({s.name for s in figure.series if s.kind == "points"}), "none hides another"


def test_points_of_a_single_size_are_beside_its_tick_in_a_paper(single: Report) -> None:
    (figure,) = (each for each in figures_of(single) if each.name == "learning_curves")
    axes = next(
        each for each in ElementTree.fromstring(draw(figure)["svg"]).iter(f"{SVG}g") if each.get("id") == "axes_1"
    )
    marks = [
        float(use.get("x", "nan"))
        for group in axes
        if str(group.get("id")).startswith("line2d_")
        for use in group.iter(f"{SVG}use")
    ]
    (tick,) = (each for each in axes.iter(f"{SVG}g") if each.get("id") == "xtick_1")
    (place,) = {float(use.get("x", "nan")) for use in tick.iter(f"{SVG}use")}
    assert len(set(marks)) == 3
    assert all(abs(mark - place) < NEAR * 72 * SIZE_INCHES[0] for mark in marks)


def test_an_axis_has_no_place_for_impossible_values_and_fits_its_numbers(single: Report) -> None:
    reports = [single, report_of((0.02, 0.5), num_images=600), make_report(make_search_results(lambda *where: 1.0))]
    bounded = [figure for report in reports for figure in figures_of(report) if figure.y_bounds and figure.y_range]
    assert {"kernel_radius", "field_radius", "calibration_error", "learning_curves"} <= {each.name for each in bounded}
    for figure in bounded:
        assert figure.y_range is not None
        assert figure.y_bounds is not None
        (low, high), (lowest, highest) = figure.y_range, figure.y_bounds
        numbers = [y for each in figure.series for y in (*each.y, *each.lower, *each.upper) if y is not None]
        assert all(low <= y <= high for y in numbers if y > 0 or not figure.y_is_logarithmic), figure.name
        marker = 0.021 * (high - low)
        assert lowest is None or low >= lowest - marker, figure.name
        assert highest is None or high <= 1.1 * highest, figure.name


@pytest.mark.parametrize(("value", "expected"), [(0.18, (0.09, 0.27)), (0.0, (-0.01, 0.5)), (100.0, (50.0, 101.0))])
def test_equal_numbers_have_an_axis_of_their_size(value: float, expected: tuple[float, float]) -> None:
    figure = Figure(
        name="radius",
        title="",
        caption="",
        x_label="",
        y_label="",
        y_bounds=(0.0, 100.0),
        series=(Series(name="lkca", x=(1.0, 2.0), y=(value, value), color_index=0),),
    )
    assert figure.y_range == pytest.approx(expected)
    assert json.loads(plotly_json(figure))["layout"]["yaxis"]["range"] == pytest.approx(expected)


def test_a_figure_without_a_point_is_replaced_by_its_reason(single: Report) -> None:
    page = to_html(single, source="")
    (calibration,) = (section for section in single.sections if section.name == "calibration")
    (empty,) = (figure for figure in calibration.figures if isinstance(figure, Figure) and figure.is_empty)
    assert empty.name == "reliability_360"
    reason = "No figure: no bin has 10 images per replicate, because there are too few test images."
    assert re.search(rf"{re.escape(empty.title)}</h3>\s*<p>{re.escape(reason)}</p>\s*</figure>", page)
    assert 'id="reliability_360"' not in page
    assert empty.name not in {figure.name for figure in single.figures}, "no file has it"
    whole = report_of((0.02,), num_images=600)
    assert "reliability_360" in {figure.name for figure in whole.figures}
    assert "No figure" not in to_html(whole, source="")
