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


def load(*folders: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the loaded state, if there is one, and the lines on damaged checkpoints."""
    states: list[dict[str, Any]] = []

    def keep(state: dict[str, Any]) -> None:
        if "step" not in state:
            raise KeyError("step")
        states.append(state)

    return states, load_newest_checkpoint(folders, keep)


def step_of(*folders: Path) -> int | None:
    states, _ = load(*folders)
    return states[0]["step"] if states else None


def test_a_loaded_state_equals_the_saved_one(tmp_path: Path) -> None:
    save_checkpoint(state(3), tmp_path, step=3)
    ((loaded,), damaged) = load(tmp_path)
    assert damaged == ()
    assert torch.equal(loaded.pop("weights"), state(3)["weights"])
    assert loaded == {"step": 3, "curve": [{"val_loss": 0.1 * 3}]}


def test_without_a_checkpoint_no_state_is_loaded(tmp_path: Path) -> None:
    assert load() == ([], ())
    assert load(tmp_path, tmp_path / "missing") == ([], ())


def test_the_checkpoint_with_the_largest_step_of_all_attempts_is_loaded(tmp_path: Path) -> None:
    for attempt, step in (("a", 90), ("b", 1000), ("c", 200)):
        save_checkpoint(state(step), tmp_path / attempt, step=step)
    assert step_of(*(tmp_path / attempt for attempt in "abc")) == 1000


def test_an_attempt_keeps_its_two_newest_checkpoints_and_saving_touches_no_other_attempt(tmp_path: Path) -> None:
    other = save_checkpoint(state(1), tmp_path / "other", step=1)
    paths = [save_checkpoint(state(step), tmp_path / "own", step=step) for step in (5, 6, 7, 8)]
    assert sorted((tmp_path / "own").iterdir()) == paths[-2:]
    assert other.exists()


def test_every_flipped_bit_is_found_and_the_checkpoint_before_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(state(1), tmp_path, step=1)
    newer = save_checkpoint(state(2), tmp_path, step=2)
    content = newer.read_bytes()
    for bit in range(0, 8 * len(content), 8 * 97 + 1):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        newer.write_bytes(damaged)
        ((loaded,), (line,)) = load(tmp_path)
        assert loaded["step"] == 1
        assert line.startswith(f"{tmp_path.name}/checkpoint-00000002.pt: ")


def test_a_checkpoint_of_an_earlier_version_has_no_checksum_and_is_loaded(tmp_path: Path) -> None:
    torch.save(state(4), tmp_path / "checkpoint-00000004.pt")
    assert step_of(tmp_path) == 4
    save_checkpoint(state(5), tmp_path, step=5)
    assert step_of(tmp_path) == 5


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(Malicious.target)!r}, 'w')",))

    target = Path()


@pytest.mark.parametrize("with_checksum", [True, False])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, with_checksum: bool) -> None:
    Malicious.target = tmp_path / "executed"
    if with_checksum:
        save_checkpoint({"step": Malicious()}, tmp_path, step=2)
    else:
        torch.save({"step": Malicious()}, tmp_path / "checkpoint-00000002.pt")
    states, (line,) = load(tmp_path)
    assert (states, Malicious.target.exists()) == ([], False)
    assert "UnpicklingError" in line


def test_a_state_that_cannot_be_loaded_for_lack_of_memory_is_no_damage(tmp_path: Path) -> None:
    save_checkpoint(state(1), tmp_path, step=1)

    def fail(_: dict[str, Any]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        load_newest_checkpoint([tmp_path], fail)


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
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert names == [f"checkpoint-0000000{step}.pt" for step in (expected, 3)]
