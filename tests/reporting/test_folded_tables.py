"""Long tables are folded in the page, and every way to them unfolds them; wide tables show that they go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from tests.support.search_results import law, make_search_results

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def loaded(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield a page on a phone whose address points to a row of a folded table."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    results = make_search_results(law(lead=0.02), families=("lkca", "vit", "resnet"))
    path.write_text(to_html(make_report(results), source=""))
    page = browser.new_page(viewport=PHONE, reduced_motion="reduce")
    page.goto(f"{path.as_uri()}#table-accuracies-15")
    yield page
    page.close()


@pytest.fixture
def page(loaded: Page) -> Page:
    """Return the page with all tables as at the start."""
    loaded.evaluate("""() => {
        for (const each of document.querySelectorAll("details")) each.open = false;
        history.replaceState(null, "", location.pathname);
    }""")
    return loaded


def test_a_page_that_is_opened_at_a_row_of_a_folded_table_shows_it(loaded: Page) -> None:
    loaded.wait_for_function("""() => {
        const box = document.getElementById("table-accuracies-15").getBoundingClientRect();
        return 0 < box.top && box.top < innerHeight;
    }""")


def is_open(page: Page, table: str) -> bool:
    return page.locator(f"#table-{table} table").is_visible()


def test_a_long_table_is_folded_under_its_number_of_rows_and_a_short_one_is_not(page: Page) -> None:
    assert page.locator("#table-accuracies summary").inner_text() == "15 rows"
    assert not is_open(page, "accuracies")
    assert page.locator("#table-contrasts summary").count() == 0
    assert is_open(page, "contrasts")
    assert page.locator("#table-contrasts tbody tr").count() == 10


@pytest.mark.parametrize("place", ["table-accuracies", "table-accuracies-3"])
def test_a_link_to_a_folded_table_or_to_a_row_of_it_unfolds_it_each_time(page: Page, place: str) -> None:
    page.evaluate(f"document.querySelector('nav a').href = '#{place}'")
    for _ in range(2):  # the second click does not change the address
        page.locator("nav a").first.click()
        page.wait_for_selector("#table-accuracies table")
        page.locator("#table-accuracies summary").click()
        assert not is_open(page, "accuracies")


def test_printing_unfolds_every_table_and_folds_it_again(page: Page) -> None:
    folded = page.locator("details:not([open])").count()
    assert folded > 1
    page.locator("#table-accuracies summary").click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded - 1
    assert is_open(page, "accuracies"), "the reader had opened it"


def test_a_folded_table_is_downloaded_as_csv(page: Page) -> None:
    with page.expect_download() as download:
        page.locator("#table-accuracies .download").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 1 + 15
    assert not is_open(page, "accuracies")


def test_a_folded_table_is_opened_and_scrolled_by_keys(page: Page) -> None:
    page.locator("#table-accuracies .download").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    page.wait_for_selector("#table-accuracies .scroll[tabindex='0']")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "scroll"
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")


def test_an_edge_shows_at_which_side_more_columns_are_and_the_first_ones_stay(page: Page) -> None:
    frame = page.locator("#table-contrasts .frame")
    scroll, row = frame.locator(".scroll"), frame.locator("tbody tr").first
    scroll.scroll_into_view_if_needed()

    def wait_for(edges: str) -> None:
        page.wait_for_function(f"document.querySelector('#table-contrasts .frame').dataset.more === '{edges}'")

    def places() -> list[float]:
        return [box["x"] for cell in row.locator("td").all()[:3] if (box := cell.bounding_box())]

    wait_for("right")
    page.wait_for_function(
        """getComputedStyle(document.querySelector('#table-contrasts .frame'), '::after').opacity === '1'"""
    )
    start = places()
    scroll.evaluate("element => { element.scrollLeft = 100 }")
    wait_for("left right")
    moved = places()
    assert moved[:2] == pytest.approx(start[:2], abs=1), "the other variant and the training images"
    assert moved[2] == pytest.approx(start[2] - 100, abs=1)
    scroll.evaluate("element => { element.scrollLeft = 9999 }")
    wait_for("left")
    scroll.evaluate("element => { element.scrollLeft = 0 }")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    kept = [box["width"] for header in frame.locator("th.key").all() if (box := header.bounding_box())]
    assert len(kept) == 2
    assert sum(kept) < PHONE["width"] / 2


def test_a_table_that_fits_shows_no_edge_and_is_no_stop_of_the_tab_key(page: Page) -> None:
    page.set_viewport_size({"width": 1600, "height": 800})
    page.wait_for_function("document.querySelector('#table-curves .frame').dataset.more === ''")
    assert page.locator("#table-curves .scroll").get_attribute("tabindex") == "-1"
    page.set_viewport_size(PHONE)
