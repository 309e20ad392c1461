"""Readers of space files as fixtures."""

from pathlib import Path

import pytest

from lkca_search.cli.app import main
from lkca_search.spec.space_file import SpaceFile, read_space_file
from tests.support.space_files import MIXERS, SPACE, Read, Run, Space


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return a function that reads a text as `space.yaml`."""
    monkeypatch.chdir(tmp_path)

    def read_text(text: str, *overrides: str) -> SpaceFile:
        Path("space.yaml").write_text(text, encoding="utf-8")
        return read_space_file(Path("space.yaml"), overrides)

    return read_text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a text as `space.yaml`, expects exit code 2, and returns the error output."""
    monkeypatch.chdir(tmp_path)

    def run_text(text: str, *overrides: str) -> str:
        Path("space.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["lkca-search", "run", "space.yaml", *overrides])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        return capsys.readouterr().err.strip()

    return run_text


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    """Return a reader of SPACE with overrides."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    return lambda *overrides: read_space_file(Path("space.yaml"), overrides)


@pytest.fixture
def mixers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    """Return a reader of MIXERS with overrides."""
    monkeypatch.chdir(tmp_path)
    Path("mixers.yaml").write_text(MIXERS)
    return lambda *overrides: read_space_file(Path("mixers.yaml"), overrides)
