"""Damages of files, and the files of a search's home that can be damaged."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lkca_search.layout import SearchFolder

KINDS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": lambda content, generator: b"",
    "cut in half": lambda content, generator: content[: len(content) // 2],
    "overwritten": lambda content, generator: generator.randbytes(max(len(content), 1)),
}
"""Kinds of damage: function from the content of a file to its damaged content."""

FILES: Mapping[str, str] = {
    "record": "trials/*/*/attempt-*/record.json",
    "replicate": "trials/*/*/draw=*/attempt-*/record.json",
    "weights": "trials/*/*/draw=*/attempt-*/model.safetensors",
    "model": "trials/*/*/draw=*/attempt-*/model.json",
    "checkpoint": "trials/**/checkpoint-*.pt",
    "manifest": "subsets/*.json",
    "round": "rounds/*.json",
    "spec": "spec.json",
    "dataset": "dataset.json",
    "uid": "uid",
    "ledger": "ledger.db",
}
"""Kinds of files: glob pattern below the folder of a search."""

AT_REST = ("spec", "dataset", "uid", "ledger")
"""Kinds of files that are damaged only while no driver runs."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One damaged file."""

    file: str
    """Kind of the file, a key of `FILES`."""
    kind: str
    """Kind of the damage: a key of `KINDS`, `flipped bits`, or for the ledger `deleted` or `older copy`."""
    path: Path


def damage_file(folder: SearchFolder, file: str, generator: random.Random, *, backup: Path) -> Damage | None:
    """Damage a random file of one kind; return None if the search has no such file.

    Args:
        folder: Folder of the search.
        file: Kind of the file, a key of `FILES`.
        generator: Generator of the choices.
        backup: Copy of the ledger, if one was made earlier; the damage `older copy` restores it.
    """
    assert isinstance(folder.root, Path)
    paths = sorted(path for path in folder.root.glob(FILES[file]) if path.is_file())
    if not paths:
        return None
    path = generator.choice(paths)
    kinds = [*KINDS, *(["flipped bits"] if file == "checkpoint" else [])]  # the only files with a checksum
    if file == "ledger":
        kinds += ["deleted", *(["older copy"] if backup.exists() else [])]
    kind = generator.choice(kinds)
    try:
        if kind == "deleted":
            path.unlink()
        else:
            damaged = {"older copy": lambda content, _: backup.read_bytes(), "flipped bits": _flip, **KINDS}[kind]
            path.write_bytes(damaged(path.read_bytes(), generator))
    except FileNotFoundError:  # a checkpoint that its worker has deleted meanwhile
        return None
    return Damage(file=file, kind=kind, path=path)


def _flip(content: bytes, generator: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(min(16, len(flipped))):
        flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
    return bytes(flipped)
