"""Records of trials that are trained in this process, and reruns of them."""

from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from lkca_search.records.record import Record, Result, State
from lkca_search.records.rerun import Repeated, RerunRecord
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.retraining import RecordedTraining, open_rerun
from lkca_search.search.rerun.retraining import train as train_opened
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.weights_hash import weights_hash
from tests.support.records import make_record

SPEC: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "training": {"epochs": 2, "batch_size": 64},
    "resources": {"cpu": 1},
    "configuration": {
        "family": "lkca",
        "images_per_class": 13,  # 130 images, whose last batch has two
        "patch_size": 2,
        "depth": 1,
        "width": 16,
        "learning_rate": 0.01,
    },
    "seed": 3,
    "split_seed": 7,
}


def train(
    data_dirs: DataDirs, *, state: State = State.COMPLETE, num_results: int | None = None, **changes: Any
) -> Record:
    """Train a trial and return its record; a pruned trial ends after `num_results`."""
    spec = TrialSpec.model_validate(SPEC | changes)
    configure_torch(num_threads=1)
    metadata, training = open_training(spec, data_dirs, device=choose_device(0))
    curve = tuple(islice(training.results(), num_results))
    if state is State.COMPLETE:
        metadata = metadata.model_copy(update={"weights_hash": weights_hash(training.evaluated_model)})
    value = curve[-1].val_accuracy if state is State.COMPLETE else None
    return make_record(state=state, spec=spec, facts=metadata, curve=curve, value=value)


def rerun(
    recorded: RecordedTraining | TrialFile,
    data_dirs: DataDirs,
    *,
    allowed: Collection[str] = (),
    on_result: Callable[[Result], None] = lambda _: None,
) -> RerunRecord:
    """Open and train a rerun."""
    if isinstance(recorded, TrialFile):
        repeats = Repeated(search=recorded.search, trial_id=recorded.trial_id)
        recorded = RecordedTraining(file=recorded, repeats=repeats)
    return train_opened(open_rerun(recorded, data_dirs, allowed=allowed), on_result=on_result)
