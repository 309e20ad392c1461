"""What is shipped to a cluster, and what is not."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import get_uri_for_directory

import lkca_search
from lkca_search.errors import UserError
from lkca_search.search.jobs.shipment import Shipment, gather_shipment

PACKAGE = Path(lkca_search.__file__).parent


def lay_out(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(shipment: Shipment) -> list[str]:
    """What is shipped besides the package."""
    return [name for name in shipment.files if not name.startswith("lkca_search/")]


def test_every_module_and_page_of_the_package_is_shipped_and_no_cache_is() -> None:
    shipped = set(gather_shipment().files)
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.glob("report/page/*")]
    assert shipped == {path.relative_to(PACKAGE.parent).as_posix() for path in files}


def test_a_shipment_is_small() -> None:
    assert gather_shipment().num_bytes < 2_000_000


def test_what_is_included_lies_beside_the_space_file_under_its_own_name(tmp_path: Path) -> None:
    lay_out(tmp_path, {"toy.yaml": "", "samplers/best.py": "", "samplers/data/points.csv": "", "one.py": ""})
    include = [tmp_path / "samplers", tmp_path / "one.py"]
    shipment = gather_shipment(space=tmp_path / "toy.yaml", include=include)
    assert names(shipment) == ["one.py", "samplers/best.py", "samplers/data/points.csv", "toy.yaml"]


IGNORED = [
    ({"mine/.hidden": "", "mine/.git/config": ""}, "hidden files"),
    ({"mine/__pycache__/a.py": "", "mine/inner/a.pyc": ""}, "caches"),
    ({"mine/.rayignore": "*.csv\n!keep.csv\n", "mine/a.csv": "", "mine/inner/b.csv": ""}, "patterns in the folder"),
    ({"mine/inner/.gitignore": "/a.txt\n", "mine/inner/a.txt": ""}, "patterns further in"),
    ({".rayignore": "mine/large/\n", "mine/large/a.txt": ""}, "patterns beside the folder"),
    ({"mine/lkca_runs/mlflow.db": "", "mine/x.egg-info/PKG-INFO": ""}, "what runs leave"),
]


@pytest.mark.parametrize(("files", "what"), IGNORED, ids=[what for _, what in IGNORED])
def test_what_is_ignored_is_not_shipped(tmp_path: Path, files: Mapping[str, str], what: str) -> None:
    lay_out(tmp_path, {"mine/module.py": "", "mine/keep.csv": "", **files})
    assert names(gather_shipment(include=[tmp_path / "mine"])) == ["mine/keep.csv", "mine/module.py"]


def test_a_path_that_is_not_there_ignored_whole_or_named_as_another_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, {"empty/.hidden": "", "a/same.py": "", "b/same.py": "", "lkca_search/x.py": ""})
    for include, complaint in (
        (["missing"], "there is no"),
        (["empty"], "nothing of"),
        (["a/same.py", "b/same.py"], "'same.py' is both"),
        (["lkca_search"], "'lkca_search' is both"),
    ):
        with pytest.raises(UserError, match=complaint):
            gather_shipment(include=[tmp_path / name for name in include])
    assert names(gather_shipment(include=[tmp_path / "a/same.py"] * 2)) == ["same.py"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    lay_out(tmp_path, {"mine/a.py": "x = 1", "elsewhere/b.py": "y = 2"})
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "elsewhere")
    shipment = gather_shipment(include=[tmp_path / "mine"])
    assert names(shipment) == ["mine/a.py", "mine/linked/b.py"]
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="links to a folder that holds it"):
        gather_shipment(include=[tmp_path / "mine"])


def test_too_large_a_shipment_is_refused_with_the_largest_files(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"mine/{i}.bin": "x" * (1_000_000 * i) for i in range(1, 8)})
    with pytest.raises(UserError) as caught:
        gather_shipment(include=[tmp_path / "mine"])
    lines = str(caught.value).splitlines()
    assert "must not exceed 20 MB" in lines[0]
    assert "28." in lines[0]
    assert [line.split() for line in lines[1:]] == [[f"{i}.0", "MB", f"mine/{i}.bin"] for i in (7, 6, 5, 4, 3)]
    assert gather_shipment(include=[tmp_path / "mine"], max_megabytes=30).num_bytes > 28_000_000


def test_ray_gives_the_same_content_the_same_name_whenever_it_is_staged(tmp_path: Path) -> None:
    lay_out(tmp_path, {"toy.yaml": "a: 1", "mine/a.py": "x = 1"})
    uris = []
    for i in range(2):
        staged = tmp_path / f"staged{i}"
        gather_shipment(space=tmp_path / "toy.yaml", include=[tmp_path / "mine"]).stage(staged)
        uris.append(get_uri_for_directory(str(staged), include_gitignore=True))
        assert (staged / "mine" / "a.py").read_text() == "x = 1"
        os.utime(tmp_path / "mine" / "a.py", (1, 1))
    assert uris[0] == uris[1]
    (tmp_path / "mine" / "a.py").write_text("x = 2")
    gather_shipment(space=tmp_path / "toy.yaml", include=[tmp_path / "mine"]).stage(tmp_path / "other")
    assert get_uri_for_directory(str(tmp_path / "other"), include_gitignore=True) != uris[0]
