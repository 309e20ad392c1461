"""Checkpoints: the state of a training, written atomically."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lkca_search.paths import AnyPath, write_atomically


def save_checkpoint(state: Mapping[str, Any], folder: AnyPath, *, step: int) -> AnyPath:
    """Write a state into an attempt's folder, remove the attempt's earlier checkpoints, and return the new path."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    path = folder / f"checkpoint-{step:08d}.pt"
    write_atomically(path, buffer.getvalue())
    for earlier in folder.glob("checkpoint-*.pt"):
        if earlier.name < path.name:
            earlier.unlink(missing_ok=True)
    return path


def load_newest_checkpoint(folders: Iterable[AnyPath]) -> dict[str, Any] | None:
    """Return the readable checkpoint with the largest step in these folders, loaded to the CPU, or None."""
    paths = [path for folder in folders for path in folder.glob("checkpoint-*.pt")]
    for path in sorted(paths, key=lambda path: path.name, reverse=True):
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        except Exception:  # a damaged file raises almost anything
            continue
        return state
    return None
