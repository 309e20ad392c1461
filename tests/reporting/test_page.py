"""The page is one file that works offline, and no text of a search is run as markup."""

import json
import re
from html.parser import HTMLParser

import pytest

from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from tests.support.search_results import law, make_search_results

MARKUP = '</script><script>alert(1)</script>"&<b>'


class Page(HTMLParser):
    """Parsed page: its references, ids and number of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        self.references += [value for name in ("src", "href", "data", "action") if (value := given.get(name))]
        self.ids += [value for name, value in attrs if name == "id" and value]


@pytest.fixture(scope="module")
def html() -> str:
    return to_html(make_report(make_search_results(law(lead=0.02))), source="a test")


def test_a_page_loads_nothing(html: str) -> None:
    page = Page(html)
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    for anchor in (reference for reference in page.references if reference.startswith("#")):
        assert anchor.removeprefix("#") in page.ids
    without_scripts = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert "http" not in without_scripts
    assert "@import" not in without_scripts
    assert "url(" not in without_scripts


def test_every_id_is_unique(html: str) -> None:
    ids = Page(html).ids
    assert len(ids) == len(set(ids))


def test_a_page_has_at_most_6_megabytes(html: str) -> None:
    assert len(html.encode()) < 6e6


def test_markup_in_the_name_of_a_search_is_escaped() -> None:
    results = make_search_results(law(), families=("lkca", "vit"))
    report = make_report(
        type(results)(
            name=MARKUP,
            spec=results.spec,
            trials=results.trials,
            replicates=results.replicates,
            rounds=results.rounds,
        )
    )
    plain = to_html(make_report(results), source="")
    html = to_html(report, source=MARKUP)
    assert Page(html).scripts == Page(plain).scripts
    assert "<b>" not in html.split("<main>")[0]
    assert "&lt;/script&gt;" in html


def test_figures_and_tables_in_the_page_are_data(html: str) -> None:
    figures = json.loads(re.search(r"const FIGURES = (.*?); const TABLES", html).group(1))  # type: ignore[union-attr]
    tables = json.loads(re.search(r"const TABLES = (.*?);</script>", html).group(1))  # type: ignore[union-attr]
    ids = Page(html).ids
    assert figures.keys() == {"answer-figure", "learning_curves", "differences", "pareto_flops"}
    assert figures.keys() <= set(ids)
    assert {f"table-{name}" for name in tables} <= set(ids)
    for figure in figures.values():
        assert figure["data"]
        assert all(trace["mode"] == "lines" for trace in figure["data"] if "fill" in trace), "no markers at a band"
