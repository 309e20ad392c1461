"""Pruner that learns from learning curves: it stops a trial that will probably not be the best of its cell.

The gain from here to the end is predicted by Bayesian linear regression on the finished curves of the same study, with
the level so far as its input. The conjugate prior (normal, inverse gamma) gives a Student t distribution of the final
value in closed form, so a decision is a function of the reports alone, and few finished curves give a wide one. A
trial is stopped if its probability of a better final value than the best one is below a threshold. It must also be in
the worse half of the trials at its report: while all finished curves are bad, they predict that nothing gets better.

Sources: Domhan et al. 2015 (IJCAI) stop by this probability, from curves of parametric models;
Baker et al. 2017 (arXiv 1705.10823) predict the final value by regression on finished curves. Two packages learn the
prediction beforehand: ifBO (arXiv 2404.16795) downloads its weights when it runs, and LC-PFN (arXiv 2310.20447) needs
torch 1.11 or older.
"""

import math
from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtr

from lkca_search.spec.components import CURVES_MIN_PROBABILITY, CURVES_STARTUP_TRIALS, CURVES_WARMUP_SHARE

_LEVEL_SHARE = 0.25
"""Share of the reports so far whose mean is the level of a curve: single reports on few images are noisy."""
_PRIOR_DEGREES = 2.0
"""Degrees of freedom of the prior of the spread; it weighs as much as two finished curves."""
_PRIOR_SPREAD = 0.25
"""Spread of the gains under the prior, as a share of their mean."""
_SLOPE_DEVIATION = 0.5
"""Standard deviation of the change of the gain per unit of the level under the prior; its mean is 0."""
_MIN_VARIANCE = 1e-8

Curve = Sequence[float]
"""Values of one trial, one per report."""


class CurvePruner(BasePruner):
    """Pruner that stops a trial in the worse half whose predicted final value is probably not the best of its study."""

    def __init__(
        self,
        *,
        n_startup_trials: int = CURVES_STARTUP_TRIALS,
        warmup_share: float = CURVES_WARMUP_SHARE,
        min_probability: float = CURVES_MIN_PROBABILITY,
    ) -> None:
        """Create a pruner.

        Args:
            n_startup_trials: Complete trials before any trial is stopped, at least 1.
            warmup_share: Share of the reports of a whole trial before it is stopped.
            min_probability: Probability of a better final value than the best one, below which a trial is stopped.
        """
        if n_startup_trials < 1:
            raise ValueError(f"n_startup_trials must be at least 1, got {n_startup_trials}")
        if not 0 <= warmup_share <= 1:
            raise ValueError(f"warmup_share must be between 0 and 1, got {warmup_share}")
        if not 0 <= min_probability <= 1:
            raise ValueError(f"min_probability must be between 0 and 1, got {min_probability}")
        self._n_startup_trials = n_startup_trials
        self._warmup_share = warmup_share
        self._min_probability = min_probability

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return True if the trial is in the worse half so far, and will probably not be the best one of the study."""
        curve = _curve_of(trial)
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        finished = [values for each in ended if each.state is TrialState.COMPLETE and (values := _curve_of(each))]
        if len(finished) < self._n_startup_trials:
            return False
        if len(curve) <= self._warmup_share * max(map(len, finished)):
            return False
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        window = _window(len(curve))
        reached = [values for values in map(_curve_of, ended) if len(values) >= len(curve)]
        if reached and sign * _level(curve, window) > np.median([sign * _level(each, window) for each in reached]):
            return False
        return probability_of_best(curve, finished, sign=sign) < self._min_probability


def probability_of_best(curve: Curve, finished: Sequence[Curve], *, sign: float = 1.0) -> float:
    """Return the probability that the final value of a curve is better than all those of finished curves.

    Args:
        curve: Values of the trial so far.
        finished: Whole curves of other trials. One that has ended earlier stays at its last value.
        sign: 1 if larger values are better, -1 if smaller ones are.
    """
    window = _window(len(curve))
    level = sign * _level(curve, window)
    levels = sign * np.array([_level(values, window) for values in finished])
    finals = sign * np.array([values[-1] for values in finished])
    gains = finals - levels
    prior_variance = (_PRIOR_SPREAD * gains.mean()) ** 2 + _noise_variance(finished) + _MIN_VARIANCE
    stiffness = prior_variance / _SLOPE_DEVIATION**2
    deviations = levels - levels.mean()
    spread = stiffness + float(deviations @ deviations)
    slope = float(deviations @ (gains - gains.mean())) / spread
    residuals = gains - gains.mean() - slope * deviations
    degrees = _PRIOR_DEGREES + len(gains) - 1
    squares = _PRIOR_DEGREES * prior_variance + float(residuals @ residuals) + stiffness * slope**2
    distance = level - float(levels.mean())
    predicted = level + float(gains.mean()) + slope * distance
    scale = math.sqrt(squares / degrees * (1 + 1 / len(gains) + distance**2 / spread))
    return float(stdtr(degrees, (predicted - float(finals.max())) / scale))


def _window(reports: int) -> range:
    """Return the indices of the reports whose mean is the level after `reports` of them."""
    return range(reports - max(1, round(_LEVEL_SHARE * reports)), reports)


def _level(values: Curve, window: range) -> float:
    return float(np.mean([values[min(i, len(values) - 1)] for i in window]))


def _noise_variance(finished: Sequence[Curve]) -> float:
    """Return the variance of single reports, from the differences of neighbors in the second halves of the curves."""
    differences = np.concatenate([np.diff(values[len(values) // 2 :]) for values in finished])
    return float(np.mean(differences**2)) / 2 if len(differences) else 0.0


def _curve_of(trial: FrozenTrial) -> list[float]:
    """Return the values of a trial by report; empty if one is not finite."""
    values = [trial.intermediate_values[index] for index in sorted(trial.intermediate_values)]
    return values if np.isfinite(values).all() else []
