"""The only place that drives Ray Tune: the ledger says what to train, Tune where, the pruner when to stop."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from lkca_search.search.ledger import Ledger, Message
from lkca_search.search.slots import count_slots
from lkca_search.search.stopping import Brake, signals_given_back
from lkca_search.search.worker import TrialActor
from lkca_search.training.assembly import DataPlace

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the brake's
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Ray's experiment state is disposable
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}


def run_search(
    ledger: Ledger, place: DataPlace, brake: Brake, *, address: str | None = None, num_cpus: int | None = None
) -> None:
    """Train every due trial of a ledger on a Ray cluster: the one at `address`, or one of this machine's own.

    Raises SearchError where no trial could ever be placed.
    """
    with signals_given_back():
        try:
            _start_ray(address, num_cpus=num_cpus)
            brake.take_signals()  # from Ray, too
            _make_tuner(ledger, place, brake).fit()
        finally:
            ray.shutdown()
            shutil.rmtree(ledger.folder.ray, ignore_errors=True)


def _make_tuner(ledger: Ledger, place: DataPlace, brake: Brake) -> tune.Tuner:
    resources = ledger.spec.resources
    demand = {"CPU": float(resources.cpu), "GPU": float(resources.gpu)}
    found = ray.cluster_resources()
    slots = count_slots(resources, num_cpus=int(found.get("CPU", 0)), num_gpus=int(found.get("GPU", 0)))
    shutil.rmtree(ledger.folder.ray, ignore_errors=True)
    return tune.Tuner(
        tune.with_resources(TrialActor, {name.lower(): amount for name, amount in demand.items() if amount}),
        tune_config=tune.TuneConfig(
            search_alg=_LedgerSearcher(ledger, place, brake),
            scheduler=_LedgerScheduler(ledger),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(ledger.folder.ray),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=_BrakeStopper(brake),
            verbose=0,
        ),
    )


class _LedgerSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Asks the ledger for trials, and commits those that ended."""

    def __init__(self, ledger: Ledger, place: DataPlace, brake: Brake) -> None:
        super().__init__()
        self._ledger = ledger
        self._brake = brake
        self._place = {"cache": str(place.cache), "data_dir": str(place.data_dir) if place.data_dir else None}
        self._ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._brake.check()
        assignment = self._ledger.assign()
        if assignment is None:
            return None if self._ledger.may_assign_later else Searcher.FINISHED
        self._ids[trial_id] = assignment.trial_id
        return {
            "trial_id": assignment.trial_id,
            "attempt": assignment.attempt,
            "assignment": assignment.model_dump_json(),
            "place": self._place,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        ours = self._ids.pop(trial_id)
        if error or result is None:
            return  # the scheduler hears of it first, with the cause
        self._ledger.hear(ours, Message.model_validate_json(result["message"]))
        self._ledger.finish(ours)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is durable by itself."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is durable by itself."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, to restore it one day; we never do


class _LedgerScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Lets the pruner of the trial's own study decide."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        path = Path(trial.error_file) if trial.error_file else None
        cause = path.read_text().strip().splitlines()[-1] if path and path.exists() else "the worker died"
        self._ledger.lose(trial.config["trial_id"], cause)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = self._ledger.hear(trial.config["trial_id"], Message.model_validate_json(result["message"]))
        decision: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return decision


class _BrakeStopper(Stopper):  # type: ignore[misc]  # Ray ships no types
    """Ends all trials when the brake says so. Tune asks at every turn of its loop, ten a second while no news come."""

    def __init__(self, brake: Brake) -> None:
        self._brake = brake

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._brake.check()  # the ledger hears nothing of the trials that are stopped: they are still due

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _trial_name(trial: Trial) -> str:
    name: str = trial.config["trial_id"].replace("/", "#")
    return f"{name}@{trial.config['attempt']}"


def _start_ray(address: str | None, *, num_cpus: int | None) -> None:
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is in the ledger
    ray.init(
        address=address or "local",
        **({"num_cpus": num_cpus, "include_dashboard": False} if address is None else {}),
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
