"""Functions `report` and `publish`: write the report of a search, and the results from which anyone can make it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lkca_search.api.home import find_folder
from lkca_search.api.output import check_output_folder
from lkca_search.api.search import Search
from lkca_search.errors import SearchError, UserError
from lkca_search.faults import explained_faults
from lkca_search.layout import PUBLISHED, SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.records.search.mlflow_runs import NO_RUNS, MlflowRuns
from lkca_search.records.search.uid import uid_or_name
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.description import describe_search
from lkca_search.search.received_runs import explain_no_run
from lkca_search.user import expand_user

if TYPE_CHECKING:
    from lkca_search.analysis.search_results import SearchResults
    from lkca_search.reporting.values.report import Report


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """Report of a search, and its files."""

    content: "Report"
    """Headline, summary, sections, tables, figures and contrasts."""
    files: tuple[Path, ...]
    """Files of the report; the first one is the page."""
    mlflow_fault: str | None = None
    """Reason and remedy if the runs of trials could not be read from MLflow; None if they were, or not needed."""

    @property
    def page(self) -> Path:
        """HTML page, which works offline."""
        return self.files[0]


@explained_faults()
def report(
    search: Search | str | Path,
    *,
    to: str | Path | None = None,
    round_number: int | None = None,
    attach: bool = False,
    home: str | Path | None = None,
) -> WrittenReport:
    """Write the report of a search: an HTML page, figures and tables for a paper, and the data as Parquet.

    Args:
        search: Search, or the name, path or URL of one, as for `load_search`; or the path of a folder that `publish`
            has written.
        to: Folder for the report; by default `report/` in the folder of the search.
        round_number: Number of the confirmation round; by default the latest.
        attach: True to attach the page to the search's run in MLflow, and to name the runs of trials in it. Published
            results have no such run.
        home: Folder of searches, if `search` is a name; by default LKCA_SEARCH_HOME, else `./lkca_runs`.

    Raises:
        SearchError: There is no such search or round, or the written report cannot be attached.
        UserError: The folder cannot be written.
    """
    published = None if isinstance(search, Search) else find_published(search)
    if published is not None:
        if attach:
            raise UserError(f"attach must be False for published results, got True for {published}")
        return write_from_published(
            published, to=None if to is None else Path(to), round_number=round_number, option="to"
        )
    folder = search.folder if isinstance(search, Search) else find_folder(search, home=home)
    written = write(
        folder, to=None if to is None else Path(to), round_number=round_number, option="to", name_runs=attach
    )
    if attach and (problem := attach_page(written, folder)):
        raise SearchError(f"the report is written ({written.page}), but not attached in MLflow: {problem}")
    return written


def write(
    folder: SearchFolder, *, to: Path | None, round_number: int | None, option: str, name_runs: bool
) -> WrittenReport:
    """Write a report as `report` does. Errors about the folder have the name of the option.

    With `name_runs`, the report has the runs of the trials in MLflow, if the store can be read.
    """
    from lkca_search.analysis.search_results import read_search_results
    from lkca_search.data.pictures import find_test_pictures
    from lkca_search.records.search.looks import read_looks
    from lkca_search.reporting.content import make_report
    from lkca_search.reporting.files import write_report

    if to is None and not isinstance(folder.root, Path):
        raise UserError(f"{option} is required: the search is stored in {folder.root}, and a report is written to disk")
    target = to or Path(str(folder.root)) / "report"
    check_output_folder(target, option)
    results = read_search_results(folder)
    history = read_looks(folder.home, *results.rounds[-1].hash_by_dataset.values()) if results.rounds else None
    find_pictures = partial(find_test_pictures, home=folder.home)
    runs, fault = _read_runs(folder, results) if name_runs else (NO_RUNS, None)
    content = make_report(results, round_number=round_number, history=history, find_pictures=find_pictures, runs=runs)
    return WrittenReport(content=content, files=tuple(write_report(content, results, target)), mlflow_fault=fault)


def _read_runs(folder: SearchFolder, results: "SearchResults") -> tuple[MlflowRuns, str | None]:
    """Return the runs of a search in MLflow, and None; without a readable store no runs, and the reason and remedy."""
    from lkca_search.reporting.trials.runs import listed_records
    from lkca_search.tracking.faults import describe_fault
    from lkca_search.tracking.pages.run_ids import read_run_ids

    listed = dict.fromkeys(
        record.trial_id for sealed in (None, *results.rounds) for record in listed_records(results, sealed)
    )
    num_trials = len(results.trials) + len(results.replicates)
    try:
        return read_run_ids(folder.home, uid_or_name(folder), num_trials=num_trials, listed=list(listed)), None
    except Exception as error:  # any error of a store
        return NO_RUNS, str(describe_fault(error, folder.home))


def write_from_published(published: Path, *, to: Path | None, round_number: int | None, option: str) -> WrittenReport:
    """Write the report of published results. It has no pictures of test images, so it is the same on every machine."""
    from lkca_search.published.results import read_published
    from lkca_search.reporting.content import make_report
    from lkca_search.reporting.files import write_report

    target = to or published / "report"
    results, history = read_published(published)
    check_output_folder(target, option)
    content = make_report(results, round_number=round_number, history=history)
    return WrittenReport(content=content, files=tuple(write_report(content, results, target)))


def attach_page(written: WrittenReport, folder: SearchFolder) -> str | None:
    """Attach the page to the search's run in MLflow; return the reason and the remedy if that fails, else None.

    A store that could not be read for the report is not tried again.
    """
    from lkca_search.tracking.faults import describe_fault
    from lkca_search.tracking.runs import attach_report

    if written.mlflow_fault:
        return written.mlflow_fault
    page, points = written.page, written.content.mlflow_metrics()
    metric = read_spec(folder).search.definitions[0]
    shares = {f"test_{metric.test_field}/{name}": value / metric.scale for name, value in points.items()}
    describe = partial(describe_search, folder, RecordReader(folder))
    try:
        run_id = attach_report(
            folder.home, uid_or_name(folder), page.name, page.read_bytes(), shares, describe, former=points
        )
    except Exception as error:  # any error of a store
        return str(describe_fault(error, folder.home))
    if run_id is None:
        return explain_no_run(folder, folder.home)
    return None


@explained_faults()
def publish(search: Search | str | Path, to: str | Path, *, home: str | Path | None = None) -> tuple[Path, ...]:
    """Write the results of a search into a folder, for a repository or the appendix of a paper; return the files.

    `report` and `compare` read such a folder as they read a search. It has all records and rounds, the predicted class
    and its probability per replicate and test image, and the inspections. It has no images and no weights.

    Args:
        search: Search, or the name, path or URL of one, as for `load_search`.
        to: Folder for the files. It is made if it does not exist.
        home: Folder of searches, if `search` is a name; by default LKCA_SEARCH_HOME, else `./lkca_runs`.

    Raises:
        SearchError: There is no such search, or one of its files is damaged.
        UserError: The folder cannot be written.
    """
    folder = search.folder if isinstance(search, Search) else find_folder(search, home=home)
    return write_results(folder, Path(to), option="to")


def write_results(folder: SearchFolder, to: Path, *, option: str) -> tuple[Path, ...]:
    """Write the results as `publish` does. Errors about the folder have the name of the option."""
    from lkca_search.published.results import publish_search

    check_output_folder(to, option)
    return tuple(publish_search(folder, to))


def find_published(search: str | Path) -> Path | None:
    """Return the folder of published results that a path names; None if it names something else.

    A text without a slash is the name of a search, as for `load_search`.
    """
    text = str(search)
    if "://" in text or (isinstance(search, str) and "/" not in text and text not in (".", "..")):
        return None
    folder = expand_user(text).absolute()
    return folder if (folder / PUBLISHED).is_file() else None
