"""Radii, profiles and trends over draws: planted spreads are found, with the intervals of the project's estimators."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.kernels.kernel_analysis import KernelAnalysis, analyze_kernels
from lkca_search.analysis.kernels.trend import slope_per_tenfold
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.student import NO_SPREAD, student_mean
from lkca_search.records.inspection.measures import measure_layer
from tests.support.inspections import Spread, make_inspection, with_inspections
from tests.support.search_results import FRACTIONS, law, make_search_results

ROOT_LN_10 = math.sqrt(math.log(10))


def analyze(results: SearchResults) -> KernelAnalysis:
    return analyze_kernels(results, round_scores(results, results.rounds[-1]))


def spread_of(*, slope: float = 0.0, noise: float = 0.1) -> Spread:
    def spread(family: str, images: int, draw: int, seed: int, layer: int) -> float:
        own = np.random.default_rng([images, draw, seed, layer, len(family)]).normal(0, noise)
        return float(1.5 + layer + slope * math.log10(images / 360) + own)

    return spread


def test_the_radius_of_a_cell_is_the_mean_over_draws_of_the_means_over_seeds() -> None:
    results = with_inspections(make_search_results(law()), spread_of())
    analysis = analyze(results)
    assert len(analysis.cells) == 2 * len(FRACTIONS)
    cell = analysis.cells[0]
    by_draw: dict[int, list[float]] = {}
    for record in results.replicates:
        if record.facts and record.facts.num_train_images == cell.num_train_images and record.replicate:
            if record.spec.configuration.family == "lkca":
                first = results.inspections[record.trial_id].layers[0]
                by_draw.setdefault(record.replicate.draw, []).append(measure_layer(first).radius)
    expected = student_mean(np.array([np.mean(values) for values in by_draw.values()]))
    radius = cell.layers[0].radius
    assert radius is not None
    assert radius.value == pytest.approx(expected.value)
    assert radius.interval is not None
    assert expected.interval is not None
    assert radius.interval.upper == pytest.approx(expected.interval.upper)
    assert radius.value == pytest.approx(1.5 * ROOT_LN_10, abs=0.4)


def test_both_signs_of_a_kernel_have_one_mean() -> None:
    """Every second replicate of lkca has its kernels negated."""
    for cell in analyze(with_inspections(make_search_results(law()), spread_of())).cells:
        for layer in cell.layers:
            assert layer.mean is not None
            assert layer.mean.values[7, 7] > 0
            assert layer.mean.agreement is not None
            assert layer.mean.agreement > 0.95


@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_a_planted_trend_is_found_and_none_where_there_is_none(slope: float) -> None:
    analysis = analyze(with_inspections(make_search_results(law()), spread_of(slope=slope)))
    trend = next(each for each in analysis.trends if each.variant == "lkca")
    assert (trend.quantity, trend.unit, len(trend.images)) == ("mean over layers", "tokens", len(FRACTIONS))
    assert not isinstance(trend.slope, NotEstimable)
    assert trend.slope.interval is not None
    assert trend.slope.value == pytest.approx(slope * ROOT_LN_10, abs=0.35)
    assert trend.slope.interval.contains(0) == (slope == 0)
    assert trend.differences == ()
    quantities = [each.quantity for each in analysis.trends if each.variant == "lkca"]
    assert quantities == ["mean over layers", "layer 1", "layer 2", "receptive field"]


def test_the_profile_grows_to_100_percent_and_lies_in_its_intervals() -> None:
    cell = analyze(with_inspections(make_search_results(law()), spread_of())).cells[0]
    values = [estimate.value for estimate in cell.profile]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(100)
    assert len(cell.flat_profile) == len(values)
    for estimate in cell.profile[:3]:
        assert estimate.interval is not None
        assert estimate.interval.contains(estimate.value)


def test_a_single_draw_has_radii_without_intervals_and_slopes_without_intervals() -> None:
    analysis = analyze(with_inspections(make_search_results(law(), draws=1), spread_of(slope=0.5)))
    assert analysis.cells[0].radius is not None
    assert analysis.cells[0].radius.interval is None
    slope = analysis.trends[0].slope
    assert not isinstance(slope, NotEstimable)
    assert slope.interval is None


def test_a_single_size_has_no_trend() -> None:
    analysis = analyze(with_inspections(make_search_results(law(), fractions=(0.1,)), spread_of()))
    assert all(isinstance(trend.slope, NotEstimable) for trend in analysis.trends)


def test_a_family_without_weights_between_tokens_has_a_receptive_field_alone() -> None:
    analysis = analyze(with_inspections(make_search_results(law(), families=("lkca", "resnet")), spread_of()))
    cells = [cell for cell in analysis.cells if cell.variant.label == "resnet"]
    assert all(cell.layers == () and cell.radius is None and cell.field_radius is not None for cell in cells)
    assert [trend.quantity for trend in analysis.trends if trend.variant == "resnet"] == ["receptive field"]


def test_kernels_without_weights_have_no_radius_and_their_layer_is_left_out_of_the_mean() -> None:
    results = with_inspections(make_search_results(law()), spread_of())
    zeroed = {}
    for replicate, inspection in results.inspections.items():
        first, *rest = inspection.layers
        empty = replace(first, weights=0 * first.weights, energy=0 * first.energy, mass=0 * first.mass)
        zeroed[replicate] = replace(inspection, layers=(empty, *rest))
    for cell in analyze(replace(results, inspections=zeroed)).cells:
        assert (cell.layers[0].radius, cell.layers[0].mean) == (None, None)
        assert cell.radius is not None
        assert cell.layers[1].radius is not None
        assert cell.radius.value == pytest.approx(cell.layers[1].radius.value)


def test_replicates_of_two_kernel_sizes_or_grids_have_radii_and_no_mean_map() -> None:
    results = with_inspections(make_search_results(law(), fractions=(0.1,)), spread_of())
    mixed = {}
    for replicate, inspection in results.inspections.items():
        layers = tuple(
            replace(layer, weights=layer.weights[:, 4:11, 4:11], energy=layer.energy[4:11, 4:11])
            if replicate.endswith("seed=1")
            else layer
            for layer in inspection.layers
        )
        mixed[replicate] = replace(inspection, layers=layers)
    cell = analyze(replace(results, inspections=mixed)).cells[0]
    assert cell.layers[0].mean is None
    assert cell.layers[0].radius is not None
    assert cell.layers[0].sizes == ((15, 15), (7, 7))
    assert cell.flat_profile == ()


def test_replicates_without_an_inspection_are_counted() -> None:
    results = with_inspections(make_search_results(law()), spread_of())
    kept = dict(list(results.inspections.items())[3:])
    analysis = analyze(replace(results, inspections=kept))
    assert analysis.num_without == 3
    nothing = analyze(replace(results, inspections={}))
    assert (nothing.cells, nothing.num_without) == ((), len(results.inspections))


def test_the_slope_is_that_of_a_line_in_the_logarithm_per_draw() -> None:
    images = [100, 1000, 10_000]
    values = [np.array([[1.0, 1.2], [2.0, np.nan]]), np.array([[2.1, 2.1], [4.0, 4.0]]), np.array([[3.1, 3.1], [6, 6]])]
    slope = slope_per_tenfold(images, values)
    assert slope.value == pytest.approx((1.0 + 2.0) / 2)
    equal = slope_per_tenfold(images, [np.full((2, 1), level) for level in (1.0, 2.0, 3.0)])
    assert (equal.value, equal.reason) == (pytest.approx(1.0), NO_SPREAD)


def test_no_interval_of_a_slope_is_steeper_than_a_line_through_possible_values() -> None:
    images, values = [100, 1000], [np.array([[0.0], [3.0]]), np.array([[3.0], [0.5]])]
    assert slope_per_tenfold(images, values).interval != slope_per_tenfold(images, values, maximum=4.0).interval
    interval = slope_per_tenfold(images, values, maximum=4.0).interval
    assert interval is not None
    assert (interval.lower, interval.upper) == (-4.0, 4.0)


def test_a_made_inspection_has_the_planted_radius() -> None:
    (layer,) = make_inspection((2.0,)).layers
    assert measure_layer(layer).radius == pytest.approx(2 * ROOT_LN_10, abs=0.4)
    assert measure_layer(layer).mass_radius == pytest.approx(2 * math.sqrt(2) * ROOT_LN_10, abs=0.4)
