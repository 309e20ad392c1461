"""Runs a command as a job, and prints its answer on one line of the job's log, apart from what else is written there.

python -m lkca_search.search.jobs.remote_command status NAME --json
"""

import json
import subprocess
import sys
from typing import NamedTuple

_MARK = "LKCA-ANSWER "


class Answer(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def find_answer(log: str) -> Answer | None:
    """Return the answer that a job's log holds, or None."""
    lines = [line for line in log.splitlines() if line.startswith(_MARK)]
    return Answer(*json.loads(lines[-1].removeprefix(_MARK))) if lines else None


def main() -> None:
    """Run the command that the arguments are, and print its answer."""
    done = subprocess.run([sys.executable, "-m", "lkca_search", *sys.argv[1:]], capture_output=True, text=True)
    print(f"\n{_MARK}{json.dumps(Answer(done.returncode, done.stdout, done.stderr))}")


if __name__ == "__main__":
    main()
