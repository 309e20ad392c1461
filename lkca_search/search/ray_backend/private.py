"""Private parts of Ray without a public replacement. A version of Ray that lacks one counts as a Ray without it."""

import importlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_WORKERS_OPTION = "--num_prestart_python_workers="
"""Option of the raylet: workers that it starts before a task needs one."""
_EARLY_WORKERS = {
    "RAY_preload_python_modules": "lkca_search.search.worker_imports",
    # The first trials reserve all cores before they take a worker, and Ray ends idle workers that have no free core.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
}
"""Variables of a local cluster whose workers start before their first trial, unless the user has set them."""


def private(module: str, name: str) -> Any:
    """Return a private name of Ray; None if the installed version lacks it."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None


def mute_reports() -> None:
    """Keep Ray's reports on dead nodes out of standard output: each has 20 lines of a log, and breaks `--json`."""
    if private("ray._private.worker", "print_to_stdstream") is not None:
        worker = importlib.import_module("ray._private.worker")
        worker.print_to_stdstream = lambda *_, **__: None  # type: ignore[attr-defined]


@contextmanager
def lean_start(num_workers: int | None) -> Iterator[None]:
    """Start a local cluster in the block without processes that a search does not use.

    They are the server of the dashboard, the autoscaler, and the monitor that sends the logs of workers to the driver.
    Each takes half a second or more of a core. Ray starts the server, and waits for it, even without a dashboard.
    With `num_workers`, Ray starts this number of workers at once, not one per core. Each imports what a training needs.
    """
    node, services = private("ray._private.node", "Node"), private("ray._private", "services")
    changes: list[tuple[Any, str, Any]] = [
        (node, name, lambda *_, **__: None)
        for name in ("start_api_server", "start_monitor", "start_log_monitor")
        if hasattr(node, name)
    ]
    variables = _EARLY_WORKERS if num_workers is not None else {}
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    if num_workers is not None and hasattr(services, "start_ray_process"):
        start = services.start_ray_process

        def start_process(command: list[str], *arguments: Any, **options: Any) -> Any:
            changed = [
                f"{_WORKERS_OPTION}{num_workers}" if part.startswith(_WORKERS_OPTION) else part for part in command
            ]
            return start(changed, *arguments, **options)

        changes.append((services, "start_ray_process", start_process))
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, changed in changes:
            setattr(owner, name, changed)
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def inherited_environment() -> Iterator[None]:
    """Let trials that start in the block have no runtime environment, since workers of a local cluster inherit it.

    Tune gives every trial one, with a variable of PyTorch Lightning and some of the driver's own. Ray gives a trial a
    worker that is running already only if both have the same runtime environment.
    """
    names = ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE")
    originals = {name: private("ray.tune.execution.class_cache", name) for name in names}
    known = {name: value for name, value in originals.items() if value is not None}
    cache = importlib.import_module("ray.tune.execution.class_cache") if known else None
    try:
        for name, value in known.items():
            setattr(cache, name, type(value)())
        yield
    finally:
        for name, value in known.items():
            setattr(cache, name, value)


def started_processes() -> Mapping[str, subprocess.Popen[bytes]]:
    """Return the processes of the local cluster that this process has started, by name, such as `raylet`."""
    node = private("ray._private.worker", "_global_node")
    processes = getattr(node, "all_processes", {})
    return {name: infos[0].process for name, infos in processes.items() if infos}


def logs_folder() -> str:
    """Return the folder of Ray's logs on this machine."""
    node = private("ray._private.worker", "_global_node")
    return node.get_logs_dir_path() if hasattr(node, "get_logs_dir_path") else "/tmp/ray"
