"""Faults of disks, databases and networks, as real calls raise them: permanent or temporary, with the remedy."""

import errno
import os
import resource
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from lkca_search.errors import Interrupted, UserError
from lkca_search.faults import cut_text, explain_fault
from lkca_search.search.studies.driver_storage import STORAGE_FAULTS


def raised_by(action: Callable[[], object]) -> Exception:
    try:
        action()
    except OSError as error:
        return error
    raise AssertionError("no error")


def write_below_a_file(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "file" / "below").write_text("")


def follow_a_loop(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "loop").read_text()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (write_below_a_file, ["file/below: Not a directory", "move the file that is in the place of a folder"]),
        (follow_a_loop, ["loop: Too many levels of symbolic links", "remove one of them"]),
        (lambda folder: (folder / ("x" * 300)).write_text(""), ["File name too long", "choose a shorter name"]),
        (lambda folder: folder.write_text(""), ["Is a directory", "move the folder"]),
        (lambda folder: Path("/proc/x").mkdir(), ["/proc/x: No such file or directory", "correct the path"]),
        (lambda folder: (folder / "no" / "x").write_text(""), ["no/x: No such file", "mount its disk"]),
    ],
)
def test_a_fault_that_the_same_command_meets_again_is_the_users_to_mend(
    tmp_path: Path, action: Callable[[Path], object], words: list[str]
) -> None:
    fault = explain_fault(raised_by(lambda: action(tmp_path)))
    assert isinstance(fault, UserError)
    for word in words:
        assert word in str(fault)


def fill(folder: Path) -> None:
    with open("/dev/full", "w") as file:
        file.write("x")


def connect_to_nobody(folder: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = server.getsockname()
    socket.create_connection(address)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (fill, ["OSError: No space left on device", "free space"]),
        (connect_to_nobody, ["ConnectionRefusedError: Connection refused"]),
    ],
)
def test_a_fault_that_can_go_away_interrupts(
    tmp_path: Path, action: Callable[[Path], object], words: list[str]
) -> None:
    fault = explain_fault(raised_by(lambda: action(tmp_path)))
    assert isinstance(fault, Interrupted)
    for word in words:
        assert word in str(fault)


@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ENOTDIR", "EISDIR", "ELOOP", "ENOENT"])
def test_permission_and_path_errors_are_permanent(name: str) -> None:
    fault = explain_fault(OSError(getattr(errno, name), "", "/data/x"))
    assert isinstance(fault, UserError)
    assert str(fault).startswith(f"/data/x: {os.strerror(getattr(errno, name))}; ")


@pytest.mark.parametrize(
    "name", ["ENOSPC", "EDQUOT", "EIO", "ESTALE", "EMFILE", "ECONNRESET", "ETIMEDOUT", "EPIPE", "EAGAIN", "EBUSY"]
)
def test_full_and_unreachable_storage_is_temporary(name: str) -> None:
    assert isinstance(explain_fault(OSError(getattr(errno, name), "")), Interrupted)


def test_a_limit_of_open_files_names_its_command() -> None:
    code = """
import resource
from lkca_search.faults import explain_fault
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
try:
    files = [open("/dev/null") for _ in range(30)]
except OSError as error:
    fault = explain_fault(error)
print(type(fault).__name__, fault)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Interrupted OSError: /dev/null: Too many open files; ")
    assert "ulimit -n" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (x)")
    connection.close()
    return path


def failure(url: str) -> OperationalError:
    engine = create_engine(url)
    try:
        with pytest.raises(OperationalError) as caught, engine.begin() as connection:
            connection.execute(text("insert into t values (1)"))
        return caught.value
    finally:
        engine.dispose()


def test_a_database_that_cannot_be_written_is_permanent(database: Path, tmp_path: Path) -> None:
    read_only = explain_fault(failure(f"sqlite:///file:{database}?mode=ro&uri=true"))
    assert isinstance(read_only, UserError)
    assert str(read_only).startswith("attempt to write a readonly database; mount its file system writable")
    missing = explain_fault(failure(f"sqlite:///{tmp_path}/no/ledger.db"))
    assert isinstance(missing, UserError)
    assert str(missing).startswith("unable to open database file; give this user")


def test_a_full_or_locked_database_is_temporary(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        connection.execute(text("pragma max_page_count = 2"))
        with pytest.raises(OperationalError) as full:
            connection.execute(text("insert into t values (zeroblob(100000))"))
    engine.dispose()
    fault = explain_fault(full.value)
    assert isinstance(fault, Interrupted)
    assert str(fault).startswith("OperationalError: database or disk is full; free space")
    with sqlite3.connect(database) as other:
        other.execute("begin exclusive")
        locked = explain_fault(failure(f"sqlite:///{database}?timeout=0"))
    other.close()
    assert isinstance(locked, Interrupted)
    assert str(locked) == "OperationalError: database is locked"


class _RefusedByServer(Exception):
    """Error with the code of PostgreSQL, as psycopg raises it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("refused\nHINT: ask")
        self.sqlstate = sqlstate


def test_a_server_that_refuses_is_permanent_and_one_that_is_full_or_restarts_is_not() -> None:
    for code in ("28P01", "42501", "3D000", "25006"):
        assert isinstance(explain_fault(_RefusedByServer(code)), UserError)
    for code in ("53100", "57P01", "08006", "40001"):
        fault = explain_fault(_RefusedByServer(code))
        assert isinstance(fault, Interrupted)
        assert str(fault) == "_RefusedByServer: refused"


def test_an_object_store_that_denies_access_is_permanent_and_one_that_is_unreachable_is_not() -> None:
    denied = "When listing objects under key 'runs': AWS Error ACCESS_DENIED during ListObjectsV2 operation"
    assert isinstance(explain_fault(OSError(denied)), UserError)
    unreachable = "When listing objects: AWS Error NETWORK_CONNECTION during ListObjectsV2 operation"
    assert isinstance(explain_fault(OSError(unreachable)), Interrupted)


def test_the_cause_decides_and_other_errors_are_no_faults() -> None:
    hidden = STORAGE_FAULTS[2]("values are too long")
    hidden.__cause__ = OSError(errno.EROFS, "")
    assert isinstance(explain_fault(hidden), UserError)
    assert explain_fault(ValueError("a bug")) is None
    assert str(explain_fault(OSError())) == "OSError: OSError"


@pytest.mark.parametrize("max_characters", range(12, 45))
def test_a_text_that_is_cut_ends_after_a_whole_word_with_three_dots(max_characters: int) -> None:
    text = "RpcError: RPC error: Socket closed, code 14"
    cut = cut_text(text, max_characters)
    assert len(cut) <= max_characters
    if len(text) <= max_characters:
        assert cut == text
    else:
        front = cut.removesuffix("...")
        assert front != cut
        assert text.startswith(front)
        assert not text[len(front)].isalnum(), "the next character belongs to no cut word"


def test_a_word_without_spaces_is_cut_within_it() -> None:
    assert cut_text("x" * 20, 10) == "xxxxxxx..."
