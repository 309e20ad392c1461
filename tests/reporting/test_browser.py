"""The page in a real browser, offline, on a wide and a narrow screen: figures, sorting, theme, hover, download."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.values.figure import HEAT_MAP_COLORS, HEAT_MAP_COLORS_ON_DARK
from tests.support.dataset_results import CLASSES, make_dataset_results, normal
from tests.support.inspections import with_inspections
from tests.support.search_results import law, make_search_results


def spread(family: str, images: int, draw: int, seed: int, layer: int) -> float:
    """Return the spread of kernels in `tests/support/inspections.py`."""
    return 1.0 + 0.4 * layer + images / 9000 + 0.05 * draw


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    results = make_search_results(law(lead=0.02), families=("lkca", "vit", "resnet"))
    path.write_text(to_html(make_report(with_inspections(results, spread, layers=6)), source=""))
    return path


@pytest.fixture(params=[1400, 390], ids=["wide", "narrow"])
def page(browser: Browser, path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": request.param, "height": 900}, color_scheme="light", offline=True, accept_downloads=True
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda sent: problems.append(sent.url) if sent.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_selector("#differences .errorbars")
    yield page
    context.close()
    assert problems == [], "no error and no request to a network"


def test_figures_are_drawn_and_fit_the_width_of_the_page(page: Page) -> None:
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for figure in ("learning_curves", "differences"):
        box = page.locator(f"#{figure} svg.main-svg").first.bounding_box()
        assert box is not None
        assert 0 < box["width"] <= width
    assert page.locator("#learning_curves .legendtext").all_text_contents() == ["lkca", "vit", "resnet"]


def test_the_first_screen_names_both_sides_of_a_difference_and_has_both_sizes(page: Page) -> None:
    assert page.locator("#answer-figure .legendtext").all_text_contents() == ["lkca − vit", "lkca − resnet"]
    shown = page.locator("#answer .means tr").first.locator("th")
    assert [cell.inner_text() for cell in shown.all() if cell.is_visible()][1:] == ["360 images", "9,000 images"]
    box = page.locator("#answer .means").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= page.evaluate("innerWidth")
    codes = page.locator("#caveats code").all_inner_texts()
    assert "search: {repeats: 5}" in codes
    assert "`" not in page.locator("main").inner_text()


def overlaps(one: dict[str, Any], other: dict[str, Any]) -> bool:
    apart = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
    return not (apart or one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"])


def test_tick_labels_do_not_overlap(page: Page) -> None:
    for figure in ("learning_curves", "differences"):
        for axis in ("xtick", "ytick"):
            boxes = [label.bounding_box() for label in page.locator(f"#{figure} .{axis} text").all()]
            assert len(boxes) > 2
            for index, box in enumerate(boxes[1:]):
                before = boxes[index]
                assert box is not None
                assert before is not None
                assert not overlaps(dict(before), dict(box))


def test_a_click_on_a_header_sorts_by_number_and_a_second_click_reverses_the_order(page: Page) -> None:
    page.locator("#table-accuracies summary").click()
    header = page.locator("#table-accuracies th", has_text="test accuracy")

    def column() -> list[float]:
        return [float(text) for text in page.locator("#table-accuracies td:nth-child(3)").all_inner_texts()]

    assert column() != sorted(column())
    header.locator("button").click()
    assert column() == sorted(column())
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").click()
    assert column() == sorted(column(), reverse=True)


def test_the_theme_changes_the_colors_of_page_and_figures(page: Page) -> None:
    def colors() -> tuple[str, str]:
        text = page.locator("#differences .xtick text").first
        return page.evaluate("getComputedStyle(document.body).backgroundColor"), text.evaluate(
            "element => element.style.fill"
        )

    light = colors()
    page.locator("#theme").click()
    dark = colors()
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.locator("#theme").click()
    assert colors() == light


def test_a_printed_page_is_light(page: Page) -> None:
    page.locator("#theme").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert page.pdf().startswith(b"%PDF")


def test_hover_over_a_point_shows_its_numbers(page: Page) -> None:
    point = page.locator("#differences .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#differences .hovertext")
    text = page.locator("#differences .hovertext").text_content() or ""
    assert "lkca − vit, 360 images:" in text
    assert "points [" in text


def test_small_multiples_fit_the_page_and_layers_run_down_a_narrow_one(page: Page) -> None:
    width = page.evaluate("innerWidth")
    panels = page.locator("#kernel_maps_1 .panel")
    assert panels.count() == 5 * 6  # sizes x layers, all of lkca
    boxes = [box for panel in panels.all() if (box := panel.bounding_box())]
    assert len(boxes) == 30
    for box in boxes:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["width"] == pytest.approx(box["height"], abs=1)
        assert box["width"] > 40
    first, second = boxes[:2]  # layers 1 and 2 of the smallest size
    assert (second["y"] > first["y"], second["x"] > first["x"]) == ((True, False) if width < 600 else (False, True))
    assert page.locator("#kernel_maps_1 .tick").all_inner_texts()[0] == "0"


def test_a_heat_map_follows_the_theme(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    factors = {"family": ("lkca",), "kernel_size": (3, 5), "data_fraction": (0.1, 0.5)}
    path.write_text(to_html(make_report(make_search_results(law(), factors=factors)), source=""))
    page = browser.new_page(color_scheme="dark")
    page.goto(path.as_uri())
    name = "map_lkca_kernel_size"
    page.wait_for_selector(f"#{name} .heatmap-label")

    def colors() -> tuple[list[str], str]:
        scale = page.evaluate(f"document.getElementById('{name}').data[0].colorscale.map(([, color]) => color)")
        return scale, page.locator(f"#{name} .heatmap-label text").first.evaluate("element => element.style.fill")

    assert colors() == (list(HEAT_MAP_COLORS_ON_DARK), "rgb(244, 247, 250)")
    page.locator("#theme").click()
    assert colors() == (list(HEAT_MAP_COLORS), "rgb(20, 24, 31)")
    page.close()


def test_the_scale_of_small_multiples_follows_the_theme(page: Page) -> None:
    def corner() -> list[int]:
        canvas = page.locator("#kernel_maps_1 .panel canvas").first
        data: list[int] = canvas.evaluate("element => [...element.getContext('2d').getImageData(0, 0, 1, 1).data]")
        return data

    light = corner()
    page.locator("#theme").click()
    dark = corner()
    assert min(light[:3]) > 230, "a weight of 0 has the color of the page"
    assert max(dark[:3]) < 60
    page.locator("#theme").click()
    assert corner() == light


def test_a_table_is_downloaded_as_csv(page: Page) -> None:
    with page.expect_download() as download:
        page.locator("#table-contrasts .download").click()
    assert download.value.suggested_filename == "contrasts.csv"
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 1 + 10
    assert lines[0].startswith("other,training images,")


def test_a_page_of_several_datasets_fits_and_its_links_lead_to_the_datasets(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(to_html(make_report(make_dataset_results(normal(leads=0.03))), source=""))
    problems: list[str] = []
    for width in (1400, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: problems.append(message.text))
        page.goto(path.as_uri())
        page.wait_for_selector("#performance_profiles .legendtext")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("nav a").all_text_contents() == ["Summary", "Aggregate", *CLASSES, "Methods"]
        for name in CLASSES:
            assert page.locator(f"section#{name} > section").count() == 10
            assert page.locator(f"#{name}_learning_curves .legendtext").all_text_contents() == ["lkca", "vit"]
        assert page.locator("#performance_profiles .legendtext").all_text_contents() == ["lkca", "vit"]
        page.close()
    assert problems == []
