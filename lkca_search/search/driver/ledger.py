"""Ledger of a search: its waiting, running and finished trials, exact whenever the driver crashes.

A trial is finished when its record is durable (see `queue`). Opening the ledger tells Optuna every recorded trial
that its studies lack, and requeues every trial that was running. Studies that are lost, or older than the records, are
restored from the trial folders.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from lkca_search.data.store import Images
from lkca_search.errors import UserError
from lkca_search.layout import SearchFolder
from lkca_search.models.registry import resolve
from lkca_search.records.model_description import ModelOrigin
from lkca_search.records.objectives import trial_values
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.search.uid import read_uid
from lkca_search.records.trial import TrialSpec
from lkca_search.search.driver.kept_models import BestModels
from lkca_search.search.driver.limits import Budget
from lkca_search.search.driver.messages import Assignment, KeepRequest
from lkca_search.search.driver.queue import RunningTrial, TrialQueue
from lkca_search.search.driver.trial_files import restore_studies
from lkca_search.search.state.database import find_database
from lkca_search.search.state.manifests import Manifest, split_seed
from lkca_search.search.studies.study import Params, Storage, StoredTrial, open_storage, params_of
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration, ImageShape, Scalar
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart

_MAX_DUPLICATES = 32
"""Number of consecutive duplicate suggestions after which a cell is exhausted."""


class Ledger(TrialQueue):
    """Queue of a search's trials. Optuna studies, one per cell, suggest new ones."""

    def __init__(
        self,
        folder: SearchFolder,
        spec: SearchSpec,
        shape: ImageShape,
        num_classes: int,
        tracker: Tracker,
        *,
        manifests: Sequence[Manifest] = (),
        driver: int = 1,
        ensure_lease: Callable[[], None] = lambda: None,
        opened: float | None = None,
        storage: Storage | None = None,
        reader: RecordReader | None = None,
        images: Mapping[str | None, Images] | None = None,
    ) -> None:
        """Open the ledger, restore studies that do not match the trial folders, and recover earlier trials.

        `shape` and `num_classes` are those of the images, unless their dataset is in `images`, by its level of the
        factor `dataset`. `storage` is the Optuna storage; if None, the ledger's own database. `reader` saves reading
        the records again. Other arguments as in `TrialQueue`.
        """
        super().__init__(
            folder, spec, tracker, manifests=manifests, driver=driver, ensure_lease=ensure_lease, opened=opened
        )
        self._shapes = {level: (opened.shape, len(opened.class_names)) for level, opened in (images or {}).items()}
        self._shape = shape, num_classes
        self._uid = read_uid(folder)
        storage = storage or open_storage(find_database(folder))
        reader = reader or RecordReader(folder)
        with reader.listed_once():
            records = {record.trial_id: record for record in reader.trials()}
            self._studies, self.restored = restore_studies(folder, spec, storage, reader)
        """Study of each cell, and a line per study that did not match the trial folders and was restored from them."""
        self._budget = Budget(folder, spec)
        self._best_models = BestModels(folder, spec, records.values()) if spec.keep.weights == "best" else None
        self.notes = [*self.restored, *self._describe_missing_models()]
        """Lines for the user on the opened ledger."""
        self._first_of: dict[str, dict[Params, int]] = {cell: {} for cell in self._studies}
        """Per cell, the number of the first trial with given parameters."""
        self._recover(records)

    @property
    def num_left(self) -> int:
        """Number of unfinished trials, including those that have not started."""
        return self._budget.num_unstarted + len(self._pending) + len(self._running)

    def _describe_missing_models(self) -> list[str]:
        missing = self._best_models.without_model if self._best_models is not None else []
        if not missing:
            return []
        command = f"lkca-search rerun {self.folder.name} --trial '{missing[0]}' --save FOLDER"
        rule = "keep.weights: best keeps models of trainings that end from now on"
        return [f"{rule}; cells whose best trial has none: {len(missing)}; to train one again: {command}"]

    def exhaust(self, cell: str) -> None:
        """Start no new trial in a cell, under this driver and all later ones."""
        self._budget.exhaust(cell)

    def assign(self, resources: TrialResources | None = None) -> Assignment | None:
        """Start the next attempt: a requeued trial if there is one, else a new trial in the cell with the fewest."""
        self._ensure_lease()
        self._check_limits()
        while self.halt_reason is None:
            cell = self._budget.next_cell
            if requeued := self._next_pending(has_new=cell is not None):
                return self._start_attempt(requeued, resources)
            if cell is None:
                return None
            start = self._suggest(cell)
            if start is not None:
                return self._start_attempt(start, resources)
            self.exhaust(cell)
        return None

    def _suggest(self, cell: str) -> TrialStart | None:
        """Return a new trial of a cell; None if its sampler suggests only duplicates."""
        for _ in range(_MAX_DUPLICATES):
            if self._studies[cell].is_exhausted:
                return None
            number, chosen = self._studies[cell].ask()
            if not self._end_if_duplicate(cell, number):
                self._budget.start(cell)
                return self._start(cell, number, chosen, time.time())
        return None

    def _end_if_duplicate(self, cell: str, number: int) -> bool:
        """Return True if an earlier trial of the cell has the same parameters; end the trial in that case."""
        study = self._studies[cell]
        first = self._first_of[cell].setdefault(study.params(number), number)
        if first != number:
            study.tell_duplicate(number, of=first)
        return first != number

    def _should_prune(self, trial: RunningTrial) -> bool:
        _, value = self._metric(trial)
        assert value is not None
        return self._studies[trial.start.cell].report(trial.start.number, len(trial.curve), value)

    def _metric(self, trial: RunningTrial) -> tuple[str, float | None]:
        metric = self.spec.search.metrics[0]
        return metric, None if trial.failure else trial.curve[-1].value(metric)

    def _keep_request(self, start: TrialStart) -> KeepRequest | None:
        if self._best_models is None:
            return None
        draw = start.spec.configuration.draw
        origin = ModelOrigin(
            search=self.folder.name, uid=self._uid, cell=start.cell, trial_id=start.trial_id, draw=draw
        )
        return KeepRequest(origin=origin, at_least=self._best_models.best_value(start.cell))

    def _on_recorded(self, record: Record) -> None:
        if self._best_models is not None:
            self._best_models.on_recorded(record)
        self._studies[record.cell].tell(record.number, record.state, trial_values(record, self.spec.search))
        self._budget.finish(record.cell, record.state, record.value)

    def _recover(self, records: Mapping[str, Record]) -> None:
        """Tell the studies every recorded trial that they lack, end unfinished duplicates, and requeue other trials."""
        for cell, study in self._studies.items():
            trials = [trial for trial in study.trials() if not study.is_left_out(trial)]
            finished = [trial for trial in trials if trial.state.is_finished()]
            for frozen in sorted(finished, key=lambda trial: trial.datetime_complete or datetime.max):
                state = State[frozen.state.name]
                self._limits.count(state)
                self._budget.finish(cell, state, frozen.values[0] if frozen.values else None)
            for frozen in sorted(trials, key=study.is_gap):  # gaps last: they use what is left of the budget
                number = frozen.number
                record = records.get(f"{cell}/{number}")
                if frozen.state.is_finished() or record is not None:
                    self._first_of[cell].setdefault(params_of(frozen), number)
                if not frozen.state.is_finished() and record is not None:
                    self._commit(record)
                elif not frozen.state.is_finished() and not self._resume(cell, frozen):
                    continue
                self._budget.start(cell)

    def _resume(self, cell: str, frozen: StoredTrial) -> bool:
        """Requeue an unfinished trial; return False if it ends instead, as a duplicate or as a gap without budget."""
        study, number = self._studies[cell], frozen.number
        if study.is_gap(frozen) and not self._budget.has_unstarted(cell):
            study.close_gap(number)
            return False
        started = frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
        is_new = study.is_gap(frozen)
        chosen = study.resume(frozen)
        if self._end_if_duplicate(cell, number):
            return False
        self._pending.append(self._start(cell, number, chosen, started))
        self.num_interrupted += not is_new
        return True

    def _start(self, cell: str, number: int, chosen: dict[str, Scalar], started: float) -> TrialStart:
        configuration = Configuration.model_validate(chosen)
        try:
            configuration = resolve(configuration, *self._shapes.get(configuration.dataset, self._shape))
        except UserError:
            pass  # the worker raises the same error and reports it as an error of the trial
        spec = TrialSpec(
            data=self.spec.data,
            training=self.spec.training,
            resources=self.spec.resources.of_trial(),
            configuration=configuration,
            seed=derive_seed(self.spec.search.seed, "trial", number, *filter(None, (configuration.draw,))),
            split_seed=split_seed(self.spec),
            metrics=self.spec.search.measured,
        )
        return TrialStart(trial_id=f"{cell}/{number}", cell=cell, number=number, attempt=0, spec=spec, started=started)
