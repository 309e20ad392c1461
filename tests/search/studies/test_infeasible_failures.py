"""Failed trials are infeasible for TPE: their region is left, without a value made up for them."""

from typing import Any

import pytest

from lkca_search.records.record import State
from lkca_search.search.studies.study import Study, open_in_memory_storage
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from tests.support.search.toy import make_spec

SEEDS = range(3)


def spec_of(sampler: str, seed: int = 0) -> SearchSpec:
    values = make_spec(trials_per_cell=60, seed=seed).model_dump(by_alias=True)
    parameters = {"learning_rate": {"float": (1e-4, 1e-1), "log": True}, "depth": {"int": (1, 12)}}
    search = {**values["search"], "sampler": sampler}
    return SearchSpec.model_validate({**values, "parameters": parameters, "search": search})


def suggest(spec: SearchSpec, *, count: int, fails_above: float, storage: Any = None) -> list[float]:
    """Return the learning rates of a search whose trials fail above one. Lower rates are slightly worse."""
    study = Study(storage or open_in_memory_storage(), spec, cells(spec)[0])
    rates = []
    for _ in range(count):
        number, chosen = study.ask()
        rate = float(chosen["learning_rate"])
        rates.append(rate)
        fails = rate > fails_above
        study.tell(number, State.FAIL if fails else State.COMPLETE, () if fails else [rate])
    return rates


def test_tpe_leaves_the_region_of_failed_trials() -> None:
    """The best values are next to that region. Optuna alone leaves failed trials out, and returns to it."""
    failures = sum(
        sum(rate > 3e-3 for rate in suggest(spec_of("tpe", seed), count=60, fails_above=3e-3)[20:]) for seed in SEEDS
    )
    alone = sum(
        sum(
            rate > 3e-3
            for rate in suggest(spec_of("optuna.samplers.TPESampler", seed), count=60, fails_above=3e-3)[20:]
        )
        for seed in SEEDS
    )
    assert failures < 0.6 * alone


def test_failed_trials_never_count_as_good_ones() -> None:
    """Below ten percent of working configurations, failed ones would fill the group of better trials."""
    rates = suggest(spec_of("tpe"), count=30, fails_above=1.2e-4)
    assert len(set(rates)) == 30


@pytest.mark.parametrize("sampler", ["random", "qmc", "gp", "nsga2", "cmaes"])
def test_other_samplers_go_on_as_before_when_trials_fail(sampler: str) -> None:
    assert len(suggest(spec_of(sampler), count=14, fails_above=3e-3)) == 14


def test_a_driver_that_starts_again_knows_the_failed_trials() -> None:
    spec, storage = spec_of("tpe"), open_in_memory_storage()
    first = suggest(spec, count=25, fails_above=3e-3, storage=storage)
    second = suggest(spec, count=10, fails_above=3e-3, storage=storage)
    assert first + second == suggest(spec, count=35, fails_above=3e-3)


def test_the_state_and_the_value_of_a_failed_trial_do_not_change() -> None:
    spec, storage = spec_of("tpe"), open_in_memory_storage()
    suggest(spec, count=25, fails_above=3e-3, storage=storage)
    trials = storage.get_all_trials(storage.get_study_id_from_name(cells(spec)[0].key))
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    assert failed
    assert not any(trial.values or trial.constraints for trial in failed)
