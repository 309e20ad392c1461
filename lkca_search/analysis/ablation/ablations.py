"""Results on each hyperparameter per family: effects, heat map and best level.

Kernel size, depth and width mean different things in different families, so nothing is pooled over families.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.ablation.best_level import BestLevel, best_of_replicates, best_of_trials
from lkca_search.analysis.ablation.effects import MarginalEffect, marginal_effects
from lkca_search.analysis.ablation.levels import ParameterLevel, format_level
from lkca_search.analysis.ablation.observations import DataSize, Observation, assign_sizes, distinct_levels, observe
from lkca_search.analysis.ablation.trial_surrogates import TrialSurrogates
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE
from lkca_search.records.record import State
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import SUBSET_NAMES


class HeatMapEntry(FrozenModel):
    """Trials with one level and one size of the data; values in the unit of the metric."""

    family: str
    hyperparameter: str
    level: ParameterLevel
    size: DataSize
    best: float
    mean: float
    deviation: float | None
    """Standard deviation of the trials, which differ in their other hyperparameters; None for one trial."""
    num_trials: int


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """All results on one hyperparameter in one family."""

    family: str
    hyperparameter: str
    metric: str
    """Leading metric of the search; its direction decides which trial is best."""
    levels: tuple[ParameterLevel, ...]
    reference: ParameterLevel
    """Level that the others are compared with: the base level of a factor, else the smallest level that was tried."""
    effects: tuple[MarginalEffect, ...]
    heat_map: tuple[HeatMapEntry, ...]
    best_levels: tuple[BestLevel, ...]


def compute_ablations(
    results: SearchResults, scores: RoundScores | None, *, generator: np.random.Generator
) -> tuple[Ablation, ...]:
    """Return one ablation per family and hyperparameter with at least two levels among the family's complete trials.

    `scores` of a round decide which level of a crossed factor is best; without them, the trials do.
    """
    names = [name for name in (*results.spec.factors, *results.spec.parameters) if name not in SUBSET_NAMES]
    complete = [record for record in results.trials if record.state is State.COMPLETE and record.facts]
    sizes = assign_sizes(results, complete)
    ablations = []
    for family in dict.fromkeys(record.spec.configuration.family for record in complete):
        trials = [record for record in complete if record.spec.configuration.family == family]
        surrogates = TrialSurrogates(results, trials, sizes, generator)
        for name in names:
            observations = [] if name == "family" else observe(results, name, trials, sizes)
            levels = distinct_levels(observations)
            if len(levels) < 2:
                continue
            base = format_level(results.base_levels[name]) if name in results.base_levels else None
            reference = next((level for level in levels if level.label == base), levels[0])
            tolerance, sign = RELATIVE_TOLERANCE * results.metric.scale, results.metric.sign
            cells = [cell for cell in scores.cells if cell.picks[0].configuration.family == family] if scores else []
            found = (
                best_of_replicates(cells, name, levels, sign=sign, generator=generator)
                if cells and name in results.spec.factors
                else best_of_trials(surrogates, name, observations, sign=sign)
            )
            ablations.append(
                Ablation(
                    family=family,
                    hyperparameter=name,
                    metric=results.metric_name,
                    levels=levels,
                    reference=reference,
                    effects=tuple(
                        marginal_effects(
                            family,
                            name,
                            reference,
                            observations,
                            results.spec.search,
                            tolerance=tolerance,
                            bounds=results.metric.difference_bounds,
                        )
                    ),
                    heat_map=tuple(_heat_map(family, name, observations, sign)),
                    best_levels=tuple(found),
                )
            )
    return tuple(ablations)


def _heat_map(family: str, name: str, observations: Sequence[Observation], sign: int) -> Iterator[HeatMapEntry]:
    groups: dict[tuple[int, int], list[Observation]] = defaultdict(list)
    for observation in observations:
        groups[observation.level.index, observation.size.smallest].append(observation)
    for _, group in sorted(groups.items()):
        values = np.array([observation.value for observation in group])
        yield HeatMapEntry(
            family=family,
            hyperparameter=name,
            level=group[0].level,
            size=group[0].size,
            best=float(values[(sign * values).argmax()]),
            mean=float(values.mean()),
            deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
            num_trials=len(values),
        )
