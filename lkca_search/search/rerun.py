"""Rerun of a recorded trial in this process, and comparison with the recorded result."""

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
    """Trial to rerun, and its recorded result. `best --yaml` writes this file, and `rerun` reads it."""

    trial_id: str
    search: str
    metric: str
    value: float | None = None
    """Recorded value of the metric; None for a failed trial."""
    num_reports: int
    """Number of recorded results. The rerun ends after the same number."""
    facts: TrialMetadata | None = None
    """Data, code and machine of the recorded training. A change may explain a different value."""
    trial: TrialSpec

    @classmethod
    def from_record(cls, record: Record) -> "TrialFile":
        """Return the trial file of a record. Replicates are compared on validation images, not on test images."""
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
        """Read a trial file.

        Raises:
            UserError: The file cannot be read, or it is not a trial file.
        """
        try:
            # Through JSON, because strict validation accepts a list as a tuple only there.
            return cls.model_validate_json(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "file"
            raise UserError(f"{path} is not a trial file: {key}: {first['msg'].lower()}") from error
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"cannot read the trial file {path}: {error}") from error

    def to_yaml(self) -> str:
        """Return the text of the file."""
        text: str = yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)
        return text


class RerunOutcome(FrozenModel):
    """Result of a rerun."""

    trial_id: str
    metric: str
    recorded: float | None
    value: float
    difference: float | None
    """Value minus recorded value; 0 on the same machine with the same number of threads."""
    changes: tuple[str, ...]
    """Differences of data, code and machine from the recorded training."""


def rerun(
    file: TrialFile, data_dirs: DataDirs, *, on_result: Callable[[Result], None], weights: Path | None = None
) -> RerunOutcome:
    """Train a trial again with its seeds, up to its last recorded result.

    Args:
        file: Trial and its recorded result.
        data_dirs: Folders of the datasets.
        on_result: Called with each result.
        weights: File to which the final weights are saved as a state dict.

    Raises:
        UserError: The data cannot be read, or the configuration breaks a rule.
        TrainingDiverged: The loss is not finite.
    """
    configure_torch(num_threads=file.trial.resources.cpu)
    metadata, training = open_training(file.trial, data_dirs, device=choose_device(file.trial.resources.gpu))
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
        changes=tuple(_list_changes(file.facts, metadata)) if file.facts else (),
    )


def _list_changes(recorded: TrialMetadata, current: TrialMetadata) -> Iterator[str]:
    for old, new in ((recorded, current), (recorded.provenance, current.provenance)):
        for name, value in old:
            if name != "provenance" and value != getattr(new, name):
                yield f"{name} was {value}, is {getattr(new, name)}"
