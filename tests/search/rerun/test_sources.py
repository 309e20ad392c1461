"""Sources of a rerun: names, ids and files give the recorded training, and anything else an error."""

import json
from pathlib import Path
from typing import Any

import pytest

from lkca_search.errors import UserError
from lkca_search.layout import Home
from lkca_search.records.record import Record
from lkca_search.records.trial import Replication
from lkca_search.search.rerun.design import list_trainings
from lkca_search.search.rerun.sources import read_source, take_trial
from lkca_search.search.rerun.trial_file import TrialFile
from tests.support.records import CELL, FACTS, make_record, make_search


def replicate(draw: int, seed: int, accuracy: float) -> Record:
    trial = make_record(1, accuracy=accuracy, facts=FACTS)
    replication = Replication(of=trial.trial_id, draw=draw, seed=seed)
    return trial.model_copy(update={"trial_id": replication.replicate_id, "replicate": replication})


BEST = make_record(1, accuracy=0.9, facts=FACTS)
REPLICATES = [replicate(draw, seed, 0.8 + draw / 100 + seed / 1000) for draw in (1, 2) for seed in (0, 1)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    make_search("made", [make_record(0, facts=FACTS), BEST, *REPLICATES])
    return Home.from_environment()


@pytest.mark.parametrize(
    ("source", "trial", "found"),
    [
        ("made", None, BEST),
        ("made", f"{CELL}/1", BEST),
        (f"made/{CELL}/1", None, BEST),
        (f"made/{CELL}/1/draw=2,seed=1", None, REPLICATES[3]),
        ("made", f"{CELL}/1/draw=1,seed=0", REPLICATES[0]),
    ],
)
def test_a_search_gives_its_best_trial_or_the_given_one_with_the_replicates_of_its_configuration(
    source: str, trial: str | None, found: Record, home: Home
) -> None:
    recorded = read_source(source, trial, home)
    assert recorded.file == TrialFile.from_record(found)
    assert (recorded.repeats.search, recorded.repeats.trial_id) == ("made", found.trial_id)
    assert recorded.repeats.uid
    assert [(each.draw, each.seed) for each in recorded.replicates] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [each.value for each in recorded.replicates] == [each.curve[-1].val_accuracy for each in REPLICATES]


@pytest.mark.parametrize(
    ("arguments", "trial", "rest"),
    [
        ([f"{CELL}/1"], f"{CELL}/1", []),
        ([f"{CELL}/1/draw=2,seed=1", "seed=3"], f"{CELL}/1/draw=2,seed=1", ["seed=3"]),
        ([f"{CELL}/99"], f"{CELL}/99", []),
        (["family=lkca,data_fraction=7/1"], "family=lkca,data_fraction=7/1", []),
        (["family=lkca/1"], "family=lkca/1", []),
        (["1", "seed=3"], "1", ["seed=3"]),
        (["width=32/1"], None, ["width=32/1"]),
        (["data.dataset=folder:/photos/2020"], None, ["data.dataset=folder:/photos/2020"]),
        (["seed=3"], None, ["seed=3"]),
        ([], None, []),
    ],
)
def test_an_id_of_a_trial_before_the_overrides_is_told_from_an_override(
    arguments: list[str], trial: str | None, rest: list[str], home: Home
) -> None:
    assert take_trial(arguments, "made", home) == (trial, rest)


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path.name


def test_a_file_is_read_by_its_content(home: Home, tmp_path: Path) -> None:
    record = json.loads(BEST.model_dump_json())
    file = TrialFile.from_record(BEST)
    assert read_source(write(tmp_path / "record.json", record), None, home).file == file
    assert read_source(str(tmp_path), None, home).file == file  # the folder of a record
    assert read_source(write(tmp_path / "a.yaml", file.to_yaml()), None, home).file.trial == file.trial
    in_json = {**json.loads(file.model_dump_json()), "curve": []}
    assert read_source(write(tmp_path / "file.json", in_json), None, home).file.facts == FACTS
    spec = read_source(write(tmp_path / "spec.json", record["spec"]), None, home).file
    assert (spec.trial, spec.facts, spec.value) == (BEST.spec, None, None)


def test_a_record_in_a_file_has_the_tolerance_of_its_search_if_that_is_in_the_home(home: Home, tmp_path: Path) -> None:
    name = write(tmp_path / "x.json", json.loads(BEST.model_dump_json()))
    assert len(read_source(name, None, home).replicates) == 4
    other = BEST.model_copy(update={"search": "elsewhere"})
    name = write(tmp_path / "x.json", json.loads(other.model_dump_json()))
    assert read_source(name, None, home).replicates == ()


def test_a_configuration_has_the_defaults_of_a_space_file(home: Home, tmp_path: Path) -> None:
    configuration = {"family": "vit", "dataset": "digits", "epochs": 3, "batch_size": 32, "width": 16, "depth": None}
    trial = read_source(write(tmp_path / "c.json", configuration), None, home).file.trial
    assert (trial.seed, trial.data.dataset, trial.training.epochs, trial.training.batch_size) == (0, "digits", 3, 32)
    assert (trial.configuration.width, trial.data.validation) == (16, 0.1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json must be JSON"),
        ("a.json", "[" * 100_000, "a.json must be JSON"),
        ("a.json", "[]", "must be a record, a trial file or a configuration, got a list"),
        ("a.json", '{"family": "lkca", "epochs": 3, "widht": 3}', "a.json is no TrialSpec"),
        ("a.json", '{"curve": []}', "a.json is no Record"),
        ("a.json", '{"outcome": {}}', "a.json is no RerunRecord"),
        ("a.json", '{"trial": {}}', "a.json is not a trial file"),
        ("a.yaml", "x: 1", "a.yaml is not a trial file"),
    ],
)
def test_a_file_that_is_none_of_these_is_an_error(
    name: str, content: str, message: str, home: Home, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        read_source(write(tmp_path / name, content), None, home)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "../../x"}, "the name of a search must start with a letter or digit"),
        ({"trial_id": "../../x/0"}, "trial_id must be CELL/NUMBER"),
        ({"trial_id": "/etc/passwd"}, "trial_id must be CELL/NUMBER"),
        ({"trial_id": "a\n/0"}, "trial_id must be CELL/NUMBER"),
    ],
)
def test_names_in_a_file_that_lead_elsewhere_are_refused(
    changes: dict[str, str], message: str, home: Home, tmp_path: Path
) -> None:
    content = json.loads(BEST.model_copy(update=changes).model_dump_json())
    with pytest.raises(UserError, match=message):
        read_source(write(tmp_path / "x.json", content), None, home)


def test_a_configuration_may_have_any_file_name(home: Home, tmp_path: Path) -> None:
    name = write(tmp_path / ".my configuration (2).json", {"dataset": "digits", "epochs": 1})
    assert read_source(name, None, home).repeats.search == "my-configuration-2-"


def test_an_unknown_search_names_the_option_for_mlflow(home: Home) -> None:
    with pytest.raises(UserError, match=r"there is no search 'other' .* searches there: made; .*--tracking-uri URL"):
        read_source("other", None, home)


def test_fresh_seeds_and_draws_are_those_of_no_trial_and_the_same_in_every_rerun(home: Home) -> None:
    recorded = read_source("made", None, home)
    trainings = list_trainings(recorded, seeds=3)
    assert trainings == list_trainings(recorded, seeds=3)
    assert {each.file.trial.configuration.draw for each in trainings} == {BEST.spec.configuration.draw}
    assert len({each.file.trial.seed for each in trainings} | {BEST.spec.seed}) == 4
    crossed = list_trainings(recorded, seeds=2, draws=3)
    assert len({(each.file.trial.configuration.draw, each.file.trial.seed) for each in crossed}) == 6
    assert len({each.file.trial.configuration.draw for each in crossed}) == 3
    assert min(each.file.trial.configuration.draw for each in crossed) >= 500_000
    assert all(each.is_fresh for each in crossed)


@pytest.mark.parametrize(("overrides", "design"), [(["seed=3"], {"seeds": 2}), (["draw=3"], {"draws": 2})])
def test_a_value_that_is_drawn_must_not_be_set(overrides: list[str], design: dict[str, int], home: Home) -> None:
    with pytest.raises(UserError, match="draws fresh values"):
        list_trainings(read_source("made", None, home), overrides, **design)
