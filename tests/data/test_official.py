"""Official files of the catalog: read from their real formats, downloaded once, trusted only with the right hash."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from lkca_search.data.catalog import CATALOG
from lkca_search.data.readers.download_cache import DownloadCache, OfficialFile
from lkca_search.data.sources import find_source
from lkca_search.data.store import open_images
from lkca_search.errors import DataError
from tests.support.official_files import WRITERS, Splits, serving

DOWNLOAD_AND_WAIT = """
import sys, time
from pathlib import Path
from lkca_search.data.readers.download_cache import DownloadCache, OfficialFile

def progress(file, received, total):
    if received:
        print("receiving", flush=True)
        time.sleep(60)

downloads = DownloadCache(dataset="x", user_folder=None, folder=Path(sys.argv[1]), progress=progress)
downloads.file(OfficialFile(name="file", urls=[sys.argv[2]], md5=sys.argv[3]))
"""
FILE_MD5 = "6f5902ac237024bdd0c176cb93063dc4"  # of b"hello world\n"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return the folder of the official files."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def server(files: Path) -> Iterator[tuple[str, list[str]]]:
    with serving(files) as started:
        yield started


def read(name: str, split: Any, cache: Path, data_dir: Path | None = None, **options: Any) -> Any:
    return find_source(name, data_dir=data_dir, cache=cache, **options).read(split)


def assert_read(name: str, made: Splits, cache: Path, data_dir: Path | None = None) -> None:
    for split in ("train", "test"):
        images = read(name, split, cache, data_dir)
        np.testing.assert_array_equal(images.pixels, made[split].pixels)
        np.testing.assert_array_equal(images.labels, made[split].labels)
        assert (images.pixels.dtype, images.labels.dtype) == (np.uint8, np.int64)
        assert len(images.class_names) == len(np.unique(images.labels))


def test_every_dataset_except_the_bundled_one_has_a_writer_here() -> None:
    assert {"digits", *WRITERS} == set(CATALOG)


@pytest.mark.parametrize("name", WRITERS)
def test_official_files_in_the_users_folder_are_read_and_nothing_is_downloaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    made = WRITERS[name](tmp_path / name, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    assert_read(name, made, tmp_path / "cache", tmp_path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_official_files_are_downloaded_once_and_progress_is_reported(
    name: str, files: Path, tmp_path: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = server
    made = WRITERS[name](files, lambda file: address + file, monkeypatch)
    told: dict[str, tuple[int, int | None]] = {}
    for split in ("train", "test"):
        open_images(name, split, cache=tmp_path, progress=lambda file, *counts: told.update({file: counts}))
    sizes = {path.name: path.stat().st_size for path in files.iterdir()}
    assert told == {file: (size, size) for file, size in sizes.items()}
    assert_read(name, made, tmp_path)
    assert sorted(asked) == sorted(f"/{file}" for file in sizes)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_prepared_dataset_does_not_need_its_official_files(
    name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    made = WRITERS[name](tmp_path / name, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    open_images(name, "train", cache=files, data_dir=tmp_path)
    for path in (tmp_path / name).iterdir():
        path.unlink()
    images = open_images(name, "train", cache=files, data_dir=tmp_path)
    np.testing.assert_array_equal(images.pixels, made["train"].pixels)


@pytest.mark.parametrize("name", WRITERS)
def test_a_changed_official_file_is_refused_with_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    WRITERS[name](tmp_path / name, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    for path in (tmp_path / name).iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=rf"official file must have MD5 \w+, got \w+ \(.*{name}/[^/]*\)$"):
        read(name, "train", tmp_path / "cache", tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_cifar_is_also_read_from_its_folder_and_each_file_is_checked(
    name: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    made = WRITERS[name](tmp_path / name, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    (archive,) = (tmp_path / name).iterdir()
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / name, filter="data")
    archive.unlink()
    assert_read(name, made, tmp_path / "cache", tmp_path)
    batch = sorted((tmp_path / name / folder).glob("*test*"))[0]
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"must have MD5 .* \(.*{folder}, {batch.name}\)$"):
        read(name, "test", tmp_path / "cache", tmp_path)
    batch.unlink()
    with pytest.raises(DataError, match=rf"missing: \['{batch.name}'\]"):
        read(name, "test", tmp_path / "cache", tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("cifair10", "ciFAIR-10"), ("cifair100", "ciFAIR-100")])
def test_cifair_is_also_read_from_its_folder_and_its_test_batch_must_be_the_official_one(
    name: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    made = WRITERS[name](tmp_path / name, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    (archive,) = (tmp_path / name).iterdir()
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / name)
    archive.unlink()
    assert_read(name, made, tmp_path / "cache", tmp_path)
    batch = sorted((tmp_path / name / folder).glob("test*"))[0]
    batch.write_bytes(batch.read_bytes() + b" ")
    with pytest.raises(DataError, match=rf"must have MD5 .* \(.*{folder}, {batch.name}\)$"):
        read(name, "test", tmp_path / "cache", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_images_and_labels_equal_those_of_torchvision(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    WRITERS[name](tmp_path / name, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    images = read(name, "train", tmp_path / "cache", tmp_path)
    if name == "svhn":
        theirs = torchvision.datasets.SVHN(tmp_path / name, split="train")
        pixels, labels = theirs.data.transpose(0, 2, 3, 1), theirs.labels
    else:
        with tarfile.open(next((tmp_path / name).iterdir())) as opened:
            opened.extractall(tmp_path / name, filter="data")
        theirs = getattr(torchvision.datasets, name.upper())(tmp_path / name, train=True)
        pixels, labels = theirs.data, theirs.targets
        assert images.class_names == tuple(theirs.classes)
    np.testing.assert_array_equal(images.pixels, pixels)
    np.testing.assert_array_equal(images.labels, labels)


def _unpack_tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Splits]:
    """Return the unpacked folder, without its archive, and its splits."""
    home = tmp_path / "tiny_imagenet"
    home.mkdir()
    made = WRITERS["tiny_imagenet"](home, lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    with zipfile.ZipFile(home / "tiny-imagenet-200.zip") as archive:
        archive.extractall(home)
    (home / "tiny-imagenet-200.zip").unlink()
    return home / "tiny-imagenet-200", made


def test_tiny_imagenet_is_also_read_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = _unpack_tiny_imagenet(tmp_path, monkeypatch)
    assert_read("tiny_imagenet", made, tmp_path / "cache", tmp_path)
    images = read("tiny_imagenet", "train", tmp_path / "cache", tmp_path)
    assert images.class_names == ("goldfish", "sea slug", "teapot")
    assert images.num_converted == 1
    source = find_source("tiny_imagenet", data_dir=tmp_path, cache=tmp_path / "cache")
    before = source.fingerprint("train")
    (folder / "train/n01/images/n01_0.JPEG").write_bytes(b"changed")
    assert source.fingerprint("train") != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "words.txt").unlink(), r"must be complete: .*words\.txt"),
        (lambda folder: (folder / "words.txt").write_text("n01 cat\n"), "must be complete: "),
        (lambda folder: (folder / "words.txt").write_bytes(b"n01\t\xff"), "must be complete: .*utf-8"),
        (lambda folder: (folder / "val/val_annotations.txt").write_text("val_0.JPEG"), "must be complete: "),
        (lambda folder: (folder / "val/images/val_1.JPEG").unlink(), r"cannot be read: No such file .*val_1\.JPEG\)"),
        (
            lambda folder: (folder / "wnids.txt").write_text("n01\nn02\n"),
            r"must be listed in wnids\.txt, got n03 ",
        ),
        (
            lambda folder: (folder / "wnids.txt").write_text("n00\nn01\nn02\nn03"),
            "every class must have images, the test split has none of n00",
        ),
        (
            lambda folder: (folder / "val/images/val_2.JPEG").write_bytes(b"no image"),
            r"image cannot be decoded: .* \(.*, val/images/val_2\.JPEG\)",
        ),
    ],
)
def test_a_damaged_folder_of_tiny_imagenet_is_refused(
    damage: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = _unpack_tiny_imagenet(tmp_path, monkeypatch)
    damage(folder)
    with pytest.raises(DataError, match=message):
        read("tiny_imagenet", "test", tmp_path / "cache", tmp_path)


def test_a_fifo_in_place_of_an_official_file_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    os.mkfifo(tmp_path / "cifar10" / "cifar-10-python.tar.gz")
    with pytest.raises(
        DataError, match=r"dataset 'cifar10' cannot be read: must be a regular file, got a pipe \(.*\.tar\.gz\)$"
    ):
        open_images("cifar10", "train", cache=tmp_path / "cache", data_dir=tmp_path)


# Downloads that go wrong


def cache_files(downloads: Path) -> DownloadCache:
    return DownloadCache(dataset="x", user_folder=None, folder=downloads, progress=lambda *_: None)


def official(*urls: str) -> OfficialFile:
    return OfficialFile(name="file", urls=urls, md5=FILE_MD5)


def refusal(downloads: Path, *urls: str) -> str:
    """Return the error of a failed download, which leaves nothing but its lock file."""
    with pytest.raises(DataError) as caught:
        cache_files(downloads).file(official(*urls))
    assert [path.name for path in downloads.iterdir()] in ([], ["file.lock"])
    message = str(caught.value)
    assert message.startswith("dataset 'x' needs file, which could not be downloaded (")
    assert message.endswith(
        f"); put it into LKCA_DATA_DIR/x or {downloads}, or put train*.parquet and test*.parquet into LKCA_DATA_DIR/x"
    )
    return message


def test_a_download_is_kept_only_with_the_right_hash(
    files: Path, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    (files / "file").write_bytes(b"hello word\n")
    message = refusal(tmp_path / "downloads", server[0] + "file")
    assert f"{server[0]}file: an official file must have MD5 {FILE_MD5}, got " in message
    (files / "file").write_bytes(b"hello world\n")
    assert cache_files(tmp_path / "downloads").file(official(server[0] + "file")).read_bytes() == b"hello world\n"


def test_a_download_that_is_cut_off_is_refused(files: Path, tmp_path: Path) -> None:
    (files / "file").write_bytes(b"hello world\n")
    with serving(files, behave="cut off") as (address, _):
        assert "cut off after 6 of 12 bytes" in refusal(tmp_path / "downloads", address + "file")


def test_an_error_without_a_server_has_the_file_its_url_and_its_folder(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, _):
        pass
    assert f"{address}file: <urlopen error [Errno 111] Connection refused>" in refusal(
        tmp_path / "downloads", address + "file"
    )


def test_the_second_url_is_used_if_the_first_fails(files: Path, tmp_path: Path, server: tuple[str, list[str]]) -> None:
    (files / "file").write_bytes(b"hello world\n")
    assert "404" in refusal(tmp_path / "none", server[0] + "nothing", server[0] + "nobody")
    path = cache_files(tmp_path / "downloads").file(official(server[0] + "nothing", server[0] + "file"))
    assert path.read_bytes() == b"hello world\n"


def test_a_damaged_download_is_repeated(files: Path, tmp_path: Path, server: tuple[str, list[str]]) -> None:
    (files / "file").write_bytes(b"hello world\n")
    path = cache_files(tmp_path / "downloads").file(official(server[0] + "file"))
    path.write_bytes(b"hello earth\n")
    assert cache_files(tmp_path / "downloads").file(official(server[0] + "file")).read_bytes() == b"hello world\n"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"LKCA_SEARCH_HOME must be a folder .* written, got .*file/downloads"):
        cache_files(tmp_path / "file" / "downloads").file(official("http://127.0.0.1:9/file"))


def test_no_file_of_a_process_killed_during_a_download_is_used(
    files: Path, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    (files / "file").write_bytes(b"hello world\n")
    downloads = tmp_path / "downloads"
    arguments = [str(downloads), server[0] + "file", FILE_MD5]
    command = [sys.executable, "-c", DOWNLOAD_AND_WAIT, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "no_proxy": "*"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "receiving\n"
        process.kill()
    assert sorted(path.name for path in downloads.iterdir()) == ["file.lock", "file.partial"]
    assert cache_files(downloads).file(official(server[0] + "file")).read_bytes() == b"hello world\n"
    assert sorted(path.name for path in downloads.iterdir()) == ["file", "file.lock"]
