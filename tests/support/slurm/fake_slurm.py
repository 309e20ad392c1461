"""Slurm's programs, as far as `search.sbatch` uses them: every node of the allocation is this machine.

    python fake_slurm.py PROGRAM [ARGUMENT ...]

FAKE_SLURM names a folder: `nodes.json` says what each node has, and what is asked of Slurm is written down there. The
programs do what Slurm 22.05 was seen to do: an srun that is told to end kills its step, though not in a job that is
cancelled; `scancel --signal` tells every process of every step and not the batch shell; what a step leaves is killed.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

FOLDER = "FAKE_SLURM"
STEP = "FAKE_SLURM_STEP"
NODE = "SLURMD_NODENAME"


def processes_with(name: str, value: str | None) -> Iterator[psutil.Process]:
    """The processes of this machine whose environment has a variable, with this value or any."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            found = process.environ().get(name)
            if found is not None and value in (None, found) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def tell(processes: Iterator[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to processes, of which some may be gone."""
    for process in list(processes):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def write_down(name: str, line: str) -> None:
    """Add a line to a file of the fake's folder."""
    with (Path(os.environ[FOLDER]) / name).open("a") as file:
        file.write(line + "\n")


def srun(arguments: Sequence[str]) -> int:
    """Run a command as a step on a node."""
    parser = argparse.ArgumentParser("srun", allow_abbrev=False)
    for option in ("--nodes", "--ntasks", "--cpus-per-task", "--export", "-w"):
        parser.add_argument(option, required=True)
    parser.add_argument("--overlap", action="store_true", required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    nodes = json.loads((Path(os.environ[FOLDER]) / "nodes.json").read_text())
    if (given.nodes, given.ntasks, given.export) != ("1", "1", "ALL") or given.w not in nodes:
        print(f"srun: error: Unable to create step for job {os.environ['SLURM_JOB_ID']}", file=sys.stderr)
        return 1
    node = nodes[given.w]
    if given.command[0] == "bash" and node.get("fault") == "refuses":
        print(f"srun: error: Unable to create step: {given.w} is drained", file=sys.stderr)
        return 1
    step = uuid.uuid4().hex
    told = {STEP: step, NODE: given.w, "SLURM_CPUS_PER_TASK": given.cpus_per_task}
    gpus = {"SLURM_GPUS_ON_NODE": str(node["gpus"])} if node["gpus"] else {}
    inherited = {name: value for name, value in os.environ.items() if name != "SLURM_GPUS_ON_NODE"}
    command = given.command
    if command[0] == "bash" and node.get("fault") == "silent":
        command = ["sleep", "infinity"]  # the step is never launched

    def abort(number: int, _: object) -> None:
        print("srun: forcing job termination", file=sys.stderr)
        if not (Path(os.environ[FOLDER]) / "cancelled").exists():
            tell(processes_with(STEP, step), signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, abort)
    write_down("steps", f"{given.w} {' '.join(command[:2])}")
    task = subprocess.Popen(command, env={**inherited, **told, **gpus}, start_new_session=True)
    try:
        return abs(task.wait())
    finally:
        tell(processes_with(STEP, step), signal.SIGKILL)


def scontrol(arguments: Sequence[str]) -> int:
    """Expand a list of hosts, or take a job back into the queue."""
    match arguments:
        case ["show", "hostnames", hosts]:
            found = re.fullmatch(r"(\w+)\[(\d+)-(\d+)\]", hosts)
            names = [f"{found[1]}{i}" for i in range(int(found[2]), int(found[3]) + 1)] if found else hosts.split(",")
            print(*names, sep="\n")
        case ["requeue", job] if job == os.environ["SLURM_JOB_ID"] and not os.environ.get("FAKE_SLURM_NO_REQUEUE"):
            write_down("requeued", job)
        case ["requeue", job]:
            print(f"Requested operation is presently disabled for job {job}", file=sys.stderr)
            return 1
        case _:
            raise SystemExit(f"scontrol: {arguments}")
    return 0


def scancel(arguments: Sequence[str]) -> int:
    """Send SIGTERM to the steps of the job."""
    if list(arguments) != ["--signal=TERM", os.environ["SLURM_JOB_ID"]]:
        raise SystemExit(f"scancel: {arguments}")
    folder = os.environ[FOLDER]
    steps = (process for process in processes_with(STEP, None) if process.environ().get(FOLDER) == folder)
    tell(steps, signal.SIGTERM)
    return 0


def sbatch(arguments: Sequence[str]) -> int:
    """Take a job."""
    write_down("submitted", json.dumps(list(arguments)))
    print(f"Submitted batch job {int(time.time())}")
    return 0


def hostname(arguments: Sequence[str]) -> int:
    """The addresses of a node."""
    print("127.0.0.1 ::1" if list(arguments) == ["-I"] else os.environ.get(NODE, "n0"))
    return 0


def module(arguments: Sequence[str]) -> int:
    """Load modules, of which there is one that cannot be loaded."""
    write_down("modules", " ".join(arguments))
    return int("missing" in arguments)


PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "srun": srun,
    "scontrol": scontrol,
    "scancel": scancel,
    "sbatch": sbatch,
    "hostname": hostname,
    "module": module,
}

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
