"""Searched parameters for Optuna."""

import optuna

from benchmarks.peers.question import DROP_PATH_RATE, LEARNING_RATE, WEIGHT_DECAY


def suggest(trial: optuna.Trial) -> dict[str, float]:
    """Return the sampled parameters of a trial."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
        "drop_path_rate": trial.suggest_float("drop_path_rate", *DROP_PATH_RATE),
    }
