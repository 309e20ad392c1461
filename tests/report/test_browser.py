"""The page in a real browser, without a network: figures, sorting, theme, hover, download; wide and narrow."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lkca_search.report.content import make_report
from lkca_search.report.rendering.html import to_html
from tests.support.search_results import law, make_search_results

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(
        to_html(make_report(make_search_results(law(lead=0.02), families=("lkca", "vit", "resnet"))), source="")
    )
    return path


@pytest.fixture(params=[1400, 390], ids=["wide", "narrow"])
def page(browser: Browser, path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": request.param, "height": 900}, color_scheme="light", offline=True, accept_downloads=True
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_selector("#differences .errorbars")
    yield page
    context.close()
    assert said == [], "no error, and nothing asked of a network"


def test_figures_are_drawn_and_nothing_is_wider_than_the_page(page: Page) -> None:
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for figure in ("learning_curves", "differences"):
        box = page.locator(f"#{figure} svg.main-svg").first.bounding_box()
        assert box is not None
        assert 0 < box["width"] <= width
    assert page.locator("#learning_curves .legendtext").all_text_contents() == ["lkca", "vit", "resnet"]


def overlaps(one: dict[str, Any], other: dict[str, Any]) -> bool:
    apart = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
    return not (apart or one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"])


def test_no_labels_of_an_axis_overlap(page: Page) -> None:
    for figure in ("learning_curves", "differences"):
        for axis in ("xtick", "ytick"):
            boxes = [label.bounding_box() for label in page.locator(f"#{figure} .{axis} text").all()]
            assert len(boxes) > 2
            for place, box in enumerate(boxes[1:]):
                before = boxes[place]
                assert box is not None
                assert before is not None
                assert not overlaps(dict(before), dict(box))


def test_a_click_on_a_column_sorts_by_its_numbers_and_another_turns_it(page: Page) -> None:
    head = page.locator("#table-accuracies th", has_text="test accuracy")

    def column() -> list[float]:
        return [float(text) for text in page.locator("#table-accuracies td:nth-child(3)").all_inner_texts()]

    assert column() != sorted(column())
    head.locator("button").click()
    assert column() == sorted(column())
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert column() == sorted(column(), reverse=True)


def test_the_theme_turns_page_and_figures(page: Page) -> None:
    def colours() -> tuple[str, str]:
        text = page.locator("#differences .xtick text").first
        return page.evaluate("getComputedStyle(document.body).backgroundColor"), text.evaluate("it => it.style.fill")

    light = colours()
    page.locator("#theme").click()
    dark = colours()
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.locator("#theme").click()
    assert colours() == light


def test_paper_is_light_whatever_the_screen_is(page: Page) -> None:
    page.locator("#theme").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert page.pdf().startswith(b"%PDF")


def test_pointing_at_a_point_tells_its_numbers(page: Page) -> None:
    point = page.locator("#differences .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#differences .hovertext")
    told = page.locator("#differences .hovertext").text_content() or ""
    assert "lkca − vit, 360 images:" in told
    assert "points [" in told


def test_a_table_is_downloaded_as_csv(page: Page) -> None:
    with page.expect_download() as download:
        page.locator("#table-contrasts .download").click()
    assert download.value.suggested_filename == "contrasts.csv"
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 1 + 10
    assert lines[0].startswith("other,training images,")
