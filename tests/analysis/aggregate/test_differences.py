"""Numbers of the aggregate follow from the replicates of all datasets, each normalized by its own range."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from lkca_search.analysis.aggregate.aggregate import Aggregate, DatasetTests, compute_tests
from lkca_search.analysis.aggregate.dataset_scores import DatasetScores
from lkca_search.analysis.datasets import split_by_dataset
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from tests.support.dataset_results import CLASSES, DatasetAccuracy, make_dataset_results, normal

LEADS = {"cifar10": 0.04, "cifar100": 0.01, "tiny_imagenet": -0.02}
SIZES = {0.1: 1800, 0.5: 9000}


def compute_on(results: SearchResults) -> DatasetTests:
    parts = split_by_dataset(results)
    datasets = [
        DatasetScores(dataset=str(name), results=part, scores=round_scores(part, part.rounds[0]))
        for name, part in parts.items()
    ]
    return compute_tests(datasets, results.reference, alpha=results.rounds[0].alpha)


def aggregate_of(results: SearchResults) -> Aggregate:
    found = compute_on(results).aggregate
    assert isinstance(found, Aggregate)
    return found


def accuracies_of(results: SearchResults) -> dict[tuple[str, str, float, int, int], float]:
    """Return the test accuracy in percent by dataset, family, fraction, draw and seed, straight from the records."""
    return {
        (
            str(record.spec.configuration.dataset),
            record.spec.configuration.family,
            float(record.spec.configuration.data_fraction or 0),
            record.replicate.draw,
            record.replicate.seed,
        ): 100 * record.test.accuracy
        for record in results.replicates
        if record.test and record.replicate
    }


def ranges_of(results: SearchResults) -> dict[str, tuple[float, float]]:
    """Return chance and the best mean accuracy of a cell per dataset."""
    by_cell: dict[tuple[str, str, float], list[float]] = {}
    for key, value in accuracies_of(results).items():
        by_cell.setdefault(key[:3], []).append(value)
    return {
        name: (100 / CLASSES[name], max(np.mean(values) for key, values in by_cell.items() if key[0] == name))
        for name in CLASSES
    }


def test_the_range_of_a_dataset_is_from_chance_to_its_best_cell() -> None:
    results = make_dataset_results(normal(leads=LEADS))
    found = {each.dataset: (each.chance, each.best) for each in aggregate_of(results).ranges}
    assert found.keys() == CLASSES.keys()
    for name, ends in ranges_of(results).items():
        assert found[name] == pytest.approx(ends)


@pytest.mark.parametrize("size", [None, 0.1, 0.5])
def test_a_difference_is_the_trimmed_mean_of_normalized_draw_differences(size: float | None) -> None:
    results = make_dataset_results(normal(leads=LEADS))
    values, ranges = accuracies_of(results), ranges_of(results)
    expected = [
        100
        * np.mean(
            [values[name, "lkca", fraction, draw, seed] - values[name, "vit", fraction, draw, seed] for seed in (0, 1)]
        )
        / (ranges[name][1] - ranges[name][0])
        for name, fraction, draw in product(CLASSES, SIZES, range(1, 6))
        if size in (None, fraction)
    ]
    level = None if size is None else (size, None)
    (found,) = (each for each in aggregate_of(results).differences if each.size == level)
    assert found.num_values == len(expected)
    assert found.num_draws == (5, 5, 5)
    assert found.datasets == tuple(CLASSES)
    assert found.difference.value == pytest.approx(stats.trim_mean(expected, 0.25))


def test_the_probability_of_improvement_is_the_mean_over_datasets_and_sizes() -> None:
    results = make_dataset_results(normal(leads=LEADS))
    values = accuracies_of(results)
    tasks = [
        np.mean(
            [
                values[name, "lkca", fraction, draw, a] > values[name, "vit", fraction, draw, b]
                for draw, a, b in product(range(1, 6), (0, 1), (0, 1))
            ]
        )
        for name, fraction in product(CLASSES, SIZES)
    ]
    found = aggregate_of(results).differences[0].improvement
    assert found.value == pytest.approx(np.mean(tasks))
    assert found.interval is not None
    assert found.interval.contains(found.value)


def test_holm_is_over_all_contrasts_of_all_datasets_and_the_aggregate() -> None:
    results = make_dataset_results(normal(leads=LEADS), families=("lkca", "vit", "resnet"))
    found = compute_on(results)
    assert isinstance(found.aggregate, Aggregate)
    assert len(found.contrasts) == 3 * 2 * 2
    assert len(found.aggregate.differences) == 2 * (1 + 2)
    raw = [each.paired.p_value or 1.0 for each in found.contrasts]
    raw += [each.p_value or 1.0 for each in found.aggregate.differences]
    highest, expected = 0.0, {}
    for rank, index in enumerate(np.argsort(raw)):
        highest = max(highest, (len(raw) - rank) * raw[index])
        expected[index] = min(1.0, min(1.0, highest) * 0.05 / 0.04)
    adjusted = [each.adjusted_p for each in (*found.contrasts, *found.aggregate.differences)]
    assert adjusted == pytest.approx([expected[index] for index in range(len(raw))])


def test_contrasts_of_a_dataset_are_those_of_a_search_on_it_alone_except_for_the_correction() -> None:
    both = compute_on(make_dataset_results(normal(leads=LEADS)))
    for name in CLASSES:
        of_dataset = [each for each in both.contrasts if each.dataset == name]
        alone = compute_on(
            make_dataset_results(normal(leads=LEADS), datasets=(name, next(iter(CLASSES.keys() - {name}))))
        )
        same = [each for each in alone.contrasts if each.dataset == name]
        assert [each.paired for each in of_dataset] == [each.paired for each in same]
        assert {each.dataset for each in both.contrasts} == set(CLASSES)


def test_multiplying_the_accuracies_of_a_dataset_does_not_change_normalized_differences() -> None:
    """0 is chance, so a scale around chance cancels."""

    def scaled(dataset: str, family: str, images: int, draw: int, seed: int) -> float:
        value, chance = normal(leads=LEADS)(dataset, family, images, draw, seed) or 0.0, 1 / CLASSES[dataset]
        return chance + 0.5 * (value - chance) if dataset == "cifar10" else value

    one, other = (aggregate_of(make_dataset_results(accuracy)) for accuracy in (normal(leads=LEADS), scaled))
    for a, b in zip(one.differences, other.differences, strict=True):
        assert a.difference.value == pytest.approx(b.difference.value)


def test_no_interval_over_datasets_leaves_the_possible_values() -> None:
    """Two draws, of which one is perfect and one wrong, have t intervals of several ranges."""
    results = make_dataset_results(lambda name, family, images, draw, seed: float(draw % 2 or family == "vit"), draws=2)
    found = aggregate_of(results)
    widths = {each.dataset: each.best - each.chance for each in found.ranges}
    largest = max(100 * 100 / width for width in widths.values())
    lowest = min(-100 * each.chance / widths[each.dataset] for each in found.ranges)
    for each in found.differences:
        assert each.difference.interval is not None
        assert each.difference.interval.lower == pytest.approx(-largest)
    assert not isinstance(found.profiles, NotEstimable)
    interval = next(each.mean.interval for each in found.profiles if each.variant.label == "lkca")
    assert interval is not None
    assert (interval.lower, interval.upper) == (pytest.approx(lowest), pytest.approx(100))


def on(names: tuple[str, ...], family: str) -> Callable[[DatasetAccuracy], DatasetAccuracy]:
    """Return a change that leaves a family without replicates except on some datasets."""
    return lambda accuracy: lambda *key: None if key[1] == family and key[0] not in names else accuracy(*key)


def test_a_variant_on_one_dataset_only_has_the_reason() -> None:
    results = make_dataset_results(on(("cifar10",), "vit")(normal()), families=("lkca", "vit", "resnet"))
    found = aggregate_of(results)
    assert {each.other for each in found.differences} == {"resnet"}
    assert found.left_out == ("vit and lkca have pairs of replicates on cifar10 only",)
    assert isinstance(found.profiles, NotEstimable)


def test_a_variant_on_two_of_three_datasets_is_compared_on_these() -> None:
    results = make_dataset_results(on(("cifar10", "cifar100"), "vit")(normal()))
    assert {each.datasets for each in aggregate_of(results).differences} == {("cifar10", "cifar100")}


def test_one_dataset_with_scores_has_no_aggregate() -> None:
    found = compute_on(make_dataset_results(lambda *key: normal()(*key) if key[0] == "cifar100" else None))
    assert str(found.aggregate) == "an aggregate needs at least 2 datasets with test results, only cifar100 has"
    assert len(found.contrasts) == 2


def test_a_dataset_at_chance_has_no_range() -> None:
    found = compute_on(make_dataset_results(lambda *key: 0.1 if key[0] == "cifar10" else normal()(*key)))
    assert str(found.aggregate) == "no cell of cifar10 is better than chance, 10%"


def test_a_profile_is_the_share_of_trainings_above_a_normalized_accuracy() -> None:
    results = make_dataset_results(normal(leads=LEADS))
    values, ranges = accuracies_of(results), ranges_of(results)
    profiles = aggregate_of(results).profiles
    assert not isinstance(profiles, NotEstimable)
    assert [profile.variant.label for profile in profiles] == ["lkca", "vit"]
    for profile in profiles:
        scores = {
            name: [
                100 * (value - ranges[name][0]) / (ranges[name][1] - ranges[name][0])
                for key, value in values.items()
                if key[:2] == (name, profile.variant.label)
            ]
            for name in CLASSES
        }
        for threshold, share in zip(profile.thresholds, profile.shares, strict=True):
            expected = np.mean([np.mean(np.array(scores[name]) > threshold) for name in CLASSES])
            assert share == pytest.approx(100 * expected)
        assert profile.bounds is not None
        assert (profile.bounds[0] <= profile.shares).all()
        assert (profile.shares <= profile.bounds[1]).all()
        means = [
            np.mean(
                [
                    100 * (values[name, profile.variant.label, fraction, draw, seed] - low) / (high - low)
                    for seed in (0, 1)
                ]
            )
            for name, (low, high) in ranges.items()
            for fraction, draw in product(SIZES, range(1, 6))
        ]
        assert profile.mean.value == pytest.approx(stats.trim_mean(means, 0.25))


def test_only_tasks_with_scores_of_every_variant_count_in_profiles() -> None:
    accuracy = normal()
    results = make_dataset_results(lambda *key: None if key[:3] == ("cifar10", "vit", SIZES[0.5]) else accuracy(*key))
    profiles = aggregate_of(results).profiles
    assert not isinstance(profiles, NotEstimable)
    for profile in profiles:
        assert ("cifar10", (0.5, None)) not in profile.tasks
        assert len(profile.tasks) == 5


def test_a_loss_is_normalized_from_the_logarithm_of_the_classes_down_to_the_best_cell() -> None:
    results = make_dataset_results(normal(leads=LEADS), search={"trials_per_cell": 3, "metric": "val_loss"})
    accuracies = accuracies_of(results)
    replicates = [
        record.model_copy(update={"test": record.test.model_copy(update={"loss": 3.0 * (1 - record.test.accuracy)})})
        for record in results.replicates
        if record.test
    ]
    found = aggregate_of(replace(results, replicates=replicates))
    losses = {key: 3.0 * (1 - value / 100) for key, value in accuracies.items()}
    ranges = {}
    for name, number in CLASSES.items():
        cells = product(("lkca", "vit"), SIZES)
        best = min(np.mean([value for key, value in losses.items() if key[:3] == (name, *cell)]) for cell in cells)
        ranges[name] = math.log(number), best
    for each in found.ranges:
        assert (each.chance, each.best) == pytest.approx(ranges[each.dataset])
    expected = [
        100
        * np.mean([losses[name, "vit", size, draw, seed] - losses[name, "lkca", size, draw, seed] for seed in (0, 1)])
        / (ranges[name][0] - ranges[name][1])
        for name, size, draw in product(CLASSES, SIZES, range(1, 6))
    ]
    assert found.differences[0].difference.value == pytest.approx(stats.trim_mean(expected, 0.25))
    assert found.differences[0].improvement.value > 0.5
    assert min(cell.mean.value for cell in found.profiles if not isinstance(found.profiles, NotEstimable)) > 0


def test_a_metric_without_chance_has_the_reason() -> None:
    results = make_dataset_results(normal())
    search = results.spec.search.model_copy(update={"metric": "val_calibration_error", "goal": "minimize"})
    curves = [
        record.model_copy(
            update={
                "curve": tuple(
                    each.model_copy(update={"metrics": {"val_calibration_error": 0.1}}) for each in record.curve
                ),
                "test": record.test
                and record.test.model_copy(update={"metrics": {"calibration_error": 0.1 + record.test.accuracy / 10}}),
            }
        )
        for record in (*results.trials, *results.replicates)
    ]
    changed = replace(
        results,
        spec=results.spec.model_copy(update={"search": search}),
        trials=curves[: len(results.trials)],
        replicates=curves[len(results.trials) :],
    )
    found = compute_on(changed).aggregate
    assert str(found) == "validation calibration error has no value for chance, by which datasets could be normalized"
