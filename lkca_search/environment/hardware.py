"""Processor, memory and GPU driver of this machine."""

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_GPU_DRIVER = Path("/proc/driver/nvidia/version")
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MODEL = re.compile(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", re.MULTILINE)
_VERSION = re.compile(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s")
_SECONDS = 10.0


@cache
def cpu_model() -> str | None:
    """Return the name of the processor; None if the system does not state it."""
    try:
        match = _MODEL.search(_CPU_INFO.read_text(errors="replace"))
    except OSError:
        match = None
    return (match[1].strip() if match else platform.processor() or platform.machine()) or None


@cache
def memory_bytes() -> int | None:
    """Return the memory of this machine, or of its container if that is less; None if the system does not state it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    for path in _MEMORY_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # `max` is no limit
            continue
    return total


@cache
def gpu_driver() -> str | None:
    """Return the version of NVIDIA's driver; None without one."""
    try:
        match = _VERSION.search(_GPU_DRIVER.read_text(errors="replace"))
        if match:
            return match[1]
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
        return next(iter(done.stdout.split()), None)
    except (OSError, subprocess.SubprocessError):
        return None
