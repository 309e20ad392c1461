"""Trainings of one rerun: the recorded one, with overrides, or fresh seeds and draws."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lkca_search.errors import UserError
from lkca_search.search.rerun.overrides import apply_overrides
from lkca_search.search.rerun.retraining import RecordedTraining
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.seeds import derive_seed

_FIRST_DRAW = 500_000
"""First fresh draw: no search has as many draws."""


def list_trainings(
    recorded: RecordedTraining, overrides: Sequence[str] = (), *, seeds: int = 0, draws: int = 0
) -> list[RecordedTraining]:
    """Return the trainings to run: one, or `draws` x `seeds` with fresh randomness; 0 keeps the recorded one.

    The fresh seeds and draws are the same in every rerun of a training, and no trial or replicate has them.

    Raises:
        UserError: An override breaks a rule, or sets what is drawn.
    """
    file = recorded.file
    if overrides or seeds or draws:
        trial = apply_overrides(file.trial, overrides)
        file = file.model_copy(update={"trial": trial, "recorded_trial": file.recorded_trial or file.trial})
    if not seeds and not draws:
        return [replace(recorded, file=file)]
    for name, number in (("seed", seeds), ("draw", draws)):
        if number and any(override.lstrip("~").partition("=")[0].endswith(name) for override in overrides):
            raise UserError(f"--{name}s draws fresh values, so {name} must not be set by an override; omit one of them")
    return [replace(recorded, file=each, is_fresh=True) for each in _fresh(file, seeds, draws)]


def _fresh(file: TrialFile, seeds: int, draws: int) -> Iterator[TrialFile]:
    trial = file.trial
    for draw in range(_FIRST_DRAW, _FIRST_DRAW + draws) if draws else [trial.configuration.draw]:
        configuration = trial.configuration.model_copy(update={"draw": draw})
        for number in range(seeds) if seeds else [0]:
            # Without `seeds`, a fresh draw has a fresh seed too, as a replicate has.
            seed = derive_seed(trial.seed, "rerun", draw, number)
            yield file.model_copy(
                update={"trial": trial.model_copy(update={"seed": seed, "configuration": configuration})}
            )
