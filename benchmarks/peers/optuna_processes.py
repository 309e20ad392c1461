"""Search by Optuna in several processes: one study per family in a journal file, Optuna's storage for processes.

The processes are forked after the imports and after the images were read, so that they share both. Each trains on one
thread; with the argument THREADS, on as many as torch takes by default, one per core.
"""

import multiprocessing
import sys
import time
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.peers.arrays import Arrays
from benchmarks.peers.finished import Finished
from benchmarks.peers.optuna_space import suggest
from benchmarks.peers.plain_training import PlainTraining
from benchmarks.peers.question import SAMPLER, Question

THREADS = "default-threads"


def work(
    index: int, families: "SimpleQueue[str | None]", question: Question, arrays: Arrays, *, default_threads: bool
) -> None:
    """Train trials of the families in the queue until it ends."""
    if not default_threads:
        torch.set_num_threads(1)
    storage = JournalStorage(JournalFileBackend(str(Path(question.folder) / "journal.log")))
    seed = question.slots * question.seed + index  # one seed for all processes would suggest equal values
    studies = {
        family: optuna.create_study(
            storage=storage,
            study_name=family,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, **SAMPLER),
            load_if_exists=True,
        )
        for family in question.families
    }

    def run_trial(trial: optuna.Trial) -> float:
        family = trial.study.study_name
        training = PlainTraining(question, arrays, {"family": family, **suggest(trial)}, seed=question.seed)
        *_, accuracy = training.accuracies()
        Finished(family=family, accuracy=accuracy, ended=time.time()).append(question.folder)
        return accuracy

    while (family := families.get()) is not None:
        studies[family].optimize(run_trial, n_trials=1)


def main(path: str, *options: str) -> None:
    question = Question.read(path)
    arrays = Arrays.load(question.folder)
    context = multiprocessing.get_context("fork")
    families: SimpleQueue[str | None] = context.SimpleQueue()
    for family in question.families:
        for _ in range(question.trials_per_family):
            families.put(family)
    processes = [
        context.Process(
            target=work,
            args=(index, families, question, arrays),
            kwargs={"default_threads": THREADS in options},
        )
        for index in range(question.slots)
    ]
    for process in processes:
        families.put(None)
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
