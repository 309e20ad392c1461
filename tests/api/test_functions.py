"""Functions `run`, `plan` and `report`: the checks of the commands, as errors and without output."""

import json
from pathlib import Path

import pytest

import lkca_search
from lkca_search import SearchError, SpaceFileError, UserError, WrittenReport
from lkca_search.api.space import list_overrides, read_space
from lkca_search.layout import Home, SearchFolder
from tests.support.processes import Command, parsed
from tests.support.records import SPACE


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.mark.parametrize("function", [lkca_search.run, lkca_search.plan])
@pytest.mark.parametrize(
    ("text", "overrides", "options", "rule"),
    [
        (SPACE.replace("[0.1, 1.0]", "[0.1, 0.1]"), (), {}, r"levels must be distinct, got \[0.1, 0.1\] \(.*:4\)"),
        (SPACE, ["search.sed=1"], {}, r"unknown key search.sed; did you mean seed\?"),
        (SPACE, {"search.seed": [0.1]}, {}, r"got \[0.1\] \(override 'search.seed=\[0.1\]'\)"),
        (SPACE, {"search.seed": object()}, {}, "an override must be a value of YAML"),
        (SPACE, "search.seed=1", {}, "overrides must be a list or a mapping, got 'search.seed=1'"),
        (SPACE.replace("digits", "digit"), (), {}, r"digit.*\(.*space.yaml:1\)"),
        (SPACE, (), {"num_cpus": 0}, "num_cpus must be at least 1, got 0"),
        (SPACE, (), {"home": __file__}, "home must be a folder that this user can read, got "),
    ],
)
def test_invalid_input_is_the_error_of_the_command_and_prints_nothing(
    function: object,
    text: str,
    overrides: object,
    options: dict[str, object],
    rule: str,
    space: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space.write_text(text)
    with pytest.raises(UserError, match=rule):
        function(space, overrides, **options)  # type: ignore[operator]
    assert capsys.readouterr() == ("", "")
    assert list(Home.from_environment().searches()) == []


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"name": "a/b"}, "the name of a search must start with a letter or digit"),
        ({"hours": 0.0}, "limits.hours: input should be greater than 0, got 0.0"),
        ({"max_failures": -1}, "limits.max_failures: input should be"),
        ({"address": "http://head:8265"}, "must be HOST:PORT of a cluster's head"),
        ({"ledger": "mysql://user@host/db"}, "ledger"),
    ],
)
def test_options_of_run_are_checked_before_anything_starts(options: dict[str, object], rule: str, space: Path) -> None:
    with pytest.raises(UserError, match=rule):
        lkca_search.run(space, **options)  # type: ignore[arg-type]
    assert list(Home.from_environment().searches()) == []


def test_a_missing_space_file_is_an_error_with_its_name() -> None:
    with pytest.raises(SpaceFileError, match=r"cannot read the space file nowhere.yaml"):
        lkca_search.plan("nowhere.yaml")


@pytest.mark.parametrize(
    "value", [7, 1e-05, 1e300, "true", "1.0", "a: b", "[x]", None, True, [1, "a", 2.5], {"choice": [3, 5]}, "ä, #b"]
)
def test_an_override_by_value_is_read_back_as_this_value(value: object, space: Path) -> None:
    text = f"{SPACE}extra: 1\n"
    space.write_text(text)
    (override,) = list_overrides({"extra": value})
    assert override.startswith("extra=")
    assert "\n" not in override
    with pytest.raises(SpaceFileError) as caught:
        read_space(space, {"extra": value}, Home.from_environment())
    assert "unknown key extra" in str(caught.value), "any value is read; only the key is refused"


def test_overrides_by_value_and_as_text_give_the_same_spec(space: Path) -> None:
    home = Home.from_environment()
    texts = ["search.trials_per_cell=2", "parameters.learning_rate.float=[1.0e-5, 0.01]", "search.seed=5"]
    values = {"search.trials_per_cell": 2, "parameters.learning_rate.float": [1e-5, 0.01], "search.seed": 5}
    assert read_space(space, texts, home).spec == read_space(str(space), values, home).spec
    assert "confirm" not in str(read_space(space, ["confirm.draws=2", "~confirm"], home).spec.confirm)


def test_a_plan_is_that_of_the_command(space: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    plan = lkca_search.plan(space, {"search.trials_per_cell": 2}, num_cpus=2, num_gpus=0)
    assert capsys.readouterr() == ("", "")
    options = ["--num-cpus", "2", "--num-gpus", "0", "--json"]
    printed = parsed(command("plan", str(space), "search.trials_per_cell=2", *options))
    assert json.loads(plan.model_dump_json()) == printed
    assert (plan.num_trials, len(plan.cells)) == (8, 4)


def test_a_report_has_the_files_of_the_command_and_its_content(
    made: SearchFolder, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = lkca_search.report("made", to=tmp_path / "one")
    assert isinstance(written, WrittenReport)
    assert capsys.readouterr() == ("", "")
    printed = parsed(command("report", "made", "--to", str(tmp_path / "two"), "--no-mlflow", "--json"))
    assert [path.relative_to(tmp_path / "one") for path in written.files] == [
        Path(path).relative_to(tmp_path / "two") for path in printed["files"]
    ]
    assert (written.page.name, written.content.headline) == ("report.html", printed["headline"])
    assert written.page.read_bytes() == (tmp_path / "two" / "report.html").read_bytes()
    again = lkca_search.report(lkca_search.load_search(Path(str(made.root))))
    assert again.page == Path(str(made.root)) / "report" / "report.html"


def test_a_report_that_cannot_be_written_or_attached_is_an_error(made: SearchFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"to must be a folder that can be written, got {tmp_path}/file"):
        lkca_search.report("made", to=tmp_path / "file")
    with pytest.raises(SearchError, match="search 'made' has no round: run `lkca-search confirm made` first"):
        lkca_search.report("made", round_number=1)
    with pytest.raises(SearchError, match=r"the report is written \(.*report.html\), but not attached in MLflow"):
        lkca_search.report("made", attach=True)
