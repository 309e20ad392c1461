"""Sampler that learns from failed trials: their configurations are infeasible.

Optuna's samplers leave out failed trials, and may suggest their neighbors again and again. TPE has a place for trials
that break a constraint: the group of worse trials, whatever their values. This sampler shows it the failed trials
there. No value is made up for them.
"""

from collections.abc import Container, Sequence
from copy import copy
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

_CONSTRAINT = "trained"
"""Name of the constraint that a failed trial breaks."""
_BETTER_SHARE = 0.1
"""Share of the trials that TPE puts into the group of better ones, rounded up."""


class InfeasibleFailures(BaseSampler):
    """Sampler that passes the failed trials of a study to another sampler, as trials that break a constraint."""

    def __init__(self, sampler: BaseSampler, failed: Container[int]) -> None:
        """Take the other sampler, and the numbers of the failed trials whose configurations are at fault."""
        self._sampler = sampler
        self._failed = failed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the search space of the other sampler."""
        return self._sampler.infer_relative_search_space(self._show(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values of the other sampler."""
        return self._sampler.sample_relative(self._show(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of the other sampler."""
        return self._sampler.sample_independent(self._show(study), trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Prepare the other sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Complete the work of the other sampler."""
        self._sampler.after_trial(study, trial, state, values)

    def _show(self, study: Study) -> Any:
        return _StudyWithFailures(study, self._failed)


class _StudyWithFailures:
    """Study in which failed trials count as pruned, and break a constraint."""

    def __init__(self, study: Study, failed: Container[int]) -> None:
        self._study = study
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy=deepcopy, states=states, use_cache=use_cache)
        if states is None or TrialState.PRUNED not in states:
            return trials
        every = self._study._get_trials(deepcopy=False, states=(TrialState.FAIL,), use_cache=use_cache)
        failed = [_as_infeasible(trial) for trial in every if trial.number in self._failed]
        num_feasible = sum(trial.state.is_finished() for trial in trials)
        if num_feasible < _BETTER_SHARE * (num_feasible + len(failed)) + 1:
            return trials  # failed trials would fill up the group of better ones
        return sorted((*trials, *failed), key=lambda trial: trial.number)


def _as_infeasible(trial: FrozenTrial) -> FrozenTrial:
    infeasible = copy(trial)
    infeasible.state = TrialState.PRUNED
    infeasible.system_attrs = dict(trial.system_attrs)
    infeasible.set_constraint(_CONSTRAINT, 1.0)
    return infeasible
