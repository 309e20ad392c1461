"""From a space file to a finished search: what `run` does."""

from collections.abc import Callable
from dataclasses import dataclass

from lkca_search.errors import Interrupted
from lkca_search.records import read_records, write_tables
from lkca_search.search.continuation import commit_space_file
from lkca_search.search.database import first_line
from lkca_search.search.design import data_problems, design_problems
from lkca_search.search.lease import hold
from lkca_search.search.ledger import Ledger
from lkca_search.search.manifests import write_manifests
from lkca_search.search.runner import run_search
from lkca_search.search.standings import SearchStanding, best_record, search_standing
from lkca_search.search.stopping import Brake
from lkca_search.search.studies import STORAGE_FAULTS
from lkca_search.search.sync import open_store
from lkca_search.space_file import SpaceFile
from lkca_search.storage import Home, SearchFolder
from lkca_search.tracking.mlflow_tracker import MLflowTracker
from lkca_search.tracking.tracker import Tracker, Trackers
from lkca_search.training.assembly import DataPlace, open_train_images

_PATIENCE_SECONDS = 60.0
_HURRIED_SECONDS = 5.0
"""How long MLflow is waited for at the end: as a rule, and by a driver that is to end at once."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a driver left when it ended by itself."""

    standing: SearchStanding
    halted: str | None
    """Why it started no further trial though some are due."""
    num_untracked: int
    """Finished trials that MLflow lacks."""
    tracking_error: Exception | None
    """Why it lacks them."""


def launch(
    space_file: SpaceFile,
    folder: SearchFolder,
    *,
    home: Home,
    place: DataPlace,
    console: Tracker,
    say: Callable[[str], None] = lambda _: None,
    address: str | None = None,
    num_cpus: int | None = None,
    ledger: str | None = None,
) -> Outcome:
    """Start a search, or continue it, and drive it to its end, or to where a limit, a request or a signal ends it.

    `console` hears of every trial, and `say` of where trials are placed and of a driver that is told to end.
    Raises SpaceFileError for a configuration that cannot be trained, DataError for data that cannot be had, and
    SearchError where the search is held by another driver, was started otherwise, or cannot be placed. Interrupted
    where a disk or a database fails.
    """
    spec = space_file.spec
    images = open_train_images(spec.data, place)
    num_classes = len(images.class_names)
    problems = [*design_problems(spec, images.shape, num_classes), *data_problems(spec, images.labels)]
    if problems:
        raise space_file.error(problems)
    folder = folder.stored_at(spec.storage)
    try:
        with hold(folder, ledger) as lease:
            commit_space_file(folder, space_file)
            manifests = write_manifests(spec, images, folder)
            mlflow = MLflowTracker(lambda: open_store(folder, home), folder)
            book = Ledger(
                folder,
                spec,
                images.shape,
                num_classes,
                Trackers([mlflow, console]),
                manifests=manifests,
                driver=lease.driver,
                ensure_lease=lease.ensure,
            )
            brake = Brake(lease, halt=book.halt, say=say)
            best, patience_seconds = None, _HURRIED_SECONDS
            try:
                if book.may_assign:
                    run_search(book, place, brake, say=say, address=address, num_cpus=num_cpus)
                records = read_records(folder)
                write_tables(records, folder.root)
                best = best_record(records, spec.search)
                patience_seconds = _HURRIED_SECONDS if brake.at_once else _PATIENCE_SECONDS
            finally:
                untracked = mlflow.close(complete=book.num_due == 0, best=best, patience_seconds=patience_seconds)
    except STORAGE_FAULTS as error:
        raise Interrupted(f"{type(error).__name__}: {first_line(_origin(error))}") from error
    return Outcome(
        standing=search_standing(folder, records),
        halted=book.halted if book.num_due else None,
        num_untracked=untracked,
        tracking_error=mlflow.last_error,
    )


def _origin(error: BaseException) -> BaseException:
    """What an error came from: Optuna says of a full disk that data may be too long."""
    return error if error.__cause__ is None else _origin(error.__cause__)
