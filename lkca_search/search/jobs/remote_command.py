"""Command that runs as a Ray job and prints its result on one line of the job's log.

    python -m lkca_search.search.jobs.remote_command status NAME --json

Only the standard library is imported here, so that the job starts quickly.
"""

import json
import subprocess
import sys
from typing import NamedTuple

_MARK = "LKCA-RESULT "
"""Prefix of the line with the result; other lines of the log are output of Ray."""


class CommandResult(NamedTuple):
    """Result of a command that ran on a cluster."""

    exit_code: int
    stdout: str
    stderr: str


def find_result(log: str) -> CommandResult | None:
    """Return the result in a job's log; None if the command did not end."""
    lines = [line for line in log.splitlines() if line.startswith(_MARK)]
    return CommandResult(*json.loads(lines[-1].removeprefix(_MARK))) if lines else None


def main() -> None:
    """Run `lkca-search` with this process's arguments and print the result."""
    done = subprocess.run([sys.executable, "-m", "lkca_search", *sys.argv[1:]], capture_output=True, text=True)
    print(f"\n{_MARK}{json.dumps(CommandResult(done.returncode, done.stdout, done.stderr))}")


if __name__ == "__main__":
    main()
