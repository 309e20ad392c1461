"""How much each searched name matters within a cell, by an evaluator of Optuna that is named."""

import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.objectives import trial_values
from lkca_search.records.record import Record, State
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange

EVALUATOR = "fANOVA"
"""Hutter et al. 2014, An Efficient Approach for Assessing Hyperparameter Importance; set, since Optuna's default "
"moves."""
MIN_TRIALS = 10
"""Complete trials of a cell below which nothing is said of importances."""


class Importance(FrozenModel):
    """The importances of one cell, or why there are none."""

    cell: str
    num_trials: int
    """Complete trials; what was pruned does not count, which is a bias where a pruner was used."""
    shares: tuple[tuple[str, float], ...]
    """Names and shares of the variance that they explain, most first."""
    reason: str | None = None


def compute_importances(results: SearchResults, *, seed: int) -> tuple[Importance, ...]:
    """The importance of every searched name in every cell, on the leading metric."""
    return tuple(_importance(results, cell.key, seed) for cell in results.cells)


def _importance(results: SearchResults, cell: str, seed: int) -> Importance:
    trials = [record for record in results.trials_by_cell[cell] if record.state is State.COMPLETE]
    names = _searched(results, trials)
    if len(trials) < MIN_TRIALS:
        reason = f"{len(trials)} complete trials, {MIN_TRIALS} are needed"
        return Importance(cell=cell, num_trials=len(trials), shares=(), reason=reason)
    if len(names) < 2:
        return Importance(cell=cell, num_trials=len(trials), shares=(), reason="fewer than two names were searched")
    study = _study(results, trials, names)
    evaluator = FanovaImportanceEvaluator(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares = get_param_importances(study, evaluator=evaluator, params=names)
    return Importance(cell=cell, num_trials=len(trials), shares=tuple(shares.items()))


def _searched(results: SearchResults, trials: Sequence[Record]) -> list[str]:
    """Names that every trial of a cell has, and not all with the same value."""
    found = []
    for name, domain in results.spec.parameters.items():
        chosen = [getattr(record.spec.configuration, name) for record in trials]
        if not isinstance(domain, Fixed) and None not in chosen and len(set(chosen)) > 1:
            found.append(name)
    return found


def _study(results: SearchResults, trials: Sequence[Record], names: Sequence[str]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = results.spec.search
    study = optuna.create_study(direction=search.directions[0], storage=optuna.storages.InMemoryStorage())
    distributions = {name: _distribution(results.spec.parameters[name]) for name in names}
    for record in trials:
        params = {name: getattr(record.spec.configuration, name) for name in names}
        value = trial_values(record, search)[0]
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    return study


def _distribution(domain: Domain) -> BaseDistribution:
    match domain:
        case Choice():
            return CategoricalDistribution(list(domain.choice))
        case IntRange():
            last = domain.values()[-1]
            return IntDistribution(domain.bounds[0], last, step=domain.step, log=domain.log)
        case FloatRange():
            return FloatDistribution(*domain.bounds, log=domain.log)
        case Fixed():
            raise AssertionError("a fixed value is not searched")
