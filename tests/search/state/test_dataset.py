"""Dataset of a search: images that have changed are refused, and a folder is found from any working directory."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lkca_search.data.sources import locate_dataset
from lkca_search.data.store import Images, open_images
from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.search.dataset import SearchDataset, read_search_datasets
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.state.dataset import commit_search, describe_dataset, describe_datasets, with_located_datasets
from lkca_search.search.state.manifests import write_manifests
from lkca_search.spec.space_file import SpaceFile, read_space_file
from tests.support.records import FACTS, make_record

SPACE = """
data: {dataset: "folder:photos", validation: 0.25}
factors: {family: [pool], data_fraction: [0.5, 1.0]}
parameters: {patch_size: {value: 2}, learning_rate: {float: [1.0e-3, 1.0e-2]}}
training: {steps: 2}
search: {trials_per_cell: 2}
"""


def write_photos(folder: Path, *, seed: int = 0) -> Path:
    for split, count in (("train", 8), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng([seed, label, i]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def replace_images(folder: Path) -> None:
    """Replace all images under the same names."""
    shutil.rmtree(folder)
    write_photos(folder, seed=1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with a folder of images and a space file that names it by a relative path."""
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    write_photos(tmp_path / "here" / "photos")
    (tmp_path / "here" / "mine.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return Home(root=tmp_path / "home").search("mine")


def read_space(folder: SearchFolder, here: Path) -> SpaceFile:
    return with_located_datasets(read_space_file(here / "mine.yaml"), folder)


def open_photos(space_file: SpaceFile, tmp_path: Path) -> Images:
    return open_images(space_file.spec.data.place_of(None), "train", cache=tmp_path / "cache")


def start(folder: SearchFolder, here: Path, tmp_path: Path) -> SearchDataset:
    """Start the search or resume it, as a driver does before its first trial."""
    space_file = read_space(folder, here)
    images = open_photos(space_file, tmp_path)
    datasets = describe_datasets(space_file.spec, {None: images})
    commit_search(folder, datasets, RecordReader(folder), space_file)
    write_manifests(space_file.spec, {None: images}, folder)
    return datasets[None]


def with_data_hash(record: Record, data_hash: str) -> Record:
    return record.model_copy(update={"facts": FACTS.model_copy(update={"data_hash": data_hash})})


def save(record: Record, folder: SearchFolder) -> None:
    path = folder.trial(record.trial_id).attempt(driver=1, attempt=1) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(record.model_dump_json())


def test_a_search_with_unchanged_images_resumes(folder: SearchFolder, here: Path, tmp_path: Path) -> None:
    started = start(folder, here, tmp_path)
    assert start(folder, here, tmp_path) == started == read_search_datasets(folder)[None]


def test_changed_images_are_refused_with_both_hashes_and_nothing_is_written(
    folder: SearchFolder, here: Path, tmp_path: Path
) -> None:
    started = start(folder, here, tmp_path)
    before = {path: path.read_bytes() for path in (folder.space_file, *folder.specs, *folder.dataset_files)}
    replace_images(here / "photos")
    (here / "mine.yaml").write_text(SPACE.replace("trials_per_cell: 2", "trials_per_cell: 3"))
    found = open_photos(read_space(folder, here), tmp_path).content_hash
    with pytest.raises(SearchError, match=rf"must have SHA-256 {started.data_hash}, got {found} \(folder:/.*/photos\)"):
        start(folder, here, tmp_path)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("evidence", ["manifests", "records"])
def test_a_search_of_an_older_version_is_compared_with_its_manifests_and_records(
    evidence: str, folder: SearchFolder, here: Path, tmp_path: Path
) -> None:
    started = start(folder, here, tmp_path)
    save(with_data_hash(make_record(), started.data_hash), folder)
    for path in folder.dataset_files:
        path.unlink()
    if evidence == "records":
        shutil.rmtree(folder.root / "subsets")
    unchanged, photos = start(folder, here, tmp_path), here / "photos"
    assert unchanged == started
    for path in folder.dataset_files:
        path.unlink()
    replace_images(photos)
    with pytest.raises(SearchError, match=f"must have SHA-256 {started.data_hash}, got "):
        start(folder, here, tmp_path)


def test_a_search_that_has_mixed_two_datasets_is_refused(folder: SearchFolder, here: Path, tmp_path: Path) -> None:
    start(folder, here, tmp_path)
    save(with_data_hash(make_record(family="pool", data_fraction=0.5), "e" * 64), folder)
    for path in folder.dataset_files:
        path.unlink()
    with pytest.raises(SearchError, match=f"must have SHA-256 {'e' * 64}, got "):
        start(folder, here, tmp_path)


def test_the_spec_has_an_absolute_path_and_is_resumed_from_another_working_directory(
    folder: SearchFolder, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(folder, here, tmp_path)
    assert read_spec(folder).data.dataset == f"folder:{here / 'photos'}"
    write_photos(tmp_path / "elsewhere" / "photos", seed=2)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert start(folder, here, tmp_path) == started
    assert read_spec(folder).data.dataset == f"folder:{here / 'photos'}"


def test_a_spec_with_a_relative_path_is_resumed_and_becomes_absolute(
    folder: SearchFolder, here: Path, tmp_path: Path
) -> None:
    started = start(folder, here, tmp_path)
    for path in folder.specs:
        path.write_text(path.read_text().replace(f"folder:{here / 'photos'}", "folder:photos"))
    assert read_spec(folder).data.dataset == "folder:photos"
    assert start(folder, here, tmp_path) == started
    assert read_spec(folder).data.dataset == f"folder:{here / 'photos'}"


def test_a_moved_folder_is_read_at_its_new_place(
    folder: SearchFolder, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(folder, here, tmp_path)
    (tmp_path / "there").mkdir()
    shutil.move(here / "photos", tmp_path / "there" / "photos")
    monkeypatch.chdir(tmp_path / "there")
    moved = start(folder, here, tmp_path)
    assert (moved.dataset, moved.data_hash) == (f"folder:{tmp_path / 'there' / 'photos'}", started.data_hash)


def test_another_dataset_is_refused_as_another_space_file(folder: SearchFolder, here: Path, tmp_path: Path) -> None:
    start(folder, here, tmp_path)
    (here / "mine.yaml").write_text(SPACE.replace("folder:photos", "digits"))
    with pytest.raises(SearchError, match=r"data\.dataset: 'folder:.*photos' -> 'digits'"):
        start(folder, here, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "started", "located"),
    [
        ("digits", None, "digits"),
        ("folder:/a/photos", None, "folder:/a/photos"),
        ("folder:photos", None, "folder:{here}/photos"),
        ("parquet:./photos", None, "parquet:{here}/photos"),
        ("folder:../here/photos", None, "folder:{here}/photos"),
        ("folder:photos", "folder:{here}/other/photos", "folder:{here}/other/photos"),
        ("folder:../photos", "folder:{here}/other/photos", "folder:{here}/other/photos"),
        ("folder:photos", "parquet:{here}/other/photos", "folder:{here}/photos"),
        ("folder:photos", "folder:{here}/missing/photos", "folder:{here}/photos"),
        ("folder:photos", "folder:photos", "folder:{here}/photos"),
        ("folder:photos", "digits", "folder:{here}/photos"),
    ],
)
def test_a_relative_path_means_the_folder_of_the_started_search_or_of_the_working_directory(
    dataset: str, started: str | None, located: str, here: Path
) -> None:
    (here / "other" / "photos").mkdir(parents=True)
    found = locate_dataset(dataset, started=started and started.format(here=here))
    assert found == located.format(here=here)


def test_a_part_of_an_official_dataset_is_described_by_its_numbers(
    folder: SearchFolder, here: Path, tmp_path: Path
) -> None:
    images = open_photos(read_space(folder, here), tmp_path)
    part = describe_dataset("cifar10", images)
    assert part.shortage == "16 of the 50,000 official training images"
    assert part.test_shortage(9_000) == "9,000 of the 10,000 official test images"
    assert part.test_shortage(10_000) is None
    assert describe_dataset("folder:photos", images).shortage is None
    whole = replace(images, labels=np.zeros(50_000, np.int64))
    assert describe_dataset("cifar10", whole).shortage is None
    assert json.loads(part.model_dump_json())["data_hash"] == images.content_hash
