"""Checkpoints: the state of a training, written atomically with its checksum.

A file is a mark, the SHA-256 of the rest, and the state as `torch.save` writes it. torch checks no checksum itself: a
flipped bit in its own files is read as another weight. Files of earlier versions have neither mark nor checksum.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from lkca_search.faults import cut_text, first_line
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.training.faults import is_machine_fault

KEPT = 2
"""Checkpoints that an attempt keeps: if the newest is damaged, training resumes from the one before it."""
_MARK = b"LKCA\x00\x00\x00\x01"
_MAX_TEXT = 200
_HEADER_BYTES = len(_MARK) + hashlib.sha256().digest_size


class DamagedCheckpoint(ValueError):
    """Checkpoint whose content is not the one that was written, or does not belong to the training."""


def save_checkpoint(state: Mapping[str, Any], folder: AnyPath, *, step: int) -> AnyPath:
    """Write a state into an attempt's folder, and return the path.

    The attempt keeps its newest checkpoints; earlier ones are removed when the new one is durable.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    path = folder / f"checkpoint-{step:08d}.pt"
    write_atomically(path, _MARK + hashlib.sha256(content).digest() + content)
    earlier = sorted(earlier.name for earlier in folder.glob("checkpoint-*.pt") if earlier.name < path.name)
    for name in earlier[: len(earlier) - KEPT + 1]:
        (folder / name).unlink(missing_ok=True)
    return path


def read_checkpoint(path: AnyPath) -> dict[str, Any]:
    """Return the state in a file, loaded to the CPU. Nothing in the file is executed.

    Raises:
        DamagedCheckpoint: The checksum of the content differs from the one in the file.
    """
    content = path.read_bytes()
    if content.startswith(_MARK):
        expected, content = content[len(_MARK) : _HEADER_BYTES], content[_HEADER_BYTES:]
        if hashlib.sha256(content).digest() != expected:
            raise DamagedCheckpoint(f"the checksum of its {len(content):,} bytes differs from the stored one")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def load_newest_checkpoint(folders: Iterable[AnyPath], load: Callable[[dict[str, Any]], None]) -> tuple[str, ...]:
    """Pass the newest good checkpoint in the folders of attempts to `load`; return a line per damaged newer one.

    `load` raises an error and changes nothing if a state does not belong to the training. If no checkpoint is good,
    nothing is loaded.
    """
    damaged: list[str] = []
    paths = [path for folder in folders for path in folder.glob("checkpoint-*.pt")]
    for path in sorted(paths, key=lambda path: (path.name, path.parent.name), reverse=True):
        try:
            load(read_checkpoint(path))
        except FileNotFoundError:
            continue  # a driver that replaced this one has removed it
        except Exception as error:  # a damaged file raises almost anything
            if is_machine_fault(error) and not isinstance(error, OSError):
                raise  # no memory, or a GPU that fails: another worker may load the same file
            reason = f"{type(error).__name__}: {cut_text(first_line(error), _MAX_TEXT)}"
            damaged.append(f"{path.parent.name}/{path.name}: {reason}")
        else:
            break
    return tuple(damaged)
