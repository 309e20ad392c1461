"""A rerun repeats the recorded training, or states the edits and compares nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lkca_search.cli.app import app
from lkca_search.errors import UserError
from lkca_search.records.record import Result, State
from lkca_search.records.rerun import Repeated, RerunOutcome, Severity, Verdict
from lkca_search.search.rerun.design import list_trainings
from lkca_search.search.rerun.differences import RerunRefused
from lkca_search.search.rerun.retraining import RecordedTraining
from lkca_search.search.rerun.tolerance import ReplicateValue
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.training.images import DataDirs
from tests.support.records import make_record
from tests.support.search.trained import SPEC, rerun, train


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory: pytest.TempPathFactory) -> DataDirs:
    return DataDirs(cache=tmp_path_factory.mktemp("cache"), data_dir=None)


def edited(file: TrialFile, **edits: Any) -> TrialFile:
    """Return a trial file with edits of its trial, named `training__epochs`, as a user makes them in its text."""
    content = yaml.safe_load(file.to_yaml())
    for name, value in edits.items():
        *sections, key = name.split("__")
        place = content["trial"]
        for section in sections:
            place = place[section]
        place[key] = value
    return TrialFile.model_validate_json(json.dumps(content))


def run(file: TrialFile, data_dirs: DataDirs, *allowed: str) -> tuple[RerunOutcome, list[Result]]:
    results: list[Result] = []
    return rerun(file, data_dirs, allowed=allowed, on_result=results.append).outcome, results


def test_images_that_have_moved_are_given_by_an_override(data_dirs: DataDirs) -> None:
    file = edited(TrialFile.from_record(make_record(0)), data__dataset="folder:/nowhere/photos")
    with pytest.raises(UserError, match=r"; if it has moved, add data\.dataset=folder:NEW_PATH$"):
        run(file, data_dirs)


def test_a_rerun_of_an_unchanged_file_repeats_every_result(data_dirs: DataDirs) -> None:
    record = train(data_dirs)
    outcome, results = run(edited(TrialFile.from_record(record)), data_dirs)
    assert (outcome.is_repeat, outcome.difference, outcome.edits, outcome.changes) == (True, 0.0, (), ())
    assert [result.val_loss for result in results] == [result.val_loss for result in record.curve]


@pytest.mark.parametrize(
    ("edits", "steps", "listed"),
    [
        ({"training__epochs": 6}, 18, ["training.epochs was 2, is 6", "planned_steps was 6, is 18"]),
        ({"training__batch_size": 32}, 10, ["training.batch_size was 64, is 32", "planned_steps was 6, is 10"]),
        ({"training__reports": 6}, 6, ["training.reports was None, is 6"]),
        ({"seed": 4}, 6, ["seed was 3, is 4"]),
        ({"configuration__learning_rate": 0.02}, 6, ["configuration.learning_rate was 0.01, is 0.02"]),
        ({"configuration__draw": 1}, 6, ["configuration.draw was 0, is 1", "subset_hash was "]),
    ],
)
@pytest.mark.parametrize("state", [State.COMPLETE, State.PRUNED])
def test_an_edited_trial_takes_its_whole_schedule_and_is_not_compared(
    data_dirs: DataDirs, edits: dict[str, Any], steps: int, listed: list[str], state: State
) -> None:
    record = train(data_dirs, state=state, num_results=1 if state is State.PRUNED else None)
    outcome, results = run(edited(TrialFile.from_record(record), **edits), data_dirs)
    assert (outcome.is_repeat, outcome.difference) == (False, None)
    assert outcome.step == results[-1].step == steps
    assert results[-1].learning_rate < 2e-3  # at the end of the cosine decay, not in its middle
    assert len(outcome.edits) == len(listed)
    for edit, start in zip(outcome.edits, listed, strict=True):
        assert edit.startswith(start)


def test_the_rerun_of_a_pruned_trial_ends_where_it_was_pruned(data_dirs: DataDirs) -> None:
    record = train(data_dirs, state=State.PRUNED, num_results=1)
    outcome, results = run(TrialFile.from_record(record), data_dirs)
    assert outcome.is_repeat
    assert [result.val_loss for result in results] == [record.curve[0].val_loss]
    assert outcome.step == record.curve[0].step < record.facts.planned_steps  # type: ignore[union-attr]


def test_the_rerun_of_a_trial_that_ran_out_of_patience_ends_at_the_same_step(data_dirs: DataDirs) -> None:
    training = {"epochs": 12, "patience": 1}
    record = train(data_dirs, training=training)
    assert record.curve[-1].step < record.facts.planned_steps  # type: ignore[union-attr]
    outcome, _ = run(TrialFile.from_record(record), data_dirs)
    assert (outcome.is_repeat, outcome.difference, outcome.step) == (True, 0.0, record.curve[-1].step)


def test_a_rerun_on_other_images_is_refused_unless_it_is_allowed_and_then_no_repeat(data_dirs: DataDirs) -> None:
    record = train(data_dirs)
    assert record.facts is not None
    other = record.model_copy(update={"facts": record.facts.model_copy(update={"data_hash": "x" * 64})})
    with pytest.raises(RerunRefused, match=r"data_hash was x{64}, is .*: the training images have .*--allow data"):
        run(TrialFile.from_record(other), data_dirs)
    outcome, _ = run(TrialFile.from_record(other), data_dirs, "data")
    assert (outcome.difference, outcome.verdict) == (None, Verdict.NOT_COMPARED)
    (edit,) = outcome.edits
    assert edit.startswith(f"data_hash was {'x' * 64}, is ")
    assert edit.endswith(": the training images have changed")


def test_a_rerun_with_other_code_is_compared_and_the_change_listed(data_dirs: DataDirs) -> None:
    record = train(data_dirs)
    assert record.facts is not None
    provenance = record.facts.provenance.model_copy(update={"torch_version": "1.0"})
    facts = record.facts.model_copy(update={"provenance": provenance, "flops": 1})
    outcome, _ = run(TrialFile.from_record(record.model_copy(update={"facts": facts})), data_dirs)
    assert (outcome.is_repeat, outcome.difference) == (True, 0.0)
    assert [(change.name, change.severity) for change in outcome.changes] == [
        ("flops", Severity.NOTABLE),
        ("torch_version", Severity.NOTABLE),
    ]


def test_a_failed_trial_fails_again_with_its_reason(data_dirs: DataDirs) -> None:
    configuration = SPEC["configuration"] | {"learning_rate": 1e30}
    record = train(data_dirs, state=State.FAIL, num_results=0, configuration=configuration)
    outcome, _ = run(TrialFile.from_record(record), data_dirs)
    assert not outcome.is_repeat
    assert outcome.error is not None
    assert "is not finite" in outcome.error


def test_a_file_of_an_earlier_version_ends_at_its_last_result_and_its_new_length_is_found(data_dirs: DataDirs) -> None:
    record = train(data_dirs, state=State.PRUNED, num_results=1)
    earlier = TrialFile.from_record(record).model_copy(update={"state": None, "recorded_trial": None})
    outcome, _ = run(earlier, data_dirs)
    assert outcome.is_repeat
    assert outcome.reason.endswith("; the file states no final state: ended at its last result, step 3 of 6")
    outcome, results = run(edited(earlier, training__epochs=6), data_dirs)
    assert (outcome.edits, results[-1].step) == (("planned_steps was 6, is 18",), 18)


def test_the_command_exits_with_1_unless_the_rerun_is_a_repeat(
    data_dirs: DataDirs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path))
    monkeypatch.setenv("LKCA_SEARCH_CACHE", str(data_dirs.cache))
    file = TrialFile.from_record(train(data_dirs))
    texts = {"same.yaml": file.to_yaml(), "longer.yaml": edited(file, training__epochs=6).to_yaml()}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    same, longer = (CliRunner().invoke(app, ["rerun", str(tmp_path / name)]) for name in texts)
    assert (same.exit_code, longer.exit_code) == (0, 1)
    assert "difference 0.0" in same.stdout
    assert "not a repeat of the recorded training, so the values are not compared:" in longer.stdout
    assert "training.epochs was 2, is 6" in longer.stdout
    assert "difference" not in longer.stdout
    assert "not compared: the training was edited" in longer.stdout
    assert "identical: the last val_accuracy and the final weights are equal bit for bit" in same.stdout


def test_a_fresh_seed_is_undecided_if_all_replicates_are_equal_and_a_repeat_is_still_compared(
    data_dirs: DataDirs,
) -> None:
    record = train(data_dirs)
    equal = tuple(ReplicateValue(draw=draw, seed=0, value=0.0) for draw in (1, 2, 3))
    repeats = Repeated(search="made", trial_id=record.trial_id)
    recorded = RecordedTraining(file=TrialFile.from_record(record), repeats=repeats, replicates=equal)
    (fresh,) = list_trainings(recorded, seeds=1)
    outcome = rerun(fresh, data_dirs).outcome
    assert (outcome.verdict, outcome.tolerance) == (Verdict.UNDECIDED, None)
    assert outcome.reason.endswith("3 replicates on 3 draws have no spread over draws and seeds")
    assert (outcome.verdict.is_success(), outcome.verdict.is_success(exact=True)) == (True, False)
    assert rerun(recorded, data_dirs).outcome.verdict is Verdict.IDENTICAL
    for update, verdict in (
        ({"val_accuracy": -1.0}, Verdict.DIFFERENT),
        ({"val_loss": -1.0}, Verdict.WITHIN_TOLERANCE),  # as by rounding on another machine
    ):
        last = record.curve[-1].model_copy(update=update)
        value = last.val_accuracy
        other = TrialFile.from_record(record.model_copy(update={"curve": (*record.curve[:-1], last), "value": value}))
        assert rerun(replace(recorded, file=other), data_dirs).outcome.verdict is verdict


def test_an_edit_that_breaks_a_rule_is_an_error_with_the_rule(data_dirs: DataDirs, tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    content = yaml.safe_load(TrialFile.from_record(train(data_dirs)).to_yaml())
    content["trial"]["training"]["epochs"] = 0
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"trial\.training\.epochs"):
        TrialFile.read(path)


def test_a_rerun_uses_the_precision_and_the_compilation_of_the_record_in_place_of_auto(data_dirs: DataDirs) -> None:
    record = train(data_dirs, configuration=SPEC["configuration"] | {"precision": "bfloat16"})
    assert record.facts is not None
    assert (record.facts.used_precision, record.facts.compiled) == ("bfloat16", False)
    configuration = record.spec.configuration.model_copy(update={"precision": "auto"})
    on_gpu = record.model_copy(update={"spec": record.spec.model_copy(update={"configuration": configuration})})
    outcome, results = run(edited(TrialFile.from_record(on_gpu)), data_dirs)
    assert (outcome.is_repeat, outcome.difference, outcome.edits, outcome.changes) == (True, 0.0, (), ())
    assert [result.val_loss for result in results] == [result.val_loss for result in record.curve]
    edit = edited(TrialFile.from_record(on_gpu), configuration__precision="float32")
    outcome, _ = run(edit, data_dirs)
    assert outcome.edits == ("configuration.precision was auto, is float32",)


def test_a_rerun_of_a_record_without_precision_is_float32(data_dirs: DataDirs) -> None:
    record = train(data_dirs)
    assert record.facts is not None
    unknown = {"used_precision": None, "compiled": None, "channels_last": None}
    old = record.model_copy(update={"facts": record.facts.model_copy(update=unknown)})
    outcome, _ = run(TrialFile.from_record(old), data_dirs)
    assert (outcome.difference, outcome.changes) == (0.0, ())
