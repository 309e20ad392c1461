"""Private parts of Ray without a public replacement. A version of Ray that lacks one counts as a Ray without it."""

import importlib
import subprocess
from collections.abc import Mapping
from typing import Any


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


def started_processes() -> Mapping[str, subprocess.Popen[bytes]]:
    """Return the processes of the local cluster that this process has started, by name, such as `raylet`."""
    node = private("ray._private.worker", "_global_node")
    processes = getattr(node, "all_processes", {})
    return {name: infos[0].process for name, infos in processes.items() if infos}


def logs_folder() -> str:
    """Return the folder of Ray's logs on this machine."""
    node = private("ray._private.worker", "_global_node")
    return node.get_logs_dir_path() if hasattr(node, "get_logs_dir_path") else "/tmp/ray"
