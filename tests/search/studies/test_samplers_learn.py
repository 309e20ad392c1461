"""Tests of samplers and pruners on a toy problem with a known optimum, over 20 paired seeds."""

from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import wilcoxon

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.simulation.toy_training import BEST_ACCURACY, ToyTraining, toy_accuracy
from lkca_search.search.studies.study import open_in_memory_storage
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS

pytestmark = pytest.mark.slow
SEEDS = range(20)
REPORTS = 27
NUM_TRIALS = 40
MARGIN = 0.03
"""Maximum loss of mean accuracy that pruning may cause with the same number of trials."""


class Search(NamedTuple):
    """Records and Optuna trials of a simulated search with one cell."""

    records: tuple[Record, ...]
    trials: list[FrozenTrial]

    @property
    def found(self) -> float:
        """Accuracy, without noise, of the best configuration that the search found."""
        complete = [record for record in self.records if record.state is State.COMPLETE]
        best = max(complete, key=lambda record: record.value or 0.0)
        return toy_accuracy(best.spec.configuration)

    @property
    def num_steps(self) -> int:
        return sum(record.curve[-1].step for record in self.records)


@cache
def run(sampler: str, pruner: str, seed: int, num_trials: int = NUM_TRIALS) -> Search:
    spec = SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca",)},
            "parameters": {
                "kernel_size": {"choice": (3, 5, 7)},
                "depth": {"int": (2, 12)},
                "patch_size": {"value": 2},
                "learning_rate": {"float": (1e-5, 1e-1), "log": True},
                "weight_decay": {"float": (1e-4, 1.0), "log": True},
            },
            "training": {"steps": 1000, "reports": REPORTS},
            "search": {"trials_per_cell": num_trials, "sampler": sampler, "pruner": pruner, "seed": seed},
        }
    )
    storage = open_in_memory_storage()
    with TemporaryDirectory() as folder:
        ledger = Ledger(SearchFolder(root=Path(folder)), spec, DIGITS, 10, Tracker(), storage=storage)
        records = simulate(ledger, ToyTraining()).records
    (name,) = optuna.get_all_study_names(storage)
    return Search(records, optuna.load_study(study_name=name, storage=storage).trials)


def mean_found(sampler: str, pruner: str, num_trials: int = NUM_TRIALS) -> float:
    return fmean(run(sampler, pruner, seed, num_trials).found for seed in SEEDS)


def mean_steps(sampler: str, pruner: str, num_trials: int = NUM_TRIALS) -> float:
    return fmean(run(sampler, pruner, seed, num_trials).num_steps for seed in SEEDS)


def test_tpe_finds_better_configurations_than_random_at_the_same_budget() -> None:
    pairs = [(run("tpe", "none", seed), run("random", "none", seed)) for seed in SEEDS]
    assert {search.num_steps for pair in pairs for search in pair} == {NUM_TRIALS * 1000}
    gains = [tpe.found - random.found for tpe, random in pairs]
    assert wilcoxon(gains, alternative="greater").pvalue < 0.05
    assert mean_found("random", "none") < mean_found("tpe", "none") < BEST_ACCURACY


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_hyperband_finds_nearly_as_good_configurations_in_half_the_steps(sampler: str) -> None:
    assert mean_found(sampler, "hyperband") > mean_found(sampler, "none") - MARGIN
    assert mean_steps(sampler, "hyperband") < mean_steps(sampler, "none") / 2


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_hyperband_with_twice_the_trials_finds_better_configurations_in_fewer_steps(sampler: str) -> None:
    assert mean_found(sampler, "hyperband", 2 * NUM_TRIALS) > mean_found(sampler, "none")
    assert mean_steps(sampler, "hyperband", 2 * NUM_TRIALS) < mean_steps(sampler, "none")


def test_pruned_trials_are_pruned_in_the_study_and_only_whole_curves_are_complete() -> None:
    for seed in SEEDS:
        search = run("tpe", "hyperband", seed)
        states = {record.number: record.state for record in search.records}
        trained = [trial for trial in search.trials if trial.number in states]
        assert {trial.number: trial.state.name for trial in trained} == {
            number: state.value for number, state in states.items()
        }
        for trial in search.trials:
            if trial.state is TrialState.COMPLETE:
                assert list(trial.intermediate_values) == list(range(1, REPORTS + 1))
                assert trial.value == trial.intermediate_values[REPORTS]
            else:
                assert trial.state is TrialState.PRUNED
                assert len(trial.intermediate_values) < REPORTS
