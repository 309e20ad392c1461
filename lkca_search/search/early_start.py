"""Early start of Ray: its processes start while the driver imports torch, and its workers import what they need."""

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lkca_search.search.driver.stopping import check_start, interrupts_start
from lkca_search.search.ray_backend.session import RaySession
from lkca_search.search.run_context import RunContext
from lkca_search.search.state.lease import Lease
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.connection import set_client_variables

_SLOW_IMPORT = "torch"


@contextmanager
def start_session(spec: SearchSpec, lease: Lease, context: RunContext) -> Iterator[RaySession]:
    """Yield the session with Ray of a driver, and end it.

    If this process has yet to import torch, Ray starts at the same time, before the search is checked. Otherwise the
    driver starts it after the checks: then nothing is gained, and a search that is refused needs no Ray.

    Raises:
        SearchError: As in `RaySession.start`.
        Interrupted: Ray did not start, or a stop came meanwhile.
    """
    set_client_variables()
    session = RaySession(
        address=context.address,
        num_cpus=context.num_cpus,
        num_workers=count_early_workers(spec, context.num_cpus or os.cpu_count() or 1),
        notify=context.notify,
    )
    with session:
        if _SLOW_IMPORT not in sys.modules:
            with _imported(_SLOW_IMPORT), interrupts_start():
                session.start()
            check_start(lease)
        yield session


def count_early_workers(spec: SearchSpec, num_cpus: int) -> int | None:
    """Return the workers to start with Ray; None for trials on GPUs, whose workers must not import torch early.

    They are at most the trials that run at once. One core is left to the driver, which is still importing. On two
    cores, the first trial starts sooner if the second worker starts after it.
    """
    if spec.resources.uses_gpu:
        return None
    num_trials = min(spec.search.trials_per_cell * len(cells(spec)), spec.resources.max_concurrent or num_cpus)
    return max(1, min(num_trials, int(num_cpus // spec.resources.cpu), num_cpus - 1))


@contextmanager
def _imported(module: str) -> Iterator[None]:
    """Import a module in a thread during the block. A failed import fails again where the module is needed."""

    def load() -> None:
        with suppress(Exception):
            importlib.import_module(module)

    thread = threading.Thread(target=load, name=f"import-{module}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
