"""Archives: deterministic, read back, restored as they were; a file that is no archive changes nothing."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import read_records
from lkca_search.records.search.uid import read_uid
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.housekeeping.archive import plan_archive, write_archive
from lkca_search.search.housekeeping.archive_format import ArchivedFile, open_archive
from lkca_search.search.housekeeping.deletion import delete_search, plan_deletion
from lkca_search.search.housekeeping.restoring import restore_search
from lkca_search.search.state.lease import LeaseTiming, hold_lease
from tests.support.search.killed import kill_points
from tests.support.search.stored import make_stored_search, num_studies, trained

Make = Callable[[str], SearchFolder]
TIMING = LeaseTiming(heartbeat_seconds=0.2, ttl_seconds=1.0, valid_seconds=0.7)
"""A restored lease is that of another machine, and is waited for."""


def delete(name: str, home: Home) -> None:
    delete_search(plan_deletion(name, home), home, command="", notify=print)


def write_tar(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> None:
    """Write a compressed tar file with any members."""
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        with tarfile.open(fileobj=stream, mode="w|") as tar:
            for each in members:
                if isinstance(each, tarfile.TarInfo):
                    tar.addfile(each)
                else:
                    member = tarfile.TarInfo(each[0])
                    member.size = len(each[1])
                    tar.addfile(member, io.BytesIO(each[1]))


def manifest(*files: tuple[str, bytes], **values: object) -> tuple[str, bytes]:
    """Return the list of files as a member."""
    import hashlib

    listed = [
        {"path": path, "num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files
    ]
    content = {"version": 1, "search": "made", "uid": None, "storage": None, "files": listed, **values}
    return "made/archive.json", json.dumps(content).encode()


def test_a_restored_search_is_the_one_that_was_archived(make: Make, home: Home, tmp_path: Path) -> None:
    folder = make("made")
    before, uid = trained(folder), read_uid(folder)
    file = tmp_path / "made.tar.zst"
    report = write_archive(folder, file, notify=print)
    assert (report.num_archived_bytes, report.num_left_out >= 1) == (file.stat().st_size, True)
    assert trained(folder) == before
    storage = read_spec(folder).storage
    with pytest.raises(SearchError, match=r"must be free, got .*made.*, which exists; give --name"):
        restore_search(file, home, storage=storage)
    if folder.storage is None:
        with pytest.raises(SearchError, match="the search of the archive is in it as 'made'"):
            restore_search(file, home, name="copy")
    delete("made", home)
    if storage is not None:
        with pytest.raises(SearchError, match=r"belong below the storage .* outside the home.*: --storage "):
            restore_search(file, home)
    restored = restore_search(file, home, storage=storage)
    assert trained(restored) == {name: content for name, content in before.items() if "checkpoint" not in name}
    assert (home.search_names(), read_uid(restored)) == (["made"], uid)
    lines: list[str] = []
    with hold_lease(home.search("made"), timing=TIMING, notify=lines.append) as lease:
        assert lease.driver >= 2, "the number is above that of every attempt"
    if "LKCA_SEARCH_LEDGER" not in os.environ:
        assert (lines, num_studies(restored)) == ([], 2)
    delete("made", home)
    renamed = restore_search(file, home, name="copy", storage=storage)
    assert {record.search for record in read_records(renamed)} == {"copy"}
    with hold_lease(renamed, timing=TIMING):
        assert trained(renamed) == trained(restored) or trained(renamed)


def test_two_archives_of_one_search_have_the_same_bytes_whatever_has_held_its_lease(tmp_path: Path) -> None:
    folder = make_stored_search("made")
    first, second = tmp_path / "a.tar.zst", tmp_path / "b.tar.zst"
    write_archive(folder, first, notify=print)
    with hold_lease(folder):
        pass
    report = write_archive(folder, second, notify=print)
    assert first.read_bytes() == second.read_bytes()
    assert (report.num_files, report.num_bytes) == (
        plan_archive(folder, second).num_files,
        report.num_bytes,
    )


def test_other_programs_unpack_an_archive_below_one_folder(tmp_path: Path) -> None:
    folder = make_stored_search("made")
    file = tmp_path / "made.tar.zst"
    write_archive(folder, file, notify=print)
    with pa.OSFile(str(file)) as source, pa.CompressedInputStream(source, "zstd") as stream:
        plain = stream.read()
    (tmp_path / "plain.tar").write_bytes(plain)
    listed = subprocess.run(["tar", "-tvf", tmp_path / "plain.tar"], check=True, capture_output=True, text=True).stdout
    lines = listed.splitlines()
    assert all(line.startswith("-rw-r--r-- 0/0") and " made/" in line for line in lines)
    assert lines[0].endswith("made/archive.json")
    assert not any("checkpoint" in line or "driver.lock" in line for line in lines)


SPEC = ("search/spec.json", b"{}")
ESCAPES = ["/etc/passwd", "search/../../x", "search/./x", "search//x", "x/y", "search", "search/\0"]
ESCAPES += [f"search/{'a' * 300}"]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_outside_the_folder_of_the_search_is_refused_before_anything_is_written(
    tmp_path: Path, path: str
) -> None:
    home = Home(root=tmp_path / "home")
    file = tmp_path / "made.tar.zst"
    write_tar(file, [manifest(SPEC, (path, b"x")), ("made/search/spec.json", b"{}"), ("made/x", b"x")])
    with pytest.raises(SearchError, match="a path must be below search or storage, occur once"):
        restore_search(file, home)
    assert not (tmp_path / "home").exists()


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


SPEC_MEMBER = ("made/search/spec.json", b"{}")
FALSE_MEMBERS = {
    "a link": [manifest(SPEC), link("made/search/spec.json", tarfile.SYMTYPE, "/etc/passwd")],
    "a hard link": [manifest(SPEC), link("made/search/spec.json", tarfile.LNKTYPE, "made/archive.json")],
    "a device": [manifest(SPEC), link("made/search/spec.json", tarfile.CHRTYPE, "")],
    "a folder": [manifest(SPEC), link("made/search/spec.json", tarfile.DIRTYPE, "")],
    "another file": [manifest(SPEC), ("../../x", b"{}")],
    "one more file": [manifest(SPEC), SPEC_MEMBER, ("/tmp/x", b"x")],
    "a file less": [manifest(SPEC)],
    "other content": [manifest(SPEC), ("made/search/spec.json", b"[]")],
    "other size": [manifest(SPEC), ("made/search/spec.json", b"{ }")],
    "no list": [SPEC_MEMBER],
    "a list of another version": [manifest(SPEC, version=2), SPEC_MEMBER],
    "a list with another key": [manifest(SPEC, run="rm"), SPEC_MEMBER],
    "a name that is a path": [manifest(SPEC, search="../made"), SPEC_MEMBER],
    "a file twice": [manifest(SPEC, SPEC), SPEC_MEMBER, SPEC_MEMBER],
    "storage without a place": [manifest(("storage/uid", b"x")), ("made/storage/uid", b"x")],
    "nothing": [],
    "a mark": [manifest(("search/unfinished.json", b"x")), ("made/search/unfinished.json", b"x")],
    "the URL of a ledger": [manifest(("search/ledger.url", b"x")), ("made/search/ledger.url", b"x")],
    "a checkpoint": [
        manifest(("search/trials/c/0/checkpoint-1.pt", b"x")),
        ("made/search/trials/c/0/checkpoint-1.pt", b"x"),
    ],
}


@pytest.mark.parametrize("kind", FALSE_MEMBERS)
def test_an_archive_with_anything_but_its_listed_files_restores_nothing(tmp_path: Path, kind: str) -> None:
    home = Home(root=tmp_path / "home")
    file = tmp_path / "made.tar.zst"
    write_tar(file, FALSE_MEMBERS[kind])
    with pytest.raises(SearchError, match=r"an archive must be an intact file of `lkca-search archive`, got .*zst\)"):
        restore_search(file, home)
    assert home.search_names() == []
    assert not (tmp_path / "home" / "searches").exists()


def rewritten(file: Path, **contents: bytes) -> Path:
    """Write an archive again with other contents of some files in the folder of the search."""
    with open_archive(file) as reader:
        found: dict[str, BytesIO] = {}

        @contextmanager
        def target(listed: ArchivedFile) -> Iterator[BytesIO]:
            yield found.setdefault(listed.path, BytesIO())

        reader.copy_files(target)
        values = json.loads(reader.manifest.model_dump_json(exclude={"files"}))
    files = [
        (path, contents.get(path.rpartition("/")[2].partition(".")[0], content.getvalue()))
        for path, content in found.items()
    ]
    files += [
        (f"search/{name}.json", content) for name, content in contents.items() if f"search/{name}.json" not in found
    ]
    write_tar(file, [manifest(*files, **values), *((f"made/{path}", content) for path, content in files)])
    return file


def test_an_archive_cannot_send_later_commands_to_another_storage(tmp_path: Path) -> None:
    folder = make_stored_search("made")
    file = tmp_path / "made.tar.zst"
    write_archive(folder, file, notify=print)
    spec = {**json.loads(folder.spec.read_bytes()), "storage": str(tmp_path)}
    home = Home(root=tmp_path / "second")
    with pytest.raises(SearchError, match="as the storage in its spec, and None in its list"):
        restore_search(rewritten(file, spec=json.dumps(spec).encode()), home)
    assert [path for path in (tmp_path / "second").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("place", ["searches/made", "{home}/searches/made", "{home}", "{home}/../second"])
def test_an_archive_cannot_bring_code_that_later_commands_run(tmp_path: Path, place: str) -> None:
    folder = make_stored_search("made")
    file = tmp_path / "made.tar.zst"
    write_archive(folder, file, notify=print)
    home = Home(root=tmp_path / "second")
    code = {"modules": {"evil": "0" * 16}, "folders": [place.format(home=home.root)]}
    with pytest.raises(SearchError, match="where the archive may have put it"):
        restore_search(rewritten(file, own_code=json.dumps(code).encode(), evil=b"print(1)"), home)
    assert [path for path in (tmp_path / "second").rglob("*") if path.is_file()] == []
    code["folders"] = [str(tmp_path / "lab")]
    assert restore_search(rewritten(file, own_code=json.dumps(code).encode()), home).name == "made"


def test_a_header_that_unpacks_to_more_than_memory_is_refused_at_its_first_megabytes(tmp_path: Path) -> None:
    header = tarfile.TarInfo("made/search/spec.json")
    header.type, header.size = tarfile.XHDTYPE, 1 << 31  # values of a header, which tarfile reads at once
    for first in ([], [manifest(SPEC)]):
        file = tmp_path / f"{len(first)}.tar.zst"
        with pa.OSFile(str(file), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as stream:
            for name, content in first:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                stream.write(member.tobuf() + content + bytes(-len(content) % 512))
            stream.write(header.tobuf())
            for _ in range(64):
                stream.write(bytes(1 << 20))
        assert file.stat().st_size < 100_000
        with pytest.raises(SearchError, match=r"a header of more than 1,048,576 bytes"):
            restore_search(file, Home(root=tmp_path / "home"))


@pytest.mark.parametrize("kind", ["empty", "text", "half", "flipped", "cut by one byte"])
def test_a_damaged_archive_restores_nothing(tmp_path: Path, kind: str) -> None:
    folder = make_stored_search("made")
    file = tmp_path / "made.tar.zst"
    write_archive(folder, file, notify=print)
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    damaged = {"empty": b"", "text": b"search", "half": content[:middle], "flipped": flipped}
    file.write_bytes(damaged.get(kind, content[:-1]))
    home = Home(root=tmp_path / "second")
    with pytest.raises(SearchError, match="an archive must be an intact file"):
        restore_search(file, home)
    assert home.search_names() == []


def test_a_restoration_that_is_killed_at_any_step_is_completed_by_the_same_command(tmp_path: Path) -> None:
    folder = make_stored_search("made", f"storage={tmp_path / 'own' / 'storage'}")
    file = tmp_path / "made.tar.zst"
    write_archive(folder, file, notify=print)
    home, storage = Home(root=tmp_path / "own" / "home"), read_spec(folder).storage
    delete("made", Home.from_environment())
    restored = restore_search(file, home, storage=storage)
    before = trained(restored)
    delete("made", home)
    for point in kill_points(tmp_path / "own", lambda: restore_search(file, home, storage=storage)):
        if home.search_names() == ["made"]:
            assert trained(home.search("made")) == before, point
        else:
            assert trained(restore_search(file, home, storage=storage)) == before, point
        left = [path for path in (tmp_path / "own").rglob("*restoring*") if path.is_file() or path.is_dir()]
        assert left == [] or home.search_names() == ["made"], point


def test_a_link_and_a_name_that_is_no_text_are_refused_by_name(tmp_path: Path) -> None:
    folder = make_stored_search("made")
    assert isinstance(folder.root, Path)
    (folder.root / "note").symlink_to("/etc/passwd")
    with pytest.raises(SearchError, match=r"regular files only to be archived, got the link or device .*note"):
        write_archive(folder, tmp_path / "a", notify=print)
    (folder.root / "note").unlink()
    Path(os.fsdecode(os.fsencode(folder.root) + b"/\xff")).write_text("x")
    with pytest.raises(SearchError, match="must be UTF-8"):
        write_archive(folder, tmp_path / "a", notify=print)
    assert not (tmp_path / "a").exists()


def test_a_disk_that_is_too_small_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "made.tar.zst"
    huge = json.loads(manifest(SPEC)[1])
    huge["files"][0]["num_bytes"] = 1 << 60
    write_tar(file, [("made/archive.json", json.dumps(huge).encode()), SPEC_MEMBER])
    with pytest.raises(SearchError, match="free bytes for the files of the archive, got"):
        restore_search(file, Home(root=tmp_path / "home"))
    assert not (tmp_path / "home").exists()
