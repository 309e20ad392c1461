"""Files that are no images: links that loop, pipes, names that are not UTF-8, odd Parquet columns, large photos."""

import os
import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.cli.app import main
from lkca_search.data.check import check_dataset
from lkca_search.data.readers.decoded import DecodedImages
from lkca_search.data.readers.image_decoder import MAX_PIXELS, decode_image
from lkca_search.data.readers.source_files import fingerprint_tree
from lkca_search.data.sources import find_source, locate_dataset
from lkca_search.data.store import open_images
from lkca_search.errors import DataError
from lkca_search.spec.sections import DataSection
from lkca_search.training.images import DataDirs, open_train_images

NOT_UTF8 = os.fsdecode(b"f\xff")
ROWS = range(4)


def pixels(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    Image.fromarray(pixels(seed)).save(out := BytesIO(), "png")
    return out.getvalue()


IMAGES = [png(row) for row in ROWS]


def write_folder(folder: Path) -> Path:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            (folder / split / name / "0.png").write_bytes(png(len(split) + len(name)))
    return folder


def read(folder: Path, split: Any = "train", kind: str = "folder", **options: Any) -> DecodedImages:
    return find_source(f"{kind}:{folder}", data_dir=None, cache=folder / "cache", **options).read(split)


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: os.mkfifo(path), "must be a regular file, got a pipe"),
        (lambda path: bind_socket(path), "must be a regular file, got a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "must be a regular file, got a device"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to(".."), "must be a regular file, got a folder"),
    ],
    ids=["fifo", "socket", "device", "link to itself", "link to a folder above"],
)
def test_a_file_that_is_not_regular_is_refused_and_never_opened(
    make: Callable[[Path], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = write_folder(Path("photos")) / "train" / "cat" / "1.png"
    make(path)
    with pytest.raises(DataError, match=rf"^image cannot be read: {reason} \(photos/train/cat/1\.png\)$"):
        open_images("folder:photos", "train", cache=tmp_path)


def test_hidden_links_to_nothing_and_to_themselves_are_skipped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "train" / "cat" / ".#0.png").symlink_to("user@machine.1234")  # the lock file of an editor
    (folder / "train" / ".loop").symlink_to(folder / "train" / ".loop")
    check = check_dataset(f"folder:{folder}", cache=tmp_path / "cache")
    assert all("has 1 training image" in problem for problem in check.problems)
    assert [note.count for note in check.splits[0].notes] == [2]


def test_links_to_folders_above_do_not_make_a_fingerprint_endless(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    before = fingerprint_tree(folder)
    for i in range(8):  # without a limit, 8 ** 40 paths
        (folder / "train" / "cat" / f"up {i}").symlink_to(folder)
        (folder / "train" / "dog" / f"side {i}").symlink_to(folder / "train" / "cat")
    assert fingerprint_tree(folder) != before
    assert int(fingerprint_tree(folder).split()[0]) == 4 + 8 + 8 * 9


def test_a_linked_folder_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    (folder / "train" / "eel").symlink_to(write_folder(tmp_path / "others") / "train" / "cat")
    before = fingerprint_tree(folder)
    (tmp_path / "others" / "train" / "cat" / "9.png").write_bytes(png(9))
    assert fingerprint_tree(folder) != before


def test_a_file_name_that_is_not_utf8_is_read_and_printed_with_escapes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "train" / "cat" / f".{NOT_UTF8}").touch()
    (folder / "train" / "cat" / NOT_UTF8).write_bytes(png(3))
    assert len(open_images(f"folder:{folder}", "train", cache=tmp_path / "cache")) == 3
    check = check_dataset(f"folder:{folder}", cache=tmp_path / "cache")
    assert check.splits[0].notes[0].first == rf"{folder}/train/cat/.f\xff"
    (folder / "train" / "cat" / NOT_UTF8).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"unknown format; .* PNG or JPEG \(.*/cat/f\\xff\)$"):
        read(folder)


def test_a_class_or_a_dataset_whose_name_is_not_utf8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / NOT_UTF8)
    with pytest.raises(DataError, match=r"^the path of a dataset must be UTF-8, got .*/f\\xff: rename the folder"):
        read(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=r"the path of a dataset must be UTF-8, got .*/f\\xff/train"):
        locate_dataset("folder:train")
    (tmp_path / "link").symlink_to(folder)
    assert len(open_images(f"folder:{tmp_path / 'link'}", "train", cache=tmp_path / "cache")) == 2
    (folder / "train" / NOT_UTF8).mkdir()
    with pytest.raises(DataError, match=r"^a class must have a name in UTF-8, .*, got f\\xff"):
        read(tmp_path / "link")


def test_a_folder_that_cannot_be_opened_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 300)
    with pytest.raises(DataError, match=r"^dataset 'folder:.*' cannot be read: File name too long \(.*\)$"):
        read(path)


def test_check_warns_of_classes_that_differ_by_case_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for split in ("train", "test"):
        (folder / split / "Dog").mkdir()
        (folder / split / "Dog" / "0.png").write_bytes(png(7))
    rule = "classes 'Dog' (label 0) and 'dog' (label 2) differ in name by case alone, or not at all"
    (warning,) = check_dataset(f"folder:{folder}", cache=tmp_path).warnings
    assert warning == f"{rule}; they stay separate classes"


def write_parquet(folder: Path, **columns: Any) -> Path:
    folder.mkdir(exist_ok=True)
    rows = {"image": IMAGES, "label": [0, 1, 0, 1], "label_name": ["cat", "dog", "cat", "dog"], **columns}
    for split in ("train", "test"):
        pq.write_table(pa.table(rows), folder / f"{split}.parquet")
    return folder


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WIDTH = max(map(len, IMAGES)) + 7
ACCEPTED = {
    "dictionary": {"image": pa.array(IMAGES).dictionary_encode()},
    "struct": {"image": pa.array([{"bytes": image, "path": None} for image in IMAGES], STRUCT)},
    "struct of a dictionary": {
        "image": pa.StructArray.from_arrays([pa.array(IMAGES).dictionary_encode(), pa.array(["x"] * 4)], STRUCT.names)
    },
    "large_binary": {"image": pa.array(IMAGES, pa.large_binary())},
    "binary_view": {"image": pa.array(IMAGES, pa.binary_view())},
    "fixed size": {"image": pa.array([image.ljust(WIDTH, b"\0") for image in IMAGES], pa.binary(WIDTH))},
    "dictionaries of labels": {
        "label": pa.array([0, 1, 0, 1], pa.uint8()).dictionary_encode(),
        "label_name": pa.array(["cat", "dog", "cat", "dog"]).dictionary_encode(),
    },
}
REFUSED = {
    "a null of a dictionary": (
        {"image": pa.array([*IMAGES[:3], None]).dictionary_encode()},
        r"column 'image' must have a value in every row, got null \(.*, row 3\)",
    ),
    "paths without bytes": (
        {"image": pa.array([{"bytes": None, "path": "cat.png"}] * 4, STRUCT)},
        r"column 'image' must have a value in every row, got null \(.*, row 0\)",
    ),
    "lists": ({"image": pa.array([[image] for image in IMAGES])}, "must have encoded bytes, .*, got list"),
    "floats": ({"label": [0.0, 1.0, 0.0, 1.0]}, "column 'label' must have integers, got double"),
    "beyond int64": (
        {"label": pa.array([0, 2**63, 0, 1], pa.uint64())},
        r"column 'label' must have integers from 0 to the number of classes - 1, got 9223372036854775808 \(",
    ),
    "text that is not UTF-8": (
        {"label_name": pa.array([b"\xff", b"dog", b"\xff", b"dog"]).view(pa.string())},
        "file cannot be read as Parquet: .*UTF8",
    ),
}


@pytest.mark.parametrize("columns", ACCEPTED.values(), ids=ACCEPTED)
def test_images_in_any_column_of_bytes_have_the_same_pixels(columns: dict[str, Any], tmp_path: Path) -> None:
    images = read(write_parquet(tmp_path, **columns), kind="parquet")
    np.testing.assert_array_equal(images.pixels, [pixels(row) for row in ROWS])
    assert (images.labels.tolist(), images.class_names) == ([0, 1, 0, 1], ("cat", "dog"))


@pytest.mark.parametrize(("columns", "error"), REFUSED.values(), ids=REFUSED)
def test_other_columns_are_refused_with_file_and_value(columns: dict[str, Any], error: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=error):
        read(write_parquet(tmp_path, **columns), kind="parquet")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pq.read_table(write_parquet(tmp_path) / "train.parquet")
    pq.write_table(table.append_column("image", table["image"]), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"^column 'image' must occur once, got 2 of this name \(.*train\.parquet\)$"):
        read(tmp_path, kind="parquet")


def test_files_and_row_groups_may_encode_the_columns_in_different_ways(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    for i, columns in enumerate(ACCEPTED.values()):
        table = pq.read_table(write_parquet(tmp_path / "other", **columns) / "train.parquet")
        for compression in ("zstd", "lz4"):
            name = tmp_path / f"train {i} {compression} {NOT_UTF8}.parquet"
            with name.open("wb") as stream:
                pq.write_table(table, stream, row_group_size=1, compression=compression)
    (tmp_path / "link").symlink_to(tmp_path)
    images = read(tmp_path / "link", kind="parquet")
    np.testing.assert_array_equal(images.pixels, [pixels(row) for row in ROWS] * (1 + 2 * len(ACCEPTED)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/nothing"), "No such file or directory"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.mkdir(), "must be a regular file, got a folder"),
        (lambda path: os.mkfifo(path), "must be a regular file, got a pipe"),
        (lambda path: path.touch(), "Parquet file size is 0 bytes"),
        (lambda path: path.write_bytes(b"PAR1" + bytes(100) + b"PAR1"), ".*"),
    ],
    ids=["dangling", "loop", "folder", "fifo", "empty", "damaged footer"],
)
def test_a_parquet_file_that_cannot_be_read_is_named(
    make: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    make(write_parquet(tmp_path) / "train 2.parquet")
    with pytest.raises(DataError, match=rf"^file cannot be read as Parquet: {reason} \({tmp_path}/train 2\.parquet\)$"):
        open_images(f"parquet:{tmp_path}", "train", cache=tmp_path / "cache")


def png_header(width: int, height: int) -> bytes:
    """Return the start of a PNG of any size, without pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_an_image_above_the_limit_is_refused_with_its_size_and_the_option() -> None:
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS, "images that Pillow accepts are accepted"
    with pytest.raises(
        ValueError, match=r"at most 178,956,970 pixels, got 20000x10000; .* --max-pixels\) to 200000000"
    ):
        decode_image(png_header(20_000, 10_000))


def test_a_large_image_within_the_limit_causes_no_warning() -> None:
    for size, limit in (((13_000, 13_000), MAX_PIXELS), ((20_000, 10_000), 200_000_000)):
        with pytest.raises(OSError, match="truncated"):
            decode_image(png_header(*size), max_pixels=limit)
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS, "the limit of the process is restored"


def test_the_limit_of_the_space_file_decides(tmp_path: Path) -> None:
    folder, dirs = write_folder(tmp_path / "photos"), DataDirs(cache=tmp_path / "cache", data_dir=None)
    for dataset in (f"folder:{folder}", f"parquet:{write_parquet(tmp_path / 'rows')}"):
        with pytest.raises(DataError, match=r"at most 29 pixels, got 5x6; if the file is one of yours, set data\."):
            open_train_images(DataSection(dataset=dataset, max_pixels=29), dirs)
        with_limit = open_train_images(DataSection(dataset=dataset, max_pixels=30), dirs)
        assert with_limit.content_hash == open_train_images(DataSection(dataset=dataset), dirs).content_hash


@pytest.mark.parametrize("command", ["prepare", "check"])
def test_the_option_of_data_prepare_and_check_decides(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "photos")
    for name in ("cat", "dog"):
        (folder / "train" / name / "1.png").write_bytes(png(9))
    for limit, code in ((29, 2 if command == "prepare" else 1), (30, 0)):
        arguments = ["lkca-search", "data", command, f"folder:{folder}", "--max-pixels", str(limit)]
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert ("--max-pixels) to 30 or more" in capsys.readouterr().err) == (code > 0)
