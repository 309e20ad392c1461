"""Inspections of the replicates of one cell, as arrays by draw and seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import Position, SearchResults
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.records.inspection.inspection import Inspection, LayerMaps
from lkca_search.records.inspection.measures import FieldMeasures, LayerMeasures, measure_field, measure_layer
from lkca_search.records.record import Record
from lkca_search.spec.configuration import Configuration


@dataclass(frozen=True, kw_only=True, eq=False)
class InspectedCell:
    """Scores of a cell with the inspections of its replicates."""

    scores: CellScores
    inspections: Mapping[Position, Inspection]
    """Inspection of each replicate that has one."""
    configurations: tuple[Configuration, ...]
    """Complete configurations of the replicates, without repetition."""
    num_without: int
    """Tested replicates without an inspection."""

    @property
    def num_layers(self) -> int:
        """Most layers of a replicate that mix tokens by weights."""
        return max((len(each.layers) for each in self.inspections.values()), default=0)

    def layers(self, number: int) -> dict[Position, LayerMaps]:
        """Return a layer, counted from 0, of each replicate that has it."""
        return {
            position: each.layers[number] for position, each in self.inspections.items() if number < len(each.layers)
        }

    @cached_property
    def layer_measures(self) -> dict[Position, tuple[LayerMeasures, ...]]:
        """Measures of all layers of each replicate."""
        return {position: tuple(map(measure_layer, each.layers)) for position, each in self.inspections.items()}

    @cached_property
    def field_measures(self) -> dict[Position, FieldMeasures]:
        """Measures of the receptive field of each replicate that has one."""
        return {
            position: measure_field(each.receptive_field)
            for position, each in self.inspections.items()
            if each.receptive_field is not None
        }

    def layer_values(self, number: int, value: Callable[[LayerMeasures], float]) -> Floats:
        """Return a value of a layer, counted from 0, by draw and seed, (draws, seeds); NaN where it is missing."""
        return self._array(
            {
                position: value(measures[number])
                for position, measures in self.layer_measures.items()
                if number < len(measures)
            }
        )

    def mean_values(self, value: Callable[[LayerMeasures], float]) -> Floats:
        """Return the mean of a value over the layers with weights, (draws, seeds); NaN where it is missing."""
        found = {}
        for position, measures in self.layer_measures.items():
            finite = [each for each in map(value, measures) if np.isfinite(each)]
            found[position] = float(np.mean(finite)) if finite else np.nan
        return self._array(found)

    def field_values(self, value: Callable[[FieldMeasures], float]) -> Floats:
        """Return a value of the receptive fields, (draws, seeds); NaN where it is missing."""
        return self._array({position: value(measures) for position, measures in self.field_measures.items()})

    def _array(self, values: Mapping[Position, float]) -> Floats:
        array = np.full(self.scores.test_values.shape, np.nan)
        for position, value in values.items():
            array[position] = value
        return array

    def radius(self, values: Floats, *, maximum: float) -> Estimate | None:
        """Return the mean of a radius, (draws, seeds), with its t interval over units; None if all are missing.

        No radius is larger than `maximum`, so no interval is.
        """
        return self._mean(values, maximum=maximum)

    @cached_property
    def longest_tokens(self) -> float:
        """Largest distance from the center of a map of any layer, in tokens."""
        return max((each.longest for found in self.layer_measures.values() for each in found), default=0.0)

    @cached_property
    def longest_sides(self) -> float:
        """The same in sides of the grid."""
        distances = (each.longest / each.side for found in self.layer_measures.values() for each in found)
        return max(distances, default=0.0)

    @cached_property
    def longest_pixels(self) -> float:
        """Largest distance from the center of a receptive field, in pixels."""
        return max((each.longest for each in self.field_measures.values()), default=0.0)

    def share(self, values: Floats) -> Estimate | None:
        """Return the mean of a share from 0 to 1, (draws, seeds), in percent with its t interval over units.

        The interval on the scale of log odds, as of accuracies, is far too wide for the tiny shares near the center.
        """
        return self._mean(PERCENT * values, maximum=PERCENT)

    def _mean(self, values: Floats, *, maximum: float) -> Estimate | None:
        """Return the mean with an interval within 0 and a maximum; None if all values are missing."""
        if not np.isfinite(values).any():
            return None
        means = self.scores.unit_means(values)
        tolerance = RELATIVE_TOLERANCE * float(np.abs(means).max())
        return student_mean(means, tolerance=tolerance).within(0.0, maximum)


def inspected_cells(results: SearchResults, scores: RoundScores) -> tuple[InspectedCell, ...]:
    """Return all cells of a round with the inspections of their replicates, in the order of the space file."""
    return tuple(_inspected_cell(results, scores, cell) for cell in scores.cells)


def _inspected_cell(results: SearchResults, scores: RoundScores, cell: CellScores) -> InspectedCell:
    inspections: dict[Position, Inspection] = {}
    configurations: list[Configuration] = []
    num_without = 0
    for position, record in results.tested(scores.round, cell.picks):
        if (configuration := _configuration(record)) not in configurations:
            configurations.append(configuration)
        if record.trial_id in results.inspections:
            inspections[position] = results.inspections[record.trial_id]
        else:
            num_without += 1
    return InspectedCell(
        scores=cell,
        inspections=inspections,
        configurations=tuple(configurations),
        num_without=num_without,
    )


def _configuration(record: Record) -> Configuration:
    """Return the complete configuration of a replicate, without its draw."""
    description = record.facts.description if record.facts else None
    configuration = description.configuration if description else record.spec.configuration
    return configuration.model_copy(update={"draw": 0})
