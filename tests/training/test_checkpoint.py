import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lkca_search.training.checkpoints import load_newest_checkpoint, save_checkpoint

KILLED_WHILE_SAVING = """
import os, signal, sys, torch
from pathlib import Path
from lkca_search.training.checkpoints import save_checkpoint

folder, survived = Path(sys.argv[1]), int(sys.argv[2])
save_checkpoint({"step": 1, "weights": torch.ones(1000)}, folder, step=1)
flush, calls = os.fsync, []

def flush_or_die(descriptor):
    calls.append(descriptor)
    if len(calls) > survived:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)

os.fsync = flush_or_die
save_checkpoint({"step": 2, "weights": torch.ones(1000)}, folder, step=2)
"""


def state(step: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    return {"step": step, "weights": torch.randn(50, 50, generator=generator), "curve": [{"val_loss": 0.1 * step}]}


def step_of(*folders: Path) -> int | None:
    loaded = load_newest_checkpoint(folders)
    return loaded["step"] if loaded else None


def test_a_loaded_state_equals_the_saved_one(tmp_path: Path) -> None:
    save_checkpoint(state(3), tmp_path, step=3)
    loaded = load_newest_checkpoint([tmp_path])
    assert loaded is not None
    assert torch.equal(loaded.pop("weights"), state(3)["weights"])
    assert loaded == {"step": 3, "curve": [{"val_loss": 0.1 * 3}]}


def test_without_a_checkpoint_no_state_is_loaded(tmp_path: Path) -> None:
    assert load_newest_checkpoint([]) is None
    assert load_newest_checkpoint([tmp_path, tmp_path / "missing"]) is None


def test_the_checkpoint_with_the_largest_step_of_all_attempts_is_loaded(tmp_path: Path) -> None:
    for attempt, step in (("a", 90), ("b", 1000), ("c", 200)):
        save_checkpoint(state(step), tmp_path / attempt, step=step)
    assert step_of(*(tmp_path / attempt for attempt in "abc")) == 1000


def test_saving_removes_the_earlier_checkpoint_of_the_attempt_and_no_others(tmp_path: Path) -> None:
    other = save_checkpoint(state(1), tmp_path / "other", step=1)
    for step in (5, 6):
        path = save_checkpoint(state(step), tmp_path / "own", step=step)
    assert list((tmp_path / "own").iterdir()) == [path]
    assert other.exists()


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.9, -1])
def test_a_truncated_checkpoint_is_skipped_for_the_one_before_it(tmp_path: Path, size: float) -> None:
    save_checkpoint(state(1), tmp_path / "first", step=1)
    newer = save_checkpoint(state(2), tmp_path / "second", step=2)
    content = newer.read_bytes()
    newer.write_bytes(content[: round(size * len(content)) if isinstance(size, float) else size])
    assert step_of(tmp_path / "first", tmp_path / "second") == 1
    assert step_of(tmp_path / "second") is None


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 1000, b"\xff" * 1000, b"(lp0\n.", b"\x80\x04N."])
def test_a_file_that_is_no_checkpoint_is_skipped(tmp_path: Path, content: bytes) -> None:
    save_checkpoint(state(1), tmp_path, step=1)
    (tmp_path / "checkpoint-00000002.pt").write_bytes(content)
    assert step_of(tmp_path) == 1


@pytest.mark.parametrize(("survived", "expected"), [(0, 1), (1, 2)], ids=["before the move", "after the move"])
def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path, survived: int, expected: int) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path), str(survived)]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
    assert step_of(tmp_path) == expected
    save_checkpoint(state(3), tmp_path, step=3)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000003.pt"]
