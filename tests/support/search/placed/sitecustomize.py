"""Event log of placements and declared GPUs without memory. Python imports this module at start-up from PYTHONPATH.

Nothing happens unless PLACED_FOLDER is set. A worker then appends a line to PLACED_FOLDER/events when a trial begins.
PLACED_FOLDER/rules.json may delay each trial by `seconds`. With the rule `after`, a node and a count, a trial on any
other node waits until this many trials began on that node. With the rule `holds`, a node and a count, a trial on that
node does not end if this many trials began there before it. A trial with a smaller share of a GPU than the rule `needs`
fails with an out-of-memory error. On a node in the rule `broken` a trial raises an error of CUDA, and on a node in the
rule `kills` its worker is killed, as by the kernel when memory runs out.
"""

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

WORKER = "lkca_search.search.ray_backend.worker"


def patch_worker(module: Any) -> None:
    open_training = module.open_training

    def logged_open_training(spec: Any, *args: Any, **kwargs: Any) -> Any:
        import ray
        import torch

        folder = Path(os.environ["PLACED_FOLDER"])
        line = {
            "node": ray.get_runtime_context().get_node_id(),
            "gpus": ray.get_gpu_ids(),
            "pid": os.getpid(),
            "share": spec.resources.gpu,
            "configuration": spec.configuration.model_dump(mode="json"),
            "time": time.time(),
        }
        file = os.open(folder / "events", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(file, (json.dumps(line) + "\n").encode())
        os.close(file)
        begun = [json.loads(event)["node"] for event in (folder / "events").read_text().splitlines()]
        rules = json.loads((folder / "rules.json").read_text())
        node, count = rules.get("after", (line["node"], 0))
        while line["node"] != node and (folder / "events").read_text().count(f'"node": "{node}"') < count:
            time.sleep(0.1)
        node, count = rules.get("holds", (None, 0))
        if line["node"] == node and begun.count(node) > count:
            time.sleep(3600)
        time.sleep(rules.get("seconds", 0))
        if line["node"] in rules.get("kills", ()):
            os.kill(os.getpid(), signal.SIGKILL)
        if line["node"] in rules.get("broken", ()):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        if spec.resources.gpu < rules.get("needs", 0):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return open_training(spec, *args, **kwargs)

    module.open_training = logged_open_training


class Patcher(importlib.abc.MetaPathFinder):
    """Import hook that patches the module of the worker right after its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname == WORKER else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            patch_worker(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


if "PLACED_FOLDER" in os.environ:
    sys.meta_path.insert(0, Patcher())
