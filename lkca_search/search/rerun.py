"""Rerun of a recorded trial in this process, and comparison with the recorded result."""

import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from lkca_search.errors import UserError
from lkca_search.paths import write_atomically
from lkca_search.records.provenance import Provenance
from lkca_search.records.record import Record, Result, State, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel, find_differences
from lkca_search.spec.configuration import SECTIONS
from lkca_search.spec.metrics import name_of
from lkca_search.spec.reading.limits import Limits
from lkca_search.spec.reading.text_file import read_text_file
from lkca_search.spec.reading.yaml_reader import YamlReader
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import TrainingDiverged

_TRAINING = (
    *("planned_steps", "num_parameters", "num_train_images", "num_validation_images"),
    *("data_hash", "subset_hash", "validation_hash"),
)
"""Metadata that a repeat has in common with the recorded training, whatever the code and the machine."""


class TrialFile(FrozenModel):
    """Trial to rerun, and its recorded result. `best --yaml` writes this file, and `rerun` reads it."""

    trial_id: str
    search: str
    metric: str
    value: float | None = None
    """Recorded value of the metric; None for a failed trial."""
    num_reports: int
    """Number of recorded results."""
    state: State | None = None
    """Final state. The rerun of a pruned trial ends where the trial was pruned. None in files of earlier versions."""
    facts: TrialMetadata | None = None
    """Data, code and machine of the recorded training. A change may explain a different value."""
    trial: TrialSpec
    """Training of the rerun. It can be edited; the rerun is then not a repeat of the recorded training."""
    recorded_trial: TrialSpec | None = None
    """Training that was recorded, to find the edits; None in files of earlier versions."""

    @classmethod
    def from_record(cls, record: Record) -> "TrialFile":
        """Return the trial file of a record. Replicates are compared on validation images, not on test images."""
        is_replicate, leading = record.replicate is not None and bool(record.curve), name_of(record.spec.metrics[0])
        return cls(
            trial_id=record.trial_id,
            search=record.search,
            metric=leading if is_replicate else record.metric,
            value=record.curve[-1].value(leading) if is_replicate else record.value,
            num_reports=len(record.curve),
            state=record.state,
            facts=record.facts,
            trial=record.spec,
            recorded_trial=record.spec,
        )

    @classmethod
    def read(cls, path: Path) -> "TrialFile":
        """Read a trial file.

        Raises:
            UserError: The file cannot be read, or it is not a trial file.
        """
        try:
            limits = Limits.from_environment()
            text = read_text_file(path, limits, kind="trial file")
            plain = YamlReader(lambda line: f"{path}:{line}", {}, limits).read(text, ())
            # Through JSON, because strict validation accepts a list as a tuple only there.
            file = cls.model_validate_json(json.dumps(plain))
            _check_edits(plain["trial"], file, path)
            return file
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "file"
            raise UserError(f"{path} is not a trial file: {key}: {first['msg'].lower()}") from error

    def to_yaml(self) -> str:
        """Return the text of the file."""
        text: str = yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)
        return text


class RerunOutcome(FrozenModel):
    """Result of a rerun."""

    trial_id: str
    metric: str
    is_repeat: bool
    """True if the recorded training ran again to its recorded end, so that the values are comparable."""
    recorded: float | None
    value: float | None
    """Last value of the metric; None if the training failed before its first result."""
    difference: float | None
    """Value minus recorded value; 0 on the same machine with the same number of threads. None without a repeat."""
    step: int
    """Optimizer steps of the rerun."""
    edits: tuple[str, ...]
    """Differences of the training or its data from the recorded training. With any, the rerun is not a repeat."""
    changes: tuple[str, ...]
    """Differences of code and machine from the recorded training."""
    error: str | None = None
    """Reason why the training failed; None if it ended."""


def rerun(
    file: TrialFile, data_dirs: DataDirs, *, on_result: Callable[[Result], None], weights: Path | None = None
) -> RerunOutcome:
    """Train a trial again with its seeds, to the end of its schedule; a pruned trial to its last recorded result.

    If the trial or its data differ from the recorded ones, the training always takes its whole schedule, and no
    difference is computed.

    Args:
        file: Trial and its recorded result.
        data_dirs: Folders of the datasets.
        on_result: Called with each result.
        weights: File to which the final weights are saved as a state dict.

    Raises:
        UserError: The data cannot be read, or the configuration breaks a rule.
    """
    configure_torch(num_threads=file.trial.resources.cpu, deterministic=file.trial.training.deterministic)
    trial = _with_used_numerics(file.trial, file.facts)
    backends = (file.facts.backends or ()) if file.facts else None
    device = choose_device(trial.resources.gpu)
    metadata, training = open_training(trial, data_dirs, device=device, backends=backends)
    edits = tuple(_list_edits(file, metadata))
    results = training.results() if edits or not _ends_early(file) else islice(training.results(), file.num_reports)
    last, error = None, None
    try:
        for last in results:
            on_result(last)
    except TrainingDiverged as failure:
        error = str(failure)
    if weights is not None:
        buffer = io.BytesIO()
        torch.save(training.evaluated_model.state_dict(), buffer)
        write_atomically(weights, buffer.getvalue())
    is_repeat = not edits and error is None
    value = None if last is None else last.value(file.metric)
    changes = list(_list_changes(file, metadata))
    if file.state is None and last is not None and not training.is_last(last):
        ended = f"step {last.step} of {training.last_step}"
        changes.append(f"the file states no final state: ended at its last result, {ended}")
    return RerunOutcome(
        trial_id=file.trial_id,
        metric=file.metric,
        is_repeat=is_repeat,
        recorded=file.value,
        value=value,
        difference=value - file.value if is_repeat and value is not None and file.value is not None else None,
        step=training.step,
        edits=edits,
        changes=tuple(changes),
        error=error,
    )


def _with_used_numerics(trial: TrialSpec, facts: TrialMetadata | None) -> TrialSpec:
    """Return the trial with the precision and compilation of the recorded training in place of `auto`.

    Trainings of earlier versions used float32 and did not compile.
    """
    if facts is None:
        return trial
    used = {"precision": facts.used_precision or "float32", "compile": "on" if facts.compiled else "off"}
    update = {name: value for name, value in used.items() if getattr(trial.configuration, name) == "auto"}
    return trial.model_copy(update={"configuration": trial.configuration.model_copy(update=update)})


def _check_edits(written: Mapping[str, Any], file: TrialFile, path: Path) -> None:
    """Raise UserError if a value was edited in a section where the configuration has its own, which counts."""
    if file.recorded_trial is None:
        return
    for name, section in SECTIONS.items():
        recorded, used = (getattr(getattr(trial, section), name) for trial in (file.recorded_trial, file.trial))
        value = written.get(section, {}).get(name, recorded)
        if value not in (recorded, used):
            raise UserError(
                f"{path}: trial.{section}.{name} must be that of trial.configuration, which counts, got {value} and "
                f"{used}: edit trial.configuration"
            )


def _ends_early(file: TrialFile) -> bool:
    """Return True if the recorded training may have ended before its schedule.

    The results of a failed trial end at its failure, which the rerun reaches by itself.
    """
    return file.num_reports > 0 and file.state in (State.PRUNED, None)


def _list_edits(file: TrialFile, current: TrialMetadata) -> Iterator[str]:
    if file.recorded_trial is not None:
        for name, old, new in find_differences(file.recorded_trial, file.trial):
            if not name.startswith("resources."):
                yield f"{name} was {old}, is {new}"
    if file.facts is not None:
        yield from _list_different(file.facts, current, _TRAINING)


def _list_changes(file: TrialFile, current: TrialMetadata) -> Iterator[str]:
    if file.facts is None:
        return
    # The description follows from the configuration and the code, which are compared themselves. The backends are those
    # of the record, except for layers whose shape was edited.
    names = set(TrialMetadata.model_fields) - {*_TRAINING, "provenance", "description", "backends"}
    yield from _list_different(file.facts, current, names)
    yield from _list_different(file.facts.provenance, current.provenance, Provenance.model_fields)


def _list_different(old: FrozenModel, new: FrozenModel, names: Collection[str]) -> Iterator[str]:
    for name, value in old:
        # records of earlier versions lack some fields
        if name not in names or value is None or (now := getattr(new, name)) == value:
            continue
        meaning = ": the training images have changed" if name == "data_hash" else ""
        yield f"{name} was {value}, is {now}{meaning}"
