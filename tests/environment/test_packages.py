"""Versions of packages: all that are installed, and none that Ray adds to its workers alone."""

from importlib.metadata import version
from pathlib import Path

import pytest

from lkca_search.environment.packages import computing_packages, content_hash, installed_packages, packages_text


def install(folder: Path, name: str) -> None:
    (folder / f"{name}-9.dist-info").mkdir(parents=True)
    (folder / f"{name}-9.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n")


def test_every_installed_package_has_its_version_under_its_normalized_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "My_Package.x")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = installed_packages.__wrapped__()
    assert (found["my-package-x"], found["torch"]) == ("9", version("torch"))
    assert list(found) == sorted(found)


def test_the_copies_of_packages_in_a_worker_of_ray_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "ray" / "thirdparty_files", "copied")
    monkeypatch.syspath_prepend(str(tmp_path / "ray" / "thirdparty_files"))
    assert "copied" not in installed_packages.__wrapped__()


def test_equal_versions_have_equal_texts_and_hashes() -> None:
    assert packages_text() == packages_text()
    assert len(content_hash(packages_text())) == 16
    assert computing_packages()["numpy"] == version("numpy")
