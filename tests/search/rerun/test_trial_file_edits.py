"""Edits of a trial file whose batch size, augmentations or length are levels of its configuration."""

from pathlib import Path

import pytest

from lkca_search.errors import UserError
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection

TRIAL = TrialSpec(
    data=DataSection(dataset="digits", augment=("crop",)),
    training=TrainingSection(epochs=4, batch_size=64),
    resources=TrialResources(),
    configuration=Configuration(batch_size=16, augment="light"),
    seed=1,
    split_seed=2,
)
FILE = TrialFile(
    trial_id="all/0", search="toy", metric="val_accuracy", num_reports=4, trial=TRIAL, recorded_trial=TRIAL
)


def read(tmp_path: Path, *edits: tuple[str, str]) -> TrialFile:
    head, recorded = FILE.to_yaml().split("recorded_trial:")
    for old, new in edits:
        assert old in head
        head = head.replace(old, new, 1)
    path = tmp_path / "trial.yaml"
    path.write_text(f"{head}recorded_trial:{recorded}")
    return TrialFile.read(path)


def test_a_trial_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read(tmp_path) == FILE


def test_an_edit_of_the_configuration_counts(tmp_path: Path) -> None:
    edited = read(tmp_path, ("    batch_size: 16\n    augment: light", "    batch_size: 8\n    augment: none")).trial
    assert (edited.training.batch_size, edited.data.augment) == (8, ())


def test_an_edit_of_a_section_counts_where_the_configuration_has_no_value(tmp_path: Path) -> None:
    assert read(tmp_path, ("    epochs: 4", "    epochs: 9")).trial.training.epochs == 9


def test_an_edit_of_a_section_that_would_not_count_is_refused(tmp_path: Path) -> None:
    rule = (
        r"trial.training.batch_size must be that of trial.configuration, which counts, got 32 and 16: edit trial.conf"
    )
    with pytest.raises(UserError, match=rule):
        read(tmp_path, ("    batch_size: 16", "    batch_size: 32"))
