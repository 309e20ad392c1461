"""CPU of the driver's process: beside two long trials, and per trial and message of searches of short ones."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
from rich.table import Table

from benchmarks.processes import QUIET, command_line, cpu_seconds

LONG = """
data: {dataset: digits}
factors: {family: [lkca]}
parameters:
  patch_size: {value: 1}
  kernel_size: {value: 5}
  depth: {value: 4}
  width: {value: 64}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {steps: 1000000, reports: 1000}
search: {trials_per_cell: 2, checkpoint_seconds: 20}
"""
SHORT = """
data: {{dataset: digits, validation: 0.1, scale_validation: true}}
factors: {{family: [lkca]}}
parameters:
  data_fraction: {{value: 0.1}}
  kernel_size: {{value: 3}}
  patch_size: {{value: 4}}
  depth: {{value: 1}}
  width: {{value: 8}}
  learning_rate: {{float: [1.0e-4, 1.0e-1], log: true}}
training: {{steps: {reports}, reports: {reports}, batch_size: 2}}
search: {{sampler: tpe, pruner: none, trials_per_cell: {trials}}}
"""


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command of this package."""
    environment = {**os.environ, **QUIET, "LKCA_SEARCH_HOME": str(home)}
    return subprocess.Popen(
        command_line(*arguments), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def measure_beside_long_trials(root: Path, *, seconds: float) -> dict[str, float]:
    """Return the mean use of one core by each process of a driver while two long trials train, as a fraction."""
    space = root / "long.yaml"
    space.write_text(LONG)
    process = start(root, "run", str(space), "--num-cpus", "2")
    try:
        driver = psutil.Process(process.pid)
        _wait_for_trials(driver, count=2)
        time.sleep(10)
        watched = {"driver": driver, **_ray_processes(driver)}
        before = {name: cpu_seconds(each) for name, each in watched.items()}
        begun = time.perf_counter()
        time.sleep(seconds)
        passed = time.perf_counter() - begun
        return {name: (cpu_seconds(each) - before[name]) / passed for name, each in watched.items()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def measure_per_trial(root: Path, *, trials: int, reports: int) -> tuple[float, float]:
    """Return the CPU seconds of a driver from its first to its last trial per trial, and its wall seconds per trial."""
    space = root / f"short{reports}.yaml"
    space.write_text(SHORT.format(reports=reports, trials=trials))
    process = start(root, "run", str(space), "--num-cpus", "2")
    driver, times, lines = psutil.Process(process.pid), [], []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith("["):  # one line per finished trial
            times.append((time.perf_counter(), cpu_seconds(driver)))
    assert process.wait() == 0, "".join(lines[-20:])
    (begun, first), (ended, last) = times[1], times[-1]
    return (last - first) / (len(times) - 2), (ended - begun) / (len(times) - 2)


def driver_table(beside: dict[str, float]) -> Table:
    """Return one row per process beside two long trials."""
    table = Table("process", "% of a core", title="beside two long trials")
    for name, part in beside.items():
        table.add_row(name, f"{100 * part:.1f}")
    return table


def per_trial_table(found: dict[int, tuple[float, float]]) -> Table:
    """Return one row per number of reports: the driver's cost per trial, and the rates at which one core is full."""
    table = Table(
        "reports per trial", "CPU ms per trial", "wall ms per trial", "trials per CPU s", "messages per CPU s"
    )
    for reports, (cpu, wall) in found.items():
        table.add_row(str(reports), f"{1000 * cpu:.0f}", f"{1000 * wall:.0f}", f"{1 / cpu:.1f}", f"{reports / cpu:.0f}")
    return table


def _wait_for_trials(driver: psutil.Process, *, count: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        workers = [
            each for each in driver.children(recursive=True) if "TrialActor" in each.name() or "train" in _name(each)
        ]
        if len(workers) >= count:
            return
        time.sleep(0.5)
    raise TimeoutError("no two trials train after ten minutes")


def _ray_processes(driver: psutil.Process) -> dict[str, psutil.Process]:
    children = [child for child in driver.children(recursive=True) if "ray::" not in _name(child)]
    return {f"{child.name()} {child.pid}": child for child in children}


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
