"""Paths on disk and in an object store: one set of laws for both."""

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from sqlalchemy import create_engine, make_url

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import (
    AnyPath,
    RemotePath,
    atomic_output,
    file_url,
    list_paths,
    parse_path,
    remove_tree,
    sqlite_file,
    sqlite_url,
    write_atomically,
)
from lkca_search.records.record import read_records
from tests.support.object_store import running_object_store
from tests.support.processes import run_python
from tests.support.records import make_record


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, running_object_store(patch) as url:
        yield url


@pytest.fixture(params=["disk", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "disk":
        return tmp_path
    return parse_path(request.getfixturevalue("bucket")) / request.node.name.replace("[", "-").replace("]", "")


def test_a_written_file_can_be_read_and_listed(place: AnyPath) -> None:
    file = place / "a" / "b.json"
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    for content in (b"one", b"two"):
        write_atomically(file, content)
        assert (file.exists(), file.read_bytes(), file.read_text()) == (True, content, content.decode())
    assert (file.name, file.parent.name, file.parent / "b.json") == ("b.json", "a", file)
    assert list_paths(place, "*/*.json") == [file]
    file.unlink()
    assert not file.exists()
    file.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        file.unlink()


def test_a_large_file_whose_writing_is_interrupted_is_not_there(
    place: AnyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(source: BinaryIO, target: BinaryIO, size: int) -> None:
        target.write(source.read(3))
        raise KeyboardInterrupt

    file = place / "a.tar"
    monkeypatch.setattr("lkca_search.paths.shutil.copyfileobj", interrupt)

    def write() -> None:
        with atomic_output(file) as stream:
            stream.write(b"content")
            if isinstance(file, Path):  # an upload is interrupted after this block
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list_paths(place, "*") == []


def test_patterns_match_part_by_part_and_results_are_sorted(place: AnyPath) -> None:
    for path in ("b/1/x.json", "a/2/x.json", "a/1/y.json", "a/x.json", "a/1/z/x.json"):
        write_atomically(place / path, b"")
    assert list_paths(place, "*/*/x.json") == [place / "a/2/x.json", place / "b/1/x.json"]
    assert list_paths(place, "*") == [place / "a", place / "b"]
    assert list_paths(place, "a/*") == [place / "a/1", place / "a/2", place / "a/x.json"]
    assert list_paths(place, "a/*.json") == [place / "a/x.json"]
    assert list_paths(place / "nowhere", "*") == list_paths(place / "nowhere", "*/*") == []


def test_an_empty_folder_is_listed(place: AnyPath) -> None:
    (place / "trials" / "cell" / "0").mkdir(parents=True)
    assert list_paths(place, "*/*/*") == [place / "trials/cell/0"]
    remove_tree(place / "trials")
    remove_tree(place / "trials")
    assert list_paths(place, "*/*/*") == []


def test_parsing_a_printed_path_gives_the_same_path(place: AnyPath) -> None:
    assert parse_path(str(place / "a")) == place / "a"


def test_a_search_folder_lists_its_records_and_attempts(place: AnyPath) -> None:
    folder = Home(root=place).search("made")
    records = [make_record(number, attempt=number + 1) for number in range(3)]
    for record in records:
        path = folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt) / "record.json"
        write_atomically(path, record.model_dump_json().encode())
    folder.trial("cell/7").attempt(driver=4, attempt=2).mkdir(parents=True)
    assert read_records(folder) == records
    assert folder.drivers() == {**{record.trial_id: record.driver for record in records}, "cell/7": 4}
    (attempt,) = folder.trial("cell/7").attempts()
    assert attempt.name == "attempt-0004-0002"


def test_trials_are_in_the_storage_that_the_spec_names(place: AnyPath, tmp_path: Path) -> None:
    folder = Home(root=tmp_path / "home").search("made")
    write_atomically(folder.spec, f'{{"storage": "{place}"}}'.encode())
    stored = Home(root=tmp_path / "home").search("made")
    assert (stored.root, stored.trials) == (folder.root, place / "made" / "trials")
    assert folder.trials == folder.root / "trials"


@pytest.mark.parametrize(
    ("text", "path"),
    [("file:///shared/x", "/shared/x"), ("file://localhost/shared", "/shared"), ("/shared", "/shared"), ("a/b", "a/b")],
)
def test_a_path_may_be_written_as_a_url(text: str, path: str) -> None:
    assert parse_path(text) == Path(path)


@pytest.mark.parametrize("character", [*sorted(set(map(chr, range(0x20, 0x7F))) - {"/"}), "ü", "\n"])
def test_a_path_with_any_character_is_read_back_from_its_urls(character: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{character}41" / f"{character}b.db"
    file.parent.mkdir()
    with closing(create_engine(sqlite_url(file)).raw_connection()) as database:
        database.execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    assert sqlite_file(sqlite_url(file)) == file
    assert url2pathname(urlsplit(file_url(file)).path) == str(file)
    assert parse_path(file_url(file)) == file
    assert f"{sqlite_url(file)}{file_url(file)}".isascii()
    assert f"{sqlite_url(file)}{file_url(file)}".isprintable()


def test_the_urls_of_a_plain_path_are_plain() -> None:
    assert sqlite_url(Path("/runs/mlflow.db")) == "sqlite:////runs/mlflow.db"
    assert file_url(Path("/runs")) == Path("/runs").as_uri() == "file:///runs"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////a%20b/c.db", "/a b/c.db"),
        ("sqlite+pysqlite:////a/c.db?timeout=5", "/a/c.db"),
        ("sqlite:///c.db", str(Path.cwd() / "c.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:x?mode=memory&uri=true", None),
        ("postgresql://host/db", None),
    ],
)
def test_the_file_of_a_sqlite_url_is_the_one_that_sqlalchemy_opens(url: str, file: str | None) -> None:
    assert sqlite_file(url) == (None if file is None else Path(file))
    if file is not None:
        assert Path(str(make_url(url).database)).absolute() == Path(file)


def test_a_home_that_an_earlier_version_named_by_its_quoted_url_is_found(tmp_path: Path) -> None:
    assert parse_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    (tmp_path / "a%20b").mkdir()
    assert parse_path(f"file://{tmp_path}/a%20b") == tmp_path / "a%20b"


def test_a_key_in_a_bucket_may_contain_a_hash(bucket: str) -> None:
    path, _, options = bucket.partition("?")
    parsed = parse_path(f"{path}/a#b?{options}")
    assert parsed.name == "a#b"
    assert parse_path(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (
            "http://host/path",
            "a location must be a path, file:///PATH, s3://BUCKET/PATH or gs://BUCKET/PATH, got 'http:",
        ),
        ("s3:///path", "got 's3:///path'"),
        ("s3://key:secret@bucket/path", "got credentials before the @: set them as environment variables"),
        ("s3://bucket/path?no_such_option=1", "got 's3://bucket/path.no_such_option=1': "),
    ],
)
def test_an_unknown_url_is_refused(url: str, rule: str) -> None:
    with pytest.raises(SearchError, match=rule) as caught:
        parse_path(url)
    assert "key:" not in str(caught.value)


def test_a_home_in_an_object_store_has_its_datasets_on_disk_and_needs_an_mlflow_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bucket: str
) -> None:
    path, _, options = bucket.partition("?")
    monkeypatch.setenv("LKCA_SEARCH_HOME", f"{path}/lkca?{options}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = Home.from_environment()
    assert isinstance(home.root, RemotePath)
    assert str(home.search("x").root) == f"{path}/lkca/searches/x?{options}"
    assert home.datasets == tmp_path / "lkca-search" / "datasets"
    with pytest.raises(
        SearchError, match="the default MLflow store must be a database on disk, got the home s3://searches/lkca"
    ):
        _ = home.mlflow_database
    monkeypatch.setenv("LKCA_SEARCH_CACHE", str(tmp_path / "nvme"))
    assert home.datasets == tmp_path / "nvme"


def test_folders_are_equal_if_their_paths_are(place: AnyPath) -> None:
    assert SearchFolder(root=place / "x") == SearchFolder(root=parse_path(str(place / "x")))


def test_a_file_is_written_with_its_folders_and_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"one")
        write_atomically(path, b"two")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from lkca_search.paths import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), bytes(10_000))\n"
        "except OSError: print('full')"
    )
    assert run_python(code, str(path)) == "full"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "folder", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_reader_sees_the_complete_file_of_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, bytes(100_000))
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(write_atomically, path, bytes([i]) * 100_000) for i in range(40)]
        while not all(write.done() for write in writes):
            content = path.read_bytes()
            assert len(content) == 100_000
            assert len(set(content)) == 1
        for write in writes:
            write.result()
    assert list(tmp_path.iterdir()) == [path]
