"""Every seed of a search is derived from one number and the name of its use, so that no two uses share a stream."""

import hashlib
import json


def derive_seed(*parts: str | int | float | bool) -> int:
    """Return a seed in [0, 2**32) that depends on every part and on nothing else.

    The same parts give the same seed on every machine and Python; numpy, torch and Optuna all accept the range.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")
