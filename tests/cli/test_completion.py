"""Completion of a shell: commands, options and the names of searches, as the scripts of bash and zsh request them."""

import pytest

from tests.support.processes import Command
from tests.support.records import make_record, make_search


@pytest.fixture(autouse=True)
def _searches() -> None:
    make_search("first", [make_record(0)])
    make_search("second", [make_record(0)])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("st", ["status", "stop"]),
        ("data ", ["list", "prepare", "check"]),
        ("status ", ["first", "second"]),
        ("status f", ["first"]),
        ("best second --ce", ["--cell"]),
        ("compare first s", ["second"]),
        ("doctor s", ["second"]),
        ("predict f", ["first"]),
        ("status nothing", []),
    ],
)
def test_bash_receives_what_may_follow(
    command: Command, monkeypatch: pytest.MonkeyPatch, typed: str, expected: list[str]
) -> None:
    words = f"lkca-search {typed}"
    monkeypatch.setenv("_LKCA_SEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    code, out, err = command()
    assert (code, out.split(), err) == (0, expected, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_calls_the_command_with_its_own_variable(
    command: Command, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("_LKCA_SEARCH_COMPLETE", f"source_{shell}")
    code, out, _ = command()
    assert code == 0
    assert "_LKCA_SEARCH_COMPLETE" in out
    assert "lkca-search" in out


def test_a_home_that_cannot_be_listed_completes_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LKCA_SEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "lkca-search status ")
    monkeypatch.setenv("COMP_CWORD", "2")
    for home in ("s3://bucket/home", "/proc/none"):
        monkeypatch.setenv("LKCA_SEARCH_HOME", home)
        assert command() == (0, "\n" if command().out else "", "")
