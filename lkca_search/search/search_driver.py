"""Driver of one search while it holds the lease: places, trains and confirms on one session with Ray."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from lkca_search.data.store import Images
from lkca_search.errors import Interrupted
from lkca_search.faults import explain_fault, first_line
from lkca_search.layout import SearchFolder
from lkca_search.records.inspection.kernel_table import write_kernels
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Round, read_rounds
from lkca_search.records.search.dataset import list_shortages
from lkca_search.records.search.looks import read_looks, register_looks
from lkca_search.records.stored_spec import find_spec, read_spec
from lkca_search.records.tables import write_tables
from lkca_search.search.description import describe_search
from lkca_search.search.driver.confirmation import Confirmation, write_round_manifests
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.rounds import find_or_open_round
from lkca_search.search.driver.stopping import StopController, check_start, interrupts_start
from lkca_search.search.health.repair import set_aside_damaged
from lkca_search.search.ray_backend.placement import Placement
from lkca_search.search.ray_backend.runner import place, run_trials
from lkca_search.search.ray_backend.session import RaySession
from lkca_search.search.received_runs import note_received
from lkca_search.search.registration import register_confirmed
from lkca_search.search.run_context import RunContext, RunOutcome
from lkca_search.search.state.best_trials import best_of_search
from lkca_search.search.state.dataset import check_search, commit_search, describe_datasets
from lkca_search.search.state.lease import Lease
from lkca_search.search.state.status import read_status
from lkca_search.search.studies.driver_storage import STORAGE_FAULTS
from lkca_search.search.sync import open_store
from lkca_search.spec.factors import one_draw_note
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.spec.space_file import SpaceFile
from lkca_search.tracking.connection import set_client_variables
from lkca_search.tracking.mlflow_tracker import MLflowTracker
from lkca_search.tracking.tracker import Trackers
from lkca_search.training.testing import open_all_test_images

MLFLOW_SECONDS = 60.0
"""Time for MLflow to receive the last updates."""
_MLFLOW_SECONDS_ON_STOP = 5.0
"""Time for the same if the driver fails or must stop now."""


class SearchDriver:
    """Driver of a search while it holds the lease."""

    def __init__(self, folder: SearchFolder, lease: Lease, context: RunContext, session: RaySession) -> None:
        """Create a driver that has committed nothing and sends nothing to MLflow."""
        self.folder = folder
        self.reader = context.reader or RecordReader(folder)
        """Reader of all records. Repeated calls read each record once."""
        self.lease = lease
        self.opened = time.monotonic()
        self.trackers = Trackers([context.console])
        self.mlflow: MLflowTracker | None = None
        """Tracker of MLflow; None until the search is committed."""
        self.is_complete = False
        """True if no trial is left in the queues trained so far."""
        self.halt_reason: str | None = None
        """Reason for starting no further trial; None if no trial is left."""
        self.best: Record | None = None
        self.mlflow_seconds = _MLFLOW_SECONDS_ON_STOP
        self.num_untracked = 0
        self._context = context
        self._session = session
        self._placements: dict[frozenset[str], Placement] = {}
        """Placement of the trials, and of the replicates by the hashes of their test images."""
        self._stopped_now = False
        self._registers = False
        """True if the confirmed models are registered at the end: the driver has neither failed nor must stop now."""

    def open_mlflow(self) -> None:
        """Send to MLflow from now on."""
        home, notify = self._context.home, self._context.notify
        reader = RecordReader(self.folder)  # that of the driver has the listing of another thread
        self.mlflow = MLflowTracker(
            lambda: open_store(self.folder, home, trusts_mark=True),
            self.folder,
            reader,
            notify=notify,
            describe=partial(describe_search, self.folder, reader),
        )
        self.trackers = Trackers([self.mlflow, self._context.console])

    def place(
        self,
        spec: SearchSpec,
        images: Mapping[str | None, Images],
        *,
        test_hashes: Mapping[str | None, str] | None = None,
    ) -> Placement:
        """Place the trials of a search on the cluster, or with `test_hashes` its replicates; start Ray if needed."""
        key = frozenset((test_hashes or {}).values())
        if key not in self._placements:
            with interrupts_start():
                self._placements[key] = place(
                    self._session,
                    spec,
                    self.folder.trials,
                    self._context.data_dirs,
                    images=images,
                    test_hashes=test_hashes,
                    check_start=lambda: check_start(self.lease),
                )
        return self._placements[key]

    def train(self, queue: TrialQueue, images: Mapping[str | None, Images]) -> None:
        """Train all unfinished trials of a queue, unless a limit or a stop ends the driver."""
        context = self._context
        stop_controller = StopController(self.lease, halt=queue.halt, notify=context.notify)
        if queue.may_assign:
            placement = self.place(queue.spec, images, test_hashes=queue.test_hashes)
            if queue.num_interrupted:
                noun = "replicate" if queue.test_hashes else "trial"
                context.notify(
                    f"resuming {queue.num_interrupted} interrupted {noun}{'s' * (queue.num_interrupted > 1)}"
                )
            run_trials(queue, context.data_dirs, stop_controller, self._session, placement)
        self.is_complete = not queue.num_left
        self._stopped_now = stop_controller.stops_now
        self.halt_reason = queue.halt_reason if queue.num_left else None

    def confirm(
        self,
        spec: SearchSpec,
        section: ConfirmSection,
        images: Mapping[str | None, Images],
        *,
        num_trials_left: int,
        new_round: bool,
    ) -> Round:
        """Train and test the unfinished replicates of the latest round, or of a new one; return the round."""
        tested = open_all_test_images(spec, self._context.data_dirs, train=images, verify=True)
        test_hashes = {level: opened.content_hash for level, opened in tested.items()}
        if new_round or not read_rounds(self.folder):
            self.place(spec, images, test_hashes=test_hashes)  # a round is sealed only where it can be trained
        current = find_or_open_round(
            self.folder,
            spec,
            section,
            self.reader,
            test_hashes=test_hashes,
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
                f"confirmation, round {current.number}: {design}, {queue.num_left} replicates to train, "
                f"tests at the level {current.alpha:.2g}"
            )
            if note := one_draw_note(len(current.draws)):
                self._context.notify(f"! {note}")
            history = read_looks(self._context.home, *current.hash_by_dataset.values())
            self._context.notify(history.describe())
        self.trackers.round_started(current)
        self.train(queue, images)
        return current

    def close(self) -> None:
        """Write the tables, and read the best trial for MLflow."""
        with self.reader.listed_once():
            trials, replicates = self.reader.trials(), self.reader.replicates()
        write_tables(trials, replicates, self.folder.root, only_changed=True)
        write_kernels(self.folder, replicates, self.folder.root)
        self.best = best_of_search(trials, read_spec(self.folder))
        self.mlflow_seconds = _MLFLOW_SECONDS_ON_STOP if self._stopped_now else MLFLOW_SECONDS
        self._registers = not self._stopped_now

    def end(self) -> None:
        """End the runs in MLflow, register the confirmed models unless the driver must stop, and free the lease."""
        try:
            if self.mlflow is not None:
                self.num_untracked = self.mlflow.close(
                    complete=self.is_complete,
                    best=self.best,
                    patience_seconds=self.mlflow_seconds,
                    register=(lambda store: register_confirmed(store, self.folder, self.reader))
                    if self._registers
                    else None,
                    describe=partial(describe_search, self.folder, self.reader) if self._registers else None,
                )
                if self.is_complete and self._registers and not self.num_untracked and self.mlflow.last_fault is None:
                    note_received(self.folder, self._context.home, self.reader)
        finally:
            self.lease.release()

    def abandon(self) -> None:
        """End as `end` does before the process exits by a fault; the display leaves the terminal first."""
        self.trackers.abandoned()
        self.end()

    def outcome(self) -> RunOutcome:
        """Return the state of the search."""
        return RunOutcome(
            status=read_status(self.folder, self.reader),
            halt_reason=self.halt_reason,
            num_untracked=self.num_untracked,
            tracking_fault=self.mlflow.last_fault if self.mlflow else None,
            is_fault_told=self.mlflow is not None and self.mlflow.is_told,
        )


@contextmanager
def open_driver(
    folder: SearchFolder,
    lease: Lease,
    context: RunContext,
    spec: SearchSpec,
    images: Mapping[str | None, Images],
    *,
    space_file: SpaceFile | None = None,
) -> Iterator[SearchDriver]:
    """Yield the driver of a search; at the end, write the tables, end Ray and the runs in MLflow, and free the lease.

    Commit the datasets first, and `space_file` if it is given and its trials can be placed.
    """
    datasets = describe_datasets(spec, images)
    set_client_variables()
    session = context.session or RaySession(address=context.address, num_cpus=context.num_cpus, notify=context.notify)
    driver = SearchDriver(folder, lease, context, session)
    reader = driver.reader
    session.abandon = driver.abandon
    try:
        with session:
            set_aside_damaged(folder, reader, context.notify)
            check_search(folder, datasets, reader, space_file)
            if space_file is not None and find_spec(folder) != spec:
                driver.place(spec, images)
            commit_search(folder, datasets, reader, space_file)
            for line in list_shortages(datasets.values()):
                context.notify(line)
            driver.open_mlflow()
            try:
                yield driver
                driver.close()
            finally:
                session.end()
                driver.end()
    except STORAGE_FAULTS as error:
        raise explain_fault(error) or Interrupted(f"{type(error).__name__}: {first_line(error)}") from error
