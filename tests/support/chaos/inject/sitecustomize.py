"""Injection of kills and event logs. Python imports this module at start-up if its folder is on PYTHONPATH.

Nothing happens unless CHAOS_FOLDER is set. Workers then append one line per event to CHAOS_FOLDER/events. A process is
killed at the point in CHAOS_CRASH, once per driver: `before:tell:3` is the third `tell` of a process. The kill creates
the file CHAOS_CRASHED, which must be another for each driver, since workers may outlive theirs. With
CHAOS_VICTIM=driver the driver is killed, whichever process reached the point.
"""

import functools
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]
_reached: Counter[str] = Counter()
_active = threading.local()
_ASSIGNMENT = "CHAOS_ASSIGNMENT"


def reach(point: str) -> None:
    """Count a visit of a point, and kill the process if CHAOS_CRASH names this visit."""
    _reached[point] += 1
    if os.environ.get("CHAOS_CRASH") != f"{point}:{_reached[point]}":
        return
    try:
        file = os.open(os.environ["CHAOS_CRASHED"], os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return
    os.write(file, f"{point}:{_reached[point]}".encode())
    os.fsync(file)
    to_driver = os.environ.get("CHAOS_VICTIM") == "driver"
    os.kill(int(os.environ["CHAOS_DRIVER"]) if to_driver else os.getpid(), signal.SIGKILL)


def context(owner: Any, attribute: str, name: str, applies: Callable[..., bool] = lambda *args: True) -> None:
    """Add the points before:NAME and after:NAME to a function."""
    original = getattr(owner, attribute)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not applies(*args):
            return original(*args, **kwargs)
        reach(f"before:{name}")
        _active.name = name
        try:
            value = original(*args, **kwargs)
        finally:
            _active.name = None
        reach(f"after:{name}")
        return value

    setattr(owner, attribute, wrapper)


def inside(owner: Any, attribute: str, name: str, *, behind: bool = False) -> None:
    """Add the point inside:NAME to a callee of the function NAME: before its call, or `behind` it."""
    original = getattr(owner, attribute)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        within = getattr(_active, "name", None) == name
        if within and not behind:
            reach(f"inside:{name}")
        value = original(*args, **kwargs)
        if within and behind:
            reach(f"inside:{name}")
        return value

    setattr(owner, attribute, wrapper)


def log_event(event: str, step: int) -> None:
    """Append a line to the event log, with a single write: lines of several processes must not mix."""
    assignment = json.loads(os.environ[_ASSIGNMENT])
    attempt = Path(assignment["attempt_folder"])
    line = {
        "event": event,
        "trial_id": assignment["trial_id"],
        "attempt": attempt.name,
        "pid": os.getpid(),
        "step": step,
        "newest_step": _newest_step(folder for folder in attempt.parent.iterdir() if folder.name < attempt.name),
        "time": time.time(),
        "node": os.environ.get("LKCA_NODE", ""),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }
    file = os.open(Path(os.environ["CHAOS_FOLDER"]) / "events", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, (json.dumps(line) + "\n").encode())
    os.close(file)


def _newest_step(folders: Iterable[Path]) -> int:
    """Return the step of the newest checkpoint in the folders of attempts."""
    paths = [path for folder in folders for path in folder.glob("checkpoint-*.pt")]
    return max((int(path.stem.removeprefix("checkpoint-")) for path in paths), default=0)


def patch_worker(module: Any) -> None:
    set_up, open_training = module.TrialActor.setup, module.open_training

    def setup(self: Any, config: dict[str, Any]) -> None:
        os.environ[_ASSIGNMENT] = config["assignment"]  # a global would not do: Ray sends this function by value
        set_up(self, config)

    def logged_open_training(*args: Any, **kwargs: Any) -> Any:
        log_event("open", 0)
        facts, training = open_training(*args, **kwargs)
        log_event("resume" if training.step else "start", training.step)
        return facts, training

    module.TrialActor.setup, module.open_training = setup, logged_open_training
    context(module, "save_checkpoint", "checkpoint")
    inside(Path, "replace", "checkpoint")
    context(module, "save_predictions", "predictions")
    inside(Path, "replace", "predictions")
    context(module, "save_model", "weights")
    inside(Path, "replace", "weights")


def patch_loop(module: Any) -> None:
    results = module.Training.results

    def logged_results(self: Any) -> Iterator[Any]:
        for result in results(self):
            if result.step == self.last_step and _ASSIGNMENT in os.environ:
                log_event("finish", result.step)
            yield result

    module.Training.results = logged_results


def patch_studies(module: Any) -> None:
    for name in ("ask", "report", "tell"):
        context(module.Study, name, name)
    inside(module.optuna.study.Study, "ask", "ask", behind=True)  # the trial has no parameters yet
    context(module.optuna.trial.Trial, "suggest_float", "suggestion")  # the trial has some parameters


def patch_queue(module: Any) -> None:
    context(module, "write_atomically", "record", applies=lambda path, content: path.name == "record.json")
    inside(Path, "replace", "record")


def patch_rounds(module: Any) -> None:
    context(module, "write_atomically", "round")
    inside(Path, "replace", "round")


def patch_tracker(module: Any) -> None:
    context(module.Trackers, "trial_finished", "projection")


def patch_store(module: Any) -> None:
    context(module.MLflowStore, "finish", "sending")


def patch_client(module: Any) -> None:
    inside(module.MlflowClient, "set_terminated", "sending")


def patch_runner(module: Any) -> None:
    os.environ["CHAOS_DRIVER"] = str(os.getpid())


PATCHES: dict[str, Patch] = {
    "lkca_search.search.driver.queue": patch_queue,
    "lkca_search.search.driver.rounds": patch_rounds,
    "lkca_search.search.ray_backend.runner": patch_runner,
    "lkca_search.search.studies.study": patch_studies,
    "lkca_search.search.ray_backend.worker": patch_worker,
    "lkca_search.tracking.experiment": patch_client,
    "lkca_search.tracking.mlflow_store": patch_store,
    "lkca_search.tracking.tracker": patch_tracker,
    "lkca_search.training.loop": patch_loop,
}


class Patcher(importlib.abc.MetaPathFinder):
    """Import hook that patches each module right after its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patch = PATCHES.get(fullname)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if patch else None
        if patch is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


if "CHAOS_FOLDER" in os.environ:
    os.environ.setdefault("CHAOS_DRIVER", str(os.getpid()))  # Ray may start before the driver imports its runner
    sys.meta_path.insert(0, Patcher())
