"""Reader of image folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lkca_search.data.readers.decoded import DecodedImages
from lkca_search.data.sources import find_source
from lkca_search.data.store import open_images
from lkca_search.errors import DataError

CLASSES = ("cat", "dog", "eel")


def pixels(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)


def write(folder: Path) -> Path:
    """Write two training images and one test image per class as PNG, and the files that a file browser leaves."""
    for split, a_class in (("train", 2), ("test", 1)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(a_class):
                Image.fromarray(pixels(10 * label + i)).save(folder / split / name / f"{i}.png")
            (folder / split / name / ".DS_Store").write_bytes(b"")
        (folder / split / ".cache").mkdir()
    return folder


def read(folder: Path, split: Any = "train", **options: Any) -> DecodedImages:
    return find_source(f"folder:{folder}", data_dir=None, cache=folder / "cache", **options).read(split)


def test_a_folder_has_one_image_per_file_and_one_class_per_folder(tmp_path: Path) -> None:
    images = read(write(tmp_path))
    np.testing.assert_array_equal(images.pixels, [pixels(10 * label + i) for label in range(3) for i in range(2)])
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.class_names == read(tmp_path, "test").class_names == CLASSES
    assert len(read(tmp_path, "test").labels) == 3


def test_gray_images_among_color_ones_are_converted_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path) / "train" / "dog" / "0.png"
    Image.open(path).convert("L").save(path)
    images = read(tmp_path)
    assert images.num_converted == 1
    np.testing.assert_array_equal(images.pixels[2], np.asarray(Image.open(path).convert("RGB")))


def test_mixed_sizes_need_an_image_size(tmp_path: Path) -> None:
    Image.fromarray(pixels(0)).resize((300, 200)).save(write(tmp_path) / "train" / "dog" / "big.jpg")
    with pytest.raises(DataError, match=r"size of the first, 12x10, unless .*, got 300x200 \(.*dog/big\.jpg\)$"):
        read(tmp_path)
    assert read(tmp_path, image_size=16).pixels.shape == (7, 16, 16, 3)
    assert open_images(f"folder:{tmp_path}", "train", cache=tmp_path / "cache", image_size=16).shape == (16, 16, 3)


def test_a_changed_file_changes_the_fingerprint_of_its_split_alone(tmp_path: Path) -> None:
    source = find_source(f"folder:{write(tmp_path)}", data_dir=None, cache=tmp_path)
    before = source.fingerprint("train"), source.fingerprint("test")
    assert before == (source.fingerprint("train"), source.fingerprint("test"))
    (tmp_path / "train" / "dog" / "0.png").rename(tmp_path / "train" / "cat" / "9.png")
    assert source.fingerprint("train") != before[0]
    assert source.fingerprint("test") == before[1]


def _without_test(folder: Path) -> None:
    (folder / "test").rename(folder / "val")


def _class_in_test_only(folder: Path) -> None:
    (folder / "test" / "fox").mkdir()


def _class_in_train_only(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "dog")


def _empty_class(folder: Path) -> None:
    (folder / "test" / "dog" / "0.png").unlink()


def _truncated(folder: Path) -> None:
    file = folder / "test" / "dog" / "0.png"
    file.write_bytes(file.read_bytes()[:-30])


def _no_image(folder: Path) -> None:
    (folder / "test" / "dog" / "0.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_test, "which only a confirmation needs, must be in test/CLASS/FILE, found none in .*test; to split"),
        (_class_in_test_only, "must have the same classes, got only in test: fox; only in train: none"),
        (_class_in_train_only, "must have the same classes, got only in test: none; only in train: dog"),
        (_empty_class, "every class must have at least one image, found none in .*test/dog"),
        (_truncated, r"image cannot be decoded: .* truncated.*; remove it, or copy it again \(.*test/dog/0\.png\)"),
        (_no_image, r"image cannot be decoded: .* \(.*test/dog/0\.png\)"),
    ],
)
def test_a_damaged_folder_is_refused_with_its_location_and_is_not_stored(
    tmp_path: Path, damage: Any, message: str
) -> None:
    damage(write(tmp_path / "images"))
    with pytest.raises(DataError, match=message):
        open_images(f"folder:{tmp_path / 'images'}", "test", cache=tmp_path / "cache")
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def test_a_folder_without_train_is_refused_with_its_folders_and_the_script_that_splits_them(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "photos" / name).mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "photos")
    rule = "an image folder must have train/CLASS/FILE and test/CLASS/FILE"
    assert str(caught.value).startswith(f"{rule}, got cat, dog, eel in {tmp_path}/photos. If these are classes, split")
    assert "section 1 of docs/tutorial.md" in str(caught.value)
    assert "# split.py" in (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text().split("## 1. Split")[1]


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_missing_folder_is_stated_with_its_absolute_path_and_a_close_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos/train").mkdir(parents=True)
    Path("photos/train0.parquet").touch()
    Path("foto").mkdir()  # closer, but no dataset
    with pytest.raises(DataError) as caught:
        find_source(f"{kind}:fotos", data_dir=None, cache=tmp_path)
    rule = f"dataset '{kind}:fotos' must be an existing folder, got {tmp_path}/fotos, which does not exist"
    assert str(caught.value) == f"{rule}; did you mean {kind}:photos?"
    Path("fotos").write_text("")
    with pytest.raises(DataError, match="/fotos, which is a file"):
        find_source(f"{kind}:fotos", data_dir=None, cache=tmp_path)


@pytest.mark.parametrize(
    ("file", "kind"), [("train/cat/0.png", "folder"), ("cat/0.png", "folder"), ("train.parquet", "parquet")]
)
def test_the_name_of_a_folder_here_is_stated_with_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos", file).parent.mkdir(parents=True)
    Path("photos", file).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        find_source("photos", data_dir=None, cache=tmp_path)
    assert (
        str(caught.value) == f"unknown dataset 'photos'; did you mean {kind}:photos? It is the folder {tmp_path}/photos"
    )
    with pytest.raises(DataError, match=f"write {kind}:./photos to read that folder"):
        find_source("./photos", data_dir=None, cache=tmp_path)
