"""The likeliest mistakes of a newcomer: each is refused at once, with what was meant, and nothing is started."""

import shutil
from pathlib import Path

import pytest

from lkca_search.layout import Home
from lkca_search.search.ray_backend.session import RaySession
from tests.support.processes import Command
from tests.support.records import make_record, make_search

SHIPPED = Path(__file__).parents[2] / "search_spaces"
QUICKSTART = "search_spaces/quickstart.yaml"
ON_QUICKSTART: list[tuple[str, str]] = [
    ("search.trials=4", "unknown key search.trials; did you mean trials_per_cell? (override 'search.trials=4')"),
    ("trials_per_cell=4", "unknown key trials_per_cell; write it as search.trials_per_cell (override"),
    ("search.trials_per_cell", "an override must be key.sub=value, or ~key.sub to remove a key (override"),
    ("factors.family=[lkca,vitt]", "unknown family 'vitt'; did you mean vit?; known families: lkca, "),
    (
        "factors.family=vit",
        "a factor must be a list of levels, or a mapping with levels and when, got 'vit'; write [vit]",
    ),
    (
        "factors.data_fraction=[10]",
        "data_fraction: input should be less than or equal to 1, got 10; write 0.1 for 10%",
    ),
    ("parameters.lr.value=1e-3", "unknown name 'lr'; did you mean learning_rate?; known names: family, "),
    ("parameters.depth=3", "exactly one of the keys choice, int, float, value, got 3; write {value: 3} for this value"),
    ("training.lr=1e-3", "unknown key training.lr; did you mean learning_rate? write it below a section: factors."),
    ("data.dataset=cifar", "unknown dataset 'cifar'; did you mean cifar10?; known datasets: digits, cifar10, "),
    ("search.sampler=TPEE", "got 'TPEE'; did you mean tpe?"),
    ("search.metric=accuracy", "got 'accuracy'; did you mean val_accuracy?"),
    ("data.augment=[flipp]", "got 'flipp'; did you mean flip?"),
    (
        "parameters.width.value=32",
        "remove width, which match_parameters sets: got from 13884 parameters of width 32 to",
    ),
    ("confirm={draw: 5}", "unknown key confirm.draw; did you mean draws?"),
    ("~confirmation", "there is no key confirmation to remove; did you mean confirm?"),
]
"""An override of the quickstart, and a part of the error."""
COMMANDS: list[tuple[str, str]] = [
    (
        "plan quickstart",
        "cannot read the space file quickstart: No such file or directory; did you mean search_spaces/",
    ),
    ("run search_spaces/quickstrat.yaml", "No such file or directory; did you mean search_spaces/quickstart.yaml?"),
    ("plan search_spaces", "got a folder; give the path of a YAML file, such as search_spaces/component_ablation.yaml"),
    ("plan .", "got a folder; give the path of a YAML file (.)"),
    ("plna search_spaces/quickstart.yaml", "No such command 'plna'. Did you mean 'plan'?"),
    (f"plan {QUICKSTART} --trials 4", "No such option: --trials; to change the space file, write"),
    (f"plan {QUICKSTART} --name foo", "No such option: --name; it is an option of `run`, `restore`, `submit`: omit it"),
    (f"run {QUICKSTART} --calibrate", "No such option: --calibrate; it is an option of `plan`: omit it for `run`"),
    ("data check --seeds 1 photos", "No such option: --seeds; it is an option of `confirm`, `rerun`, `simulate`: omit"),
    (f"plan {QUICKSTART} search.trials_per_cell 8", "must have an equal sign: search.trials_per_cell=8 (override"),
    ("help plna", "No such command 'plna'. Did you mean 'plan'?"),
    (
        f"run {QUICKSTART} --ledger sqlite:///x.db",
        "--ledger must be postgresql://USER@HOST/DATABASE, got 'sqlite:///x.db'",
    ),
    (f"run {QUICKSTART} --hours 0", "--hours must be a number above 0, got 0; omit it for no limit"),
    (f"run {QUICKSTART} --hours two", "Invalid value for '--hours': must be a number, got 'two'"),
    (f"run {QUICKSTART} --max-failures -1", "--max-failures must be at least 0, got -1; omit it for no limit"),
    ("init new.yaml --trials 0", "Invalid value for '--trials': must be a number of at least 1, got '0'"),
    ("predict quickstart x.png --threads 9999", "'--threads': must be a number of at most 1024, got '9999'"),
    (f"plan {QUICKSTART} --jsn", "No such option: --jsn (Possible options: --json)"),
    ("status quickstrat", "there is no search 'quickstrat' in"),
    ("status quickstrat", "did you mean quickstart?; searches there: quickstart"),
    (
        "best quickstart --cell family=lkca,data_fraction=0.2",
        "did you mean family=lkca,data_fraction=0.1?; its cells: ",
    ),
    ("rerun quickstart --trial family=lkca,data_fraction=0.1/7", "did you mean family=lkca,data_fraction=0.1/"),
    ("rerun quickstart family=lkca,data_fraction=0.1/7", "did you mean family=lkca,data_fraction=0.1/"),
    ("rerun quickstart --trial 1", "an id is CELL/NUMBER, such as family=lkca,data_fraction=0.1/1"),
    ("rerun quickstart --trial best", "an id is CELL/NUMBER, such as family=lkca,data_fraction=0.1/0"),
    ("rerun quickstart 1", "has no finished trial '1'; an id is CELL/NUMBER, such as family=lkca,data_fraction=0.1/1"),
    ("rerun quickstart family=lkca/0", "has no finished trial 'family=lkca/0'"),
    ("rerun quickstart family=lkca/0", "; its cells: family=lkca,data_fraction=0.1"),
    ("rerun quickstart family=vitt/0", "has no finished trial 'family=vitt/0'"),
    ("predict quickstart/family=lkca,data_fraction=0.1/9 test", "did you mean family=lkca,data_fraction=0.1/"),
    ("export quickstart --to onxx", "got 'onxx'; did you mean onnx? (./onxx for a folder)"),
    ("export quickstart --to ONNX", "got 'ONNX'; did you mean onnx? (./ONNX for a folder)"),
    ("export quickstart --to torch", "got 'torch'; did you mean torch_export? (./torch for a folder)"),
    ("export quickstart --to best.onnx", "got 'best.onnx'; write --to onnx --output best.onnx"),
    ("init no/new.yaml", "the folder of FILE must exist, got"),
    ("archive quickstart --to no/new.tar.zst", "the folder of --to must exist, got"),
    ("init new.yaml --fractions 1,1", "fractions must be distinct, got '1,1'; remove one"),
    (
        "init new.yaml --fractions 0.5,0",
        "fractions must be numbers above 0 and at most 1, separated by commas, got",
    ),
    (
        "init new.yaml --fractions 0.0001",
        "data_fraction must leave an image per class, got 0.0001 of the 114 images",
    ),
    ("data check Folder:photos", "got 'Folder:photos'; did you mean folder:photos?"),
    ("data check folder=photos", "got 'folder=photos'; did you mean folder:photos?"),
    ("data prepare cifr10", "unknown dataset 'cifr10'; did you mean cifar10?"),
    ("models resnett", "unknown family 'resnett'; did you mean resnet?"),
]
"""A command, and a part of its error."""


@pytest.fixture(autouse=True)
def _in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SHIPPED, tmp_path / "search_spaces")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("LKCA_DATA_DIR", raising=False)


@pytest.mark.parametrize(("override", "words"), ON_QUICKSTART, ids=[override for override, _ in ON_QUICKSTART])
def test_a_mistaken_override_is_one_line_with_what_was_meant(command: Command, override: str, words: str) -> None:
    code, out, err = command("run", QUICKSTART, override)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert not list(Path("home").glob("searches/*"))  # the name stays free


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["factors.family=[lkca,", "vit]"], "'factors.family=[lkca, vit]'"),
        (["factors.data_fraction=[0.1,", "0.5,", "1.0]", "search.seed=1"], "'factors.data_fraction=[0.1, 0.5, 1.0]'"),
        (
            ["search.seed=1", "training={steps:", "100,", "batch_size:", "64}"],
            "'training={steps: 100, batch_size: 64}'",
        ),
        (["search.seed", "=", "1"], "search.seed=1"),
        (["search.seed=", "1"], "search.seed=1"),
        (["search.seed", "=1"], "search.seed=1"),
    ],
)
def test_an_override_that_the_shell_has_split_is_stated_as_one_word(
    command: Command, typed: list[str], meant: str
) -> None:
    code, _, err = command("plan", QUICKSTART, *typed)
    assert code == 2
    assert err.startswith(
        f"error: an override must be one word of the shell, quoted if it has spaces: {meant} (override"
    )
    assert len(err.splitlines()) == 1


def test_a_search_that_has_another_question_is_refused_before_ray_starts(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(session: RaySession) -> None:
        raise AssertionError("Ray starts")

    monkeypatch.setattr(RaySession, "start", start)
    make_search("made", [make_record(0)])
    code, out, err = command("run", QUICKSTART, "--name", "made")
    assert (code, out) == (2, "")
    assert "search 'made' was started with another space file" in err
    assert "  training.steps: 20 -> None\n" in err


def test_words_that_are_no_parts_of_an_override_keep_their_own_error(command: Command) -> None:
    for typed, words in [
        (["factors.family=[lkca,", "search.seed=1"], "not YAML: "),
        (["factors.family=[lkca,"], "not YAML: "),
        (["search.seed=1", "4"], "an override must be key.sub=value, or ~key.sub to remove a key (override '4')"),
    ]:
        code, _, err = command("plan", QUICKSTART, *typed)
        assert (code, words in err) == (2, True), err


def test_an_error_of_a_section_names_the_overrides_that_changed_it(command: Command) -> None:
    code, _, err = command("plan", QUICKSTART, "training.steps=300", "search.seed=2")
    assert code == 2
    assert "got epochs and steps; remove the others in the file, or by overrides: '~training.steps' to keep" in err
    assert "or '~training.epochs' '~training.max_steps' '~training.min_steps' to keep steps" in err
    assert err.endswith(", override 'training.steps=300')\n")
    assert "search.seed" not in err
    removed = ["~training.epochs", "~training.max_steps", "~training.min_steps"]
    assert command("plan", QUICKSTART, "training.steps=300", *removed).code == 0  # as the error states


def test_a_size_that_no_width_has_is_one_line_per_family(command: Command) -> None:
    code, _, err = command("plan", QUICKSTART, "parameters.match_parameters.value=45")
    assert code == 2
    lines = err.splitlines()
    assert [line.split("possible size of ")[1].split(",")[0] for line in lines] == ["lkca", "vit"]
    assert all("override 'parameters.match_parameters.value=45')" in line for line in lines)
    assert "; nearest: from " in lines[0]


@pytest.mark.parametrize(("arguments", "words"), COMMANDS, ids=[arguments for arguments, _ in COMMANDS])
def test_a_mistaken_command_names_what_was_meant(command: Command, arguments: str, words: str) -> None:
    make_search("quickstart", [make_record(0), make_record(1)])
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert words in " ".join(err.replace("│", " ").split())
    assert Home.from_environment().search_names() == ["quickstart"]
    assert sorted(path.name for path in Path().iterdir()) == ["home", "search_spaces"]


def test_a_file_whose_name_is_none_of_a_search_is_run_by_another_name(command: Command) -> None:
    shutil.copy(QUICKSTART, "my tiny.yaml")
    code, _, err = command("run", "my tiny.yaml")
    assert (code, "got 'my tiny', which is that of the file; give another one by --name my_tiny" in err) == (2, True)


def test_a_ledger_of_the_environment_is_named_by_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", "sqlite:///x.db")
    code, _, err = command("run", QUICKSTART)
    assert (code, err.startswith("error: LKCA_SEARCH_LEDGER must be ")) == (2, True)
    assert "; unset it to keep the ledger as SQLite" in err


@pytest.mark.parametrize("words", [["plan", QUICKSTART], ["run", QUICKSTART], ["data", "check"]])
def test_photos_that_have_moved_are_given_by_their_new_path(command: Command, words: list[str]) -> None:
    Path("my_photos/cat").mkdir(parents=True)  # not split: no dataset
    place = "folder:photos" if words[0] == "data" else "data.dataset=folder:photos"
    code, _, err = command(*words, place)
    assert code == 2
    assert "dataset 'folder:photos' must be an existing folder, got" in err
    assert "did you mean" not in err
    assert ("; if it has moved, add data.dataset=folder:NEW_PATH" in err) == (words[0] != "data")


def test_a_search_whose_photos_have_moved_is_confirmed_after_a_run_with_their_new_path(command: Command) -> None:
    make_search("own", [make_record(0)], "data.dataset=folder:photos")
    code, _, err = command("confirm", "own")
    assert code == 2
    assert "dataset 'folder:photos' must be an existing folder, got" in err
    assert "; if it has moved, first repeat `lkca-search run` of own with data.dataset=folder:NEW_PATH" in err


@pytest.mark.parametrize(
    "words",
    [
        ["rerun", "models:/x@champion"],
        ["rerun", "0" * 32],
        ["rerun", "x", "--tracking-uri", "sqlite:///other.db"],
        ["predict", "models:/x@champion", "test"],
        ["export", "models:/x@champion", "--to", "onnx"],
        ["status", "x"],
        ["best", "x"],
        ["list"],
    ],
    ids=" ".join,
)
def test_a_command_that_reads_makes_no_home_and_no_store(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "of another test")  # restored at the end: `rerun` sets the variable
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    code, _, err = command(*words)
    assert code == (0 if words == ["list"] else 2)
    assert ("there is no store" in err) == (words[0] in ("rerun", "predict", "export"))
    assert [path.name for path in Path().iterdir()] == ["search_spaces"]


@pytest.mark.parametrize("words", [["-h"], ["help"], ["plan", "-h"], ["help", "plan"], ["data", "check", "-h"]])
def test_help_has_its_other_names(command: Command, words: list[str]) -> None:
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert out == command(*(word for word in words if word not in ("-h", "help")), "--help").out


def test_each_of_several_errors_begins_with_error(command: Command) -> None:
    _, _, err = command("plan", QUICKSTART, "parameters.dept.value=2", "parameters.learning_rat.value=0.1")
    assert [line.split(";")[0] for line in err.splitlines()] == [
        "error: unknown name 'dept'",
        "error: unknown name 'learning_rat'",
    ]
    _, _, err = command("predict", "nowhere", "missing.png", "lost.png")
    assert [line.split(",")[0] for line in err.splitlines()] == ["error: an image must be a file"] * 2


def test_a_comparison_without_a_confirmation_names_its_command(command: Command) -> None:
    for name in ("one", "two"):
        make_search(name, [make_record(0), make_record(1)])
    code, _, err = command("compare", "one", "two")
    assert (code, "`lkca-search confirm one` tests its best configurations" in err) == (2, True), err


def test_an_override_that_leaves_a_family_out_is_no_mistake(command: Command) -> None:
    code, _, err = command("run", "search_spaces/scarcity_cifar10.yaml", "factors.family=[lkca,vit]", "resources.gpu=2")
    assert code == 2
    assert err.startswith("error: resources: gpu must be at most 1")  # and no other error
    assert len(err.splitlines()) == 1
