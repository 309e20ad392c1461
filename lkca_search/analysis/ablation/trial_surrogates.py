"""Surrogates of the trials of one family, one per size of the data, fitted on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.ablation.levels import is_binned, position
from lkca_search.analysis.ablation.observations import DataSize, Observation
from lkca_search.analysis.ablation.surrogate import Term, indicator_term, sample_coefficients, smooth_term
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.record import Record
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Domain, Fixed, FloatRange, IntRange

MIN_DEGREES = 5
"""Complete trials, less the number of blocks, that a surrogate needs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """Posterior samples of a surrogate."""

    rows: dict[str, int]
    """Row of each trial in the features, by trial id."""
    terms: dict[str, Term]
    coefficients: dict[str, Floats]
    """Coefficients of each hyperparameter, (samples, m)."""


class TrialSurrogates:
    """Surrogates of the complete trials of one family.

    Trials of different cells may differ by a constant, so a surrogate uses differences within cells. For a factor, the
    constant belongs to the levels of all other factors.
    """

    def __init__(
        self,
        results: SearchResults,
        trials: Sequence[Record],
        sizes: Mapping[str, DataSize],
        generator: np.random.Generator,
    ) -> None:
        """Make the surrogates of `trials`, the complete trials of one family; `sizes` are by trial id."""
        self._results = results
        self._trials = trials
        self._sizes = sizes
        self._generator = generator
        self._fits: dict[tuple[DataSize, str | None], _Fit] = {}

    def level_effects(self, name: str, observations: Sequence[Observation]) -> Floats:
        """Return posterior samples of the effect of each level, (samples, levels), up to a constant per sample.

        The observations are of one size. The effect of a bin is the mean over its trials.

        Raises:
            NotEstimable: There are too few trials or levels, or all trials have the same value.
        """
        levels = sorted({observation.level.index for observation in observations})
        if len(levels) < 2:
            raise NotEstimable("a single level was tried")
        fit = self._find_fit(observations[0].size, name if name in self._results.spec.factors else None)
        features = fit.terms[name].features
        means = [
            np.mean([features[fit.rows[each.trial_id]] for each in observations if each.level.index == index], axis=0)
            for index in levels
        ]
        effects: Floats = fit.coefficients[name] @ np.stack(means).T
        return effects

    def _find_fit(self, size: DataSize, factor: str | None) -> _Fit:
        key = size, factor
        if key not in self._fits:
            at_size = [record for record in self._trials if self._sizes[record.trial_id] == size]
            self._fits[key] = self._fit(at_size, factor)
        return self._fits[key]

    def _fit(self, trials: Sequence[Record], factor: str | None) -> _Fit:
        cells = {cell.key: cell for cell in self._results.cells}
        blocks = [
            tuple((name, level) for name, level in cells[record.cell].levels.items() if name != factor)
            for record in trials
        ]
        distinct = list(dict.fromkeys(blocks))
        indices = np.array([distinct.index(block) for block in blocks])
        values = np.array([self._results.metric_value(record) for record in trials])
        if len(trials) < len(distinct) + MIN_DEGREES:
            raise NotEstimable(f"{len(trials)} complete trials, {len(distinct) + MIN_DEGREES} are needed")
        terms = self._terms(trials, factor)
        samples = sample_coefficients(values, indices, list(terms.values()), self._generator)
        return _Fit(
            rows={record.trial_id: row for row, record in enumerate(trials)},
            terms=terms,
            coefficients=dict(zip(terms, samples, strict=True)),
        )

    def _terms(self, trials: Sequence[Record], factor: str | None) -> dict[str, Term]:
        """Return the terms of all searched hyperparameters with at least two values, and of the factor."""
        domains: dict[str, Domain | None] = {factor: None} if factor else {}
        domains |= dict(self._results.spec.parameters)
        terms = {}
        for name, domain in domains.items():
            values = [getattr(record.spec.configuration, name) for record in trials]
            if not isinstance(domain, Fixed) and len(set(values)) > 1:
                terms[name] = _term(values, domain)
        return terms


def _term(values: Sequence[Scalar | None], domain: Domain | None) -> Term:
    """Return the term of a hyperparameter; None is a value of its own, for trials that lack the hyperparameter."""
    if isinstance(domain, IntRange | FloatRange) and is_binned(domain):
        positions = np.array([np.nan if value is None else position(value, domain) for value in values])
        return smooth_term(positions)
    distinct = list(dict.fromkeys(values))
    return indicator_term(np.array([distinct.index(value) for value in values]))
