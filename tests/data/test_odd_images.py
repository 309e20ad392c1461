"""Odd image files: exact pixels of every kind that can be decoded, and one error for all that cannot."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.cli.app import main
from lkca_search.data.check import check_dataset
from lkca_search.data.readers.decoded import DecodedImages
from lkca_search.data.readers.image_decoder import CONVERSIONS
from lkca_search.data.readers.image_folder import SKIPPED
from lkca_search.data.sources import find_source
from lkca_search.errors import DataError
from tests.support.odd_images import OddImage, odd_images, pixels, refused_images

NUM_IMAGES = 200
ODD, REFUSED = odd_images(), refused_images()


def ordinary(folder: Path, count: int, *, seed: int) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(pixels(seed + i)).save(folder / f"ordinary {i:03}.png")


def write_folder(folder: Path) -> Path:
    """Write 200 training images, one of every odd kind among them, and three files that are skipped."""
    ordinary(folder / "train" / "many", NUM_IMAGES - len(ODD), seed=1000)
    ordinary(folder / "test" / "many", 2, seed=2000)
    ordinary(folder / "test" / "odd", 2, seed=3000)
    (folder / "train" / "odd").mkdir()
    for image in ODD:
        (folder / "train" / "odd" / image.name).write_bytes(image.content)
    for name in ("Thumbs.db", "desktop.ini", ".hidden.png"):
        (folder / "train" / "odd" / name).write_bytes(b"no image")
    return folder


def write_parquet(folder: Path) -> Path:
    """Write the images of `write_folder` as Parquet."""
    folder.mkdir(parents=True)
    images = sorted(ODD, key=lambda image: image.name)
    rows = {
        "image": [image.content for image in images],
        "label": [0] * len(images),
        "label_name": ["odd"] * len(images),
    }
    pq.write_table(pa.table(rows), folder / "train.parquet")
    pq.write_table(pa.table(rows), folder / "test.parquet")
    return folder


def read(dataset: str) -> DecodedImages:
    return find_source(dataset, data_dir=None, cache=Path("unused")).read("train")


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DecodedImages]:
    """Return the training images of the folder and of the Parquet file."""
    root = tmp_path_factory.mktemp("odd")
    return {
        "folder": read(f"folder:{write_folder(root / 'photos')}"),
        "parquet": read(f"parquet:{write_parquet(root / 'rows')}"),
    }


@pytest.mark.parametrize("kind", ["folder", "parquet"])
@pytest.mark.parametrize("image", ODD, ids=lambda image: image.name)
def test_an_odd_image_has_exactly_the_expected_pixels(
    image: OddImage, kind: str, decoded: dict[str, DecodedImages]
) -> None:
    names = sorted(odd.name for odd in ODD)
    found = decoded[kind].pixels[-len(ODD) :][names.index(image.name)]
    np.testing.assert_array_equal(found, image.expected)


def test_every_conversion_is_counted_with_its_first_file(decoded: dict[str, DecodedImages]) -> None:
    notes = {note.kind: note for note in decoded["folder"].notes}
    for kind in CONVERSIONS:
        names = sorted(image.name for image in ODD if kind in image.conversions)
        assert (notes[kind].count, Path(notes[kind].first).name) == (len(names), names[0]), kind
    assert (notes[SKIPPED].count, Path(notes[SKIPPED].first).name) == (3, ".hidden.png")
    assert {*notes} == {*CONVERSIONS, SKIPPED}
    assert len(decoded["folder"].labels) == NUM_IMAGES


def test_all_files_that_cannot_be_read_are_in_one_error(tmp_path: Path) -> None:
    odd = write_folder(tmp_path) / "train" / "odd"
    for image in REFUSED:
        (odd / image.name).write_bytes(image.content)
    expected = {image.name: str(image.expected) for image in REFUSED}
    (odd / "folder.png").mkdir()
    expected["folder.png"] = "image cannot be read: must be a regular file, got a folder"
    (odd / "link.png").symlink_to("nothing.png")
    expected["link.png"] = "image cannot be read: No such file or directory"
    if os.geteuid() != 0:
        (odd / "forbidden.png").touch(mode=0)
        expected["forbidden.png"] = "image cannot be read: Permission denied"
    with pytest.raises(DataError) as caught:
        read(f"folder:{tmp_path}")
    head, *lines = str(caught.value).splitlines()
    assert head == f"{len(expected)} faults:"
    assert len(lines) == len(expected)
    for line, name in zip(lines, sorted(expected), strict=True):
        assert line.startswith(expected[name])
        assert line.endswith(f"({odd / name})")


def test_all_rows_that_cannot_be_decoded_are_in_one_error(tmp_path: Path) -> None:
    images = [ODD[0], *REFUSED]
    rows = {"image": [image.content for image in images], "label": [0] * len(images), "label_name": ["a"] * len(images)}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    with pytest.raises(DataError) as caught:
        read(f"parquet:{tmp_path}")
    _, *lines = str(caught.value).splitlines()
    assert [line.rpartition(", row ")[2] for line in lines] == [f"{row})" for row in range(1, len(images))]


def test_check_prints_each_conversion_with_its_count_and_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "photos")
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.argv", ["lkca-search", "data", "check", f"folder:{tmp_path / 'photos'}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    first = tmp_path / "photos" / "train" / "odd"
    assert f"train: 11 turned upright by their EXIF orientation (first: {first / 'exif 2.png'})" in printed
    assert f"train: 3 {SKIPPED} (first: {first / '.hidden.png'})" in printed


def test_class_names_in_two_unicode_forms_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    ordinary(tmp_path / "train" / composed, 2, seed=1)
    ordinary(tmp_path / "test" / decomposed, 1, seed=9)
    for split in ("train", "test"):
        ordinary(tmp_path / split / "tea", 1, seed=3)
    source = find_source(f"folder:{tmp_path}", data_dir=None, cache=tmp_path)
    assert source.read("train").class_names == source.read("test").class_names == (composed, "tea")
    names = [composed, decomposed, "tea", "tea"]
    rows = {"image": [ODD[0].content] * 4, "label": [0, 0, 1, 1], "label_name": names}
    for split in ("train", "test"):
        pq.write_table(pa.table(rows), tmp_path / f"{split}.parquet")
    check = check_dataset(f"parquet:{tmp_path}", cache=tmp_path / "cache")
    assert check.problems == ()
    assert {split.class_names for split in check.splits} == {(composed, "tea")}


def test_two_folders_of_one_class_name_are_refused(tmp_path: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        ordinary(tmp_path / "train" / name, 1, seed=1)
    with pytest.raises(DataError, match="classes must have different names in Unicode's form NFC, got "):
        read(f"folder:{tmp_path}")


def test_a_class_folder_that_is_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    ordinary(tmp_path / "train" / "cat", 1, seed=1)
    (tmp_path / "train" / "dog").symlink_to("nothing")
    with pytest.raises(DataError, match=r"a class must be a folder, got a link to nothing \(.*train/dog\)"):
        read(f"folder:{tmp_path}")
