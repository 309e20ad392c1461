"""Training curves and parallel coordinates in a real browser: they fit, name what is pointed at, and can be brushed."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lkca_search.records.record import Record
from lkca_search.records.search.mlflow_runs import MlflowRuns
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from tests.support.search_results import law, make_search_results

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
PARAMETERS = {
    "patch_size": {"value": 2},
    "learning_rate": {"float": (1e-4, 1e-2), "log": True},
    "depth": {"int": (1, 12)},
}
RUN = "c" * 32


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def deeper(record: Record) -> Record:
    configuration = record.spec.configuration.model_copy(update={"depth": 1 + record.number})
    return record.model_copy(update={"spec": record.spec.model_copy(update={"configuration": configuration})})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    results = make_search_results(law(), families=("lkca",), trials=4, parameters=PARAMETERS)
    results = replace(results, trials=[deeper(record) for record in results.trials])
    runs = MlflowRuns(experiment="1", ids={record.trial_id: RUN for record in results.trials})
    path.write_text(to_html(make_report(results, runs=runs), source=""))
    return path


@pytest.fixture(params=[("wide", 1400), ("narrow", 390)], ids=lambda param: param[0])
def page(browser: Browser, path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": request.param[1], "height": 900}, offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("#training_lkca .scatterlayer")
    page.add_style_tag(content="nav { display: none !important } html { scroll-behavior: auto !important }")
    yield page
    context.close()
    assert problems == []


def test_panels_are_in_one_row_on_a_wide_page_and_below_each_other_on_a_narrow_one(page: Page) -> None:
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    plots = [page.locator(f"#training_lkca .subplot.x{n}y{n}") for n in ("", *range(2, 6))]
    tops = {round(plot.bounding_box()["y"]) // 20 for plot in plots}  # type: ignore[index]
    assert len(tops) > 2 if width < 600 else len(tops) <= 2
    assert page.locator("#training_lkca .legendtext").all_text_contents() == [
        "other trials",
        "best trial",
        "mean of the replicates",
    ]


def test_a_point_of_a_curve_names_its_trial_and_run(page: Page) -> None:
    page.locator("#training_lkca").scroll_into_view_if_needed()
    found = page.evaluate(
        "document.getElementById('training_lkca').data.filter((trace) => trace.text).flatMap((trace) => trace.text)"
    )
    assert f"trial 1 (the best), MLflow run {RUN}<br>step 20: 60.0%" in found
    assert any(text.startswith("mean of 10 replicates of trial 1<br>step 20: ") for text in found)


def drag(page: Page, axis: int, start: float, end: float) -> None:
    """Drag along an axis from one place to another, each from 0 to 1."""
    page.locator("#parallel_lkca svg").scroll_into_view_if_needed()
    box = page.locator("#parallel_lkca .brush").nth(axis).bounding_box()
    assert box is not None
    is_stacked = box["width"] > box["height"]
    size = max(box["width"], box["height"]) - 12

    def move_to(place: float) -> None:
        if is_stacked:
            page.mouse.move(box["x"] + 6 + place * size, box["y"] + box["height"] / 2)
        else:
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 6 + (1 - place) * size)

    move_to(start)
    page.mouse.down()
    move_to((start + end) / 2)
    move_to(end)
    page.mouse.up()


def test_a_dragged_part_of_an_axis_keeps_its_lines_until_a_click(page: Page) -> None:
    lines, left_out = page.locator("#parallel_lkca .line"), page.locator("#parallel_lkca .left-out")
    assert (lines.count(), left_out.count()) == (20, 0)
    drag(page, 2, 0.9, 1.0)  # training images: the largest size
    assert left_out.count() == 16
    assert "4 of 20 trials are kept." in page.locator("#parallel_lkca .scale").inner_text()
    drag(page, 3, 0.9, 1.0)  # and the best metric
    assert left_out.count() == 19
    page.locator("#theme").click()
    assert left_out.count() == 19, "a change of the theme keeps the parts"
    for axis in (2, 3):
        drag(page, axis, 0.5, 0.5)
    assert left_out.count() == 0


def test_the_line_at_the_pointer_is_named_with_its_values_and_run(page: Page) -> None:
    drag(page, 2, 0.5, 0.5)  # a click, which moves the pointer
    axis = page.locator("#parallel_lkca .brush").nth(3).bounding_box()
    assert axis is not None
    if axis["width"] > axis["height"]:
        page.mouse.move(axis["x"] + axis["width"] - 6, axis["y"] + axis["height"] / 2)
    else:
        page.mouse.move(axis["x"] + axis["width"] / 2, axis["y"] + 6)
    text = page.locator("#parallel_lkca .info").inner_text()
    assert f"/1, MLflow run {RUN}: learning_rate 0.002, depth 2, training images " in text
    assert text.endswith("validation accuracy 60.0%")
    assert page.locator("#parallel_lkca .pointed").count() == 1
