"""Confirmation of a search: the replicates of one round, trained in full and tested once each."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from lkca_search.data.store import Images
from lkca_search.layout import SearchFolder
from lkca_search.records.model_description import ModelOrigin
from lkca_search.records.provenance import LayerBackend
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Pick, Round
from lkca_search.records.search.uid import read_uid
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.search.driver.messages import Assignment, KeepRequest
from lkca_search.search.driver.queue import RunningTrial, TrialQueue
from lkca_search.search.state.manifests import Manifest, save_manifests, split_seed
from lkca_search.seeds import derive_seed
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart


class Confirmation(TrialQueue):
    """Queue of a round's replicates. A replicate that an earlier round has recorded is not trained again."""

    def __init__(
        self,
        folder: SearchFolder,
        spec: SearchSpec,
        round_: Round,
        tracker: Tracker,
        *,
        manifests: Sequence[Manifest] = (),
        driver: int = 1,
        ensure_lease: Callable[[], None] = lambda: None,
        opened: float | None = None,
        reader: RecordReader | None = None,
    ) -> None:
        """Open the queue of a round, with arguments as in `TrialQueue`; `reader` saves reading the records again."""
        super().__init__(
            folder, spec, tracker, manifests=manifests, driver=driver, ensure_lease=ensure_lease, opened=opened
        )
        self.test_hashes = round_.hash_by_dataset
        self._round, self._uid = round_.number, read_uid(folder)
        self._reader = reader or RecordReader(folder)
        with self._reader.listed_once() as listing:
            finished = {record.trial_id: record.state for record in self._reader.replicates()}
        self._unstarted: deque[tuple[Pick, Replication]] = deque()
        for pick, replication in round_.replications():
            if replication.replicate_id in finished:
                self._limits.count(finished[replication.replicate_id])
            else:
                self._unstarted.append((pick, replication))
                self.num_interrupted += replication.replicate_id in listing.replicates.drivers

    @property
    def num_left(self) -> int:
        """Number of unfinished replicates, including those that have not started."""
        return len(self._unstarted) + len(self._pending) + len(self._running)

    def assign(self, resources: TrialResources | None = None) -> Assignment | None:
        """Start the next attempt: a requeued replicate if there is one, else the next of the round."""
        self._ensure_lease()
        self._check_limits()
        if self.halt_reason is not None:
            return None
        if requeued := self._next_pending(has_new=bool(self._unstarted)):
            return self._start_attempt(requeued, resources)
        return self._start_attempt(self._start(*self._unstarted.popleft()), resources) if self._unstarted else None

    def _start(self, pick: Pick, replication: Replication) -> TrialStart:
        return TrialStart(
            trial_id=replication.replicate_id,
            cell=pick.cell,
            number=int(pick.trial_id.rpartition("/")[2]),
            attempt=0,
            spec=TrialSpec(
                data=self.spec.data,
                training=self.spec.training,
                resources=self.spec.resources.of_trial(),
                configuration=pick.configuration.model_copy(update={"draw": replication.draw}),
                seed=derive_seed(self.spec.search.seed, "replicate", replication.draw, replication.seed),
                split_seed=split_seed(self.spec),
                metrics=self.spec.search.measured,
            ),
            started=time.time(),
            replicate=replication,
        )

    def _backends(self, start: TrialStart) -> tuple[LayerBackend, ...]:
        """Return the backends of the trial that is repeated: its replicates then differ by draw and seed alone."""
        assert start.replicate is not None
        record = self._reader.find(start.replicate.of)
        return (record.facts.backends or ()) if record and record.facts else ()

    def _keep_request(self, start: TrialStart) -> KeepRequest | None:
        assert start.replicate is not None
        if self.spec.keep.weights == "none":
            return None
        origin = ModelOrigin(
            search=self.folder.name,
            uid=self._uid,
            cell=start.cell,
            trial_id=start.trial_id,
            round=self._round,
            draw=start.replicate.draw,
            seed=start.replicate.seed,
        )
        return KeepRequest(origin=origin)

    def _should_prune(self, trial: RunningTrial) -> bool:
        return False

    def _metric(self, trial: RunningTrial) -> tuple[str, float | None]:
        name = self.spec.search.definitions[0].test_field
        assert name is not None
        return f"test_{name}", trial.test.value(name) if trial.test and not trial.failure else None

    def _on_recorded(self, record: Record) -> None:
        """Do nothing: no study suggests replicates."""


def write_round_manifests(
    round_: Round, spec: SearchSpec, images: Mapping[str | None, Images], folder: SearchFolder
) -> list[Manifest]:
    """Save a manifest per training subset of a round; raise DataError if a subset cannot be drawn."""
    configurations = dict.fromkeys(
        pick.configuration.model_copy(update={"draw": replication.draw}) for pick, replication in round_.replications()
    )
    return save_manifests(configurations, spec, images, folder)
