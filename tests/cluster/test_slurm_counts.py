"""Numbers by which the Slurm script decides whether its job is requeued at the time limit."""

import re
import subprocess
import sys

from tests.support.confirmed_search import write_confirmation
from tests.support.processes import Command
from tests.support.records import make_record, make_search
from tests.support.slurm.allocation import SCRIPT


def count(status: str) -> list[int]:
    """Return the numbers of finished and of left trainings that the script prints for this JSON of `status`."""
    program = re.search(r"^count_program='\n(.+?)^'$", SCRIPT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert program
    done = subprocess.run([sys.executable, "-c", program[1]], input=status, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


def test_a_job_counts_replicates_too_so_that_it_is_requeued_in_the_confirmation(command: Command) -> None:
    """The search has 4 cells of 3 trials, and a confirmation of 3 draws."""
    folder = make_search("made", [make_record(0), make_record(0, family="vit")], "confirm={draws: 3, seeds: 1}")
    assert count(command("status", "made", "--json").out) == [2, 10 + 12]
    write_confirmation(folder)  # of the 2 cells with a trial
    assert count(command("status", "made", "--json").out) == [2 + 6, 10]
    make_search("plain", [make_record(0)])
    assert count(command("status", "plain", "--json").out) == [1, 11]
