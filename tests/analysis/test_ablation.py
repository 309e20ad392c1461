"""Ablations, importances and Pareto fronts find known effects in trials on validation images."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from lkca_search.analysis.ablation import Ablation, compute_ablations
from lkca_search.analysis.importance import EVALUATOR, compute_importances
from lkca_search.analysis.pareto import cost_front, cost_points
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State
from tests.support.records import make_result
from tests.support.search_results import images_of, law, make_search_results

SIZES = (0.02, 0.1, 0.5)
PARAMETERS = {
    "patch_size": {"value": 2},
    "kernel_size": {"choice": (3, 5, 7), "when": {"family": ("lkca",)}},
    "depth": {"int": (2, 4)},
    "learning_rate": {"float": (1e-4, 1e-2), "log": True},
}
Truth = Callable[[Mapping[str, Any], int, np.random.Generator], float]
"""Validation accuracy by configuration, training images and random generator."""


def searched(truth: Truth, *, trials: int = 12, seed: int = 0) -> SearchResults:
    """Return a search with random values of every hyperparameter and accuracies by a known rule."""
    generator = np.random.default_rng(seed)
    results = make_search_results(
        None, fractions=SIZES, trials=trials, parameters=PARAMETERS, search={"trials_per_cell": trials}
    )
    made = [_draw(record, truth, generator) for record in results.trials]
    return SearchResults(name="made", spec=results.spec, trials=made, replicates=[], rounds=[])


def _draw(record: Record, truth: Truth, generator: np.random.Generator) -> Record:
    given = record.spec.configuration
    chosen = {
        "kernel_size": int(generator.choice([3, 5, 7])) if given.family == "lkca" else None,
        "depth": 2 + record.number % 3,
        "learning_rate": float(10 ** generator.uniform(-4, -2)),
    }
    configuration = given.model_copy(update=chosen)
    accuracy = truth(configuration.model_dump(), images_of(configuration), generator)
    spec = record.spec.model_copy(update={"configuration": configuration})
    curve = (make_result(10, accuracy / 2), make_result(20, accuracy))
    return record.model_copy(update={"spec": spec, "curve": curve, "value": accuracy})


def base_accuracy(images: int) -> float:
    return 0.3 + 0.04 * float(np.log(images))


def find(found: tuple[Ablation, ...], family: str, name: str) -> Ablation:
    (ablation,) = (each for each in found if (each.family, each.hyperparameter) == (family, name))
    return ablation


def ablate(results: SearchResults) -> tuple[Ablation, ...]:
    return compute_ablations(results, generator=np.random.default_rng(1))


def test_an_effect_is_separated_from_that_of_the_number_of_images() -> None:
    results = searched(lambda chosen, images, _: base_accuracy(images) + 0.05 * (chosen["depth"] - 3))
    effects = {effect.level.label: effect for effect in find(ablate(results), "lkca", "depth").effects}
    assert {label: effect.effect.value for label, effect in effects.items()} == pytest.approx({"2": -5, "3": 0, "4": 5})
    assert effects["4"].difference_from_reference is not None
    assert effects["4"].difference_from_reference.value == pytest.approx(10)
    assert effects["2"].difference_from_reference is None
    assert {effect.num_blocks for effect in effects.values()} == {len(SIZES)}
    assert {effect.num_trials for effect in effects.values()} == {12}


def test_effects_are_not_pooled_over_families() -> None:
    results = searched(
        lambda chosen, images, _: (
            base_accuracy(images) + (0.05 if chosen["family"] == "lkca" else -0.05) * (chosen["depth"] - 3)
        )
    )
    found = ablate(results)
    assert find(found, "lkca", "depth").effects[-1].effect.value == pytest.approx(5)
    assert find(found, "vit", "depth").effects[-1].effect.value == pytest.approx(-5)
    assert ("vit", "kernel_size") not in {(each.family, each.hyperparameter) for each in found}


def test_a_95_percent_interval_of_an_effect_covers_it_in_90_to_99_percent() -> None:
    covered, count = 0, 200
    for seed in range(count):
        noisy = searched(
            lambda chosen, images, generator: (
                base_accuracy(images) + 0.02 * (chosen["depth"] - 3) + generator.normal(0, 0.02)
            ),
            trials=6,
            seed=seed,
        )
        interval = find(ablate_depth(noisy), "lkca", "depth").effects[-1].effect.interval
        assert interval is not None
        covered += interval.contains(2.0)
    assert 0.90 <= covered / count <= 0.99


def ablate_depth(results: SearchResults) -> tuple[Ablation, ...]:
    """Return the ablation of depth alone: the bootstrap of the other hyperparameters is slow."""
    slim = [record for record in results.trials if record.spec.configuration.family == "lkca"]
    names = {"depth": results.spec.parameters["depth"]}
    spec = results.spec.model_copy(update={"parameters": names})
    return ablate(SearchResults(name="made", spec=spec, trials=slim, replicates=[], rounds=[]))


def test_many_distinct_numbers_are_grouped_into_bins_of_equal_counts() -> None:
    results = searched(lambda chosen, images, _: base_accuracy(images) + 0.01 * np.log10(chosen["learning_rate"]))
    effects = find(ablate(results), "lkca", "learning_rate").effects
    assert [effect.num_trials for effect in effects] == [12, 12, 12]
    values = [effect.effect.value for effect in effects]
    assert values == sorted(values)
    assert " to " in effects[0].level.label


def test_a_heat_map_entry_has_best_mean_half_width_and_number_of_its_trials() -> None:
    results = searched(lambda chosen, images, generator: base_accuracy(images) + generator.normal(0, 0.02))
    entries = find(ablate(results), "lkca", "depth").heat_map
    assert len(entries) == 3 * len(SIZES)
    for entry in entries:
        own = [
            100 * record.curve[-1].val_accuracy
            for record in results.trials
            if record.spec.configuration.family == "lkca"
            and record.spec.configuration.depth == int(entry.level.label)
            and images_of(record.spec.configuration) == entry.num_train_images
        ]
        assert (entry.best, entry.mean, entry.num_trials) == pytest.approx((max(own), np.mean(own), 4))
        assert entry.half_width == pytest.approx(3.182 * np.std(own, ddof=1) / 2, rel=1e-3)


def test_the_best_level_at_each_number_of_images_is_found() -> None:
    def truth(chosen: Mapping[str, Any], images: int, generator: np.random.Generator) -> float:
        target = {360: 2, 1800: 3, 9000: 4}[images]
        return base_accuracy(images) - 0.05 * abs(chosen["depth"] - target)

    best_levels = find(ablate(searched(truth)), "vit", "depth").best_levels
    assert [best_level.observed.label for best_level in best_levels] == ["2", "3", "4"]
    for place, best_level in enumerate(best_levels):
        assert sum(best_level.bootstrap_shares) == pytest.approx(1)
        assert best_level.bootstrap_shares[place] > 0.95
    flat = find(
        ablate(searched(lambda chosen, images, generator: generator.uniform(0.4, 0.6))), "vit", "depth"
    ).best_levels
    assert max(max(best_level.bootstrap_shares) for best_level in flat) < 0.95


def test_pruned_trials_do_not_count() -> None:
    results = searched(lambda chosen, images, _: base_accuracy(images) + 0.05 * (chosen["depth"] - 3))
    damaged = [
        record.model_copy(update={"state": State.PRUNED, "curve": record.curve[:1]})
        if record.number % 3 == 2
        else record
        for record in results.trials
    ]
    found = ablate(SearchResults(name="made", spec=results.spec, trials=damaged, replicates=[], rounds=[]))
    assert [level.label for level in find(found, "lkca", "depth").levels] == ["2", "3"]


def test_the_decisive_hyperparameter_is_the_most_important_and_ten_trials_are_needed() -> None:
    results = searched(lambda chosen, images, _: base_accuracy(images) + 0.05 * (chosen["depth"] - 3), trials=30)
    for each in compute_importances(results, seed=0):
        assert dict(each.shares)["depth"] > 0.9
        assert sum(share for _, share in each.shares) == pytest.approx(1)
    assert EVALUATOR == "fANOVA"
    few = compute_importances(searched(lambda chosen, images, _: 0.5, trials=6), seed=0)
    assert {each.reason for each in few} == {"6 complete trials, 10 are needed"}


def test_a_pareto_front_has_the_points_that_no_other_point_dominates() -> None:
    results = make_search_results(law())
    points = [
        point.model_copy(update={"num_parameters": size, "metric_value": accuracy})
        for point, (size, accuracy) in zip(
            cost_points(results),
            [(10, 50.0), (20, 49.0), (20, 60.0), (30, 60.0), (40, 70.0), (40, 65.0)],
            strict=False,
        )
    ]
    assert [(point.num_parameters, point.metric_value) for point in cost_front(points, "num_parameters")] == [
        (10, 50.0),
        (20, 60.0),
        (40, 70.0),
    ]


def test_levels_are_compared_with_the_base_of_a_one_at_a_time_design() -> None:
    factors = {"family": ("lkca",), "kernel_size": (3, 5, 7), "data_fraction": (0.1, 0.5)}
    changes: dict[str, Any] = {"design": "one_at_a_time", "base": {"kernel_size": 5}, "factors": factors}
    results = make_search_results(None, families=("lkca",), **changes)
    trials = []
    for record in results.trials:
        accuracy = {3: 0.4, 5: 0.5, 7: 0.7}[record.spec.configuration.kernel_size or 0]
        trials.append(record.model_copy(update={"curve": (make_result(20, accuracy),)}))
    found = find(
        ablate(SearchResults(name="made", spec=results.spec, trials=trials, replicates=[], rounds=[])),
        "lkca",
        "kernel_size",
    )
    assert found.reference.label == "5"
    differences = {effect.level.label: effect.difference_from_reference for effect in found.effects}
    assert differences["5"] is None
    assert {label: each.value for label, each in differences.items() if each} == pytest.approx({"3": -10, "7": 20})
