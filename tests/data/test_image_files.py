"""Images to classify: files, folders and Parquet files, decoded to the shape of a training's images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.data.readers.decoded import ListedLabels, decode_images, decode_to_shape
from lkca_search.data.readers.image_files import find_image_files
from lkca_search.errors import DataError
from tests.support.odd_images import OddImage, encode, odd_images

DECODABLE = [image for image in odd_images() if not isinstance(image.expected, str)]
every_image = pytest.mark.parametrize("image", DECODABLE, ids=[image.name for image in DECODABLE])


@every_image
@pytest.mark.parametrize("side", [6, 8, 20])
def test_an_image_is_decoded_and_sized_exactly_as_in_a_dataset(image: OddImage, side: int) -> None:
    expected, _ = decode_images(
        lambda row: image.content,
        listed=ListedLabels(np.zeros(1, np.int64), ("one",)),
        location=lambda row: image.name,
        image_size=side,
    )
    decoded = decode_to_shape(lambda: image.content, shape=(side, side, 3), location=image.name)
    np.testing.assert_array_equal(decoded, np.broadcast_to(expected[0], (side, side, 3)))


@every_image
def test_an_image_of_the_shape_of_the_training_keeps_its_pixels(image: OddImage) -> None:
    height, width, _ = np.shape(image.expected)
    decoded = decode_to_shape(lambda: image.content, shape=(height, width, 3), location=image.name)
    np.testing.assert_array_equal(decoded, image.expected)


def encoded(pixels: Any) -> bytes:
    return encode(Image.fromarray(np.asarray(pixels, np.uint8)), "PNG")


@pytest.mark.parametrize("shape", [(4, 10, 3), (10, 4, 1)])
def test_images_need_not_be_squares(shape: tuple[int, int, int]) -> None:
    gray = encoded(np.arange(64).reshape(8, 8))
    assert decode_to_shape(lambda: gray, shape=shape, location="x").shape == shape


def test_for_gray_images_a_color_file_must_have_three_equal_channels() -> None:
    gray = np.arange(64).reshape(8, 8)
    same = encoded(np.stack([gray, gray, gray], 2))
    np.testing.assert_array_equal(decode_to_shape(lambda: same, shape=(8, 8, 1), location="x")[..., 0], gray)
    color = encoded(np.stack([gray, gray, gray + 1], 2))
    with pytest.raises(DataError, match=r"must be gray \(1 channel\).*one in color.*\(a/b.png\)"):
        decode_to_shape(lambda: color, shape=(8, 8, 1), location="a/b.png")


def test_folders_are_searched_in_order_and_other_files_are_skipped(tmp_path: Path) -> None:
    names = ["b/2.jpg", "b/1.PNG", "a.webp", "c.parquet", "notes.txt", "b/.hidden.png", ".git/x.png", "named.bin"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_image_files([str(tmp_path / "named.bin"), str(tmp_path)])
    relative = [str(path.relative_to(tmp_path)) for path in found.paths]
    assert relative == ["named.bin", "a.webp", "c.parquet", "b/1.PNG", "b/2.jpg"]
    assert [path.name for path in found.skipped] == ["named.bin", "notes.txt"]


def test_every_missing_path_and_empty_folder_is_in_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        find_image_files([str(tmp_path / name) for name in ("empty", "nowhere.png")])
    assert "got none in" in str(caught.value)
    assert "nowhere.png, which does not exist" in str(caught.value)


def test_a_parquet_file_needs_images_alone_and_is_read_row_by_row(tmp_path: Path) -> None:
    images = [b"one", b"two", b"three"]
    pq.write_table(pa.table({"image": images}), tmp_path / "plain.parquet", row_group_size=2)
    rows = [{"bytes": image, "path": None} for image in images]
    pq.write_table(pa.table({"image": rows, "x": [1, 2, 3]}), tmp_path / "struct.parquet", row_group_size=1)
    found = list(find_image_files([str(tmp_path)]).images())
    assert [image.read() for image in found] == images + images
    assert found[1].location == f"{tmp_path}/plain.parquet, row 1"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"image": [b"one", None]}, "column 'image' must have a value in every row, got null (FILE, row 1)"),
        ({"picture": [b"one"]}, "column 'image' (encoded bytes, or a struct with field `bytes`) is missing"),
        ({"image": [1]}, "column 'image' must have encoded bytes, or a struct with field `bytes`, got int64"),
        (None, "file cannot be read as Parquet"),
    ],
)
def test_a_parquet_file_that_breaks_a_rule_is_named(tmp_path: Path, content: Any, rule: str) -> None:
    file = tmp_path / "images.parquet"
    if content is None:
        file.write_bytes(b"PAR1")
    else:
        pq.write_table(pa.table(content), file)
    with pytest.raises(DataError) as caught:
        list(find_image_files([str(file)]).images())
    assert rule.replace("FILE", str(file)) in str(caught.value)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (image,) = find_image_files([str(tmp_path / "pipe.png")]).images()
    with pytest.raises(DataError, match="must be a regular file, got a pipe"):
        decode_to_shape(image.read, shape=(8, 8, 1), location=image.location)
