"""Commands that evaluate confirmed searches: report, compare, publish."""

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.api.report import attach_page, find_published, write, write_from_published, write_results
from lkca_search.cli.terminal.arguments import Json, Name, complete_search
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.errors import SearchError
from lkca_search.layout import PUBLISHED, Home

if TYPE_CHECKING:
    from lkca_search.analysis.aggregate.aggregate import Aggregate
    from lkca_search.analysis.aggregate.differences import AggregateDifference
    from lkca_search.analysis.aggregate.searches import SearchComparison
    from lkca_search.analysis.comparison import Comparison, UnpairedContrast
    from lkca_search.analysis.contrasts import Contrast
    from lkca_search.analysis.search_results import SearchResults
    from lkca_search.analysis.stats.estimate import NotEstimable
    from lkca_search.reporting.values.report import Report
    from lkca_search.reporting.values.table import Table

_SUBJECTS = {
    "training": "! Different data or training, so a difference in accuracy may have this reason",
    "search": "Different space or search",
    "machine": "Different code or machine",
}
"""Heading of the differences of each kind."""


def report(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            autocompletion=complete_search,
            help="Name of the search, or a folder of published results (./results, not results).",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the report. Default: report/ in the folder of the search."),
    ] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="Number of the confirmation round. Default: the latest.")
    ] = None,
    no_mlflow: Annotated[
        bool,
        typer.Option("--no-mlflow", help="Do not attach the report to the search's MLflow run, and name no run in it."),
    ] = False,
    json: Json = False,
) -> None:
    """Write the report: an HTML page that works offline, figures and tables for a paper, and the data as Parquet.

    The page is attached to the search's MLflow run. For an unfinished or unconfirmed search, the report lists the
    missing parts. The report of published results has no pictures of test images, and no run in MLflow.
    """
    published = _published(name)
    if published is not None:
        written = write_from_published(published, to=to, round_number=round_number, option="--to")
    else:
        folder = Home.from_environment().started_search(name)
        written = write(folder, to=to, round_number=round_number, option="--to", name_runs=not no_mlflow)
    if json:
        _echo_json(written.content, written.files)
    else:
        _show(written.content, written.files)
    if published is None and not no_mlflow and (problem := attach_page(written, folder)):
        echo_prose(
            f"The report is written, but not attached in MLflow: {problem}. Then repeat the command, or use "
            "--no-mlflow.",
            err=True,
        )
        raise typer.Exit(1)


def publish(
    name: Name,
    to: Annotated[Path, typer.Option(file_okay=False, help="Folder for the files. It is made if it does not exist.")],
    json: Json = False,
) -> None:
    """Write the results of a search as Parquet files, from which `report` and `compare` work on any machine.

    The files have all records and rounds, the predicted class and its probability per replicate and test image, and the
    inspections. They have no images and no weights, so they fit a repository.
    """
    paths = write_results(Home.from_environment().started_search(name), to, option="--to")
    if json:
        echo_json([str(path) for path in paths])
        return
    for path in paths:
        echo(path)
    echo(f"\nreport  lkca-search report {to if '/' in str(to) else f'./{to}'}")


def compare(
    one: Annotated[
        str,
        typer.Argument(autocompletion=complete_search, help="Name of a confirmed search, or a folder as in `report`."),
    ],
    other: Annotated[
        str, typer.Argument(autocompletion=complete_search, help="Name of the confirmed search to compare it with.")
    ],
    allow_differences: Annotated[
        bool,
        typer.Option(
            "--allow-differences",
            help="Compare searches with different settings of data or training. Default: list the differences, and "
            "exit with code 2.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Compare the test results of two searches in every cell that both have confirmed.

    Replicates are paired by training images and seed. Cells without pairs are compared by an unpaired test over draws.
    Everything in which the searches differ is listed above the tables.
    """
    from lkca_search.analysis.aggregate.searches import compare_searches

    results = [_read_results(name) for name in (one, other)]
    found = compare_searches(*results, allow_differences=allow_differences)
    comparison = found.comparison
    if not json:
        _show_comparison(comparison, one, other)
        _show_aggregate(found)
        return
    _print_json(
        {
            "differences": [difference.model_dump(mode="json") for difference in comparison.differences],
            "contrasts": [_contrast(contrast) for contrast in comparison.contrasts],
            "unpaired": [_contrast(contrast) for contrast in comparison.unpaired],
            "left_out": comparison.left_out,
            **({"aggregate": _difference(found.aggregate)} if found.aggregate is not None else {}),
        }
    )


def _published(name: str) -> Path | None:
    """Return the folder of published results that a path names; None for the name of a search."""
    found = find_published(name)
    if found is None and "/" in name:
        raise SearchError(
            f"a folder of published results must have the file {PUBLISHED}, got {name}; write one by `lkca-search "
            "publish NAME --to FOLDER`"
        )
    return found


def _read_results(name: str) -> "SearchResults":
    """Return the results of a search, or those in a folder of published results."""
    from lkca_search.analysis.search_results import read_search_results
    from lkca_search.published.results import read_published

    published = _published(name)
    if published is not None:
        return read_published(published)[0]
    return read_search_results(Home.from_environment().started_search(name))


def _show_comparison(comparison: "Comparison", one: str, other: str) -> None:
    from lkca_search.reporting.sections.contrast_tables import comparison_table, unpaired_table
    from lkca_search.reporting.values.metric_format import MetricFormat

    for kind, subject in _SUBJECTS.items():
        differences = [difference for difference in comparison.differences if difference.kind == kind]
        if differences:
            echo(f"{subject}:")
            for difference in differences:
                echo_prose(f"  {difference.name}: {difference.one} in {one}, {difference.other} in {other}")
            echo()
    alpha, metric = comparison.alpha, MetricFormat(comparison.metric)
    tables = [
        *([comparison_table(comparison.contrasts, one, other, metric, alpha=alpha)] if comparison.contrasts else []),
        *([unpaired_table(comparison.unpaired, one, other, metric, alpha=alpha)] if comparison.unpaired else []),
    ]
    for table in tables:
        _echo_table(table)
        echo_prose(f"\n{table.caption}\n")
    for reason in comparison.left_out:
        echo_prose(f"! {reason}")


def _show_aggregate(found: "SearchComparison") -> None:
    from lkca_search.analysis.stats.estimate import NotEstimable
    from lkca_search.reporting.aggregate.section import difference_table, normalization
    from lkca_search.reporting.values.metric_format import MetricFormat

    if found.aggregate is None:
        return
    if isinstance(found.aggregate, NotEstimable):
        echo_prose(f"! Over all datasets, nothing is estimable: {found.aggregate}")
        return
    table = difference_table((found.aggregate,), alpha=found.comparison.alpha)
    _echo_table(table)
    echo_prose(f"\n{table.caption} {normalization(MetricFormat(found.comparison.metric))}\n")


def _show(content: "Report", paths: Sequence[Path]) -> None:
    echo_prose(f"{content.headline}\n")
    if means := content.answer.means:
        _echo_table(means)
        echo_prose(f"{means.caption}\n")
    for sentence in content.summary:
        echo_prose(sentence)
    if content.caveats:
        echo("\nLimits:")
    for note in content.caveats:
        echo_prose(f"- {note}")
    echo(f"\n{paths[0]}\n{len(paths) - 1} more files in the same folder: figures/, tables/, data/")


def _echo_table(table: "Table") -> None:
    echo_rows(table.columns, [[cell.text for cell in row] for row in table.rows])


def _print_json(value: Mapping[str, object]) -> None:
    echo(dumps(value, indent=1))


def _contrast(contrast: "Contrast | UnpairedContrast") -> dict[str, object]:
    return {**contrast.model_dump(mode="json"), "verdict": contrast.verdict}


def _aggregate(aggregate: "Aggregate") -> dict[str, object]:
    return {
        "ranges": [found.model_dump(mode="json") for found in aggregate.ranges],
        "differences": [_difference(found) for found in aggregate.differences],
        "left_out": aggregate.left_out,
    }


def _difference(found: "AggregateDifference | NotEstimable") -> dict[str, object]:
    from lkca_search.analysis.aggregate.differences import AggregateDifference

    if isinstance(found, AggregateDifference):
        return {**found.model_dump(mode="json"), "verdict": found.verdict}
    return {"reason": str(found)}


def _means(table: "Table | None") -> list[dict[str, str]]:
    """Return the means on the first screen, one mapping from columns to texts per variant."""
    if table is None:
        return []
    return [dict(zip(table.columns, (cell.text for cell in row), strict=True)) for row in table.rows]


def _echo_json(content: "Report", paths: Sequence[Path]) -> None:
    value = {
        "search": content.search,
        "round": content.round,
        "answer": {
            "question": content.answer.question,
            "finding": content.answer.finding,
            "limit": content.answer.limit,
            "means": _means(content.answer.means),
        },
        "headline": content.headline,
        "summary": content.summary,
        "missing": content.caveats,
        "contrasts": [_contrast(contrast) for contrast in content.contrasts],
        **({"aggregate": _aggregate(content.aggregate)} if content.aggregate else {}),
        "files": [str(path) for path in paths],
    }
    _print_json(value)
