"""Commands `run` and `confirm`: train all trials of a search, and the replicates of its confirmation."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lkca_search.data.store import Images
from lkca_search.errors import Interrupted, SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.looks import read_looks, register_looks
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Round, read_rounds
from lkca_search.records.tables import write_tables
from lkca_search.search.driver.confirmation import Confirmation, write_round_manifests
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.rounds import design_conflict, find_or_open_round
from lkca_search.search.driver.stopping import StopController
from lkca_search.search.ray_backend.runner import run_trials
from lkca_search.search.state.best_trials import best_record
from lkca_search.search.state.database import first_line
from lkca_search.search.state.dataset import commit_search, describe_dataset, with_located_dataset
from lkca_search.search.state.lease import Lease, hold_lease
from lkca_search.search.state.manifests import write_manifests
from lkca_search.search.state.resume import find_spec, read_spec
from lkca_search.search.state.status import SearchStatus, read_status
from lkca_search.search.studies.space_check import check_space
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

_MLFLOW_SECONDS = 60.0
"""Time for MLflow to receive the last updates."""
_MLFLOW_SECONDS_ON_STOP = 5.0
"""Time for the same if the driver fails or must stop now."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Machine, cluster and terminal that a search runs on."""

    home: Home
    """Home of all searches."""
    data_dirs: DataDirs
    """Folders of images, on every node."""
    console: Tracker
    """Tracker that shows progress in the terminal."""
    reader: RecordReader | None = None
    """Reader that has read the search's records already; None for a new one."""
    notify: Callable[[str], None] = lambda _: None
    """Function that prints a line for the user: waiting trials, a stop, the round that is confirmed."""
    address: str | None = None
    """Address of the Ray cluster; None for a local one."""
    num_cpus: int | None = None
    """Cores of the local cluster; None for all."""
    ledger: str | None = None
    """URL of the ledger's database; None for its present one, or SQLite in a new search."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """State of a search after its driver has ended."""

    status: SearchStatus
    """Status of the search."""
    halt_reason: str | None
    """Reason for starting no further trial; None if no trial is left."""
    num_untracked: int
    """Number of finished trials and replicates that MLflow lacks."""
    tracking_error: Exception | None
    """Latest error of MLflow; None if there was none."""


def run_search(space_file: SpaceFile, folder: SearchFolder, context: RunContext) -> RunOutcome:
    """Start or resume a search; train until no trial is left, or until a limit, a request or a signal ends it.

    If the space file has a section `confirm`, its confirmation follows.

    Raises:
        SpaceFileError: A configuration of the space cannot be trained.
        DataError: The dataset cannot be read.
        SearchError: Another driver holds the search, its space file differs from the one it was started with, or no
            node can run a trial.
        Interrupted: A disk or a database failed.
    """
    folder = folder.with_storage(space_file.spec.storage)
    space_file = with_located_dataset(space_file, folder)
    spec = space_file.spec
    images = open_train_images(spec.data, context.data_dirs)
    check_space(space_file, images, started=find_spec(folder))
    with _open_driver(folder, context, spec, images, space_file=space_file) as driver:
        manifests = write_manifests(spec, images, driver.folder)
        queue = Ledger(
            driver.folder,
            spec,
            images.shape,
            len(images.class_names),
            driver.trackers,
            manifests=manifests,
            driver=driver.lease.driver,
            ensure_lease=driver.lease.ensure,
            opened=driver.opened,
        )
        driver.train(queue, images)
        if spec.confirm is not None and not queue.num_left:
            driver.is_complete, driver.halt_reason = False, queue.halt_reason
            if queue.halt_reason is None:
                current = driver.confirm(spec, spec.confirm, images, num_trials_left=0, new_round=False)
                if conflict := design_conflict(current, spec.confirm.model_dump()):
                    context.notify(conflict)
    return driver.outcome()


def confirm(
    folder: SearchFolder, requested: Mapping[str, int], context: RunContext, *, new_round: bool, unfinished: bool
) -> RunOutcome:
    """Confirm a search: resume its latest round of confirmation, or seal and train a new one.

    Args:
        folder: Folder of the search.
        requested: Values that override the section `confirm` of the space file.
        context: Machine, cluster and terminal.
        new_round: Seal a new round if the latest one is finished. The first round is sealed in any case.
        unfinished: Allow a new round before all trials of the search are finished.

    Raises:
        SearchError: The search is not finished, or the resumed round differs from `requested`. Other errors as in
            `run_search`.
    """
    spec = read_spec(folder)
    repeats = len(repeats_of(spec.factors, spec.exclude))
    section = (spec.confirm or with_draws(ConfirmSection(), repeats)).model_copy(update=requested)
    if rule := draws_rule(repeats, section.draws):
        raise SearchError(rule)
    images = open_train_images(spec.data, context.data_dirs)
    with _open_driver(folder, context, spec, images) as driver:
        status = read_status(folder, driver.reader)
        resumes = bool(status.rounds) and bool(status.rounds[-1].num_left or not new_round)
        if resumes and (conflict := design_conflict(read_rounds(folder)[-1], requested)):
            raise SearchError(conflict)
        if status.num_left and not unfinished and not resumes:
            rule = f"search {folder.name!r} must be finished, got {status.num_left} unfinished trials"
            raise SearchError(
                f"{rule}: cells have unequal budgets. Run it to its end, or use --unfinished; reports then state this"
            )
        driver.confirm(spec, section, images, num_trials_left=status.num_left, new_round=new_round)
        driver.is_complete = driver.is_complete and not status.num_left
    return driver.outcome()


class _Driver:
    """Driver of a search while it holds the lease."""

    def __init__(self, folder: SearchFolder, lease: Lease, context: RunContext) -> None:
        self.folder = folder
        self.reader = context.reader or RecordReader(folder)
        """Reader of all records. Repeated calls read each record once."""
        self.lease = lease
        self.opened = time.monotonic()
        self.mlflow = MLflowTracker(lambda: open_store(folder, context.home), folder)
        self.trackers = Trackers([self.mlflow, context.console])
        self.is_complete = False
        """True if no trial is left in the queues trained so far."""
        self.halt_reason: str | None = None
        """Reason for starting no further trial; None if no trial is left."""
        self.best: Record | None = None
        self.mlflow_seconds = _MLFLOW_SECONDS_ON_STOP
        self.num_untracked = 0
        self._context = context
        self._stopped_now = False

    def train(self, queue: TrialQueue, images: Images) -> None:
        """Train all unfinished trials of a queue, unless a limit or a stop ends the driver."""
        context = self._context
        stop_controller = StopController(self.lease, halt=queue.halt, notify=context.notify)
        if queue.may_assign:
            run_trials(
                queue,
                context.data_dirs,
                stop_controller,
                images=images,
                notify=context.notify,
                address=context.address,
                num_cpus=context.num_cpus,
            )
        self.is_complete = not queue.num_left
        self._stopped_now = stop_controller.stops_now
        self.halt_reason = queue.halt_reason if queue.num_left else None

    def confirm(
        self,
        spec: SearchSpec,
        section: ConfirmSection,
        images: Images,
        *,
        num_trials_left: int,
        new_round: bool,
    ) -> Round:
        """Train and test the unfinished replicates of the latest round, or of a new one; return the round."""
        current = find_or_open_round(
            self.folder,
            spec,
            section,
            self.reader,
            test_hash=open_test_images(spec.data, self._context.data_dirs, train=images).content_hash,
            num_trials_left=num_trials_left,
            new_round=new_round,
        )
        register_looks(self.folder, self._context.home)  # before any replicate is tested
        queue = Confirmation(
            self.folder,
            spec,
            current,
            self.trackers,
            manifests=write_round_manifests(current, spec, images, self.folder),
            driver=self.lease.driver,
            ensure_lease=self.lease.ensure,
            opened=self.opened,
            reader=self.reader,
        )
        if queue.num_left:
            num_draws = len(current.draws) // max(len(current.repeats), 1)
            design = f"{len(current.picks)} x {num_draws} x {current.num_seeds} configurations, draws and seeds"
            self._context.notify(
                f"confirmation, round {current.number}: {design}, {queue.num_left} replicates to train"
            )
            num_rounds = read_looks(self._context.home, current.test_hash).num_rounds
            self._context.notify(
                "uses of these test images in this home, this round included: "
                f"rounds {num_rounds.total()}, searches {len(num_rounds)}"
            )
        self.train(queue, images)
        return current

    def close(self) -> None:
        """Write the tables, and read the best trial for MLflow."""
        trials = self.reader.trials()
        write_tables(trials, self.reader.replicates(), self.folder.root)
        self.best = best_record(trials, read_spec(self.folder).search)
        self.mlflow_seconds = _MLFLOW_SECONDS_ON_STOP if self._stopped_now else _MLFLOW_SECONDS

    def outcome(self) -> RunOutcome:
        """Return the state of the search."""
        return RunOutcome(
            status=read_status(self.folder, self.reader),
            halt_reason=self.halt_reason,
            num_untracked=self.num_untracked,
            tracking_error=self.mlflow.last_error,
        )


@contextmanager
def _open_driver(
    folder: SearchFolder,
    context: RunContext,
    spec: SearchSpec,
    images: Images,
    *,
    space_file: SpaceFile | None = None,
) -> Iterator[_Driver]:
    """Hold the lease of a search while its trials train; then write the tables and end the runs in MLflow.

    Commit the dataset first, and `space_file` if it is given.
    """
    dataset = describe_dataset(spec.data.dataset, images)
    try:
        with hold_lease(folder, context.ledger) as lease:
            commit_search(folder, dataset, context.reader or RecordReader(folder), space_file)
            if dataset.shortage is not None:
                context.notify(f"{dataset.dataset}: {dataset.shortage}")
            driver = _Driver(folder, lease, context)
            try:
                yield driver
                driver.close()
            finally:
                driver.num_untracked = driver.mlflow.close(
                    complete=driver.is_complete,
                    best=driver.best,
                    patience_seconds=driver.mlflow_seconds,
                )
    except STORAGE_FAULTS as error:
        raise Interrupted(f"{type(error).__name__}: {first_line(_root_cause(error))}") from error


def _root_cause(error: BaseException) -> BaseException:
    """Return the first cause of an error. Optuna hides a full disk behind a message about long values."""
    return error if error.__cause__ is None else _root_cause(error.__cause__)
