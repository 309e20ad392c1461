"""Tests of a driver that dies during a suggestion: the next driver completes the trial's parameters.

With most samplers, they equal those without the interruption. QMC has advanced in its sequence, and GP includes the
running trial itself in its model. With these two, stored parameters are kept and the others are sampled again.
"""

from typing import Any

import pytest

from lkca_search.records.record import State
from lkca_search.search.studies import study as studies
from lkca_search.search.studies.study import Study, open_in_memory_storage
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from tests.support.search.toy import DriverCrash, make_spec

SPEC = {
    "factors": {"family": ("lkca",)},
    "parameters": {
        "kernel_size": {"choice": (3, 5, 7)},
        "depth": {"int": (1, 8)},
        "width": {"choice": (16, 32, 64)},
        "learning_rate": {"float": (1e-4, 1e-1), "log": True},
        "weight_decay": {"float": (1e-3, 1e-1), "log": True},
    },
}


def spec_of(sampler: str) -> SearchSpec:
    values = make_spec(trials_per_cell=50).model_dump(by_alias=True)
    return SearchSpec.model_validate({**values, **SPEC, "search": {**values["search"], "sampler": sampler}})


def make_study(spec: SearchSpec, *, num_trials: int) -> tuple[Any, Study]:
    """Return a study with `num_trials` complete trials, and its storage."""
    storage = open_in_memory_storage()
    study = Study(storage, spec, cells(spec)[0])
    for _ in range(num_trials):
        number, chosen = study.ask()
        study.tell(number, State.COMPLETE, [float(chosen["depth"])])
    return storage, study


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "cmaes", "qmc", "gp"])
@pytest.mark.parametrize("num_trials", [0, 14])
def test_a_resumed_trial_keeps_stored_parameters_and_gets_the_others_as_without_the_interruption(
    sampler: str, num_trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(sampler)
    _, undisturbed = make_study(spec, num_trials=num_trials)
    number, expected = undisturbed.ask()
    suggest = studies.suggest_value
    for survived in range(len(SPEC["parameters"]) + 1):
        storage, dying = make_study(spec, num_trials=num_trials)
        calls = iter(range(100))

        def suggest_or_die(*arguments: Any, calls: Any = calls, survived: int = survived) -> Any:
            if next(calls) == survived:
                raise DriverCrash
            return suggest(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(studies, "suggest_value", suggest_or_die)
            if survived < len(SPEC["parameters"]):
                with pytest.raises(DriverCrash):
                    dying.ask()
            else:
                dying.ask()
        following = Study(storage, spec, cells(spec)[0])
        stored = dict(following.trials()[number].params)
        resumed = following.resume(following.trials()[number])
        assert resumed.keys() == expected.keys()
        assert stored.items() <= resumed.items()
        if sampler not in ("qmc", "gp"):
            assert resumed == expected
