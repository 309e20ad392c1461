"""Training a recorded trial again, in this process, and holding its result against the recorded one."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError

from lkca_search.errors import UserError
from lkca_search.paths import write_atomically
from lkca_search.records.record import Record, Result, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.images import DataDirs


class TrialFile(FrozenModel):
    """A trial to be trained again, and what it gave the first time. `best --yaml` writes it, `rerun` reads it."""

    trial_id: str
    search: str
    metric: str
    value: float | None = None
    """The metric as recorded; None for a trial that failed."""
    num_reports: int
    """Results recorded: a pruned trial is trained as far as it came."""
    facts: TrialMetadata | None = None
    """Data, code and machine of the first time; what differs now may explain a difference of the metric."""
    trial: TrialSpec

    @classmethod
    def from_record(cls, record: Record) -> "TrialFile":
        """The trial file of a record; a replicate is compared on validation images, and not tested a second time."""
        is_replicate = record.replicate is not None and bool(record.curve)
        return cls(
            trial_id=record.trial_id,
            search=record.search,
            metric="val_accuracy" if is_replicate else record.metric,
            value=record.curve[-1].val_accuracy if is_replicate else record.value,
            num_reports=len(record.curve),
            facts=record.facts,
            trial=record.spec,
        )

    @classmethod
    def read(cls, path: Path) -> "TrialFile":
        """Read a trial file; UserError if it is none."""
        try:
            # Through JSON, where a list is the only way to write a tuple.
            return cls.model_validate_json(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "file"
            raise UserError(f"{path} is no trial file: {place}: {first['msg'].lower()}") from error
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"cannot read the trial file {path}: {error}") from error

    def to_yaml(self) -> str:
        """The file's text."""
        text: str = yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)
        return text


class RerunOutcome(FrozenModel):
    """What training a trial again gave."""

    trial_id: str
    metric: str
    recorded: float | None
    value: float
    difference: float | None
    """Value less recorded: 0 on the same machine with the same number of threads."""
    changes: tuple[str, ...]
    """Which facts differ from the recorded ones."""


def rerun(
    file: TrialFile, data_dirs: DataDirs, *, on_result: Callable[[Result], None], weights: Path | None = None
) -> RerunOutcome:
    """Train a trial again with the seeds it had, as far as it came; save its weights as a state dict if asked.

    Raises UserError where the data or the configuration cannot be had, TrainingDiverged as the training does.
    """
    configure_torch(num_threads=file.trial.resources.cpu)
    facts, training = open_training(file.trial, data_dirs, device=choose_device(file.trial.resources.gpu))
    value = float("nan")
    for count, result in enumerate(training.results(), start=1):
        on_result(result)
        value = getattr(result, file.metric)
        if count == file.num_reports:
            break
    if weights is not None:
        buffer = io.BytesIO()
        torch.save(training.model.state_dict(), buffer)
        write_atomically(weights, buffer.getvalue())
    return RerunOutcome(
        trial_id=file.trial_id,
        metric=file.metric,
        recorded=file.value,
        value=value,
        difference=None if file.value is None else value - file.value,
        changes=tuple(_changes(file.facts, facts)) if file.facts else (),
    )


def _changes(was: TrialMetadata, now: TrialMetadata) -> Iterator[str]:
    for old, new in ((was, now), (was.provenance, now.provenance)):
        for name, value in old:
            if name != "provenance" and value != getattr(new, name):
                yield f"{name} was {value}, is {getattr(new, name)}"
