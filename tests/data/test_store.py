"""Store of decoded images: content, identity, damaged files and concurrent processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sklearn

from lkca_search.data import store
from lkca_search.data.catalog import CatalogSource, read_digits
from lkca_search.data.store import Images, StoredSplit, find_stored, hash_content, open_images
from lkca_search.errors import DataError

OPEN_ON_SIGNAL = """
import logging, os, sys, time
from pathlib import Path
from lkca_search.data.catalog import CatalogSource
from lkca_search.data.store import open_images

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
read = CatalogSource.read
CatalogSource.read = lambda self, split: (time.sleep(0.5), read(self, split))[1]
print("ready", flush=True)
sys.stdin.readline()
images = open_images("digits", "train", cache=Path(sys.argv[1]))
print("hash", images.content_hash)
"""

STOP_BEFORE_THE_RENAME = """
import os, sys, time
from pathlib import Path
from lkca_search.data.store import open_images

def stop(descriptor):
    print("written", flush=True)
    time.sleep(60)

os.fsync = stop
open_images("digits", "train", cache=Path(sys.argv[1]))
"""


def start(script: str, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(cache)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def open_digits(cache: Path, split: Any = "train") -> Images:
    return open_images("digits", split, cache=cache)


def find_stored_digits(cache: Path) -> StoredSplit:
    open_digits(cache)
    stored = find_stored("digits", "train", cache=cache)
    assert stored is not None
    return stored


def arrow_file(cache: Path) -> Path:
    (path,) = cache.glob("*.arrow")
    return path


def flip(path: Path, content: bytes, *, offset: int) -> None:
    """Replace a byte of a part of a file, given by its content. The file is a new one: the old one may be mapped."""
    data = bytearray(path.read_bytes())
    data[data.index(content) + offset] ^= 0x55
    path.unlink()
    path.write_bytes(bytes(data))


def refuse_to_decode(*_: object) -> None:
    raise AssertionError("decoded again")


def test_stored_images_equal_those_of_their_source(tmp_path: Path) -> None:
    images, decoded = open_digits(tmp_path), read_digits("train", downloads=None)
    np.testing.assert_array_equal(images.pixels, decoded.pixels)
    np.testing.assert_array_equal(images.labels, decoded.labels)
    assert (images.name, images.class_names) == ("digits", decoded.class_names)
    assert (images.shape, len(images)) == ((8, 8, 1), len(decoded.labels))
    assert images.shape.channels == 1
    assert images.pixels.flags.c_contiguous


def test_a_second_opening_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_digits(tmp_path)
    monkeypatch.setattr(CatalogSource, "read", refuse_to_decode)
    second = open_digits(tmp_path)
    assert first.content_hash == second.content_hash
    np.testing.assert_array_equal(first.pixels, second.pixels)


def test_opening_train_does_not_open_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for method in (CatalogSource.read, CatalogSource.fingerprint):

        def spy(self: CatalogSource, split: Any, method: Any = method) -> Any:
            asked.append(split)
            return method(self, split)

        monkeypatch.setattr(CatalogSource, method.__name__, spy)
    open_digits(tmp_path)
    assert set(asked) == {"train"}
    assert "-train-" in arrow_file(tmp_path).name


def test_images_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    open_digits(tmp_path)
    allocated = pa.total_allocated_bytes()
    images = open_digits(tmp_path)
    assert pa.total_allocated_bytes() == allocated
    for array in (images.pixels, images.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


def test_the_content_hash_is_that_of_shape_pixels_and_labels(tmp_path: Path) -> None:
    images = open_digits(tmp_path / "one")
    assert images.content_hash == open_digits(tmp_path / "other").content_hash
    assert images.content_hash == hash_content(images.pixels, images.labels)
    assert images.content_hash != open_digits(tmp_path / "one", "test").content_hash
    changed = images.pixels.copy()
    changed[5, 1, 1, 0] ^= 1
    relabelled = np.roll(images.labels, 1)
    reshaped = images.pixels.reshape(-1, 4, 16, 1)
    others = {hash_content(changed, images.labels), hash_content(images.pixels, relabelled)}
    assert len({images.content_hash, hash_content(reshaped, images.labels), *others}) == 4


def test_the_file_describes_its_content(tmp_path: Path) -> None:
    images = open_digits(tmp_path)
    with pa.memory_map(str(arrow_file(tmp_path))) as file:
        metadata = json.loads(pa.ipc.open_file(file).schema.metadata[b"lkca_search.images/2"])
    mean, std = metadata.pop("mean"), metadata.pop("std")
    np.testing.assert_allclose(mean, (images.pixels / 255).mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, (images.pixels / 255).std((0, 1, 2)), rtol=1e-9)
    assert metadata == {
        "dataset": "digits",
        "split": "train",
        "source": f"digits, scikit-learn {sklearn.__version__}, 20% test, seed 0",
        "image_size": None,
        "shape": [8, 8, 1],
        "num_images": len(images),
        "class_names": list("0123456789"),
        "class_counts": np.bincount(images.labels).tolist(),
        "num_converted": 0,
        "content_hash": images.content_hash,
        "notes": [],
    }


def test_the_metadata_can_be_read_without_preparing_the_dataset(tmp_path: Path) -> None:
    assert find_stored("digits", "train", cache=tmp_path) is None
    images = open_digits(tmp_path)
    stored = find_stored("digits", "train", cache=tmp_path)
    assert isinstance(stored, StoredSplit)
    assert (stored.content_hash, stored.num_images) == (images.content_hash, len(images))
    assert find_stored("digits", "test", cache=tmp_path) is None


def test_every_image_size_has_its_own_file(tmp_path: Path) -> None:
    sizes = {size: open_images("digits", "train", cache=tmp_path, image_size=size) for size in (None, 8, 12)}
    assert {size: images.shape[:2] for size, images in sizes.items()} == {None: (8, 8), 8: (8, 8), 12: (12, 12)}
    assert sizes[None].content_hash == sizes[8].content_hash != sizes[12].content_hash
    assert len(list(tmp_path.glob("*.arrow"))) == 3


def test_the_statistics_of_a_split_do_not_depend_on_the_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_stored_digits(tmp_path / "whole")
    monkeypatch.setattr(store, "STATISTICS_CHUNK_IMAGES", 100)
    assert find_stored_digits(tmp_path / "cut").model_dump() == whole.model_dump()


def test_another_fingerprint_is_decoded_into_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_digits(tmp_path)
    monkeypatch.setattr(CatalogSource, "fingerprint", lambda self, split: "changed")
    open_digits(tmp_path)
    assert len(list(tmp_path.glob("*.arrow"))) == 2


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_decoded_again(tmp_path: Path, kept: float, caplog: pytest.LogCaptureFixture) -> None:
    expected = open_digits(tmp_path).content_hash
    path = arrow_file(tmp_path)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: int(kept * len(data))])
    images = open_digits(tmp_path)
    assert images.content_hash == expected == hash_content(images.pixels, images.labels)
    assert "is damaged and will be decoded again" in caplog.text
    assert path.read_bytes() == data


def test_flipped_labels_are_decoded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = open_digits(tmp_path).labels.copy()
    flip(arrow_file(tmp_path), labels.tobytes(), offset=len(labels.tobytes()) // 2)
    np.testing.assert_array_equal(open_digits(tmp_path).labels, labels)
    assert "the labels differ from the number of images of each class" in caplog.text


def test_flipped_pixels_are_decoded_again_by_a_driver(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = open_digits(tmp_path).pixels.copy()
    flip(arrow_file(tmp_path), pixels.tobytes(), offset=1000)
    images = open_images("digits", "train", cache=tmp_path, verify=True)
    assert images.content_hash == hash_content(images.pixels, images.labels)
    np.testing.assert_array_equal(images.pixels, pixels)
    assert "the images differ from their hash" in caplog.text


def test_a_file_of_another_schema_version_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "METADATA_KEY", b"lkca_search.images")
    open_digits(tmp_path)
    inode = arrow_file(tmp_path).stat().st_ino
    monkeypatch.undo()
    images = open_digits(tmp_path)
    assert arrow_file(tmp_path).stat().st_ino != inode
    assert images.content_hash == hash_content(images.pixels, images.labels)


def test_an_arrow_file_with_other_content_is_decoded_again(tmp_path: Path) -> None:
    expected = open_digits(tmp_path).content_hash
    path = arrow_file(tmp_path)
    path.unlink()
    table = pa.table({"pixels": [1, 2, 3]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    assert open_digits(tmp_path).content_hash == expected


def test_processes_that_open_an_empty_cache_at_once_decode_once(tmp_path: Path) -> None:
    processes = [start(OPEN_ON_SIGNAL, tmp_path / "cache") for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert "".join(outputs).count("decoded train images of digits") == 1
    expected = open_digits(tmp_path / "cache").content_hash
    assert [output.split()[-1] for output in outputs] == [expected] * 8


def test_no_file_of_a_process_killed_during_a_write_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(STOP_BEFORE_THE_RENAME, cache)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.kill()
    process.communicate(timeout=60)
    assert list(cache.glob("*.partial"))
    assert not list(cache.glob("*.arrow"))
    assert find_stored("digits", "train", cache=cache) is None
    images = open_digits(cache)
    assert images.content_hash == open_digits(tmp_path / "untouched").content_hash
    assert images.content_hash == hash_content(images.pixels, images.labels)
    assert not list(cache.glob("*.partial"))


@pytest.mark.parametrize("variable", ["LKCA_SEARCH_HOME", "LKCA_SEARCH_CACHE"])
def test_a_cache_that_cannot_be_written_is_refused_by_the_variable_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("LKCA_SEARCH_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=rf"{variable} must be a folder that can be written, got .*cache"):
        open_digits(tmp_path / "file" / "cache")


def test_a_dataset_that_cannot_be_read_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: CatalogSource, split: Any) -> None:
        raise DataError("damaged")

    monkeypatch.setattr(CatalogSource, "read", fail)
    with pytest.raises(DataError, match="damaged"):
        open_digits(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_full_cache_can_be_opened_without_writing_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_digits(tmp_path)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    monkeypatch.setattr(store, "hold_file_lock", refuse_to_decode)
    monkeypatch.setattr(os, "replace", refuse_to_decode)
    open_digits(tmp_path)
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
