"""Files in a job's working directory, and files that are left out."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import get_uri_for_directory

import lkca_search
from lkca_search.errors import UserError
from lkca_search.search.jobs.working_dir import WorkingDir, collect_working_dir
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import read_space_file
from tests.support.records import SPACE

PACKAGE = Path(lkca_search.__file__).parent


def write_files(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(working_dir: WorkingDir) -> list[str]:
    """Return the names of all files except the package's."""
    return [name for name in working_dir.files if not name.startswith("lkca_search/")]


def test_all_modules_and_page_files_of_the_package_are_included_and_caches_are_not() -> None:
    included = set(collect_working_dir().files)
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("page/*"), PACKAGE / "py.typed"]
    assert included == {path.relative_to(PACKAGE.parent).as_posix() for path in files}


def test_the_working_dir_is_below_3_mb() -> None:
    assert collect_working_dir().num_bytes < 3_000_000


def test_included_files_and_folders_keep_their_names_next_to_the_space_file(tmp_path: Path) -> None:
    write_files(tmp_path, {"toy.yaml": "", "samplers/best.py": "", "samplers/data/points.csv": "", "one.py": ""})
    include = [tmp_path / "samplers", tmp_path / "one.py"]
    working_dir = collect_working_dir(space=tmp_path / "toy.yaml", include=include)
    assert names(working_dir) == ["one.py", "samplers/best.py", "samplers/data/points.csv", "toy.yaml"]


@pytest.mark.parametrize("place", ["folder:photos", "parquet:../photos", "folder:other/photos"])
def test_a_relative_dataset_must_be_among_the_uploaded_files(tmp_path: Path, place: str) -> None:
    write_files(tmp_path, {"photos/train/cat/0.png": "", "toy.yaml": SPACE})

    def spec_of(dataset: str) -> SearchSpec:
        return read_space_file(tmp_path / "toy.yaml", [f"data.dataset={dataset}"]).spec

    with pytest.raises(UserError, match=f"must be absolute, and the same on every node, got {place}: a relative one"):
        collect_working_dir(spec_of(place))
    if place == "folder:photos":
        collect_working_dir(spec_of(place), include=[tmp_path / "photos"])
    else:
        with pytest.raises(UserError, match="the uploaded files, which lack it"):
            collect_working_dir(spec_of(place), include=[tmp_path / "photos"])
    for absolute in (f"folder:{tmp_path}/photos", "digits"):
        collect_working_dir(spec_of(absolute))


IGNORED = [
    ({"mine/.hidden": "", "mine/.git/config": ""}, "hidden files"),
    ({"mine/__pycache__/a.py": "", "mine/inner/a.pyc": ""}, "caches"),
    ({"mine/.rayignore": "*.csv\n!keep.csv\n", "mine/a.csv": "", "mine/inner/b.csv": ""}, "patterns in the folder"),
    ({"mine/inner/.gitignore": "/a.txt\n", "mine/inner/a.txt": ""}, "patterns in a subfolder"),
    ({".rayignore": "mine/large/\n", "mine/large/a.txt": ""}, "patterns next to the folder"),
    ({"mine/lkca_runs/mlflow.db": "", "mine/x.egg-info/PKG-INFO": ""}, "outputs of runs"),
]


@pytest.mark.parametrize(("files", "description"), IGNORED, ids=[description for _, description in IGNORED])
def test_ignored_files_are_left_out(tmp_path: Path, files: Mapping[str, str], description: str) -> None:
    write_files(tmp_path, {"mine/module.py": "", "mine/keep.csv": "", **files})
    assert names(collect_working_dir(include=[tmp_path / "mine"])) == ["mine/keep.csv", "mine/module.py"]


def test_a_path_that_is_missing_ignored_entirely_or_named_like_another_is_an_error(tmp_path: Path) -> None:
    write_files(tmp_path, {"empty/.hidden": "", "a/same.py": "", "b/same.py": "", "lkca_search/x.py": ""})
    for include, message in (
        (["missing"], "must exist, got"),
        (["empty"], "has no file to upload"),
        (["a/same.py", "b/same.py"], r"different names, got .*/a/same.py and .*/b/same.py"),
        (["lkca_search"], r"different names, got .*lkca_search and .*lkca_search"),
    ):
        with pytest.raises(UserError, match=message):
            collect_working_dir(include=[tmp_path / name for name in include])
    assert names(collect_working_dir(include=[tmp_path / "a/same.py"] * 2)) == ["same.py"]


def test_links_are_followed_and_a_cycle_is_an_error(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/a.py": "x = 1", "elsewhere/b.py": "y = 2"})
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "elsewhere")
    working_dir = collect_working_dir(include=[tmp_path / "mine"])
    assert names(working_dir) == ["mine/a.py", "mine/linked/b.py"]
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="links to a folder that contains it"):
        collect_working_dir(include=[tmp_path / "mine"])


def test_files_above_the_size_limit_are_an_error_that_lists_the_largest(tmp_path: Path) -> None:
    write_files(tmp_path, {f"mine/{i}.bin": "x" * (1_000_000 * i) for i in range(1, 8)})
    with pytest.raises(UserError) as caught:
        collect_working_dir(include=[tmp_path / "mine"])
    lines = str(caught.value).splitlines()
    assert "must not exceed 20 MB" in lines[0]
    total = re.search(r"got ([\d.]+) MB", lines[0])
    assert total is not None
    assert 28 < float(total[1]) < 31  # 28 MB of the user, and the package itself
    assert [line.split() for line in lines[1:]] == [[f"{i}.0", "MB", f"mine/{i}.bin"] for i in (7, 6, 5, 4, 3)]
    assert collect_working_dir(include=[tmp_path / "mine"], max_megabytes=31).num_bytes > 28_000_000


def test_equal_content_has_an_equal_uri_in_ray_and_is_uploaded_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"toy.yaml": "a: 1", "mine/a.py": "x = 1"})
    uris = []
    for i in range(2):
        copied = tmp_path / f"copied{i}"
        collect_working_dir(space=tmp_path / "toy.yaml", include=[tmp_path / "mine"]).copy_to(copied)
        uris.append(get_uri_for_directory(str(copied), include_gitignore=True))
        assert (copied / "mine" / "a.py").read_text() == "x = 1"
        os.utime(tmp_path / "mine" / "a.py", (1, 1))
    assert uris[0] == uris[1]
    (tmp_path / "mine" / "a.py").write_text("x = 2")
    collect_working_dir(space=tmp_path / "toy.yaml", include=[tmp_path / "mine"]).copy_to(tmp_path / "other")
    assert get_uri_for_directory(str(tmp_path / "other"), include_gitignore=True) != uris[0]
