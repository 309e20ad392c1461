"""Seeds derived from the seed of a search and the name of their use. No two uses share a random stream."""

import hashlib
import json


def derive_seed(*parts: str | int | float | bool) -> int:
    """Return a seed in [0, 2**32) that depends on all parts and on nothing else.

    The same parts give the same seed on every machine. NumPy, PyTorch and Optuna all accept this range.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")
