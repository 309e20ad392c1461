"""Values of options and variables that are empty, taken, or cannot be written, before any work is done."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from lkca_search.cli.app import app
from lkca_search.layout import Home
from lkca_search.records.record import Record
from tests.support.processes import Command, parsed
from tests.support.records import SPACE, make_record, make_search

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
COMMANDS |= {f"data {name}": each for name, each in COMMANDS.pop("data").commands.items()}
OPTIONS = [
    (name, parameter.opts[0])
    for name, each in COMMANDS.items()
    for parameter in each.params
    if parameter.opts[0].startswith("--") and not parameter.is_flag
]


@pytest.fixture
def made() -> Record:
    record = make_record(0)
    make_search("made", [record])
    return record


def test_every_option_with_a_value_refuses_an_empty_one(command: Command) -> None:
    assert {"--name", "--home", "--headers", "--trial", "--cell", "--to"} <= {option for _, option in OPTIONS}
    for name, option in OPTIONS:
        for arguments in (["x", option, ""], ["x", f"{option}="]):
            expected = f"error: {option} must not be empty; omit it for its default\n"
            assert command(*name.split(), *arguments) == (2, "", expected)


def test_every_argument_refuses_an_empty_text(command: Command) -> None:
    for name in COMMANDS:
        expected = "error: an argument must not be empty; omit it for its default\n"
        assert command(*name.split(), "") == (2, "", expected)


VARIABLES = "LKCA_SEARCH_HOME LKCA_SEARCH_CACHE LKCA_DATA_DIR LKCA_SEARCH_LEDGER LKCA_NODE RAY_ADDRESS"
VARIABLES += " RAY_API_SERVER_ADDRESS RAY_JOB_HEADERS MLFLOW_TRACKING_URI MLFLOW_EXPERIMENT_NAME"


@pytest.mark.parametrize("variable", VARIABLES.split())
def test_an_empty_variable_counts_as_not_set(
    command: Command, made: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = ["list --json", "data list --json", "logs made", "best made --json"]
    monkeypatch.delenv(variable, raising=False)
    expected = [command(*each.split()) for each in commands]
    monkeypatch.setenv(variable, "")
    assert [command(*each.split()) for each in commands] == expected
    assert [answer.code for answer in expected] == [0, 0, 2, 2 if variable == "LKCA_SEARCH_HOME" else 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("export made --to /proc/x", ["--to must be a folder that can be written, got /proc/x", "No such file"]),
        ("report made --to /proc/x", ["--to must be a folder that can be written, got /proc/x"]),
        ("export made --to file/tables", ["got file/tables: file/tables: Not a directory", "move the file"]),
        ("report made --to file/page", ["got file/page"]),
        ("rerun made --save /proc/x", ["--save must be a folder that can be written, got /proc/x"]),
        ("rerun made --save file/weights", ["--save must be a folder"]),
        ("rerun made --save /dev/null", ["--save must be a folder that can be written, got /dev/null"]),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_work(
    command: Command, made: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
    assert Path("/dev/null").is_char_device()


def test_ui_on_a_port_in_use_ends_with_code_1_since_it_can_succeed_later(command: Command, made: Record) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        code, out, err = command("ui", "--port", str(port))
    assert (code, out) == (1, "")
    what = f"MLflow's page cannot start on port {port} of 127.0.0.1: another program listens on it."
    assert err == f"{what} Choose another one by --port, or end that program.\n"


@pytest.mark.parametrize("name", ["LKCA_SEARCH_HOME", "LKCA_SEARCH_CACHE"])
def test_a_file_in_the_place_of_a_folder_is_refused_by_the_variables_name(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(name, str(tmp_path / "file"))
    for arguments in ("data list", "data check digits"):
        code, out, err = command(*arguments.split())
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {name} must be a folder")
        assert f"got {tmp_path / 'file'}; correct it" in err


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_wrong_lkca_data_dir_is_refused_and_nothing_is_downloaded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "data"
    if kind == "a file":
        folder.write_text("")
    monkeypatch.setenv("LKCA_DATA_DIR", str(folder))
    (tmp_path / "space.yaml").write_text(SPACE.replace("digits", "cifar10"))
    for arguments in ("data list", "data check cifar10", "data prepare mine", f"plan {tmp_path / 'space.yaml'}"):
        code, out, err = command(*arguments.split())
        assert (code, out) == (2, "")
        assert f"LKCA_DATA_DIR must be a folder with one folder per dataset, got {folder}, which" in err
        assert "unset it to download" in err
    assert not Home.from_environment().datasets.exists()


def test_a_bundled_dataset_needs_no_lkca_data_dir(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_DATA_DIR", str(tmp_path / "nowhere"))
    assert [split["num_images"] for split in parsed(command("data", "prepare", "digits", "--json"))] == [1438, 359]


def test_a_disk_fault_of_any_command_is_one_line_with_its_remedy(command: Command, tmp_path: Path) -> None:
    home = Home.from_environment().root
    assert isinstance(home, Path)
    (home / "searches" / "bad").mkdir(parents=True)
    (home / "searches" / "bad" / "spec.json").symlink_to("spec.json")
    code, out, err = command("status", "bad")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_driver_that_can_never_write_its_home_is_an_error_and_no_interruption(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "file" / "home"))
    code, out, err = command("run", str(tmp_path / "space.yaml"))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'file'}")
    assert "Not a directory; move the file that is in the place of a folder" in err
    assert "interrupted" not in err


@pytest.mark.parametrize(
    "arguments", ["status made --every nan", "status made --every inf", "plan s.yaml --max-hours nan"]
)
def test_a_time_that_is_no_number_is_refused(command: Command, made: Record, arguments: str) -> None:
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert "Usage:" in err


def test_a_working_directory_that_was_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {sys.executable} -P -c "
    command += "'from lkca_search.cli.app import main; main()' list"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the working directory must exist, but it was removed; change to another one\n"


def test_own_classes_are_found_beside_the_space_file_and_in_the_working_directory(tmp_path: Path) -> None:
    spaces, work = tmp_path / "spaces", tmp_path / "work"
    for folder, module, base in ((spaces, "beside", "samplers.RandomSampler"), (work, "here", "pruners.NopPruner")):
        folder.mkdir()
        (folder / f"{module}.py").write_text(f"import optuna\nclass Own(optuna.{base}): ...\n")
    (work / "yaml.py").write_text("raise ImportError('a file of the user must not shadow a package')\n")
    installed = [sys.executable, "-P", "-c", "from lkca_search.cli.app import main; main()"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    (spaces / "space.yaml").write_text(SPACE)
    found = []
    for overrides in (["search.sampler=beside.Own", "search.pruner=here.Own"], ["search.sampler=nowhere.Own"]):
        command = [*installed, "plan", str(spaces / "space.yaml"), *overrides, "--json"]
        found.append(subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True))
    assert [done.returncode for done in found] == [0, 2], found
    assert "put nowhere.py next to the space file or into the working directory" in found[1].stderr
