"""Provenance of results."""

import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import ValidationError

import lkca_search
from lkca_search.environment.checkout import read_commit
from lkca_search.records.provenance import Provenance, gather_provenance
from tests.support.processes import run_python


@pytest.fixture
def commit_of_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Return a function that returns the commit of a copy of this package in `tmp_path / "copy"`."""
    package = tmp_path / "copy" / "lkca_search"
    for name in (
        "__init__.py",
        "errors.py",
        "user.py",
        "environment/__init__.py",
        "environment/checkout.py",
        "environment/redaction.py",
    ):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(lkca_search.__file__).parent / name, package / name)
    monkeypatch.delenv("LKCA_GIT_COMMIT", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(package.parent)
    return lambda: run_python("from lkca_search.environment.checkout import git_commit; print(git_commit())")


def test_the_commit_is_that_of_the_checkout_marked_if_files_differ(
    commit_of_copy: Callable[[], str], tmp_path: Path
) -> None:
    assert commit_of_copy() == "unknown"

    def git(*arguments: str) -> str:
        options = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path / "copy"), *options, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "another's")
    assert commit_of_copy() == "unknown"
    git("add", "lkca_search")
    git("commit", "--quiet", "--message", "ours")
    git("tag", "v1")
    commit = git("rev-parse", "HEAD")
    assert commit_of_copy() == commit
    with (tmp_path / "copy" / "lkca_search" / "user.py").open("a") as file:
        file.write("# changed\n")
    assert commit_of_copy() == f"{commit}-dirty"


def test_a_checkout_of_another_user_gives_the_reason_and_the_remedy(
    commit_of_copy: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print_commit = "from lkca_search.environment.checkout import read_commit; print(*read_commit())"
    assert commit_of_copy() == "unknown"
    assert run_python(print_commit) == "unknown the package is in no Git checkout False"
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "copy")], check=True)
    assert run_python(print_commit) == "unknown the package is in no Git checkout False"  # none of its files is added
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    folder = tmp_path / "copy"
    assert run_python(print_commit) == (
        f"unknown git refuses the checkout of another user, {folder}; "
        f"to allow it: git config --global --add safe.directory {folder} True"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_python(print_commit) == "unknown git is not installed True"


def test_records_of_earlier_versions_state_no_reason_for_an_unknown_commit() -> None:
    found = gather_provenance(device="cpu", num_threads=2).model_dump()
    old = Provenance.model_validate({name: value for name, value in found.items() if name != "git_problem"})
    assert old.git_problem is None
    assert old.code == old.git_commit
    refused = old.model_copy(update={"git_commit": "unknown", "git_problem": "git is not installed"})
    assert refused.code == "unknown (git is not installed)"


def test_an_environment_variable_sets_the_commit_of_shipped_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKCA_GIT_COMMIT", "1234")
    assert read_commit.__wrapped__().text == "1234"
    monkeypatch.setenv("LKCA_GIT_COMMIT", "")
    assert read_commit.__wrapped__().text != ""


def test_provenance_has_code_versions_and_machine() -> None:
    found = gather_provenance(device="cpu", num_threads=2)
    assert all(str(value) for _, value in found)
    assert (found.memory_bytes or 0) > 1e8
    assert (found.gpu_driver, found.cuda_version, found.cudnn_version) == (None, None, None)
    assert (found.device, found.num_threads) == ("cpu", 2)
    assert (found.torch_version, found.optuna_version) == (version("torch"), version("optuna"))


def test_a_record_of_an_earlier_version_has_no_hardware_and_no_packages() -> None:
    found = gather_provenance(device="cpu", num_threads=2).model_dump()
    names = ("git_commit", "package_version", "python_version", "torch_version", "ray_version", "optuna_version")
    names += ("node", "device", "num_threads")
    old = Provenance.model_validate({name: found[name] for name in names})
    assert (old.cpu_model, old.packages, old.packages_hash, old.git_diff, old.command_line) == (
        None,
        {},
        None,
        None,
        None,
    )


@pytest.mark.parametrize("name", ["../../../etc/passwd", "0" * 15, "G" * 16])
def test_the_name_of_a_file_of_provenance_must_be_a_hash(name: str) -> None:
    found = gather_provenance(device="cpu", num_threads=2).model_dump()
    with pytest.raises(ValidationError):
        Provenance.model_validate({**found, "git_diff": name})
