"""Files of a report: the page, figures and tables for a paper, and the records as Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lkca_search.analysis.predictions.prediction_analysis import prediction_rows
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.trials.training_curves import mean_curve_rows
from lkca_search.paths import write_atomically
from lkca_search.records.inspection.kernel_table import save_kernels
from lkca_search.records.tables import write_rows, write_tables
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import draw
from lkca_search.reporting.values.report import Report

PAGE = "report.html"


def write_report(report: Report, results: SearchResults, folder: Path) -> list[Path]:
    """Write a report into a folder, each file atomically, and return the paths; the first is the page.

    Layout of the folder:
        report.html
        figures/NAME.png, .svg, .pdf
        tables/NAME.csv, .md, .tex
        data/trials.parquet, curves.parquet, replicates.parquet, kernels.parquet, training_curves.parquet,
            mlflow_runs.parquet if runs are known, and the numbers from predictions
    """
    paths = []
    for name, content in _render(report, results):
        write_atomically(folder / name, content)
        paths.append(folder / name)
    data = folder / "data"
    parquet_files = [
        *write_tables(results.trials, results.replicates, data),
        *save_kernels(results.inspections, results.replicates, data),
        *write_rows(prediction_rows(report.predictions), data),
        *write_rows(_other_rows(report), data),
    ]
    return [*paths, *(Path(str(path)) for path in parquet_files)]


def _other_rows(report: Report) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Return the rows of curves of replicates, and of runs in MLflow, without empty tables."""
    rows: dict[str, Sequence[Mapping[str, Any]]] = {
        "training_curves": mean_curve_rows(report.curves),
        "mlflow_runs": report.runs.rows(),
    }
    return {name: found for name, found in rows.items() if found}


def _render(report: Report, results: SearchResults) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file except the Parquet files."""
    source = f"{len(results.trials)} trials and {len(results.replicates)} replicates"
    yield PAGE, to_html(report, source=source).encode()
    for figure in report.figures:
        for extension, content in draw(figure).items():
            yield f"figures/{figure.name}.{extension}", content
    for table in report.tables:
        yield f"tables/{table.name}.csv", table.to_csv().encode()
        yield f"tables/{table.name}.md", table.to_markdown().encode()
        yield f"tables/{table.name}.tex", table.to_latex().encode()
