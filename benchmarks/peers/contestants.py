"""Contestants: the command of each, and the trials that it has finished."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.peers.finished import Finished, read_finished
from benchmarks.peers.question import Question

OURS = "LKCA Search"
SEARCH = "peers"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Program that answers the question."""

    command: Callable[[Question], list[str]]
    """Function (question in its folder) -> command line."""
    finished: Callable[[Question], list[Finished]]
    """Function (question) -> finished trials in order of time."""
    needs: str = "lkca_search"
    """Module without which it is left out."""

    @property
    def is_installed(self) -> bool:
        """True if its module is installed."""
        return find_spec(self.needs) is not None


def _peer(module: str, *arguments: str, needs: str = "optuna", published_lkca: bool = False) -> Contestant:
    def command(question: Question) -> list[str]:
        path = replace(question, published_lkca=published_lkca).write()
        return [sys.executable, "-m", f"benchmarks.peers.{module}", str(path), *arguments]

    return Contestant(command=command, finished=lambda question: read_finished(question.folder), needs=needs)


def _our_command(question: Question) -> list[str]:
    space = Path(question.folder) / f"{SEARCH}.yaml"
    space.write_text(question.space_file)
    return [sys.executable, "-m", "lkca_search", "run", str(space), "--num-cpus", str(question.slots)]


def _our_finished(question: Question) -> list[Finished]:
    from lkca_search.layout import Home
    from lkca_search.records.record import read_records

    trials = []
    for record in read_records(Home.at(question.folder).search(SEARCH)):
        assert record.state == "COMPLETE", record.error
        accuracy = record.curve[-1].val_accuracy
        trials.append(Finished(family=record.spec.configuration.family, accuracy=accuracy, ended=record.finished))
    return sorted(trials, key=lambda trial: trial.ended)


CONTESTANTS: Mapping[str, Contestant] = {
    OURS: Contestant(command=_our_command, finished=_our_finished),
    "Ray Tune": _peer("ray_tune", needs="ray"),
    "Ray Tune, published LKCA": _peer("ray_tune", needs="ray", published_lkca=True),
    "Ray Tune, reused actors": _peer("ray_tune", "reuse", needs="ray"),
    "Optuna, processes": _peer("optuna_processes"),
    "Optuna, published LKCA": _peer("optuna_processes", published_lkca=True),
    "Optuna, torch's threads": _peer("optuna_processes", "default-threads"),
    "Syne Tune": _peer("syne_tune_processes", needs="syne_tune"),
    "one process": _peer("sequential"),
}
"""Contestants by name, this package first."""


def environment(question: Question, cache: Path) -> dict[str, str]:
    """Return the variables of a run: a home of its own, decoded images, and nothing of the user's Ray and MLflow."""
    folder = str(Path(question.folder).absolute())
    users = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_", "OMP_"))}
    return users | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH", "")))),
        "LKCA_SEARCH_HOME": folder,
        "LKCA_SEARCH_CACHE": str(cache),
        "LKCA_BACKEND_CACHE": f"{folder}/backends",
        "SYNETUNE_FOLDER": f"{folder}/syne_tune",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
