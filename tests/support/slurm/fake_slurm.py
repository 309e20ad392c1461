"""Fakes of the Slurm programs that `search.sbatch` uses; every node of the allocation is this machine.

    python fake_slurm.py PROGRAM [ARGUMENT ...]

FAKE_SLURM names a folder. Its `nodes.json` describes the nodes, and requests to Slurm are logged in it. The programs
behave like Slurm 22.05: an srun that receives SIGTERM kills its step, but not in a cancelled job. `scancel --signal`
signals every process of every step, but not the batch shell. Processes that a step leaves behind are killed.
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
    """Yield the processes of this machine that have a variable in their environment, with this value or with any."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            found = process.environ().get(name)
            if found is not None and value in (None, found) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def send_signal(processes: Iterator[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to processes; skip those that have ended."""
    for process in list(processes):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def log_request(name: str, line: str) -> None:
    """Append a line to a file in the folder of the fake."""
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
    added = {STEP: step, NODE: given.w, "SLURM_CPUS_PER_TASK": given.cpus_per_task}
    gpus = {"SLURM_GPUS_ON_NODE": str(node["gpus"])} if node["gpus"] else {}
    inherited = {name: value for name, value in os.environ.items() if name != "SLURM_GPUS_ON_NODE"}
    command = given.command
    if command[0] == "bash" and node.get("fault") == "silent":
        command = ["sleep", "infinity"]  # the step is never launched

    def abort(number: int, _: object) -> None:
        print("srun: forcing job termination", file=sys.stderr)
        if not (Path(os.environ[FOLDER]) / "cancelled").exists():
            send_signal(processes_with(STEP, step), signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, abort)
    log_request("steps", f"{given.w} {' '.join(command[:2])}")
    task = subprocess.Popen(command, env={**inherited, **added, **gpus}, start_new_session=True)
    try:
        return abs(task.wait())
    finally:
        send_signal(processes_with(STEP, step), signal.SIGKILL)


def scontrol(arguments: Sequence[str]) -> int:
    """Expand a list of hosts, or requeue a job."""
    match arguments:
        case ["show", "hostnames", hosts]:
            found = re.fullmatch(r"(\w+)\[(\d+)-(\d+)\]", hosts)
            names = [f"{found[1]}{i}" for i in range(int(found[2]), int(found[3]) + 1)] if found else hosts.split(",")
            print(*names, sep="\n")
        case ["requeue", job] if job == os.environ["SLURM_JOB_ID"] and not os.environ.get("FAKE_SLURM_NO_REQUEUE"):
            log_request("requeued", job)
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
    send_signal(steps, signal.SIGTERM)
    return 0


def sbatch(arguments: Sequence[str]) -> int:
    """Accept a job."""
    log_request("submitted", json.dumps(list(arguments)))
    print(f"Submitted batch job {int(time.time())}")
    return 0


def hostname(arguments: Sequence[str]) -> int:
    """Print the addresses or the name of a node."""
    print("127.0.0.1 ::1" if list(arguments) == ["-I"] else os.environ.get(NODE, "n0"))
    return 0


def module(arguments: Sequence[str]) -> int:
    """Load modules; only `missing` cannot be loaded."""
    log_request("modules", " ".join(arguments))
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
