"""Names of aliases in MLflow's registry, and of logged models."""

import re
from collections import Counter
from collections.abc import Sequence

from lkca_search.file_names import hash_name, shorten_name
from lkca_search.records.record import Record
from lkca_search.spec.cells import Cell

CHAMPION = "champion"
"""Alias of the champion of a search; of several datasets, the alias of each ends with its name."""
_MAX_ALIAS = 255
"""Longest alias that MLflow accepts."""
_INVALID = re.compile(r"[^A-Za-z0-9_-]")
_RESERVED = re.compile(r"latest|v\d+|champion(-.*)?", re.IGNORECASE)
"""Aliases that MLflow refuses, and those of champions."""


def name_champion(dataset: str | None) -> str:
    """Return the alias of the champion of a dataset, or of a search with one dataset if it is None."""
    return CHAMPION if dataset is None else _shorten(f"{CHAMPION}-{_INVALID.sub('_', dataset)}")


def name_aliases(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the alias of each cell, by its key: its levels, such as `lkca-0_1`.

    MLflow accepts letters, digits, `_` and `-`. If two cells would have one alias, or if MLflow refuses it, it ends
    with a hash of the key.
    """
    plain = {cell.key: _INVALID.sub("_", "-".join(map(str, cell.levels.values())) or "all") for cell in cells}
    uses = Counter(alias.lower() for alias in plain.values())  # some databases ignore upper and lower case
    return {
        key: _shorten(alias)
        if uses[alias.lower()] == 1 and not _RESERVED.fullmatch(alias)
        else _shorten(f"{alias}-{hash_name(key)}")
        for key, alias in plain.items()
    }


def name_model(alias: str, record: Record) -> str:
    """Return the name of the logged model of a replicate: `lkca-0_1-3-draw-1-seed-0`."""
    assert record.replicate is not None
    return f"{alias}-{record.number}-draw-{record.replicate.draw}-seed-{record.replicate.seed}"


def _shorten(alias: str) -> str:
    return shorten_name(alias, max_bytes=_MAX_ALIAS)
