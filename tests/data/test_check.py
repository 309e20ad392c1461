"""Checks of a dataset: problems, warnings and duplicates."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.data.check import Check, check_dataset, check_splits
from lkca_search.data.store import Images, find_stored, open_images
from lkca_search.errors import DataError

DATA_DIR = Path(os.environ["LKCA_DATA_DIR"]) if "LKCA_DATA_DIR" in os.environ else None
NAMES = ("ant", "bee", "cow")


def columns(num_rows: int, *, first: int) -> dict[str, Any]:
    """Return columns of distinct gray 8x8 images; the three classes alternate."""
    images = []
    for i in range(first, first + num_rows):
        file = BytesIO()
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(file, format="PNG")
        images.append(file.getvalue())
    labels = [i % 3 for i in range(num_rows)]
    return {"image": images, "label": labels, "label_name": [NAMES[label] for label in labels]}


def write(folder: Path, damage: Callable[[dict[str, Any], dict[str, Any]], object] = lambda train, test: None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    train, test = columns(30, first=0), columns(12, first=100)
    damage(train, test)
    pq.write_table(pa.table(train), folder / "train.parquet")
    pq.write_table(pa.table(test), folder / "test.parquet")
    return folder


def check(folder: Path, **options: Any) -> Check:
    return check_dataset(f"parquet:{folder}", cache=folder / "cache", **options)


def images(**changes: Any) -> Images:
    given: dict[str, Any] = {"pixels": np.zeros((3, 8, 8, 1), np.uint8), "class_names": NAMES, **changes}
    return Images(name="made", labels=np.arange(3), content_hash="", **given)


def test_a_valid_dataset_has_no_problem_and_no_warning(tmp_path: Path) -> None:
    found = check(write(tmp_path))
    assert (found.problems, found.warnings, found.duplicates) == ((), (), ())
    assert [(split.split, split.class_counts) for split in found.splits] == [("train", (10,) * 3), ("test", (4,) * 3)]


def test_a_class_with_one_training_image_is_an_error(tmp_path: Path) -> None:
    def keep_one_cow(train: dict[str, Any], test: dict[str, Any]) -> None:
        rows = [row for row, label in enumerate(train["label"]) if label != 2 or row == 2]
        train.update({name: [values[row] for row in rows] for name, values in train.items()})

    found = check(write(tmp_path, keep_one_cow))
    rule = "train: class 'cow' has 1 training image, and a search needs 2, one to train and one to validate"
    assert (found.problems, found.warnings) == ((f"{rule}; add images, or remove the class",), ())


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_dataset_with_one_class_is_a_problem(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        image.save(tmp_path / split / "cat" / "0.png")
        content = (tmp_path / split / "cat" / "0.png").read_bytes()
        rows = {"image": [content], "label": [0], "label_name": ["cat"]}
        pq.write_table(pa.table(rows), tmp_path / f"{split}.parquet")
    problem, *_ = check_dataset(f"{kind}:{tmp_path}", cache=tmp_path / "cache").problems
    assert problem.startswith("train: a dataset must have at least two classes, got only cat (")


def test_digits_have_no_problem_and_no_warning(tmp_path: Path) -> None:
    found = check_dataset("digits", cache=tmp_path)
    assert (found.problems, found.warnings, found.duplicates) == ((), (), ())


def test_an_unknown_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown dataset 'other'"):
        check_dataset("other", cache=tmp_path)


def test_changed_stored_content_is_a_problem(tmp_path: Path) -> None:
    folder = write(tmp_path)
    stored = open_images(f"parquet:{folder}", "train", cache=folder / "cache")
    (path,) = (folder / "cache").glob("*.arrow")
    data = bytearray(path.read_bytes())
    start = data.index(stored.pixels.tobytes())
    data[start + 5] ^= 1
    path.write_bytes(data)
    (problem,) = check(folder).problems
    assert problem.startswith(f"train: the stored content must have SHA-256 {stored.content_hash}, got ")


def test_duplicates_are_named_by_split_row_and_class(tmp_path: Path) -> None:
    def damage(train: dict[str, Any], test: dict[str, Any]) -> None:
        test["image"][5] = train["image"][7]
        train["image"][20] = train["image"][7]
        test["image"][6] = test["image"][0]  # twice in test alone, which does no harm

    found = check(write(tmp_path, damage))
    assert found.problems == ()
    named = [
        (position.split, position.row, position.class_name)
        for pair in found.duplicates
        for position in (pair.image, pair.first)
    ]
    assert named == [("train", 20, "cow"), ("train", 7, "bee"), ("test", 5, "cow"), ("train", 7, "bee")]
    assert {position.file for pair in found.duplicates for position in (pair.image, pair.first)} == {None}


def write_folder_with_copies(root: Path) -> None:
    """Write 12 training and 10 test images. One test image is a copy of train/dog/4.png, and one is close to it."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    original = Image.open(root / "train" / "dog" / "4.png")
    original.save(root / "test" / "cat" / "2.png")
    original.point(lambda value: value // 2 + 30).save(root / "test" / "dog" / "0.png")


def test_duplicates_and_near_duplicates_of_a_folder_are_named_by_their_files(tmp_path: Path) -> None:
    write_folder_with_copies(tmp_path)
    found = check_dataset(f"folder:{tmp_path}", cache=tmp_path / "cache")
    (pair,), (near,) = found.duplicates, found.near_duplicates
    assert (pair.image.file, pair.first.file) == (f"{tmp_path}/test/cat/2.png", f"{tmp_path}/train/dog/4.png")
    assert (near.image.file, near.similar.file) == (f"{tmp_path}/test/dog/0.png", f"{tmp_path}/train/dog/4.png")


def test_images_that_cannot_be_read_hide_no_other_finding(tmp_path: Path) -> None:
    write_folder_with_copies(tmp_path)
    broken = [tmp_path / place for place in ("train/cat/0.png", "train/dog/1.png", "test/cat/0.png")]
    for path in broken:
        path.write_bytes(b"no image")
    found = check_dataset(f"folder:{tmp_path}", cache=tmp_path / "cache")
    assert [problem.partition(":")[0] for problem in found.problems] == ["train", "test"]
    assert all(str(path) in "".join(found.problems) for path in broken)
    (pair,), (near,) = found.duplicates, found.near_duplicates
    assert (pair.image.file, pair.first.file) == (f"{tmp_path}/test/cat/2.png", f"{tmp_path}/train/dog/4.png")
    assert (pair.image.row, pair.image.class_name, pair.first.row, pair.first.class_name) == (2, "cat", 10, "dog")
    assert (near.image.file, near.similar.file) == (f"{tmp_path}/test/dog/0.png", f"{tmp_path}/train/dog/4.png")
    assert (found.splits, found.num_test) == ((), 9), "a split with a fault is not stored"
    assert not list((tmp_path / "cache").glob("*.arrow"))


def test_a_split_without_a_readable_image_is_a_problem(tmp_path: Path) -> None:
    def damage(train: dict[str, Any], test: dict[str, Any]) -> None:
        test["image"] = [b"no image"] * len(test["image"])

    found = check(write(tmp_path, damage))
    (problem,) = found.problems
    assert problem.startswith("test: 12 faults:")
    assert (found.num_test, found.duplicates) == (0, ())


def test_duplicates_in_a_split_of_several_files_are_named_by_file_and_row(tmp_path: Path) -> None:
    def damage(train: dict[str, Any], test: dict[str, Any]) -> None:
        test["image"][5] = train["image"][20]

    folder = write(tmp_path, damage)
    rows = pq.read_table(folder / "train.parquet")
    (folder / "train.parquet").unlink()
    pq.write_table(rows.slice(0, 15), folder / "train-0.parquet")
    pq.write_table(rows.slice(15), folder / "train-1.parquet")
    (pair,) = check(folder).duplicates
    assert (pair.image.file, pair.first.file) == (None, f"{folder}/train-1.parquet, row 5")


def _truncate(folder: Path) -> None:
    path = folder / "test.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def _without_column(train: dict[str, Any], test: dict[str, Any]) -> None:
    del test["label_name"]


def _label_out_of_range(train: dict[str, Any], test: dict[str, Any]) -> None:
    test["label"][4] = 9


def _undecodable(train: dict[str, Any], test: dict[str, Any]) -> None:
    test["image"][4] = b"no image"


def _mixed_sizes(train: dict[str, Any], test: dict[str, Any]) -> None:
    file = BytesIO()
    Image.new("L", (9, 8)).save(file, format="PNG")
    test["image"][4] = file.getvalue()


def _empty(train: dict[str, Any], test: dict[str, Any]) -> None:
    table = pa.table(dict(test))
    test.update({name: table[name].slice(0, 0) for name in table.column_names})


def _class_in_test_only(train: dict[str, Any], test: dict[str, Any]) -> None:
    test["label"][4], test["label_name"][4] = 3, "dog"


def _color_test(train: dict[str, Any], test: dict[str, Any]) -> None:
    file = BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file, format="PNG")
    test["image"][4] = file.getvalue()


CORRUPT = [
    (_without_column, "test: column 'label_name'", 1),
    (_label_out_of_range, "test: labels must be 0 to the number of classes - 1, without a gap, got 9 but never 3", 1),
    (_undecodable, "test: image cannot be decoded: unknown format; remove it, or save it again as PNG or JPEG (", 1),
    (_mixed_sizes, "test: images must have the size of the first, 8x8, unless", 1),
    (_empty, "test: a split must have at least one image, got none", 1),
    (_class_in_test_only, "train and test must have the same classes, got only in test: dog; only in train: none", 2),
    (_color_test, "train and test must have images of the same height, width and channels, got 8x8x1 in", 2),
]


@pytest.mark.parametrize(("damage", "message", "num_kept"), CORRUPT)
def test_corrupt_content_is_a_problem_and_is_not_stored(
    tmp_path: Path, damage: Any, message: str, num_kept: int
) -> None:
    (problem,) = check(write(tmp_path, damage)).problems
    assert problem.startswith(message)
    assert not list(tmp_path.rglob("*.partial"))
    assert len(list(tmp_path.rglob("*.arrow"))) == num_kept


def test_a_truncated_file_is_a_problem_and_is_not_stored(tmp_path: Path) -> None:
    _truncate(write(tmp_path))
    (problem,) = check(tmp_path).problems
    assert problem.startswith("test: file cannot be read as Parquet: ")
    assert [path.name.split("-")[1] for path in tmp_path.rglob("*.arrow")] == ["train"]
    assert not list(tmp_path.rglob("*.partial"))


def test_mixed_sizes_are_valid_with_an_image_size(tmp_path: Path) -> None:
    assert check(write(tmp_path, _mixed_sizes), image_size=4).problems == ()


def test_gray_images_among_color_ones_are_counted_in_the_store(tmp_path: Path) -> None:
    check(write(tmp_path, _color_test))
    stored = find_stored(f"parquet:{tmp_path}", "test", cache=tmp_path / "cache")
    assert stored is not None
    assert (stored.num_converted, stored.shape) == (11, (8, 8, 3))


def test_a_dataset_of_the_catalog_is_compared_with_its_entry(tmp_path: Path) -> None:
    write(tmp_path / "cifar10", lambda train, test: [train[name].pop() for name in train])
    found = check_dataset("cifar10", cache=tmp_path / "cache", data_dir=tmp_path)
    assert found.problems == tuple(f"{split}: cifar10 has 10 classes, got 3" for split in ("train", "test"))
    assert found.warnings == (
        "train: 29 of the 50000 official images",
        "train: classes have 9 to 10 images, the official classes have equal size",
        "test: 12 of the 10000 official images",
    )
    write(tmp_path / "digits")
    assert check_dataset("digits", cache=tmp_path / "cache", data_dir=tmp_path).problems == (
        "train: digits has 10 classes, got 3",
        "test: digits has 10 classes, got 3",
    )


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"class_names": (*NAMES, "dog")}, "only in test: dog; only in train: none"),
        ({"class_names": NAMES[:2]}, "only in test: none; only in train: cow"),
        ({"class_names": NAMES[::-1]}, "under the same labels, got 'ant' in train and 'cow' in test for label 0"),
        ({"pixels": np.zeros((3, 8, 9, 1), np.uint8)}, "got 8x8x1 in train and 8x9x1 in test"),
        ({"pixels": np.zeros((3, 8, 8, 3), np.uint8)}, "got 8x8x1 in train and 8x8x3 in test"),
    ],
)
def test_splits_with_other_classes_or_shapes_are_refused(test: dict[str, Any], message: str) -> None:
    check_splits(images(), images())
    with pytest.raises(DataError, match=message):
        check_splits(images(), images(**test))


@pytest.mark.skipif(DATA_DIR is None or not (DATA_DIR / "tiny_imagenet").is_dir(), reason="needs LKCA_DATA_DIR")
def test_a_subset_of_a_real_dataset_is_valid(tmp_path: Path) -> None:
    found = check_dataset("tiny_imagenet", cache=tmp_path, data_dir=DATA_DIR)
    assert found.problems == ()
    assert [warning.partition(":")[0] for warning in found.warnings] == ["train", "test"]
    assert {split.shape for split in found.splits} == {(64, 64, 3)}
    assert all(split.num_converted > 0 for split in found.splits)
