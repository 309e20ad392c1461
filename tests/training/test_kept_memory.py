"""Memory that a step has freed serves the next one, and that of an earlier training is returned to the system."""

import resource
import subprocess
import sys

import pytest

PAGE = resource.getpagesize()
BLOCK_BYTES = 96 << 20
"""Size of a block that glibc by default returns to the system whenever it is freed: above 32 MiB."""
SCRIPT = f"""
import resource
import torch
from pathlib import Path
from lkca_search.training.device import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * {PAGE}

def count_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones({BLOCK_BYTES} // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
count_faults()
faults = min(count_faults() for _ in range(3))  # a busy system may take pages away between two steps
kept = resident()
keep_freed_memory()
print(faults, kept - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the thresholds are those of glibc")
def test_a_step_reuses_the_memory_of_the_one_before_and_the_next_training_returns_it() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    faults, returned = map(int, done.stdout.split())
    assert faults < 1000
    assert returned > BLOCK_BYTES // 2
