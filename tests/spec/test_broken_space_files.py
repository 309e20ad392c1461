"""Broken space files: each is refused with rule, value and place, before anything heavy is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lkca_search.errors import SpaceFileError
from lkca_search.spec.space_file import read_space_file
from tests.support.broken_space_files import BROKEN, DATASETS, FILE, TEXT, BrokenFile


@pytest.mark.timeout(20)
@pytest.mark.parametrize("broken", BROKEN, ids=[broken.name for broken in BROKEN])
def test_a_broken_file_is_refused_with_rule_value_and_place(
    broken: BrokenFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken.write(Path())
    with pytest.raises(SpaceFileError) as caught:
        read_space_file(Path(FILE), broken.overrides)
    first = caught.value.lines[0]
    assert broken.rule in first
    assert broken.value in first
    assert broken.place in first
    assert first.isprintable()
    assert len(first) < 1_500
    assert len(caught.value.lines) <= 51


def test_the_file_that_they_break_is_valid(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(TEXT)
    assert read_space_file(tmp_path / FILE).spec.training.steps == 100


def test_there_are_at_least_60_of_them_and_no_two_have_one_name() -> None:
    assert len({broken.name for broken in BROKEN}) == len(BROKEN) >= 60


@pytest.mark.parametrize("broken", [BROKEN[0], *DATASETS], ids=lambda broken: broken.name)
def test_plan_refuses_a_file_before_it_imports_torch(tmp_path: Path, broken: BrokenFile) -> None:
    broken.write(tmp_path)
    command = [sys.executable, "-X", "importtime", "-m", "lkca_search", "plan", str(tmp_path / FILE)]
    environment = {**os.environ, "LKCA_SEARCH_HOME": str(tmp_path / "home")}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert refused.returncode == 2
    lines = refused.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    assert "yaml" in imported
    assert imported.isdisjoint({"torch", "torchvision", "timm", "ray", "optuna", "mlflow", "sklearn", "scipy"})
    assert lines[-1].startswith("error: ")
    assert broken.rule in lines[-1]
    assert lines[-1].endswith(f"{broken.place})")
