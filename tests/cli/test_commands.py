"""Tests of the commands: their output, and exit code 2 with rule and value for invalid input."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lkca_search import __version__
from lkca_search.cli.terminal.output import show_next_steps, show_status
from lkca_search.layout import Home
from lkca_search.records.predictions import save_predictions
from lkca_search.records.record import Record, State, read_records
from lkca_search.records.rounds import RoundStatus
from lkca_search.records.tables import curves_table, trials_table
from lkca_search.reporting.values.numbers import format_bytes
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.status import read_status
from tests.support.processes import Command, parsed
from tests.support.records import CELL, FACTS, SPACE, make_predictions, make_record, make_replicate, make_search

VIT = "family=vit,data_fraction=1.0"
VIT_SMALL = "family=vit,data_fraction=0.1"


@pytest.fixture
def search_records() -> list[Record]:
    """Search `search_records`: its highest value belongs to a pruned trial, and two complete trials are equal."""
    records = [
        make_record(0, accuracy=0.5),
        make_record(1, accuracy=0.75),
        make_record(2, accuracy=0.9, state=State.PRUNED),
        make_record(0, accuracy=0.75, family="vit", data_fraction=1.0),
        make_record(1, state=State.FAIL, family="vit", data_fraction=1.0),
    ]
    folder = make_search("made", records)
    folder.trial(f"{VIT}/2").attempt(driver=1, attempt=1).mkdir(parents=True)
    return sorted(records, key=lambda record: (record.cell, record.number))


# Invalid input

SPACE_MISTAKES = {
    "syntax.yaml": "data: [0.1\n",
    "markup.yaml": SPACE.replace("[0.1, 1.0]", "['[red]', ':smile:']"),
    "levels.yaml": SPACE.replace("[0.1, 1.0]", "[0.1, 0.1]"),
    "trial.yaml": "trial_id: a/0\nsearch: made\n",
    "list.yaml": "- [0.1]\n",
    "date.yaml": "trial_id: 2024-99-99\n",
    "bomb.yaml": "a: &a [1]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghij")),
    "good.yaml": SPACE,
}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("status nowhere", ["there is no search 'nowhere'", "searches there: made"]),
        ("best nowhere", ["there is no search 'nowhere'"]),
        ("export nowhere", ["there is no search 'nowhere'"]),
        ("rerun nowhere", ["there is no search 'nowhere'"]),
        ("status ../made", ["the name of a search must start with a letter or digit", "'../made'"]),
        ("status nowhere --watch", ["there is no search 'nowhere'"]),
        ("stop nowhere", ["there is no search 'nowhere'"]),
        ("stop made", ["search 'made' is not running"]),
        ("stop made --now --no-wait --json", ["search 'made' is not running"]),
        ("best made --cell family=lkca", ["has no cell 'family=lkca'", CELL, VIT]),
        ("best made --cell family=vit,data_fraction=0.1", ["has no complete trial yet in cell family=vit"]),
        ("best made --yaml --json", ["--yaml and --json"]),
        ("rerun made --trial family=lkca,data_fraction=0.1/9", ["has no finished trial", "data_fraction=0.1/9'"]),
        ("rerun made --trial family=vit,data_fraction=1.0/2", ["has no finished trial"]),
        ("rerun nowhere.yaml", ["cannot read the trial file nowhere.yaml"]),
        ("rerun trial.yaml", ["trial.yaml is not a trial file: metric: field required"]),
        ("rerun list.yaml", ["list.yaml is not a trial file: file: input should be an object"]),
        ("rerun date.yaml", ["YAML reads 2024-99-99 as a date", "(date.yaml:1)"]),
        ("rerun bomb.yaml", ["the number of values", "must be at most 10,000", "(bomb.yaml:1)"]),
        ("rerun trial.yaml --trial a/0", ["--trial selects a trial of a search", "trial.yaml"]),
        ("run nowhere.yaml", ["cannot read the space file nowhere.yaml"]),
        ("run syntax.yaml", ["not YAML", "close the [ of this line by ]", "(syntax.yaml:1)"]),
        ("run levels.yaml", ["levels must be distinct, got [0.1, 0.1] (levels.yaml:4)"]),
        ("run markup.yaml", ["got '[red]' (markup.yaml:4)", "got ':smile:' (markup.yaml:4)"]),
        ("run good.yaml search.seed", ["an override must be key.sub=value", "(override 'search.seed')"]),
        ("run good.yaml search.sed=1", ["unknown key search.sed; did you mean seed? (override 'search.sed=1')"]),
        ("run good.yaml search.seed=[0.1]", ["got [0.1] (override 'search.seed=[0.1]')"]),
        (
            "run good.yaml --fail-fast --max-failures 2",
            ["--fail-fast is the same as --max-failures 0; use one of them"],
        ),
        ("run good.yaml --hours 0", ["--hours must be a number above 0, got 0; omit it for no limit"]),
        ("run good.yaml --max-failures -1", ["--max-failures must be at least 0, got -1; omit it for no limit"]),
        ("run good.yaml --name a/b", ["the name of a search must start with a letter or digit", "'a/b'"]),
    ],
)
def test_invalid_input_ends_with_code_2_and_the_rule_on_standard_error(
    command: Command,
    search_records: list[Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in SPACE_MISTAKES.items():
        Path(name).write_text(text)
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert [folder.name for folder in Home.from_environment().searches()] == ["made"]


@pytest.mark.parametrize(
    "arguments",
    ["nothing", "status", "status made --yaml", "run", "ui --port 0", "export made --to file", "rerun made --seeds -1"],
)
def test_an_invalid_command_line_ends_with_code_2_and_the_usage(
    command: Command, search_records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert "Usage: lkca-search" in err


# Output


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version") == (0, f"{__version__}\n", "")


def test_list_shows_every_search_and_its_progress(command: Command, search_records: list[Record]) -> None:
    make_search("empty")
    code, out, err = command("list")
    assert (code, err) == (0, "")
    searches = parsed(command("list", "--json"))
    sizes = [format_bytes(search["num_bytes"]).split() for search in searches]
    assert [line.split() for line in out.splitlines()] == [
        ["search", "finished", "size", "driver"],
        ["empty", "0/12", *sizes[0]],
        ["made", "5/12", *sizes[1]],
    ]
    root = Home.from_environment().search("made").root
    assert isinstance(root, Path)
    assert searches[1]["num_bytes"] == sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert [(search["name"], search["is_driven"]) for search in searches] == [("empty", False), ("made", False)]


def test_list_without_searches_prints_the_header_and_names_the_home(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parsed(command("list", "--json")) == []
    (tmp_path / "home").mkdir(exist_ok=True)
    code, out, err = command("list")
    assert (code, out.split()) == (0, ["search", "finished", "size", "driver"])
    assert err == f"no search in {tmp_path / 'home'} (LKCA_SEARCH_HOME)\n"
    monkeypatch.setenv("LKCA_SEARCH_HOME", "/nosuch")
    assert command("list").err == "no search in /nosuch, which does not exist (LKCA_SEARCH_HOME)\n"


def test_the_traceback_of_an_error_is_printed_only_on_request(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("status", "nosuch").err.count("\n") == 1
    monkeypatch.setenv("LKCA_SEARCH_DEBUG", "1")
    code, out, err = command("status", "nosuch")
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.splitlines()[-1].startswith("error: ")


def test_status_counts_the_trials_of_each_cell(command: Command, search_records: list[Record]) -> None:
    status = parsed(command("status", "made", "--json"))
    assert (status["name"], status["is_driven"], status["metric"], status["goal"]) == (
        "made",
        False,
        "val_accuracy",
        "maximize",
    )
    cells = {cell["cell"]: cell for cell in status["cells"]}
    assert list(cells) == [f"family={family},data_fraction={part}" for family in ("lkca", "vit") for part in (0.1, 1.0)]
    counts = ("complete", "pruned", "failed", "running", "cut_off", "left", "budget")
    assert [cells[CELL][name] for name in counts] == [2, 1, 0, 0, 0, 0, 3]
    assert [cells[VIT][name] for name in counts] == [1, 0, 1, 0, 1, 1, 3]
    spent = ("planned_steps", "steps", "samples", "seconds")
    assert [cells[CELL][name] for name in spent] == [60, 60, 1920, 6.0]
    assert (cells[CELL]["best_trial"], cells[CELL]["best_value"]) == (f"{CELL}/1", 0.75)
    assert cells[CELL]["num_train_images"] == 129
    assert cells["family=vit,data_fraction=0.1"]["best_trial"] is None


def test_status_prints_one_line_per_cell_with_its_full_name(command: Command, search_records: list[Record]) -> None:
    code, out, err = command("status", "made")
    assert (code, err) == (0, "")
    title, header, *rows = out.splitlines()
    assert title == "search made: 5 of 12 trials finished, not running; best by the highest val_accuracy"
    assert header.split() == [
        *("cell", "images", "done", "interrupted", "pruned", "failed", "best", "trial", "steps", "samples", "time"),
    ]
    lines = {words[0]: words[1:] for line in rows if (words := line.split())}
    assert lines[CELL] == ["129", "3/3", "1", "0.7500", "1", "60", "1.92k", "6", "s"]
    assert lines[VIT] == ["129", "2/3", "1", "1", "0.7500", "0", "20", "640", "2", "s"]
    assert lines["family=vit,data_fraction=0.1"] == ["0/3"]


def test_the_status_table_fits_100_columns(command: Command, search_records: list[Record]) -> None:
    _, out, _ = command("status", "made")
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 100


def test_watching_a_search_that_is_not_running_prints_its_status_once(
    command: Command, search_records: list[Record]
) -> None:
    assert command("status", "made", "--watch") == command("status", "made")
    assert parsed(command("status", "made", "--watch", "--json")) == parsed(command("status", "made", "--json"))


def test_status_and_list_show_a_running_search_as_running(command: Command, search_records: list[Record]) -> None:
    with hold_lease(Home.from_environment().search("made")):
        assert parsed(command("status", "made", "--json"))["is_driven"]
        assert "trials finished, running" in command("status", "made").out
        assert "running" in command("list").out


@pytest.mark.parametrize(
    ("num_left", "replicates_left", "commands"),
    [
        (3, None, ["best", "rerun"]),
        (0, None, ["best", "rerun", "confirm"]),
        (0, 2, ["best", "rerun"]),
        (0, 0, ["best", "rerun", "report"]),
    ],
)
def test_a_search_ends_with_the_next_commands_and_after_a_confirmation_with_report(
    search_records: list[Record],
    capsys: pytest.CaptureFixture[str],
    num_left: int,
    replicates_left: int | None,
    commands: list[str],
) -> None:
    status = read_status(Home.from_environment().search("made"))
    cells = tuple(cell.model_copy(update={"left": 0}) for cell in status.cells)
    cells = (cells[0].model_copy(update={"left": num_left}), *cells[1:])
    rounds = ()
    if replicates_left is not None:
        counts = {"number": 1, "num_replicates": 4, "complete": 4 - replicates_left, "failed": 0}
        rounds = (RoundStatus(**counts, num_picks=2, num_trials=12, num_trials_since=0),)
    show_next_steps(status.model_copy(update={"cells": cells, "rounds": rounds}))
    lines = capsys.readouterr().out.strip().splitlines()
    named = [line.split()[0] for line in lines if "lkca-search" in line]
    assert named == ["browse", *commands]
    assert "browse   lkca-search ui made" in lines


def test_a_search_without_a_complete_trial_names_no_command_that_needs_one(
    search_records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    status = read_status(Home.from_environment().search("made"))
    cells = tuple(cell.model_copy(update={"complete": 0, "left": 0}) for cell in status.cells)
    show_next_steps(status.model_copy(update={"cells": cells}))
    assert capsys.readouterr().out == "\nbrowse   lkca-search ui made\n"


def test_the_log_of_a_job_ends_with_the_variables_that_its_commands_need_elsewhere(
    search_records: list[Record], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "shared runs"
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@server:5000/")
    make_search("other", [make_record(0)])
    status = read_status(Home.from_environment().search("other"))
    status = status.model_copy(update={"cells": tuple(each.model_copy(update={"left": 0}) for each in status.cells)})
    show_next_steps(status, is_job=True)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == "browse   http://server:5000"
    export = lines[1].removeprefix("home     ").partition("   #")[0]
    script = f'{export} && echo "$LKCA_SEARCH_HOME $MLFLOW_TRACKING_URI"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=20, env={})
    assert done.stdout == f"{home} http://server:5000\n"
    assert lines[2] == "best     lkca-search best other"
    assert lines[-1] == "confirm  repeat `submit` with 'confirm={draws: 5, seeds: 2}'"
    show_next_steps(status.model_copy(update={"cells": (status.cells[0].model_copy(update={"left": 1}),)}), is_job=True)
    assert "1 trial left. Repeat `submit` to resume." in capsys.readouterr().out


@pytest.mark.parametrize(("replicates_left", "trials_left"), [(0, 0), (1, 0), (0, 2)])
def test_status_prints_the_command_that_confirms_later_trials_once_it_can_run(
    search_records: list[Record], capsys: pytest.CaptureFixture[str], replicates_left: int, trials_left: int
) -> None:
    status = read_status(Home.from_environment().search("made"))
    cells = tuple(cell.model_copy(update={"left": 0}) for cell in status.cells)
    cells = (cells[0].model_copy(update={"left": trials_left}), *cells[1:])
    counts = {"num_replicates": 4, "complete": 4 - replicates_left, "failed": 0, "num_picks": 2, "num_trials": 10}
    rounds = tuple(RoundStatus(number=number, **counts, num_trials_since=2) for number in (1, 2))
    show_status(status.model_copy(update={"cells": cells, "rounds": rounds}))
    output = capsys.readouterr().out
    assert output.count("; 2 trials finished since then") == 2
    advised = output.count("since then; to select again: lkca-search confirm made --new-round")
    assert advised == (0 if replicates_left or trials_left else 1)


def test_best_is_the_first_complete_trial_with_the_best_value(command: Command, search_records: list[Record]) -> None:
    assert Record.model_validate_json(json.dumps(parsed(command("best", "made", "--json")))) == search_records[1]
    assert parsed(command("best", "made", "--cell", VIT, "--json"))["trial_id"] == f"{VIT}/0"
    code, out, err = command("best", "made")
    assert (code, err) == (0, "")
    assert out.startswith(f"{CELL}/1: val_accuracy 0.7500\n2 trials tie for first place.")
    rows = [line.split() for line in out.splitlines()]
    for row in (["kernel_size", "3"], ["parameters", "1.23k"], ["FLOPs", "per", "image", "62.1M"]):
        assert row in rows
    assert out.endswith(f"rerun    lkca-search rerun made --trial {CELL}/1\n")


def test_best_with_several_metrics_is_the_pareto_front(command: Command) -> None:
    small = FACTS.model_copy(update={"num_parameters": 600})
    records = [
        make_record(0, accuracy=0.5, facts=small),
        make_record(1, accuracy=0.5),
        make_record(2, accuracy=0.75),
        make_record(0, accuracy=0.25, family="vit", facts=small),
    ]
    make_search("several", records, "search.metric=[val_accuracy, num_parameters]", "search.goal=[maximize, minimize]")
    front = [
        {"trial_id": f"{CELL}/2", "values": {"val_accuracy": 0.75, "num_parameters": 1234.0}},
        {"trial_id": f"{CELL}/0", "values": {"val_accuracy": 0.5, "num_parameters": 600.0}},
    ]
    assert parsed(command("best", "several", "--json")) == front
    assert [row["trial_id"] for row in parsed(command("best", "several", "--cell", VIT_SMALL, "--json"))] == [
        f"{VIT_SMALL}/0"
    ]
    header, *rows = command("best", "several").out.splitlines()
    assert header.split() == ["trial", "val_accuracy", "num_parameters"]
    assert [row.split() for row in rows[:2]] == [[f"{CELL}/2", "0.7500", "1234"], [f"{CELL}/0", "0.5000", "600"]]
    assert rows[-1] == f"rerun    lkca-search rerun several --trial {CELL}/2"
    best = records[2].model_copy(update={"search": "several"})
    assert TrialFile.from_record(best).to_yaml() == command("best", "several", "--yaml").out


def test_best_says_how_many_trials_tie_and_by_which_rule_one_is_first(command: Command) -> None:
    cheap = FACTS.model_copy(update={"flops": 1000})
    make_search("ties", [make_record(0), make_record(1, facts=cheap), make_record(2), make_record(3, accuracy=0.25)])
    first, second, *_ = command("best", "ties").out.splitlines()
    assert first == f"{CELL}/1: val_accuracy 0.5000"
    rule = "Ties are ordered by lower validation loss, then fewer FLOPs per image, then cell and number."
    assert second == f"3 trials tie for first place. {rule}"
    make_search("distinct", [make_record(0), make_record(1, accuracy=0.25)])
    assert "tie" not in command("best", "distinct").out
    make_search("front", [make_record(0), make_record(1)], "search.metric=[val_accuracy, num_parameters]")
    assert f"2 trials tie for first place. {rule}" in command("best", "front").out


def test_status_shows_the_most_frequent_error_and_advises_a_limit(command: Command) -> None:
    errors = ["Traceback\nValueError: loss 1.5 is inf", "KeyError: 'a'", "Traceback\nValueError: loss 2.5 is inf"]
    failed = [make_record(i, state=State.FAIL, error=error) for i, error in enumerate(errors)]
    make_search("failing", [*failed, make_record(0, family="vit")])
    out = command("status", "failing").out
    assert "3 of 4 finished trials failed, most often by this error:\n  ValueError: loss 1.5 is inf\n" in out
    assert "limits.max_failures (not set) ends a search with many failures.\n" in out
    make_search("limited", failed, "limits.max_failures=7")
    assert "limits.max_failures (now 7) ends" in command("status", "limited").out
    make_search("healthy", [make_record(0)])
    assert "fail" not in command("status", "healthy").out


def test_best_yaml_prints_a_trial_file(command: Command, search_records: list[Record], tmp_path: Path) -> None:
    for cell, record in ((CELL, search_records[1]), (VIT, search_records[3])):
        code, out, err = command("best", "made", "--yaml", "--cell", cell)
        assert (code, err) == (0, "")
        (tmp_path / "trial.yaml").write_text(out)
        file = TrialFile.read(tmp_path / "trial.yaml")
        assert file == TrialFile.from_record(record).model_copy(update={"curve": ()})
        assert file.trial == record.spec


def test_export_writes_both_tables_and_prints_their_paths(
    command: Command, search_records: list[Record], tmp_path: Path
) -> None:
    folder = Home.from_environment().search("made")
    for to, arguments in ((folder.root, []), (tmp_path / "new" / "there", ["--to", str(tmp_path / "new" / "there")])):
        paths = [str(to / "trials.parquet"), str(to / "curves.parquet")]
        assert parsed(command("export", "made", "--json", *arguments)) == paths
        assert command("export", "made", *arguments) == (0, "".join(f"{path}\n" for path in paths), "")
        assert pq.read_table(paths[0]).equals(trials_table(search_records))
        assert pq.read_table(paths[1]).equals(curves_table(read_records(folder)))


def test_export_of_a_confirmed_search_writes_the_predictions_of_all_replicates(
    command: Command, tmp_path: Path
) -> None:
    replicates = [make_replicate(seed) for seed in range(3)]
    folder = make_search("confirmed", [make_record(0), *replicates])
    for record in replicates[1:]:  # the first is of an earlier version
        attempt = folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt)
        save_predictions(make_predictions(0), attempt, replicate_id=record.trial_id)
    paths = parsed(command("export", "confirmed", "--json", "--to", str(tmp_path / "new")))
    names = ("trials", "curves", "replicates", "predictions")
    assert paths == [str(tmp_path / "new" / f"{name}.parquet") for name in names]
    rows = pq.read_table(paths[-1], columns=["replicate_id"])
    assert rows.num_rows == 2 * 50
    assert set(rows["replicate_id"].to_pylist()) == {record.trial_id for record in replicates[1:]}


def test_a_search_without_trials_can_be_exported_and_has_no_best_trial(command: Command) -> None:
    make_search("empty")
    trials, _ = parsed(command("export", "empty", "--json"))
    assert pq.read_table(trials).num_rows == 0
    assert command("best", "empty") == (2, "", "error: search 'empty' has no complete trial yet: run it first\n")


def test_read_only_commands_import_no_heavy_package(search_records: list[Record], tmp_path: Path) -> None:
    code = (
        "import sys; from lkca_search.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna', 'sklearn'} & sys.modules.keys()), file=sys.stderr)"
    )
    commands = ["--help", "run --help", "rerun --help", "list", "status made", f"export made --to {tmp_path}"]
    commands += ["data --help", "data list", "status made --watch", "stop --help"]
    running = [
        subprocess.Popen([sys.executable, "-c", code, *command.split()], stdout=-1, stderr=-1, text=True)
        for command in commands
    ]
    for process in running:
        out, err = process.communicate()
        assert out
        assert err == "[]\n"


def test_a_name_in_the_variable_of_limits_that_no_limit_has_is_said_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "stpes,cells")
    code, _, err = command("run", "nowhere.yaml")
    line = "LKCA_SEARCH_ALLOW must have names of limits, got 'stpes'; did you mean steps?; it lifts no limit"
    assert (code, err.splitlines()[0], err.count("LKCA_SEARCH_ALLOW")) == (2, line, 1)
    assert "LKCA_SEARCH_ALLOW" not in command("list").err
