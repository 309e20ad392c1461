"""Ablations, importances and Pareto fronts find known effects in trials on validation images."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lkca_search.analysis.ablation.ablations import Ablation, compute_ablations
from lkca_search.analysis.ablation.best_level import BestLevel
from lkca_search.analysis.ablation.effects import MarginalEffect, marginal_effects
from lkca_search.analysis.ablation.levels import assign_levels
from lkca_search.analysis.ablation.observations import assign_sizes, distinct_levels, observe
from lkca_search.analysis.importance import EVALUATOR, compute_importances
from lkca_search.analysis.pareto import cost_front, cost_points
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State
from lkca_search.reporting.content import make_report
from lkca_search.reporting.sections.ablation import ablation_section
from lkca_search.reporting.sections.costs import importance_table
from lkca_search.reporting.values.figure import HeatMap
from lkca_search.reporting.values.metric_format import MetricFormat
from tests.support.records import make_result
from tests.support.search_results import images_of, law, make_search_results, make_spec

SIZES = (0.02, 0.1, 0.5)
PARAMETERS = {
    "patch_size": {"value": 2},
    "kernel_size": {"choice": (3, 5, 7), "when": {"family": ("lkca",)}},
    "depth": {"int": (2, 4)},
    "learning_rate": {"float": (1e-4, 1e-2), "log": True},
}
Truth = Callable[[Mapping[str, Any], int, np.random.Generator], float]
"""Validation accuracy by configuration, training images and random generator."""


def searched(
    truth: Truth, *, trials: int = 12, seed: int = 0, parameters: Mapping[str, Any] = PARAMETERS, **search: Any
) -> SearchResults:
    """Return a search with random values of every hyperparameter and accuracies by a known rule."""
    generator = np.random.default_rng(seed)
    results = make_search_results(
        None,
        fractions=SIZES,
        trials=trials,
        parameters=parameters,
        search={"trials_per_cell": trials, "sampler": "random", **search},
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
    return compute_ablations(results, None, generator=np.random.default_rng(1))


def top_probability(best: BestLevel) -> float:
    return max(probability or 0 for probability in best.probabilities)


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


def noisy(chosen: Mapping[str, Any], images: int, generator: np.random.Generator) -> float:
    return base_accuracy(images) + 0.02 * (chosen["depth"] - 3) + generator.normal(0, 0.02)


def test_a_95_percent_interval_over_trials_covers_the_effect_in_92_to_98_percent() -> None:
    covered, count = 0, 300
    for seed in range(count):
        effect = depth_effect(searched(noisy, trials=6, seed=seed))
        assert effect.unit == "trials"
        assert effect.effect.interval is not None
        covered += effect.effect.interval.contains(2.0)
    assert 0.92 <= covered / count <= 0.98


def test_a_95_percent_interval_over_repeats_covers_the_effect_in_92_to_98_percent() -> None:
    """Half of the noise is common to all trials and sizes of a repeat with one depth."""
    covered, count = 0, 150
    for seed in range(count):
        effect = depth_effect(searched(partial(noisy_repeat, seed), trials=3, seed=seed, repeats=5))
        assert effect.unit == "repeats"
        assert effect.effect.interval is not None
        covered += effect.effect.interval.contains(2.0)
    assert 0.90 <= covered / count <= 0.99


def noisy_repeat(seed: int, chosen: Mapping[str, Any], images: int, generator: np.random.Generator) -> float:
    common = np.random.default_rng([seed, chosen["draw"], chosen["depth"]]).normal(0, 0.02)
    return noisy(chosen, images, generator) + float(common)


def depth_effect(results: SearchResults) -> MarginalEffect:
    """Return the effect of the largest depth in lkca, from trials of lkca alone."""
    slim = [record for record in results.trials if record.spec.configuration.family == "lkca"]
    observations = observe(results, "depth", slim, assign_sizes(results, slim))
    reference = distinct_levels(observations)[0]
    return list(
        marginal_effects(
            "lkca", "depth", reference, observations, results.spec.search, tolerance=1e-9, bounds=(-100.0, 100.0)
        )
    )[-1]


def test_data_sizes_are_not_the_units_of_an_interval() -> None:
    """An error that all sizes share, from the validation images, is no evidence of an effect."""
    for sampler, pruner, reason in (("tpe", "none", "sampler tpe"), ("random", "median", "pruner median")):
        effect = depth_effect(searched(noisy, sampler=sampler, pruner=pruner)).effect
        assert effect.interval is None
        assert (effect.reason or "").startswith(reason)
    alone = depth_effect(searched(noisy, trials=3)).effect
    assert alone.reason == "a block has no level with two trials, and blocks share images"


def test_a_range_of_floats_has_three_bins_of_the_search_space_however_few_values_were_tried() -> None:
    for trials in (2, 12):
        results = searched(
            lambda chosen, images, _: base_accuracy(images) + 0.01 * np.log10(chosen["learning_rate"]), trials=trials
        )
        found = find(ablate(results), "lkca", "learning_rate")
        labels = [level.label for level in found.levels]
        assert labels == ["0.0001 to 0.00046", "0.00046 to 0.0022", "0.0022 to 0.01"][-len(labels) :]
        assert sum(effect.num_trials for effect in found.effects) <= 3 * trials
        values = [effect.effect.value for effect in found.effects]
        assert values == sorted(values)


def test_a_size_that_is_searched_on_a_range_has_three_bins() -> None:
    """Otherwise a heat map had one column per trial."""
    parameters = PARAMETERS | {"data_fraction": {"float": (0.01, 1.0), "log": True}}
    spec = make_spec(("lkca",), (), factors={"family": ("lkca",)}, parameters=parameters)
    results = make_search_results(None, families=("lkca",), fractions=(0.1,), trials=36)
    generator = np.random.default_rng(0)
    trials = []
    for record in results.trials:
        fraction = float(10 ** generator.uniform(-2, 0))
        chosen = {"data_fraction": fraction, "depth": 2 + record.number % 3}
        configuration = record.spec.configuration.model_copy(update=chosen)
        assert record.facts is not None
        changes = {
            "cell": "family=lkca",
            "spec": record.spec.model_copy(update={"configuration": configuration}),
            "facts": record.facts.model_copy(update={"num_train_images": images_of(configuration)}),
            "curve": (make_result(20, 0.5 + 0.1 * fraction + generator.normal(0, 0.01)),),
        }
        trials.append(record.model_copy(update=changes))
    made = replace(results, spec=spec, trials=trials)
    found = find(ablate(made), "lkca", "depth")
    sizes = [best.size for best in found.best_levels]
    assert len(sizes) == 3
    assert all(one.largest < other.smallest for one, other in pairwise(sizes))
    assert {entry.size for entry in found.heat_map} == {*sizes}
    assert sum(best.num_units for best in found.best_levels) == 36
    for figure in ablation_section(made, None, seed=0).figures:
        assert isinstance(figure, HeatMap)
        assert all(" to " in label for label in figure.columns)


def test_a_long_range_of_integers_has_three_bins_and_a_fixed_value_has_no_row() -> None:
    parameters = {**PARAMETERS, "width": {"int": (16, 128), "step": 16}}
    short = searched(noisy, parameters=parameters)
    long = searched(noisy, parameters=parameters | {"width": {"int": (16, 160), "step": 16}})
    labels = [
        [level.label for level in assign_levels([*range(16, 129, 16)], results.spec.parameters["width"])]
        for results in (short, long)
    ]
    assert labels[0] == ["16", "32", "48", "64", "80", "96", "112", "128"]
    assert list(dict.fromkeys(labels[1])) == ["16 to 48", "64 to 96", "112 to 160"]
    assert {each.hyperparameter for each in ablate(long)} == {"kernel_size", "depth", "learning_rate"}


def test_a_heat_map_entry_has_best_mean_deviation_and_number_of_its_trials() -> None:
    results = searched(lambda chosen, images, generator: base_accuracy(images) + generator.normal(0, 0.02))
    entries = find(ablate(results), "lkca", "depth").heat_map
    assert len(entries) == 3 * len(SIZES)
    for entry in entries:
        own = [
            100 * record.curve[-1].val_accuracy
            for record in results.trials
            if record.spec.configuration.family == "lkca"
            and record.spec.configuration.depth == int(entry.level.label)
            and images_of(record.spec.configuration) == entry.size.smallest
        ]
        assert (entry.best, entry.mean, entry.num_trials) == pytest.approx((max(own), np.mean(own), 4))
        assert entry.deviation == pytest.approx(np.std(own, ddof=1))


def test_the_best_level_at_each_number_of_images_is_found() -> None:
    def truth(chosen: Mapping[str, Any], images: int, generator: np.random.Generator) -> float:
        target = {360: 2, 1800: 3, 9000: 4}[images]
        return base_accuracy(images) - 0.05 * abs(chosen["depth"] - target)

    for place, best in enumerate(find(ablate(searched(truth, trials=24)), "vit", "depth").best_levels):
        assert best.source == "trials"
        assert sum(filter(None, best.probabilities)) == pytest.approx(1)
        assert (best.probabilities[place] or 0) > 0.9


def test_without_an_effect_the_top_level_has_a_probability_near_chance() -> None:
    """Three depths, and an effect of the learning rate: the bootstrap of trials gave 76%."""
    found = []
    for seed in range(8):
        flat = searched(
            lambda chosen, images, generator: (
                base_accuracy(images) + 0.03 * np.log10(chosen["learning_rate"]) + generator.normal(0, 0.02)
            ),
            seed=seed,
        )
        found += [top_probability(best) for best in find(ablate(flat), "lkca", "depth").best_levels]
    assert 1 / 3 < np.mean(found) < 0.5


def test_a_size_with_too_few_trials_has_a_reason() -> None:
    found = find(ablate(searched(noisy, trials=4)), "lkca", "depth")
    assert {best.reason for best in found.best_levels} == {"4 complete trials, 6 are needed"}
    assert {best.probabilities for best in found.best_levels} == {()}


def kernels(lead: float, **options: Any) -> SearchResults:
    """Return a confirmed search with three crossed kernel sizes; the one found with size 7 leads by `lead`."""
    factors = {"family": ("lkca",), "kernel_size": (3, 5, 7), "data_fraction": (0.1, 0.5)}
    results = make_search_results(law(), families=("lkca",), factors=factors, **options)
    replicates = []
    for record in results.replicates:
        assert record.replicate is not None
        assert record.test is not None
        size = record.spec.configuration.kernel_size or 0
        noise = np.random.default_rng([record.replicate.draw, record.replicate.seed, size]).normal(0, 0.01)
        score = record.test.model_copy(update={"accuracy": 0.5 + lead * (size == 7) + noise})
        replicates.append(record.model_copy(update={"test": score}))
    return replace(results, replicates=replicates)


def test_confirmed_levels_of_a_factor_are_compared_by_their_replicates() -> None:
    for lead, least, most in ((0.05, 0.9, 1.0), (0.0, 1 / 3, 0.7)):
        results = kernels(lead)
        scores = round_scores(results, results.rounds[0])
        found = compute_ablations(results, scores, generator=np.random.default_rng(0))
        for best in find(found, "lkca", "kernel_size").best_levels:
            assert (best.source, best.num_units) == ("replicates", 5)
            assert least <= top_probability(best) <= most
            assert lead == 0 or (best.probabilities[2] or 0) == top_probability(best)
        before = find(ablate(results), "lkca", "kernel_size").best_levels
        assert {best.source for best in before} == {"trials"}


def test_a_single_draw_gives_a_reason_in_place_of_the_best_level() -> None:
    results = kernels(0.05, draws=1)
    found = compute_ablations(results, round_scores(results, results.rounds[0]), generator=np.random.default_rng(0))
    (reason,) = {best.reason for best in find(found, "lkca", "kernel_size").best_levels}
    assert reason == "draws with a replicate of every level: 1, 2 are needed"
    report = make_report(results)
    (section,) = (section for section in report.sections if section.name == "ablation")
    assert f"Best kernel_size of lkca: not estimable, {reason} (at 1,800, 9,000 images)." in section.paragraphs
    assert not [figure for figure in section.figures if figure.name.startswith("optimum")]


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


def test_importances_of_many_trials_are_those_of_a_sample_and_the_table_states_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lkca_search.analysis.importance.MAX_TRIALS", 40)
    few, many = (
        searched(lambda chosen, images, _: base_accuracy(images) + 0.05 * (chosen["depth"] - 3), trials=trials)
        for trials in (40, 41)
    )
    of_few, of_many = (compute_importances(results, seed=0) for results in (few, many))
    assert {(each.num_trials, each.num_used) for each in of_few} == {(40, 40)}
    assert {(each.num_trials, each.num_used) for each in of_many} == {(41, 40)}
    assert compute_importances(many, seed=0) == of_many
    assert all(dict(each.shares)["depth"] > 0.9 for each in of_many)
    captions = [importance_table(each, MetricFormat(few.metric)).caption for each in (of_few, of_many)]
    assert ["In cells with more than 40, 40 drawn at random are used." in caption for caption in captions] == [
        False,
        True,
    ]


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
