"""Sources of datasets, and the reader of Parquet folders."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from lkca_search.data.readers.decoded import DecodedImages
from lkca_search.data.sources import Source, find_source, parquet_names
from lkca_search.data.store import SPLITS
from lkca_search.errors import DataError
from tests.support.search.two_datasets import write_photos

DATA_DIR = Path(os.environ["LKCA_DATA_DIR"]) if "LKCA_DATA_DIR" in os.environ else None
NUM_ROWS = 30


def png(pixels: NDArray[Any], mode: str = "L") -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format="PNG")
    return file.getvalue()


def gray_digits() -> NDArray[np.uint8]:
    images: NDArray[np.float64] = load_digits().images[:NUM_ROWS]
    return np.round(images * 255 / 16).astype(np.uint8)


def columns(mode: str = "L") -> dict[str, Any]:
    """Return columns of thirty real digits, three per class, as lists that a test may damage."""
    return {
        "image": [png(pixels, mode) for pixels in gray_digits()],
        "label": load_digits().target[:NUM_ROWS].tolist(),
        "label_name": [f"digit {label}" for label in load_digits().target[:NUM_ROWS]],
    }


def write(folder: Path, train: dict[str, Any], test: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(train), folder / "train.parquet")
    pq.write_table(pa.table(columns() if test is None else test), folder / "test.parquet")
    return folder


def find(dataset: str, data_dir: Path | None = None, **options: Any) -> Source:
    return find_source(dataset, data_dir=data_dir, cache=Path("nowhere"), **options)


def read(folder: Path, split: Any = "train", **options: Any) -> DecodedImages:
    return find(f"parquet:{folder}", **options).read(split)


@pytest.mark.parametrize("dataset", ["digits", *parquet_names(DATA_DIR)])
def test_both_splits_of_a_dataset_have_the_same_shape_and_classes(dataset: str) -> None:
    source = find(dataset, data_dir=DATA_DIR)
    train, test = source.read("train"), source.read("test")
    assert source.name == dataset
    assert train.class_names == test.class_names
    assert train.pixels.shape[1:] == test.pixels.shape[1:]
    for images in (train, test):
        assert images.pixels.dtype == np.uint8
        assert images.labels.dtype == np.int64
        assert len(images.pixels) == len(images.labels)
        assert np.bincount(images.labels, minlength=len(train.class_names)).min() > 0
        assert 0.1 < images.pixels.mean() / 255 < 0.9


def test_the_digits_are_those_of_scikit_learn_each_in_one_split() -> None:
    source = find("digits")
    train, test = source.read("train"), source.read("test")
    assert (train.pixels.shape, test.pixels.shape) == ((1438, 8, 8, 1), (359, 8, 8, 1))
    images = np.concatenate([train.pixels, test.pixels])[..., 0] * (16 / 255)
    labels = np.concatenate([train.labels, test.labels])
    bundled = load_digits()
    read_rows = sorted((*image.round().ravel(), label) for image, label in zip(images, labels, strict=True))
    assert read_rows == sorted(
        (*image.ravel(), label) for image, label in zip(*load_digits(return_X_y=True), strict=True)
    )
    shares = np.bincount(test.labels) / np.bincount(bundled.target)
    assert (np.abs(shares - 0.2) < 0.003).all()
    assert train.class_names == tuple("0123456789")


def test_the_split_of_the_digits_is_always_the_same() -> None:
    first, second = (find("digits") for _ in range(2))
    assert first.fingerprint("test") == second.fingerprint("test")
    np.testing.assert_array_equal(first.read("test").pixels, second.read("test").pixels)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_images_keep_one_channel(tmp_path: Path, mode: str) -> None:
    images = read(write(tmp_path, columns(mode)))
    expected = np.stack([np.asarray(Image.fromarray(p).convert(mode).convert("L")) for p in gray_digits()])
    np.testing.assert_array_equal(images.pixels, expected[..., None])
    assert images.num_converted == 0
    assert images.class_names[3] == "digit 3"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_one_color_image_converts_all_images_to_rgb(tmp_path: Path, mode: str) -> None:
    rows = columns()
    rows["image"][7] = png(gray_digits()[7], mode)
    images = read(write(tmp_path, rows))
    np.testing.assert_array_equal(images.pixels, np.repeat(gray_digits()[..., None], 3, axis=3))
    assert images.num_converted == NUM_ROWS - 1


def test_a_color_survives_decoding(tmp_path: Path) -> None:
    rows = columns("RGB")
    red = np.zeros((8, 8, 3), np.uint8)
    red[2, 5] = (250, 20, 3)
    rows["image"][4] = png(red, "RGB")
    np.testing.assert_array_equal(read(write(tmp_path, rows)).pixels[4], red)


def _hugging_face(rows: dict[str, Any]) -> dict[str, Any]:
    return rows | {"image": [{"bytes": data, "path": None} for data in rows["image"]]}


def _dictionary_and_int16(rows: dict[str, Any]) -> dict[str, Any]:
    label = pa.array(rows["label"], pa.int16())
    return rows | {"label": label, "label_name": pa.array(rows["label_name"]).dictionary_encode()}


def _extra_column(rows: dict[str, Any]) -> dict[str, Any]:
    return {"id": list(range(NUM_ROWS)), **rows}


@pytest.mark.parametrize("variant", [_hugging_face, _dictionary_and_int16, _extra_column])
def test_every_layout_of_the_columns_gives_the_same_images(
    tmp_path: Path, variant: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    images = read(write(tmp_path, variant(columns())))
    np.testing.assert_array_equal(images.pixels, gray_digits()[..., None])
    np.testing.assert_array_equal(images.labels, columns()["label"])


def test_files_of_a_split_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    table = pa.table(columns())
    pq.write_table(table.slice(10), tmp_path / "train-00001-of-00002.parquet")
    pq.write_table(table.slice(0, 10), tmp_path / "train-00000-of-00002.parquet")
    np.testing.assert_array_equal(read(tmp_path).pixels, gray_digits()[..., None])


def test_an_error_in_a_later_file_has_that_file_and_its_row(tmp_path: Path) -> None:
    rows = columns()
    rows["image"][12] = b"no image"
    table = pa.table(rows)
    pq.write_table(table.slice(0, 10), tmp_path / "train-0.parquet")
    pq.write_table(table.slice(10), tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"train-1\.parquet, row 2\)$"):
        read(tmp_path)


def test_a_name_is_a_folder_of_the_data_directory(tmp_path: Path) -> None:
    write(tmp_path / "mine", columns())
    (tmp_path / "not_data").mkdir()
    assert parquet_names(tmp_path) == ("mine",)
    assert len(find("mine", data_dir=tmp_path).read("test").labels) == NUM_ROWS


def test_a_fingerprint_changes_with_its_files(tmp_path: Path) -> None:
    source = find(f"parquet:{write(tmp_path, columns())}")
    before = source.fingerprint("train"), source.fingerprint("test")
    assert before == (source.fingerprint("train"), source.fingerprint("test"))
    stat = (tmp_path / "train.parquet").stat()
    os.utime(tmp_path / "train.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert source.fingerprint("train") != before[0]
    assert source.fingerprint("test") == before[1]


def _floats() -> bytes:
    file = BytesIO()
    Image.new("F", (8, 8)).save(file, format="TIFF")
    return file.getvalue()


FLOATS = _floats()


def _set(column: str, row: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def damage(rows: dict[str, Any]) -> None:
        rows[column][row] = value

    return damage


def _damage_all(column: str, values: Sequence[Any]) -> Callable[[dict[str, Any]], None]:
    def damage(rows: dict[str, Any]) -> None:
        rows[column] = values

    return damage


def _truncate_image(rows: dict[str, Any]) -> None:
    rows["image"][5] = rows["image"][5][:-25]


def _drop_class_4(rows: dict[str, Any]) -> None:
    rows["label"] = [9 if label == 4 else label for label in rows["label"]]


def _empty(rows: dict[str, Any]) -> None:
    table = pa.table(columns())
    rows.update({name: table[name].slice(0, 0) for name in rows})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("image", 5, b"no image"), r"image cannot be decoded: .* \(.*train\.parquet, row 5\)"),
        (_set("image", 0, b""), r"image cannot be decoded: .* \(.*train\.parquet, row 0\)"),
        (_truncate_image, r"image cannot be decoded: .* \(.*train\.parquet, row 5\)"),
        (
            _set("image", 5, FLOATS),
            r"8 or 16 bits per channel, got mode F; save it again as PNG \(.*, row 5\)",
        ),
        (_set("image", 6, png(np.zeros((9, 8), np.uint8))), r"the first, 8x8, unless .* got 8x9 \(.*row 6\)"),
        (
            _set("image", 3, None),
            r"column 'image' must have a value in every row, got null \(.*train\.parquet, row 3\)",
        ),
        (
            _set("label", 3, None),
            r"column 'label' must have a value in every row, got null \(.*train\.parquet, row 3\)",
        ),
        (_set("label_name", 3, None), r"column 'label_name' must have a value .* \(.*train\.parquet, row 3\)"),
        (_set("label", 8, -1), r"labels must be 0 to .*, got -1 \(.*train\.parquet, row 8\)"),
        (_set("label", 8, 77), r"labels must be 0 to .*, got 77 but never 10 \(.*train\.parquet, row 8\)"),
        (_drop_class_4, r"labels must be 0 to .*, got 5 but never 4 \(.*train\.parquet, row 5\)"),
        (_set("label_name", 13, "three"), r"got 'three' for label 3 \(.*row 13\) and 'digit 3' \(.*row 3\)"),
        (_damage_all("label", ["3"] * NUM_ROWS), r"column 'label' must have integers, got string \(.*train\.parquet\)"),
        (
            _damage_all("label_name", [3] * NUM_ROWS),
            r"column 'label_name' must have strings, got int64 \(.*train\.parquet\)",
        ),
        (_damage_all("image", ["3"] * NUM_ROWS), r"column 'image' must have encoded bytes.*, got string \(.*\)"),
        (
            _damage_all("image", [{"path": "a"}] * NUM_ROWS),
            r"column 'image' must have .*, got struct<path: string> \(.*\)",
        ),
        (lambda rows: rows.pop("image"), r"column 'image' .* is missing, got columns label, label_name \(.*\)"),
        (lambda rows: rows.pop("label_name"), r"column 'label_name' .* got columns image, label \(.*train\.parquet\)"),
        (_empty, r"a split must have at least one image, got none in the train files of "),
    ],
)
def test_a_damaged_file_is_refused_with_rule_value_and_location(
    tmp_path: Path, damage: Callable[[dict[str, Any]], Any], message: str
) -> None:
    rows = columns()
    damage(rows)
    folder = write(tmp_path, rows)
    with pytest.raises(DataError, match=message):
        read(folder)
    assert len(read(folder, "test").labels) == NUM_ROWS


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused_with_its_name(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path, columns()) / "train.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(DataError, match=r"file cannot be read as Parquet: .* \(.*train\.parquet\)"):
        read(tmp_path)


def test_a_file_with_a_damaged_page_is_refused_with_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, columns()) / "train.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file cannot be read as Parquet: .* \(.*train\.parquet\)"):
        read(tmp_path)


def test_a_missing_folder_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be an existing folder, got .*nowhere"):
        find(f"parquet:{tmp_path}/nowhere")
    with pytest.raises(DataError, match=r"must have files train\*\.parquet, found none in "):
        find(f"parquet:{tmp_path}")
    (write(tmp_path, columns()) / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"must have files test\*\.parquet, found none in "):
        read(tmp_path, "test")


def test_an_unknown_dataset_is_refused_with_the_known_names_and_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"'other'; known datasets: digits, cifar10, .*, parquet:PATH, folder:PATH and module.function; .* other/",
    ):
        find("other")
    write(tmp_path / "mine", columns())
    with pytest.raises(DataError, match=r"fashion_mnist, mine, parquet:.*; .* put train\*\.parquet .* into .*other"):
        find("other", data_dir=tmp_path)
    with pytest.raises(
        DataError, match=r"LKCA_DATA_DIR must be a folder with one folder per dataset, got .*nowhere, which does not"
    ):
        find("other", data_dir=tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"must be a name, not a path, got 'a/b'; write parquet:a/b to read that folder"
    ):
        find("a/b", data_dir=tmp_path)
    for kind in ("parquet", "folder"):
        with pytest.raises(DataError, match=f"{kind}:PATH must name a folder"):
            find(f"{kind}:", data_dir=tmp_path)
    with pytest.raises(DataError, match="image_size must be at least 1 pixel, got 0"):
        find("digits", image_size=0)


def test_parquet_of_that_name_is_read_before_the_official_files(tmp_path: Path) -> None:
    write(tmp_path / "cifar10", columns())
    np.testing.assert_array_equal(find("cifar10", data_dir=tmp_path).read("train").pixels, gray_digits()[..., None])


def test_with_an_image_size_mixed_sizes_become_one(tmp_path: Path) -> None:
    rows = columns()
    wide = np.zeros((12, 20), np.uint8)
    wide[:, 4:16] = 200
    rows["image"][6] = png(wide)
    images = read(write(tmp_path, rows), image_size=6)
    assert images.pixels.shape == (NUM_ROWS, 6, 6, 1)
    assert (images.pixels[6] > 180).all()  # the middle of the longer side; the black around it has little effect
    assert read(tmp_path, "test", image_size=8).pixels.tobytes() == gray_digits().tobytes()


def test_arrays_and_files_are_resized_equally(tmp_path: Path) -> None:
    digits = find("digits").read("test")
    rows = {"image": [png(pixels[..., 0]) for pixels in digits.pixels], "label": digits.labels.tolist()}
    rows["label_name"] = [digits.class_names[label] for label in digits.labels]
    from_files = read(write(tmp_path, rows), image_size=11)
    np.testing.assert_array_equal(find("digits", image_size=11).read("test").pixels, from_files.pixels)
    assert from_files.pixels.shape == (359, 11, 11, 1)


def test_the_count_of_a_source_is_the_number_of_images_that_it_reads(tmp_path: Path) -> None:
    write(tmp_path / "rows", columns(), {name: values[:7] for name, values in columns().items()})
    write_photos(tmp_path / "photos", num_train=5)
    (tmp_path / "photos" / "train" / ".hidden").touch()
    for dataset in ("digits", f"parquet:{tmp_path / 'rows'}", f"folder:{tmp_path / 'photos'}"):
        source = find(dataset)
        for split in SPLITS:
            assert source.count(split) == len(source.read(split).labels) > 0
