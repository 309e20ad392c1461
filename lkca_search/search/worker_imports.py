"""Imports of a worker at the start of its process. Ray imports this module, and nothing else does."""

import gc
from importlib import import_module

MODULES = ("torch", "torch._dynamo", "ray.tune", "lkca_search.search.ray_backend.worker")
"""Modules of a training. torch imports its compiler with the first optimizer."""


def _import_modules() -> None:
    """Import the modules without the collections of garbage that their objects cause, a sixth of the time.

    The objects stay for good, so that later collections leave them out.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 20, 50)
    for name in MODULES:
        import_module(name)
    gc.freeze()
    gc.set_threshold(*thresholds)


_import_modules()
