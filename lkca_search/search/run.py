"""From a space file to a finished search, and on to its confirmation: what `run` and `confirm` do."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lkca_search.data.store import Images
from lkca_search.errors import Interrupted, SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Round, read_rounds
from lkca_search.records.tables import write_tables
from lkca_search.search.driver.confirmation import (
    Confirmation,
    design_conflict,
    find_or_open_round,
    write_round_manifests,
)
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.ray_backend.runner import run_trials
from lkca_search.search.state.best_trials import best_record
from lkca_search.search.state.database import first_line
from lkca_search.search.state.lease import Lease, hold_lease
from lkca_search.search.state.manifests import write_manifests
from lkca_search.search.state.resume import commit_space_file, read_spec
from lkca_search.search.state.status import SearchStatus, read_status
from lkca_search.search.studies.space_check import find_space_problems, find_subset_problems
from lkca_search.search.studies.study import STORAGE_FAULTS
from lkca_search.search.sync import open_store
from lkca_search.spec.factors import draws_rule, repeats_of
from lkca_search.spec.search_spec import SearchSpec, with_draws
from lkca_search.spec.sections import ConfirmSection
from lkca_search.spec.space_file import SpaceFile
from lkca_search.tracking.mlflow_tracker import MLflowTracker
from lkca_search.tracking.tracker import Tracker, Trackers
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.testing import open_test_images

_PATIENCE_SECONDS = 60.0
_HURRIED_SECONDS = 5.0
"""How long MLflow is waited for at the end: as a rule, and by a driver that is to end at once."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where a search is driven, and who hears of it."""

    home: Home
    data_dirs: DataDirs
    console: Tracker
    """Hears of every training."""
    notify: Callable[[str], None] = lambda _: None
    """Hears of where trainings are placed, of a driver that is told to end, and of the round that is confirmed."""
    address: str | None = None
    """The Ray cluster; None for one of this machine's own, of `num_cpus` cores."""
    num_cpus: int | None = None
    ledger: str | None = None
    """URL of the ledger's database; None for where it is."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a driver left when it ended by itself."""

    status: SearchStatus
    halt_reason: str | None
    """Why it started nothing further though something is due."""
    num_untracked: int
    """Finished trials and replicates that MLflow lacks."""
    tracking_error: Exception | None
    """Why it lacks them."""


def run_search(space_file: SpaceFile, folder: SearchFolder, context: RunContext) -> RunOutcome:
    """Start a search, or continue it, and drive it to its end, or to where a limit, a request or a signal ends it.

    Where the space file asks for it, the end is the confirmation's. Raises SpaceFileError for a configuration that
    cannot be trained, DataError for data that cannot be had, and SearchError where the search is held by another
    driver, was started otherwise, or cannot be placed. Interrupted where a disk or a database fails.
    """
    spec = space_file.spec
    images = open_train_images(spec.data, context.data_dirs)
    num_classes = len(images.class_names)
    problems = [*find_space_problems(spec, images.shape, num_classes), *find_subset_problems(spec, images.labels)]
    if problems:
        raise space_file.error(problems)
    with _drive(folder.stored_at(spec.storage), context, space_file=space_file) as driver:
        manifests = write_manifests(spec, images, driver.folder)
        queue = Ledger(
            driver.folder,
            spec,
            images.shape,
            num_classes,
            driver.trackers,
            manifests=manifests,
            driver=driver.lease.driver,
            ensure_lease=driver.lease.ensure,
            opened=driver.opened,
        )
        driver.train(queue)
        if spec.confirm is not None and not queue.num_due:
            driver.is_complete, driver.halt_reason = False, queue.halt_reason
            if queue.halt_reason is None:
                sealed = driver.confirm(spec, spec.confirm, images, num_trials_left=0, new_round=False)
                if other := design_conflict(sealed, spec.confirm.model_dump()):
                    context.notify(other)
    return driver.outcome()


def confirm(
    folder: SearchFolder, asked: Mapping[str, int], context: RunContext, *, new_round: bool, unfinished: bool
) -> RunOutcome:
    """Go on with the latest round of a search's confirmation while replicates of it are due, or else open a new one.

    `asked` takes the place of values in the space file's section `confirm`. The first round is opened by itself, a
    further one only as a `new_round`, and of a search with trials that are due only where `unfinished` says so:
    otherwise SearchError, and so where a round that stands has not what is asked. Other errors as `run_search`.
    """
    spec = read_spec(folder)
    repeats = len(repeats_of(spec.factors, spec.exclude))
    section = (spec.confirm or with_draws(ConfirmSection(), repeats)).model_copy(update=asked)
    if rule := draws_rule(repeats, section.draws):
        raise SearchError(rule)
    images = open_train_images(spec.data, context.data_dirs)
    with _drive(folder, context) as driver:
        status = read_status(folder, driver.reader)
        goes_on = bool(status.rounds) and bool(status.rounds[-1].num_left or not new_round)
        if goes_on and (other := design_conflict(read_rounds(folder)[-1], asked)):
            raise SearchError(other)
        if status.num_left and not unfinished and not goes_on:
            rule = f"search {folder.name!r} has {status.num_left} trials left, so cells have not had equal budgets"
            raise SearchError(f"{rule}: finish it, or confirm what there is by --unfinished, which reports disclose")
        driver.confirm(spec, section, images, num_trials_left=status.num_left, new_round=new_round)
        driver.is_complete = driver.is_complete and not status.num_left
    return driver.outcome()


class _Driver:
    """The one driver of a search while it holds its lease."""

    def __init__(self, folder: SearchFolder, lease: Lease, context: RunContext) -> None:
        self.folder = folder
        self.reader = RecordReader(folder)
        """Reads each record once, however often the driver needs all of them."""
        self.lease = lease
        self.opened = time.monotonic()
        self.mlflow = MLflowTracker(lambda: open_store(folder, context.home), folder)
        self.trackers = Trackers([self.mlflow, context.console])
        self.is_complete = False
        """Whether nothing is due any more, as far as it has come."""
        self.halt_reason: str | None = None
        """Why it has started nothing further though something is due."""
        self.best: Record | None = None
        self.patience_seconds = _HURRIED_SECONDS
        self.num_untracked = 0
        self._around = context
        self._is_hurried = False

    def train(self, queue: TrialQueue) -> None:
        """Train all that is due of a book."""
        context = self._around
        stop_controller = StopController(self.lease, halt=queue.halt, notify=context.notify)
        if queue.may_assign:
            run_trials(
                queue,
                context.data_dirs,
                stop_controller,
                notify=context.notify,
                address=context.address,
                num_cpus=context.num_cpus,
            )
        self.is_complete = not queue.num_due
        self._is_hurried = stop_controller.stops_now
        self.halt_reason = queue.halt_reason if queue.num_due else None

    def confirm(
        self,
        spec: SearchSpec,
        section: ConfirmSection,
        images: Images,
        *,
        num_trials_left: int,
        new_round: bool,
    ) -> Round:
        """Train and test the replicates of the round that is due, or stands; return it."""
        sealed = find_or_open_round(
            self.folder,
            spec,
            section,
            self.reader,
            test_hash=open_test_images(spec.data, self._around.data_dirs).content_hash,
            num_trials_left=num_trials_left,
            new_round=new_round,
        )
        queue = Confirmation(
            self.folder,
            spec,
            sealed,
            self.trackers,
            manifests=write_round_manifests(sealed, spec, images, self.folder),
            driver=self.lease.driver,
            ensure_lease=self.lease.ensure,
            opened=self.opened,
            reader=self.reader,
        )
        if queue.num_due:
            num_draws = len(sealed.draws) // max(len(sealed.repeats), 1)
            design = f"{len(sealed.picks)} x {num_draws} x {sealed.num_seeds} configurations, draws and seeds"
            self._around.notify(f"confirmation, round {sealed.number}: {design}, {queue.num_due} replicates to train")
        self.train(queue)
        return sealed

    def close(self) -> None:
        """Write the tables, and note what MLflow is to be told at the end."""
        trials = self.reader.trials()
        write_tables(trials, self.reader.replicates(), self.folder.root)
        self.best = best_record(trials, read_spec(self.folder).search)
        self.patience_seconds = _HURRIED_SECONDS if self._is_hurried else _PATIENCE_SECONDS

    def outcome(self) -> RunOutcome:
        """What it left."""
        return RunOutcome(
            status=read_status(self.folder, self.reader),
            halt_reason=self.halt_reason,
            num_untracked=self.num_untracked,
            tracking_error=self.mlflow.last_error,
        )


@contextmanager
def _drive(folder: SearchFolder, context: RunContext, *, space_file: SpaceFile | None = None) -> Iterator[_Driver]:
    """Hold a search, with its space file committed if one is given; at the end write tables, and tell MLflow."""
    try:
        with hold_lease(folder, context.ledger) as lease:
            if space_file is not None:
                commit_space_file(folder, space_file)
            driver = _Driver(folder, lease, context)
            try:
                yield driver
                driver.close()
            finally:
                driver.num_untracked = driver.mlflow.close(
                    complete=driver.is_complete,
                    best=driver.best,
                    patience_seconds=driver.patience_seconds,
                )
    except STORAGE_FAULTS as error:
        raise Interrupted(f"{type(error).__name__}: {first_line(_origin(error))}") from error


def _origin(error: BaseException) -> BaseException:
    """What an error came from: Optuna says of a full disk that data may be too long."""
    return error if error.__cause__ is None else _origin(error.__cause__)
