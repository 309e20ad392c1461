"""Trial file: a training to run again, with its recorded result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lkca_search.errors import UserError
from lkca_search.records.record import Record, Result, State, TrialMetadata
from lkca_search.records.rerun import RerunRecord
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import SECTIONS
from lkca_search.spec.metrics import name_of
from lkca_search.spec.reading.limits import Limits
from lkca_search.spec.reading.text_file import read_text_file
from lkca_search.spec.reading.yaml_reader import YamlReader

_HEAD = "# Edit `trial`, for example trial.configuration. `recorded_trial` is what was trained, and shows your edits.\n"


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
    curve: tuple[Result, ...] = ()
    """Recorded results, which are compared one by one. Empty in a file, whose rerun compares the last value."""

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
            curve=record.curve,
        )

    @classmethod
    def from_rerun(cls, record: RerunRecord) -> "TrialFile":
        """Return the trial file of the record of a rerun, which can be repeated too."""
        return cls(
            trial_id=record.repeats.trial_id,
            search=record.repeats.search,
            metric=record.outcome.metric,
            value=record.outcome.value,
            num_reports=len(record.curve),
            state=State.FAIL if record.outcome.error else State.COMPLETE,
            facts=record.facts,
            trial=record.spec,
            recorded_trial=record.spec,
            curve=record.curve,
        )

    @classmethod
    def from_spec(cls, spec: TrialSpec, name: str) -> "TrialFile":
        """Return the trial file of a training without a recorded result; `name` stands for search and trial."""
        leading = name_of(spec.metrics[0])
        return cls(trial_id=name, search=name, metric=leading, num_reports=0, state=State.COMPLETE, trial=spec)

    @classmethod
    def read(cls, path: Path) -> "TrialFile":
        """Read a trial file.

        Raises:
            UserError: The file cannot be read, or it is not a trial file.
        """
        limits = Limits.from_environment()
        text = read_text_file(path, limits, kind="trial file")
        return cls.parse(YamlReader(lambda line: f"{path}:{line}", {}, limits).read(text, ()), path)

    @classmethod
    def parse(cls, plain: Any, path: Path) -> "TrialFile":
        """Return the trial file with this content; UserError if it is none."""
        try:
            # Through JSON, because strict validation accepts a list as a tuple only there.
            file = cls.model_validate_json(json.dumps(plain))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "file"
            raise UserError(f"{path} is not a trial file: {key}: {first['msg'].lower()}") from error
        _check_edits(plain["trial"], file, path)
        return file

    def to_yaml(self) -> str:
        """Return the text of the file."""
        content = self.model_dump(mode="json", exclude_none=True, exclude={"curve"})
        return _HEAD + str(yaml.safe_dump(content, sort_keys=False))


def _check_edits(written: Mapping[str, Any], file: TrialFile, path: Path) -> None:
    """Raise UserError if a value was edited in a section where the configuration has its own, which counts."""
    if file.recorded_trial is None:
        return
    for name, section in SECTIONS.items():
        recorded, used = (getattr(getattr(trial, section), name) for trial in (file.recorded_trial, file.trial))
        value = written.get(section, {}).get(name, recorded)
        value = tuple(value) if isinstance(value, list) else value
        if value not in (recorded, used):
            raise UserError(
                f"{path}: trial.{section}.{name} must be that of trial.configuration, which counts, got {value} and "
                f"{used}: edit trial.configuration"
            )
