"""Models of trials that `keep.weights: best` keeps: one per cell, that of its best complete trial."""

from collections.abc import Iterable

from lkca_search.layout import MODEL, WEIGHTS, SearchFolder
from lkca_search.paths import AnyPath, list_paths
from lkca_search.records.model_description import model_folder
from lkca_search.records.objectives import rank_trials, trial_value
from lkca_search.records.record import Record
from lkca_search.spec.search_spec import SearchSpec


class BestModels:
    """Best trial per cell. The model of every other finished trial is removed when a record is durable.

    A worker writes the model of its trial before the record. If a driver dies before it has removed the model of a
    worse trial, the next driver removes it.
    """

    def __init__(self, folder: SearchFolder, spec: SearchSpec, records: Iterable[Record]) -> None:
        """Find the best trials of the recorded ones, and remove the models of all others."""
        self._folder = folder
        self._search = spec.search
        self._best: dict[str, Record] = {}
        recorded = {model_folder(folder, record): record for record in records}
        for record in recorded.values():
            self._choose(record)
        best = {self._folder_of(record) for record in self._best.values()}
        kept = {path.parent for path in list_paths(folder.trials, f"*/*/attempt-*/{WEIGHTS}")}
        for attempt in kept:
            if attempt in recorded and attempt not in best:
                remove_model(attempt)
        self.without_model = [record.trial_id for record in self._best.values() if self._folder_of(record) not in kept]
        """Best trials, one per cell, that had ended before their models were to be kept."""

    def best_value(self, cell: str) -> float | None:
        """Return the value of the leading metric of a cell's best trial; None if no trial is complete."""
        best = self._best.get(cell)
        return None if best is None else trial_value(best, self._search.metrics[0])

    def on_recorded(self, record: Record) -> None:
        """Remove the model of a recorded trial, or that of the trial which it surpasses."""
        if (worse := self._choose(record)) is not None:
            remove_model(self._folder_of(worse))

    def _folder_of(self, record: Record) -> AnyPath:
        return model_folder(self._folder, record)

    def _choose(self, record: Record) -> Record | None:
        """Make a record the best of its cell if it is; return the record that is not, None if there is only one."""
        former = self._best.get(record.cell)
        ranked = rank_trials([record] if former in (None, record) else [former, record], self._search)
        if ranked:
            self._best[record.cell] = ranked[0]
        return next((each for each in (former, record) if each is not None and each not in ranked[:1]), None)


def remove_model(folder: AnyPath) -> None:
    """Remove the model in the folder of an attempt; its weights last, by which it is found."""
    for name in (MODEL, WEIGHTS):
        (folder / name).unlink(missing_ok=True)
