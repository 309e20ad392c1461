"""Differences of a checkout from its commit, as they are stored with a search."""

import shutil
import subprocess
from pathlib import Path

import pytest

import lkca_search
from lkca_search.environment.checkout import MAX_DIFF_BYTES
from tests.support.processes import run_python

PRINT = "from lkca_search.environment.checkout import read_diff; print(read_diff(), end='')"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clean checkout with a copy of the part of this package that reads it."""
    root = tmp_path / "copy"
    source = Path(lkca_search.__file__).parent
    for name in ("__init__.py", "errors.py", "user.py"):
        (root / "lkca_search").mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, root / "lkca_search" / name)
    shutil.copytree(source / "environment", root / "lkca_search" / "environment")
    (root / ".env").write_text("A=1\n")
    (root / ".gitignore").write_text("__pycache__/\n")
    monkeypatch.delenv("LKCA_GIT_COMMIT", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(root)
    for arguments in (["init"], ["add", "."], ["commit", "--message", "all"]):
        options = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *options, *arguments], check=True, capture_output=True)
    return root


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_clean_checkout_has_no_differences(checkout: Path) -> None:
    assert run_python(PRINT) == "None"


def test_differences_are_those_of_git_without_secrets_and_with_the_names_of_new_files(checkout: Path) -> None:
    append(checkout / "lkca_search" / "user.py", "PASSWORD = 'hunter2'\nWIDTH = 3\n")
    append(checkout / ".env", "PLAIN=hunter3\n")
    (checkout / "lkca_search" / "fresh.py").write_text("x = 1\n")
    (checkout / "server.pem").write_text("hunter4\n")
    text = run_python(PRINT)
    assert "diff --git a/lkca_search/user.py b/lkca_search/user.py" in text
    assert "+PASSWORD = ***\n+WIDTH = 3\n" in text
    assert "# not in Git: lkca_search/fresh.py" in text
    assert "hunter" not in text
    assert ".env" not in text
    assert "server.pem" not in text


def test_long_differences_are_cut_off_and_state_it(checkout: Path) -> None:
    append(checkout / "lkca_search" / "user.py", "# " + "ä" * MAX_DIFF_BYTES + "\n")
    text = run_python(PRINT)
    assert f"# cut off after {MAX_DIFF_BYTES:,} of 2,0" in text
    assert len(text.encode()) < MAX_DIFF_BYTES + 100


@pytest.mark.parametrize(("commit", "shown"), [("1234-dirty", "the text"), ("1234", "None")])
def test_code_that_is_shipped_without_its_history_has_its_differences_in_a_file_beside_it(
    checkout: Path, commit: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "lkca_search.diff").write_text("the text")
    monkeypatch.setenv("LKCA_GIT_COMMIT", commit)
    assert run_python(PRINT) == shown


def test_a_package_that_pip_has_installed_from_git_has_its_commit(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")

    def commit() -> str:
        return run_python("from lkca_search.environment.checkout import read_commit; print(*read_commit())")

    origin = checkout / "lkca_search-0.1.0.dist-info"
    origin.mkdir()
    (origin / "METADATA").write_text("Metadata-Version: 2.1\nName: lkca-search\nVersion: 0.1.0\n")
    (origin / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {}}')
    assert commit() == "unknown the package is in no Git checkout False"
    (origin / "direct_url.json").write_text('{"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "abcd"}}')
    assert commit() == "abcd None False"
