"""Search by Syne Tune: its TPE, and a process per trial from its local backend.

It is no dependency of this project: `pip install --constraint constraints.txt syne-tune`.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.peers.question import DROP_PATH_RATE, LEARNING_RATE, WEIGHT_DECAY, Question

METRIC = "val_accuracy"
POLL_SECONDS = 0.5
"""Time between two polls of the trials; Syne Tune's default is 5 s."""


def train(options: argparse.Namespace) -> None:
    """Train one trial in this process, and report every epoch."""
    import torch
    from syne_tune import Reporter

    from benchmarks.peers.arrays import Arrays
    from benchmarks.peers.finished import Finished
    from benchmarks.peers.plain_training import PlainTraining

    torch.set_num_threads(1)
    question, report = Question.read(options.question), Reporter()
    accuracy = 0.0
    for accuracy in PlainTraining(
        question, Arrays.load(question.folder), vars(options), seed=question.seed
    ).accuracies():
        report(**{METRIC: accuracy})
    Finished(family=options.family, accuracy=accuracy, ended=time.time()).append(question.folder)


def main(path: str) -> None:
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import loguniform, uniform
    from syne_tune.optimizer.baselines import TPE

    question = Question.read(path)
    for family in question.families:
        space = {
            "question": path,
            "family": family,
            "learning_rate": loguniform(*LEARNING_RATE),
            "weight_decay": loguniform(*WEIGHT_DECAY),
            "drop_path_rate": uniform(*DROP_PATH_RATE),
        }
        Tuner(
            trial_backend=LocalBackend(entry_point=__file__),
            scheduler=TPE(space, METRIC, do_minimize=False, random_seed=question.seed),
            stop_criterion=StoppingCriterion(max_num_trials_started=question.trials_per_family - 1),
            n_workers=question.slots,
            sleep_time=POLL_SECONDS,
            wait_trial_completion_when_stopping=True,
            trial_backend_path=str(Path(question.folder).absolute() / "syne_tune" / family),
            save_tuner=False,
        ).run()


if __name__ == "__main__":
    if "--learning_rate" in sys.argv:
        parser = argparse.ArgumentParser()
        for name in ("question", "family"):
            parser.add_argument(f"--{name}")
        for name in ("learning_rate", "weight_decay", "drop_path_rate"):
            parser.add_argument(f"--{name}", type=float)
        train(parser.parse_known_args()[0])
    else:
        main(sys.argv[1])
