"""Function `run`: starts or resumes a search in this process."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lkca_search.api.home import local_data_dirs, open_home
from lkca_search.api.search import Search
from lkca_search.api.space import Overrides, check_at_least, choose_name, limits, list_overrides, read_space
from lkca_search.faults import explained_faults
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, RecordReader
from lkca_search.tracking.tracker import Tracker

if TYPE_CHECKING:
    from lkca_search.data.readers.download_cache import Progress
    from lkca_search.search.run_context import RunContext, RunOutcome
    from lkca_search.spec.search_spec import SearchSpec


def _ignore(line: str) -> None:
    pass


def _no_bars() -> "AbstractContextManager[Progress]":
    from lkca_search.data.readers.download_cache import no_progress

    return nullcontext(no_progress)


@dataclass(frozen=True, kw_only=True)
class Display:
    """Outputs of a driver; by default it prints nothing."""

    notify: Callable[[str], None] = _ignore
    """Function that receives lines for the user."""
    downloads: "Callable[[], AbstractContextManager[Progress]]" = _no_bars
    """Context in which datasets are downloaded."""
    trials: "Callable[[SearchSpec, SearchFolder, RecordReader], AbstractContextManager[Tracker]]" = (
        lambda spec, folder, reader: nullcontext(Tracker())
    )
    """Context in which trials run; its value receives them."""


@explained_faults()
def run(
    space: str | Path,
    overrides: Overrides = (),
    *,
    name: str | None = None,
    hours: float | None = None,
    max_failures: int | None = None,
    address: str | None = None,
    num_cpus: int | None = None,
    ledger: str | None = None,
    home: str | Path | None = None,
    notify: Callable[[str], None] | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> Search:
    """Start a search, or resume it, and return it when its driver has ended. Finished trials are not trained again.

    If the space file has a section `confirm`, the best configurations are confirmed at the end. Ctrl-C finishes the
    running trials. `outcome` of the result has the reason of an early end.

    Args:
        space: Space file (YAML).
        overrides: Changes to the space file, `["search.trials_per_cell=4"]` or `{"search.trials_per_cell": 4}`.
        name: Name of the search; by default the file name without `.yaml`.
        hours: Start no new trial after this many hours; by default `limits.hours` of the space file.
        max_failures: Start no new trial once more trials than this have failed; by default as in the space file.
        address: Address of a Ray cluster; by default RAY_ADDRESS, else Ray is started on this machine.
        num_cpus: Cores, if Ray is started on this machine; by default all.
        ledger: Database of the Optuna studies; by default LKCA_SEARCH_LEDGER, else SQLite in the search's folder.
        home: Folder of searches and datasets; by default LKCA_SEARCH_HOME, else `./lkca_runs`.
        notify: Called with lines for the user, as `print` would show them; by default they are not shown.
        on_record: Called with each finished trial and replicate, after its record is durable.

    Raises:
        SpaceFileError: The space file breaks a rule, or a configuration cannot be trained.
        DataError: A dataset cannot be read.
        SearchError: Another driver runs this search, it was started with another space file, or no node can train.
        Interrupted: A disk, a database or the cluster failed. The same call resumes.
    """
    check_at_least(1, num_cpus=num_cpus)
    changes = [*list_overrides(overrides), *limits(hours, max_failures)]
    folder, outcome = drive(
        space,
        changes,
        home=open_home(home),
        name=name,
        address=address,
        num_cpus=num_cpus,
        ledger=ledger or os.environ.get("LKCA_SEARCH_LEDGER") or None,
        display=Display(
            notify=notify or _ignore,
            trials=lambda spec, folder, reader: nullcontext(_RecordTracker(on_record) if on_record else Tracker()),
        ),
    )
    return Search(folder, outcome=outcome)


def drive(
    space: str | Path,
    overrides: Overrides,
    *,
    home: Home,
    name: str | None,
    address: str | None,
    num_cpus: int | None,
    ledger: str | None,
    display: Display,
) -> "tuple[SearchFolder, RunOutcome]":
    """Run a search as `run` does, and return its folder and the outcome."""
    space_file = read_space(space, overrides, home)
    folder = home.search(choose_name(space, name)).with_storage(space_file.spec.storage)
    for note in space_file.notes:
        display.notify(note)
    from lkca_search.search.ray_backend.address import choose_address
    from lkca_search.search.state.lease import hold_lease

    cluster = choose_address(address, os.environ)
    # First, so that `stop` finds the driver.
    with hold_lease(folder, ledger, is_provisional=True, notify=display.notify) as lease:
        from lkca_search.search.idle_run import run_if_idle
        from lkca_search.search.state.dataset import with_located_datasets
        from lkca_search.search.state.resume import check_resume
        from lkca_search.training.images import check_test_classes, open_all_train_images

        space_file = with_located_datasets(space_file, folder)
        check_resume(folder, space_file)  # again with the images, after Ray has started
        with display.downloads() as bars:  # before the trials, which would share the terminal with them
            images = open_all_train_images(space_file.spec, local_data_dirs(home), progress=bars)
        reader = RecordReader(folder)
        with display.trials(space_file.spec, folder, reader) as tracker:
            context = make_context(folder, tracker, reader, notify=display.notify, address=cluster, num_cpus=num_cpus)
            outcome = run_if_idle(space_file, folder, lease, context, images)
            if outcome is None:
                check_test_classes(space_file.spec, local_data_dirs(home))
                from lkca_search.search.early_start import start_session

                with start_session(space_file.spec, lease, context) as session:
                    from lkca_search.search.run import run_search

                    outcome = run_search(space_file, folder, lease, replace(context, session=session))
            return folder, outcome


def make_context(
    folder: SearchFolder,
    tracker: Tracker,
    reader: RecordReader,
    *,
    notify: Callable[[str], None],
    address: str | None,
    num_cpus: int | None,
) -> "RunContext":
    """Return the context of a driver. A line states why the records will have no commit."""
    from lkca_search.environment.checkout import read_commit
    from lkca_search.records.provenance import provenance_folder
    from lkca_search.search.run_context import RunContext

    commit = read_commit()
    if commit.problem is not None and commit.is_checkout:
        notify(f"the records will have no commit: {commit.problem}")
    elif commit.problem is not None and not provenance_folder(folder).exists():  # stated once per search
        notify(f"the records will have no commit: {commit.problem}; to state one: export LKCA_GIT_COMMIT=HASH")
    return RunContext(
        home=folder.home,
        data_dirs=local_data_dirs(folder.home),
        console=tracker,
        reader=reader,
        notify=notify,
        address=address,
        num_cpus=num_cpus,
    )


class _RecordTracker(Tracker):
    """Tracker that passes each record to a function."""

    def __init__(self, on_record: Callable[[Record], None]) -> None:
        self._on_record = on_record

    def trial_finished(self, record: Record) -> None:
        self._on_record(record)
