"""Modules of own samplers and pruners that a job must upload."""

from pathlib import Path

import pytest

from lkca_search.search.jobs.working_dir import collect_working_dir, find_own_modules
from lkca_search.spec.space_file import read_space_file
from tests.support.records import SPACE


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    beside, work = tmp_path / "spaces", tmp_path / "work"
    (work / "package").mkdir(parents=True)
    beside.mkdir()
    for path in (beside / "mine.py", work / "mine.py", work / "other.py", work / "optuna.py"):
        path.write_text("")
    (work / "package" / "__init__.py").write_text("")
    (beside / "space.yaml").write_text(SPACE)
    return [beside, work]


@pytest.mark.parametrize(
    ("sampler", "pruner", "expected"),
    [
        ("tpe", "median", []),
        ("mine.Sampler", "none", ["spaces/mine.py"]),
        ("other.Sampler", "mine.Pruner", ["spaces/mine.py", "work/other.py"]),
        ("package.module.Sampler", "none", ["work/package"]),
        ("tpe", "{name: patient, wraps: other.Pruner, patience: 1}", ["work/other.py"]),
        ("tpe", "{name: patient, wraps: {name: other.Pruner}, patience: 1}", ["work/other.py"]),
        ("optuna.samplers.RandomSampler", "none", []),
        ("nowhere.Sampler", "none", []),
        ("optunahub:samplers/auto_sampler", "none", []),
    ],
)
def test_own_modules_beside_the_space_file_or_in_the_working_directory_are_uploaded(
    folders: list[Path], sampler: str, pruner: str, expected: list[str]
) -> None:
    space = folders[0] / "space.yaml"
    overrides = [f"search.sampler={sampler}", f"search.pruner={pruner}"]
    own = find_own_modules(read_space_file(space, overrides).spec, folders)
    assert [path.relative_to(folders[0].parent).as_posix() for path in own] == expected
    assert find_own_modules(read_space_file(space, overrides).spec, folders, included=own) == []
    uploaded = collect_working_dir(space=space, include=own).files
    assert {path.name for path in own} <= {name.split("/")[0] for name in uploaded}
