"""Importance of each searched hyperparameter within a cell, by Optuna's fANOVA evaluator."""

import random
import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.objectives import trial_values
from lkca_search.records.record import Record, State
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange

EVALUATOR = "fANOVA"
"""Name of the evaluator (Hutter et al. 2014, An Efficient Approach for Assessing Hyperparameter Importance).

It is set explicitly because Optuna's default differs between versions.
"""
MIN_TRIALS = 10
"""Complete trials that a cell needs for importances."""
MAX_TRIALS = 200
"""Complete trials of a cell that are used; of more, these are drawn at random, since the time of fANOVA grows
faster than their number."""


class Importance(FrozenModel):
    """Importances of one cell, or the reason why there are none."""

    cell: str
    num_trials: int
    """Number of complete trials. Pruned trials do not count, so a pruner biases the importances."""
    num_used: int = 0
    """Number of these from which the importances are computed."""
    shares: tuple[tuple[str, float], ...]
    """Hyperparameters and the share of the variance that each explains, largest first."""
    reason: str | None = None
    """Reason why there are no importances; None if there are."""


def compute_importances(results: SearchResults, *, seed: int) -> tuple[Importance, ...]:
    """Return the importance of every searched hyperparameter for the leading metric, per cell."""
    return tuple(_importance(results, cell.key, seed) for cell in results.cells)


def _importance(results: SearchResults, cell: str, seed: int) -> Importance:
    trials = [record for record in results.trials_by_cell[cell] if record.state is State.COMPLETE]
    names = _varied_names(results, trials)
    if len(trials) < MIN_TRIALS:
        reason = f"{len(trials)} complete trials, {MIN_TRIALS} are needed"
        return Importance(cell=cell, num_trials=len(trials), shares=(), reason=reason)
    if len(names) < 2:
        reason = "fewer than two hyperparameters were searched"
        return Importance(cell=cell, num_trials=len(trials), shares=(), reason=reason)
    used = trials
    if len(trials) > MAX_TRIALS:
        used = random.Random(derive_seed(seed, "importance", cell)).sample(trials, MAX_TRIALS)
    study = _study(results, used, names)
    evaluator = FanovaImportanceEvaluator(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            shares = get_param_importances(study, evaluator=evaluator, params=names)
        except RuntimeError:  # fANOVA: zero total variance in all trees
            reason = f"the complete trials do not differ in {results.metric.label}"
            return Importance(cell=cell, num_trials=len(trials), shares=(), reason=reason)
    return Importance(cell=cell, num_trials=len(trials), num_used=len(used), shares=tuple(shares.items()))


def _varied_names(results: SearchResults, trials: Sequence[Record]) -> list[str]:
    """Return the hyperparameters that all trials of a cell have, with at least two values among them."""
    varied = []
    for name, domain in results.spec.parameters.items():
        values = [getattr(record.spec.configuration, name) for record in trials]
        if not isinstance(domain, Fixed) and None not in values and len(set(values)) > 1:
            varied.append(name)
    return varied


def _study(results: SearchResults, trials: Sequence[Record], names: Sequence[str]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = results.spec.search
    study = optuna.create_study(direction=results.metric.direction, storage=optuna.storages.InMemoryStorage())
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
