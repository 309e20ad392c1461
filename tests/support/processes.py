"""Processes of tests: answers of `lkca-search` commands, code in a new Python process, and waits for what they do."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

WAIT_SECONDS = 600
"""Limit of a wait for a process: many times what it takes, since machines may be busy."""


class Answer(NamedTuple):
    """Outcome of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def parsed(answer: Answer) -> Any:
    """Return the JSON that a successful command printed."""
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


def run_python(code: str, *arguments: str) -> str:
    """Run code in a new Python process; return what it prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds. Fail after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
