"""Choice of the number of worker processes of the peers' DataLoader: the faster one, with all slots busy."""

import multiprocessing
import time
from dataclasses import replace

import torch

from benchmarks.peers.arrays import Arrays
from benchmarks.peers.plain_training import PlainTraining
from benchmarks.peers.question import Question

CHOICES = (0, 2)
EPOCHS = 2
VALUES = {"learning_rate": 1e-3, "weight_decay": 0.05, "drop_path_rate": 0.1}


def time_loaders(question: Question, arrays: Arrays) -> dict[int, float]:
    """Return the seconds of a short trial per number of workers, while every slot trains one."""
    seconds = dict.fromkeys(CHOICES, float("inf"))
    for workers in (*CHOICES, *reversed(CHOICES)):
        short = replace(question, loader_workers=workers, epochs=EPOCHS)
        context = multiprocessing.get_context("spawn")
        barrier, times = context.Barrier(question.slots), context.SimpleQueue()
        processes = [context.Process(target=_train, args=(short, arrays, barrier, times)) for _ in range(short.slots)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        seconds[workers] = min(seconds[workers], max(times.get() for _ in processes))
    return seconds


def _train(question: Question, arrays: Arrays, barrier, times) -> None:  # type: ignore[no-untyped-def]
    multiprocessing.set_start_method("fork", force=True)  # of the DataLoader's workers, as in the peers
    torch.set_num_threads(1)
    training = PlainTraining(question, arrays, {"family": question.families[0], **VALUES}, seed=0)
    barrier.wait()
    started = time.perf_counter()
    list(training.accuracies())
    times.put(time.perf_counter() - started)
