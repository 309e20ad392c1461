"""Commands delete, rename, archive and restore: output, questions and exit codes."""

import io
import json
import sys
from pathlib import Path

import pytest

from lkca_search.data.store import list_stored, open_images
from lkca_search.layout import Home
from lkca_search.paths import write_atomically
from lkca_search.records.search.dataset import SearchDataset, write_search_datasets
from lkca_search.search.state.lease import hold_lease
from tests.support.processes import Command, parsed
from tests.support.search.stored import contents, make_stored_search


class _Terminal(io.StringIO):
    """Standard input of a user at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_delete_shows_everything_and_changes_nothing_in_a_dry_run(command: Command) -> None:
    home = Home.from_environment()
    folder = make_stored_search("made")
    before = contents(home.root)
    code, out, err = command("delete", "made", "--dry-run")
    assert (code, err) == (0, "")
    rows = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    assert {"records", "predictions", "checkpoints", "ledger", "other files"} <= rows.keys()
    assert "5.00 kB" in rows["checkpoints"]
    assert str(folder.root) in rows["records"]
    assert "kept: 1 look at test images in the register (test_looks/), since a look remains a look" in out
    assert "kept: runs and models in MLflow (--mlflow deletes them)" in out
    plan = parsed(command("delete", "made", "--dry-run", "--json"))
    size = sum(map(len, contents(folder.root).values()))
    assert sum(each["num_bytes"] for each in plan["folders"]) == size
    assert contents(home.root) == before


def test_delete_without_a_terminal_needs_yes_and_a_question_is_answered_with_no_by_default(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_stored_search("made")
    before = contents(folder.root)
    code, _, err = command("delete", "made")
    assert (code, "`delete` must have --yes outside a terminal" in err) == (2, True)
    code, _, err = command("delete", "made", "--json")
    assert (code, "--json must have --yes or --dry-run" in err) == (2, True)
    for answer, expected in (("\n", 1), ("n\n", 1), ("y\n", 0)):
        monkeypatch.setattr(sys, "stdin", _Terminal(answer))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        assert contents(folder.root) == before
        assert command("delete", "made").code == expected
    assert not folder.root.exists()


def test_a_running_search_is_refused_with_the_command_that_stops_it(command: Command) -> None:
    folder = make_stored_search("made")
    with hold_lease(folder):
        for arguments in (("delete", "made", "--yes"), ("rename", "made", "new"), ("archive", "made")):
            code, _, err = command(*arguments)
            assert (code, "lkca-search stop made" in err) == (2, True), arguments
        assert "it is running" in command("delete", "made", "--dry-run").out
    assert Home.from_environment().search_names() == ["made"]
    assert not Path("made.tar.zst").exists()


def test_delete_of_a_decoded_dataset_spares_those_of_other_searches(command: Command) -> None:
    home = Home.from_environment()
    train = open_images("digits", "train", cache=home.datasets)
    open_images("digits", "test", cache=home.datasets)
    described = {None: SearchDataset(dataset="digits", data_hash=train.content_hash, num_images=len(train))}
    folders = [make_stored_search(name) for name in ("made", "other")]
    for folder in folders:
        write_search_datasets(folder, described)
    plan = parsed(command("delete", "made", "--cache", "--dry-run", "--json"))
    assert plan["cached"] == []
    assert command("delete", "other", "--yes", "--cache").code == 0
    assert len(list(list_stored(home.datasets))) == 2
    plan = parsed(command("delete", "made", "--dry-run", "--json"))
    assert [each["split"] for each in plan["cached"]] == ["test", "train"]
    assert (
        "of decoded images that no other search uses (digits; --cache deletes them)"
        in command("delete", "made", "--dry-run").out
    )
    assert command("delete", "made", "--yes", "--cache").code == 0
    assert list(list_stored(home.datasets)) == []


def test_archive_and_restore_say_the_file_the_size_and_the_folder(command: Command) -> None:
    home = Home.from_environment()
    make_stored_search("made")
    code, out, _ = command("archive", "made", "--dry-run")
    assert (code, Path("made.tar.zst").exists()) == (0, False)
    code, out, err = command("archive", "made", "--delete", "--yes")
    assert (code, err, home.search_names()) == (0, "", [])
    assert out.startswith("made.tar.zst has ")
    assert "left out: 2 files, 5.00 kB (checkpoints, locks, Ray's state)" in out
    code, out, err = command("restore", "made.tar.zst", "--name", "copy")
    assert (code, err, home.search_names()) == (0, "", ["copy"])
    assert out == f"search copy is restored: {home.search('copy').root}\n"
    code, _, err = command("archive", "copy", "--to", "made.tar.zst")
    assert (code, "--to must be a new file, got made.tar.zst" in err) == (2, True)
    code, _, err = command("restore", "nowhere.tar.zst")
    assert (code, "nowhere.tar.zst" in err) == (2, True)


def test_list_names_the_command_that_was_interrupted_and_other_commands_refuse(command: Command) -> None:
    folder = make_stored_search("made")
    mark = {"action": "rename", "search": "made", "new_name": "new", "command": "lkca-search rename made new"}
    write_atomically(folder.root / "unfinished.json", json.dumps(mark).encode())
    assert "interrupted: lkca-search rename made new" in command("list").out
    for arguments in (("delete", "made", "--yes"), ("rename", "made", "newer"), ("repair", "made")):
        code, _, err = command(*arguments)
        assert (code, "`lkca-search rename made new` was interrupted" in err) == (2, True), arguments
    assert command("rename", "made", "new").code == 0
    assert Home.from_environment().search_names() == ["new"]


@pytest.mark.parametrize("command_name", ["delete", "rename", "archive"])
def test_a_search_that_does_not_exist_is_refused_with_the_names_of_others(command: Command, command_name: str) -> None:
    make_stored_search("made")
    arguments = [command_name, "nowhere", *(["new"] if command_name == "rename" else [])]
    code, _, err = command(*arguments)
    assert (code, "there is no search 'nowhere'" in err, "searches there: made" in err) == (2, True, True)
