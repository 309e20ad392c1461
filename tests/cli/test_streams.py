"""Standard streams that are closed, cut off, full or without Unicode, under real commands."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.processes import Answer
from tests.support.records import make_record, make_search

STREAMS = {
    "closed": 'exec "$@" >&-',
    "all closed": 'exec "$@" <&- >&- 2>&-',
    "no reader": 'exec "$@" >&3',
    "full": 'exec "$@" >/dev/full',
    "full errors": 'exec "$@" 2>/dev/full',
}
COMMANDS = ["list", "status nowhere"]


def start(stream: str, command: str, *options: str) -> subprocess.Popen[str]:
    """Start a command whose standard output is what the shell's redirection says; 3 is a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, *options, "-m", "lkca_search", *command.split()]
    line = STREAMS[stream].replace("3", str(writer))
    process = subprocess.Popen(
        ["bash", "-c", line, "bash", *arguments], pass_fds=(writer,), stdout=-1, stderr=-1, text=True
    )
    os.close(writer)
    return process


def answers(processes: Iterable[subprocess.Popen[str]]) -> list[Answer]:
    outputs = [(process, process.communicate()) for process in processes]
    return [Answer(process.returncode, *output) for process, output in outputs]


@pytest.fixture
def _search() -> None:
    make_search("made", [make_record(0)])


@pytest.mark.usefixtures("_search")
@pytest.mark.parametrize("stream", [stream for stream in STREAMS if stream != "full"])
def test_a_lost_stream_changes_no_exit_code_and_prints_no_traceback(stream: str) -> None:
    found = answers([start(stream, command) for command in COMMANDS])
    assert [answer.code for answer in found] == [0, 2]
    for answer in found[:1]:
        assert answer.err == ""
        assert bool(answer.out) == (stream == "full errors")


@pytest.mark.usefixtures("_search")
def test_a_full_disk_under_a_listing_is_an_error_and_under_work_it_is_not(tmp_path: Path) -> None:
    found = answers([start("full", command) for command in [*COMMANDS, f"export made --to {tmp_path / 'tables'}"]])
    assert [answer.code for answer in found] == [1, 2, 0]
    for answer in (found[0], found[-1]):
        assert answer.err == (
            "error: standard output could not be written (No space left on device), and the rest of it is lost\n"
        )
    assert (tmp_path / "tables" / "trials.parquet").exists()


def test_a_file_opened_after_the_start_never_takes_the_number_of_a_closed_stream() -> None:
    code = """
import os
from lkca_search.cli.terminal.streams import echo, guard_standard_streams, output_is_lost
guard_standard_streams()
file = open(os.environ["FILE"], "w")
echo("lost")
os.system("echo of a child; echo of a child >&2")
assert file.fileno() > 2
assert output_is_lost()
"""
    (process,) = [
        subprocess.run(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code], env=env)
        for env in [{**os.environ, "FILE": os.devnull}]
    ]
    assert process.returncode == 0


def test_writes_after_the_reader_has_gone_are_dropped_wherever_they_come_from() -> None:
    code = """
import logging, os, sys
from lkca_search.cli.terminal.streams import echo, guard_standard_streams, output_error, output_is_lost
guard_standard_streams()
for stream in (sys.stdout, sys.stderr):
    stream.write("x" * 100_000)
    stream.flush()
echo("after")
print("after", file=sys.stderr)
logging.warning("after")
os.write(1, b"from another library")
assert output_is_lost() and output_error() is None
sys.exit(7)
"""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=writer)
    os.close(writer)
    assert process.wait() == 7


def test_a_slow_reader_of_a_pipe_that_does_not_block_receives_everything() -> None:
    code = """
import os
from lkca_search.cli.terminal.streams import echo, guard_standard_streams
os.set_blocking(1, False)
guard_standard_streams()
echo("x" * 1_000_000)
"""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer)
    os.close(writer)
    with pytest.raises(subprocess.TimeoutExpired):  # the pipe is full
        process.wait(1)
    with os.fdopen(reader) as file:
        assert file.read() == "x" * 1_000_000 + "\n"
    assert process.wait() == 0


def test_a_terminal_that_is_gone_ends_the_output_only() -> None:
    code = """
import sys
from lkca_search.cli.terminal.streams import echo, guard_standard_streams, output_error, output_is_lost
guard_standard_streams()
assert sys.stdout.isatty()
echo("ready")
sys.stdin.readline()
echo("after")
sys.exit(0 if output_is_lost() and output_error() is None else 3)
"""
    master, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=terminal)
    os.close(terminal)
    assert os.read(master, 100).split() == [b"ready"]
    os.close(master)
    process.communicate(b"\n")
    assert process.returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_text_can_be_printed_in_every_encoding(encoding: str) -> None:
    code = """
import os
from lkca_search.cli.terminal.streams import console, echo, guard_standard_streams
guard_standard_streams()
echo("± 1 − 2 × α │─╭ ü 家 " + os.fsdecode(b"file-\\xff"))
console().print("± ü")
"""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    expected = {
        "ascii": b"+/- 1 - 2 x alpha |-+ \\xfc \\u5bb6 file-\xff\n+/- \\xfc\n",
        "latin-1": "± 1 - 2 × alpha |-+ ü \\u5bb6 file-\xff\n± ü\n".encode("latin-1"),
        "utf-8": "± 1 − 2 × α │─╭ ü 家 file-".encode() + "\xff\n".encode("latin-1") + "± ü\n".encode(),
    }
    assert out == expected[encoding]


def test_files_are_utf_8_whatever_the_locale() -> None:
    folder = make_search("made", [make_record(0)], "data.dataset=folder:/größe")
    assert "größe" in folder.spec.read_text(encoding="utf-8")
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import locale; print(locale.getpreferredencoding(False))"
    assert subprocess.check_output([sys.executable, "-c", code], env=ascii_only) == b"ANSI_X3.4-1968\n"
    for command in ("list", "best made"):
        arguments = [sys.executable, "-m", "lkca_search", *command.split()]
        done = subprocess.run(arguments, env=ascii_only, capture_output=True, check=True)
        assert b"made" in done.stdout
        assert done.stderr == b""


def test_only_the_module_of_streams_opens_or_writes_standard_streams() -> None:
    folder = Path(__file__).parents[2] / "lkca_search" / "cli"
    for path in folder.rglob("*.py"):
        if path.name != "streams.py":
            text = path.read_text(encoding="utf-8")
            assert not [word for word in ("typer.echo", "print(f", "Console(", "sys.stderr") if word in text], path
