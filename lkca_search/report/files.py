"""A report as files: the page, figures and tables for a paper, and everything as Parquet."""

from collections.abc import Iterator
from pathlib import Path

from lkca_search.analysis.search_results import SearchResults
from lkca_search.paths import write_atomically
from lkca_search.records.tables import write_tables
from lkca_search.report.rendering.html import to_html
from lkca_search.report.rendering.paper import draw
from lkca_search.report.values.report import Report

PAGE = "report.html"


def write_report(report: Report, results: SearchResults, folder: Path) -> list[Path]:
    """Write everything into a folder, each file atomically; return their paths, the page first."""
    paths = []
    for name, content in _contents(report, results):
        write_atomically(folder / name, content)
        paths.append(folder / name)
    return [
        *paths,
        *map(Path, map(str, write_tables(results.trials, results.replicates, folder / "data"))),
    ]


def _contents(report: Report, results: SearchResults) -> Iterator[tuple[str, bytes]]:
    trials = f"{len(results.trials)} trials and {len(results.replicates)} replicates"
    yield PAGE, to_html(report, source=trials).encode()
    for figure in report.figures:
        for kind, content in draw(figure).items():
            yield f"figures/{figure.name}.{kind}", content
    for table in report.tables:
        yield f"tables/{table.name}.csv", table.to_csv().encode()
        yield f"tables/{table.name}.md", table.to_markdown().encode()
        yield f"tables/{table.name}.tex", table.to_latex().encode()
