"""Search in one process: Optuna in memory, one trial after another, each on all cores."""

import sys
import time

import optuna

from benchmarks.peers.arrays import Arrays
from benchmarks.peers.finished import Finished
from benchmarks.peers.optuna_space import suggest
from benchmarks.peers.plain_training import PlainTraining
from benchmarks.peers.question import SAMPLER, Question


def main(path: str) -> None:
    question = Question.read(path)
    arrays = Arrays.load(question.folder)

    def run_trial(trial: optuna.Trial, family: str) -> float:
        training = PlainTraining(question, arrays, {"family": family, **suggest(trial)}, seed=question.seed)
        *_, accuracy = training.accuracies()
        Finished(family=family, accuracy=accuracy, ended=time.time()).append(question.folder)
        return accuracy

    for family in question.families:
        sampler = optuna.samplers.TPESampler(seed=question.seed, **SAMPLER)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(lambda trial, family=family: run_trial(trial, family), n_trials=question.trials_per_family)


if __name__ == "__main__":
    main(sys.argv[1])
