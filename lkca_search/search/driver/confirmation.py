"""The confirmation of a search: the replicates of one round, trained in full and tested once each."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from lkca_search.data.store import Images
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Pick, Round, read_rounds, round_statuses
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.search.driver.messages import Assignment
from lkca_search.search.driver.queue import RunningTrial, TrialQueue
from lkca_search.search.driver.sealing import open_round
from lkca_search.search.state.manifests import Manifest, save_manifests, split_seed
from lkca_search.seeds import derive_seed
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.tracking.tracker import Tracker, TrialStart


class Confirmation(TrialQueue):
    """The book of a round's replicates. One that another round has left behind already is not trained again."""

    def __init__(
        self,
        folder: SearchFolder,
        spec: SearchSpec,
        sealed: Round,
        tracker: Tracker,
        *,
        manifests: Sequence[Manifest] = (),
        driver: int = 1,
        ensure_lease: Callable[[], None] = lambda: None,
        opened: float | None = None,
        reader: RecordReader | None = None,
    ) -> None:
        super().__init__(
            folder, spec, tracker, manifests=manifests, driver=driver, ensure_lease=ensure_lease, opened=opened
        )
        self.test_hash = sealed.test_hash
        finished = {record.trial_id: record.state for record in (reader or RecordReader(folder)).replicates()}
        self._unstarted: deque[tuple[Pick, Replication]] = deque()
        for pick, replication in sealed.replications():
            if replication.replicate_id in finished:
                self._limits.count(finished[replication.replicate_id])
            else:
                self._unstarted.append((pick, replication))

    @property
    def num_due(self) -> int:
        """Replicates that are not finished yet, those that have not started included."""
        return len(self._unstarted) + len(self._waiting) + len(self._live)

    def assign(self) -> Assignment | None:
        """Hand out the next replicate: one whose worker died, else the next of the round."""
        self._ensure_lease()
        self._check_limits()
        if self.halt_reason is not None:
            return None
        if self._waiting:
            return self._assign(self._waiting.popleft())
        return self._assign(self._start(*self._unstarted.popleft())) if self._unstarted else None

    def _start(self, pick: Pick, replication: Replication) -> TrialStart:
        return TrialStart(
            trial_id=replication.replicate_id,
            cell=pick.cell,
            number=int(pick.trial_id.rpartition("/")[2]),
            attempt=0,
            spec=TrialSpec(
                data=self.spec.data,
                training=self.spec.training,
                resources=self.held,
                configuration=pick.configuration.model_copy(update={"draw": replication.draw}),
                seed=derive_seed(self.spec.search.seed, "replicate", replication.draw, replication.seed),
                split_seed=split_seed(self.spec),
            ),
            started=time.time(),
            replicate=replication,
        )

    def _prunes(self, live: RunningTrial) -> bool:
        return False

    def _value(self, live: RunningTrial) -> tuple[str, float | None]:
        return "test_accuracy", live.test.accuracy if live.test and not live.error else None

    def _tell(self, record: Record) -> None:
        """Nothing: no replicate decides on another."""


def find_or_open_round(
    folder: SearchFolder,
    spec: SearchSpec,
    section: ConfirmSection,
    reader: RecordReader,
    *,
    test_hash: str,
    num_trials_left: int,
    new_round: bool,
) -> Round:
    """The latest round while its replicates are due, or where no new one is wanted; else a new one, sealed now.

    SearchError where the test images are others than those of earlier rounds, or nothing can be frozen.
    """
    rounds, records = read_rounds(folder), reader.trials()
    for earlier in rounds:
        if earlier.test_hash != test_hash:
            rule = f"round {earlier.number} was tested on other images"
            raise SearchError(f"{rule}: their hash is {earlier.test_hash}, that of these is {test_hash}")
    if rounds and (not new_round or round_statuses(folder, num_trials=len(records), reader=reader)[-1].num_left):
        return rounds[-1]
    return open_round(folder, spec, section, records, test_hash=test_hash, num_trials_left=num_trials_left)


def design_conflict(sealed: Round, asked: Mapping[str, int]) -> str | None:
    """In what a round that stands differs from the draws, seeds and configurations that are asked for, in words."""
    has = {"draws": len(sealed.draws), "seeds": sealed.num_seeds, "top": sealed.top}
    other = [f"{name} {has[name]}, not {value}" for name, value in asked.items() if value != has[name]]
    if not other:
        return None
    return f"round {sealed.number} is sealed with {' and '.join(other)}: --new-round seals another, once it is finished"


def write_round_manifests(sealed: Round, spec: SearchSpec, images: Images, folder: SearchFolder) -> list[Manifest]:
    """Save a manifest of each subset that a round trains on; DataError if one cannot be drawn."""
    configurations = dict.fromkeys(
        pick.configuration.model_copy(update={"draw": replication.draw}) for pick, replication in sealed.replications()
    )
    return save_manifests(configurations, spec, images, folder)
