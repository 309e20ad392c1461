"""Search by Ray Tune: a function, OptunaSearch, MLflowLoggerCallback on SQLite, and a DataLoader.

With `reuse`, the trials are a class and `reuse_actors=True`, so that a process trains one trial after another.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.arrays import Arrays
from benchmarks.peers.finished import Finished
from benchmarks.peers.plain_training import PlainTraining
from benchmarks.peers.question import DROP_PATH_RATE, LEARNING_RATE, SAMPLER, WEIGHT_DECAY, Question

METRIC = "val_accuracy"


def open_training(config: Mapping[str, Any], question: Question) -> PlainTraining:
    """Return the training of a trial, on one thread."""
    torch.set_num_threads(1)
    return PlainTraining(question, Arrays.load(question.folder), config, seed=question.seed)


def train(config: dict[str, Any], question: Question) -> None:
    """Train one trial, and report every epoch."""
    for accuracy in open_training(config, question).accuracies():
        tune.report({METRIC: accuracy})


class ReusedTrainer(tune.Trainable):
    """Trainer of one trial after another."""

    def setup(self, config: dict[str, Any], question: Question) -> None:
        self._question = question
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        accuracy, self._epoch = next(self._accuracies), self._epoch + 1
        return {METRIC: accuracy, "done": self._epoch == self._question.epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: trials are too short to be resumed."""

    def _start(self, config: dict[str, Any]) -> None:
        self._accuracies, self._epoch = open_training(config, self._question).accuracies(), 0


class Clock(tune.Callback):
    """Writer of the finished trials."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        accuracy = trial.last_result[METRIC]
        Finished(family=trial.config["family"], accuracy=accuracy, ended=time.time()).append(self._folder)


def main(path: str, *, reuse: bool = False) -> None:
    question = Question.read(path)
    ray.init(address="local", num_cpus=question.slots, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_parameters(ReusedTrainer if reuse else train, question=question)
    store = f"sqlite:///{Path(question.folder).absolute()}/mlflow.db"
    for family in question.families:
        sampler = optuna.samplers.TPESampler(seed=question.seed, **SAMPLER)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={
                "family": family,
                "learning_rate": tune.loguniform(*LEARNING_RATE),
                "weight_decay": tune.loguniform(*WEIGHT_DECAY),
                "drop_path_rate": tune.uniform(*DROP_PATH_RATE),
            },
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(sampler=sampler),
                metric=METRIC,
                mode="max",
                num_samples=question.trials_per_family,
                max_concurrent_trials=question.slots,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(
                storage_path=str(Path(question.folder).absolute() / "tune"),
                callbacks=[MLflowLoggerCallback(tracking_uri=store, experiment_name=family), Clock(question.folder)],
                verbose=0,
            ),
        )
        assert tuner.fit().num_errors == 0


if __name__ == "__main__":
    main(sys.argv[1], reuse="reuse" in sys.argv[2:])
