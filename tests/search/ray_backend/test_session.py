"""Folder of Ray's files and sockets, and the space that Ray needs there."""

import subprocess
import sys
from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.search.ray_backend.session import check_free_space, choose_folder

LONGEST = 37
"""Bytes of the longest folder for sockets."""


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_local_fs_capacity_threshold"):
        monkeypatch.delenv(name, raising=False)


def test_ray_stores_its_files_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[str] = []
    assert choose_folder(notices.append) == Path("/tmp/ray")
    monkeypatch.setenv("TMPDIR", "/scratch")
    assert choose_folder(notices.append) == Path("/scratch/ray")
    monkeypatch.setenv("RAY_TMPDIR", "/fast")
    assert choose_folder(notices.append) == Path("/fast/ray")
    assert notices == []


@pytest.mark.parametrize("name", ["a" * (LONGEST - 1), "ü" * (LONGEST // 2)])
def test_a_folder_whose_sockets_have_at_most_107_bytes_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", f"/{name}")
    assert choose_folder(pytest.fail) == Path(f"/{name}/ray")


@pytest.mark.parametrize("name", ["a" * LONGEST, "ü" * (LONGEST // 2 + 1)])
def test_a_folder_too_long_for_sockets_is_replaced_by_a_short_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", f"/{name}")
    notices: list[str] = []
    assert choose_folder(notices.append) == Path("/tmp/ray")
    (notice,) = notices
    assert notice.startswith(
        f"TMPDIR must have at most {LONGEST} bytes, because Ray's Unix sockets are below it, got /"
    )
    assert notice.endswith(": Ray uses /tmp/ray instead")


def test_a_full_disk_of_rays_files_is_refused_with_the_variables_that_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "1")
    check_free_space(tmp_path / "missing")
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "0.0000001")
    with pytest.raises(
        SearchError, match=r"must be at most 0% full, because Ray starts no worker above that, got \d"
    ) as e:
        check_free_space(tmp_path / "missing")
    assert "set RAY_TMPDIR to a folder on another disk, or set RAY_local_fs_capacity_threshold=0.99" in str(e.value)


def test_a_capacity_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "95%")
    with pytest.raises(SearchError, match="RAY_local_fs_capacity_threshold must be a number from 0 to 1, got '95%'"):
        check_free_space(tmp_path)


TWO_STARTS = """
import ray
from lkca_search.errors import Interrupted, SearchError
from lkca_search.search.ray_backend.session import RaySession

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
try:
    with RaySession(num_cpus=1) as session:
        session.start()
except SearchError as error:
    print(error)
print(ray.is_initialized())
ray.shutdown()
try:
    with RaySession(num_cpus=-1) as session:
        session.start()
except Interrupted as error:
    print(error)
"""


@pytest.mark.slow
def test_an_error_of_ray_while_it_starts_is_one_line_and_the_process_ends_with_1() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_STARTS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    connected, is_still_connected, failed = done.stdout.splitlines()
    assert connected.startswith("the process of a search must not be connected to Ray, and this one is; call ray.shut")
    assert is_still_connected == "True"
    assert failed.startswith("Ray did not start on this machine: ")
