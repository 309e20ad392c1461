"""Agreement: kappa of independent errors is 0 and that of equal errors 1; intervals cover the true value."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lkca_search.analysis.predictions.agreement import Agreement, agreements
from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.stats.student import NO_SPREAD, SINGLE_DRAW, student_mean
from tests.support.predictions import make_cell

NUM_CLASSES = 10
DRAWS, SEEDS = 5, 2


def classifier(is_right: np.ndarray, variant: str, seed: int, **changes: object) -> CellPredictions:  # type: ignore[type-arg]
    """Return a classifier that is right as given, (draws, seeds, images), and else predicts a random other class."""
    labels = np.arange(is_right.shape[2]) % NUM_CLASSES
    shift = np.random.default_rng(seed).integers(1, NUM_CLASSES, is_right.shape)
    return make_cell(np.where(is_right, labels, (labels + shift) % NUM_CLASSES), labels, variant=variant, **changes)  # type: ignore[arg-type]


def pair(cells: list[CellPredictions]) -> Agreement:
    (found,) = (each for each in agreements(cells) if not each.is_retraining)
    return found


def test_independent_errors_have_kappa_0_although_both_are_mostly_right_together() -> None:
    generator = np.random.default_rng(0)
    cells = [classifier(generator.random((DRAWS, SEEDS, 5000)) < 0.9, name, 1) for name in ("lkca", "vit")]
    found = pair(cells)
    assert found.consistent == pytest.approx(82, abs=1)
    assert found.consistent_by_chance == pytest.approx(82, abs=1)
    assert found.error_consistency is not None
    assert found.error_consistency.value == pytest.approx(0, abs=0.02)
    assert found.error_consistency.interval is not None
    assert found.error_consistency.interval.contains(0.0)
    assert found.num_pairs == DRAWS * SEEDS**2


def test_equal_errors_have_kappa_1_and_no_interval() -> None:
    is_right = np.broadcast_to(np.random.default_rng(0).random(500) < 0.7, (DRAWS, SEEDS, 500))
    found = pair([classifier(is_right, name, 1) for name in ("lkca", "vit")])
    assert found.error_consistency is not None
    assert (found.error_consistency.value, found.error_consistency.reason) == (pytest.approx(1), NO_SPREAD)
    assert found.consistent == 100


def test_kappa_of_one_pair_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    shared = generator.random(800)
    rights = [(shared + generator.random((1, 1, 800))) < level for level in (1.2, 0.9)]
    found = pair([classifier(right, name, 1) for right, name in zip(rights, ("lkca", "vit"), strict=True)])
    assert found.error_consistency is not None
    assert found.error_consistency.value == pytest.approx(cohen_kappa_score(*(right[0, 0] for right in rights)))
    assert found.error_consistency.reason == SINGLE_DRAW


def test_classifiers_without_errors_have_no_kappa() -> None:
    found = pair([classifier(np.ones((2, 1, 50), dtype=np.bool_), name, 1) for name in ("lkca", "vit")])
    assert found.error_consistency is None
    assert found.equal_predictions.value == 100


def families(seed: int, num_images: int, *, own: float = 0.6, noise: float = 0.5) -> list[CellPredictions]:
    """Return two families that share difficulty; each has its own part, and each draw and training noise."""
    generator = np.random.default_rng(seed)
    difficulty = generator.standard_normal(num_images)
    cells = []
    for name in ("lkca", "vit"):
        family = difficulty + own * generator.standard_normal(num_images)
        level = 0.5 + 0.1 * generator.standard_normal((DRAWS, 1, 1))
        values = family + noise * generator.standard_normal((DRAWS, SEEDS, num_images))
        cells.append(classifier(values < level, name, seed))
    return cells


def test_errors_of_a_family_coincide_more_than_those_of_two_families() -> None:
    found = agreements(families(0, 4000))
    kappas = {(each.one, each.other): each.error_consistency.value for each in found if each.error_consistency}
    assert kappas["lkca", "lkca"] > kappas["lkca", "vit"] + 0.1
    beyond = pair(families(0, 4000)).beyond_retraining
    assert beyond is not None
    expected = kappas["lkca", "vit"] - (kappas["lkca", "lkca"] + kappas["vit", "vit"]) / 2
    assert beyond.value == pytest.approx(expected)
    assert beyond.interval is not None
    assert not beyond.interval.contains(0.0)
    alike = pair(families(1, 4000, own=0.0)).beyond_retraining
    assert alike is not None
    assert alike.interval is not None
    assert alike.interval.contains(0.0)


def test_intervals_of_kappa_cover_that_of_many_images() -> None:
    truth = np.mean([_kappa(families(seed, 20_000)) for seed in range(1000, 1020)])
    found = [pair(families(seed, 300)).error_consistency for seed in range(300)]
    covered = [each.interval.contains(truth) for each in found if each and each.interval]
    assert len(covered) == 300
    assert np.mean(covered) >= 0.92


def _kappa(cells: list[CellPredictions]) -> float:
    kappa = pair(cells).error_consistency
    assert kappa is not None
    return kappa.value


@pytest.mark.parametrize(("draws", "seeds"), [(5, 2), (6, 1), (1, 6), (3, 1)])
def test_trainings_on_the_same_images_are_units_and_in_one_pair_of_each_kind(draws: int, seeds: int) -> None:
    generator = np.random.default_rng(0)
    shared = generator.random(300)
    rights = [shared + generator.random((draws, seeds, 300)) < 1 for _ in range(2)]
    cells = [classifier(right, name, 1, unit="seed") for right, name in zip(rights, ("lkca", "vit"), strict=True)]
    found = {(each.one, each.other): each for each in agreements(cells)}
    assert found["lkca", "lkca"].num_pairs == draws * seeds // 2
    assert found["lkca", "vit"].num_pairs == draws * seeds
    kappas = np.array(
        [cohen_kappa_score(*(right.reshape(-1, 300)[index] for right in rights)) for index in range(draws * seeds)]
    )
    kappa, beyond = found["lkca", "vit"].error_consistency, found["lkca", "vit"].beyond_retraining
    assert kappa is not None
    assert kappa.interval is not None
    assert kappa.interval.upper is not None
    assert kappa.value == pytest.approx(kappas.mean())
    alone = student_mean(kappas).interval
    assert alone is not None
    assert alone.upper is not None
    assert kappa.interval.upper >= min(alone.upper, 1), "its half width includes that of the trainings"
    assert beyond is not None
    assert (beyond.interval is None) is (draws * seeds < 4)


def test_intervals_of_kappa_over_trainings_cover_that_of_many_images() -> None:
    def trainings(seed: int, num_images: int) -> Agreement:
        generator = np.random.default_rng(seed)
        difficulty = generator.standard_normal(num_images)
        rights = [difficulty + generator.standard_normal((3, 1, num_images)) < 0.5 for _ in range(2)]
        return pair([classifier(right, name, seed, unit="seed") for right, name in zip(rights, "ab", strict=True)])

    kappas = [trainings(seed, 100_000).error_consistency for seed in range(1000, 1003)]
    truth = np.mean([each.value for each in kappas if each])
    found = [trainings(seed, 300).error_consistency for seed in range(300)]
    covered = [each.interval.contains(truth) for each in found if each and each.interval]
    assert len(covered) == 300
    assert np.mean(covered) >= 0.92


@pytest.mark.parametrize("seed", range(10))
def test_no_interval_of_kappa_leaves_its_possible_values(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = agreements([classifier(generator.random((2, 2, 10)) < 0.5, name, 1) for name in ("lkca", "vit")])
    kappas = [each.error_consistency for each in found]
    beyond = [each.beyond_retraining for each in found]
    for largest, estimates in ((1, kappas), (2, beyond)):
        intervals = [each.interval for each in estimates if each and each.interval]
        assert intervals
        ends = [end for each in intervals for end in (each.lower, each.upper) if end is not None]
        assert len(ends) == 2 * len(intervals)
        assert all(-largest <= end <= largest for end in ends)


def test_one_seed_per_draw_has_no_retraining() -> None:
    generator = np.random.default_rng(0)
    cells = [classifier(generator.random((5, 1, 100)) < 0.5, name, 1) for name in ("lkca", "vit")]
    (found,) = agreements(cells)
    assert found.beyond_retraining is None
    assert found.num_pairs == 5
