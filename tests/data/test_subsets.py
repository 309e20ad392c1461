"""Validation holdout and nested subsets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lkca_search.data.subsets import (
    assign_images,
    draw_per_class,
    draw_subset,
    hold_out,
    indices_hash,
    shrink_validation,
)
from lkca_search.errors import DataError
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.sections import DataSection

Labels = NDArray[np.int64]
SEEDS = st.integers(0, 2**32 - 1)
FRACTIONS = st.floats(0.001, 0.999)


@st.composite
def unbalanced_labels(draw: st.DrawFn) -> Labels:
    """Draw shuffled labels of one to eight classes with 2 to 300 images."""
    counts = draw(st.lists(st.one_of(st.integers(2, 5), st.integers(2, 300)), min_size=1, max_size=8))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(draw(SEEDS)).permutation(labels)


def _works(labels: Labels, fraction: float) -> bool:
    return bool((np.bincount(labels) * fraction >= 0.5).all())


@given(unbalanced_labels(), FRACTIONS, SEEDS)
def test_validation_and_training_images_are_the_whole_split_and_disjoint(
    labels: Labels, fraction: float, seed: int
) -> None:
    parts = hold_out(labels, fraction=fraction, seed=seed)
    assert sorted([*parts.train, *parts.validation]) == list(range(len(labels)))
    for indices in (parts.train, parts.validation):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()


@given(unbalanced_labels(), FRACTIONS, SEEDS)
def test_every_class_is_held_out_in_its_share_and_keeps_an_image_on_each_side(
    labels: Labels, fraction: float, seed: int
) -> None:
    counts = np.bincount(labels)
    held_out = np.bincount(labels[hold_out(labels, fraction=fraction, seed=seed).validation], minlength=len(counts))
    assert (held_out >= 1).all()
    assert (held_out <= counts - 1).all()
    nearest = (np.abs(held_out - fraction * counts) <= 0.5 + 1e-9) | (held_out == 1) | (held_out == counts - 1)
    assert nearest.all()


@given(unbalanced_labels(), FRACTIONS, FRACTIONS, SEEDS)
def test_a_smaller_fraction_is_contained_in_a_larger_one(labels: Labels, one: float, other: float, seed: int) -> None:
    small, large = sorted((one, other))
    assume(_works(labels, small))
    indices = np.arange(len(labels))
    smaller = draw_subset(labels, indices, fraction=small, seed=seed)
    larger = draw_subset(labels, indices, fraction=large, seed=seed)
    assert set(smaller) <= set(larger)


@given(unbalanced_labels(), FRACTIONS, SEEDS)
def test_every_class_is_within_one_image_of_its_share(labels: Labels, fraction: float, seed: int) -> None:
    assume(_works(labels, fraction))
    subset = draw_subset(labels, np.arange(len(labels)), fraction=fraction, seed=seed)
    share = np.bincount(labels) * fraction
    assert (np.abs(np.bincount(labels[subset]) - share) < 1).all()


@given(st.integers(1, 200), st.integers(2, 100), FRACTIONS)
def test_a_fraction_of_equal_classes_is_exact_within_half_an_image(classes: int, count: int, fraction: float) -> None:
    assume(fraction * count >= 1)
    labels = np.repeat(np.arange(classes), count)
    subset = draw_subset(labels, np.arange(len(labels)), fraction=fraction, seed=0)
    assert abs(len(subset) - fraction * len(labels)) <= 0.5 + 1e-9


@given(unbalanced_labels(), FRACTIONS, SEEDS, SEEDS)
def test_the_number_of_images_of_a_class_does_not_depend_on_the_seed(
    labels: Labels, fraction: float, seed: int, other: int
) -> None:
    assume(_works(labels, fraction))
    one, another = (draw_subset(labels, np.arange(len(labels)), fraction=fraction, seed=s) for s in (seed, other))
    np.testing.assert_array_equal(np.bincount(labels[one]), np.bincount(labels[another]))


@given(unbalanced_labels(), FRACTIONS, SEEDS)
def test_a_subset_of_the_training_images_has_no_validation_image(labels: Labels, fraction: float, seed: int) -> None:
    parts = hold_out(labels, fraction=0.3, seed=seed)
    assume(_works(labels[parts.train], fraction))
    subset = draw_subset(labels, parts.train, fraction=fraction, seed=seed)
    assert set(subset) <= set(parts.train)
    assert (np.diff(subset) > 0).all()


@given(unbalanced_labels(), SEEDS)
def test_the_whole_fraction_is_every_image(labels: Labels, seed: int) -> None:
    train = hold_out(labels, fraction=0.2, seed=seed).train
    np.testing.assert_array_equal(draw_subset(labels, train, fraction=1.0, seed=seed), train)


@given(unbalanced_labels(), FRACTIONS, SEEDS)
def test_the_same_seed_gives_the_same_images(labels: Labels, fraction: float, seed: int) -> None:
    assume(_works(labels, fraction))
    indices = np.arange(len(labels))
    first, second = (draw_subset(labels, indices, fraction=fraction, seed=seed) for _ in range(2))
    assert indices_hash(first) == indices_hash(second)
    first, second = (hold_out(labels, fraction=fraction, seed=seed).validation for _ in range(2))
    assert indices_hash(first) == indices_hash(second)


@given(SEEDS, SEEDS)
def test_another_seed_gives_other_images(seed: int, other: int) -> None:
    assume(seed != other)
    labels = np.repeat(np.arange(4), 100)
    indices = np.arange(400)
    drawn = [indices_hash(draw_subset(labels, indices, fraction=0.25, seed=s)) for s in (seed, other)]
    held_out = [indices_hash(hold_out(labels, fraction=0.25, seed=s).validation) for s in (seed, other)]
    assert len({*drawn, *held_out}) == 4


@given(SEEDS)
def test_a_subset_does_not_depend_on_the_order_of_the_indices(seed: int) -> None:
    labels = np.repeat(np.arange(4), 10)
    indices = np.random.default_rng(seed).permutation(40)
    expected = draw_subset(labels, np.arange(40), fraction=0.5, seed=3)
    np.testing.assert_array_equal(draw_subset(labels, indices, fraction=0.5, seed=3), expected)


@given(unbalanced_labels(), SEEDS)
def test_the_smallest_fraction_in_an_error_is_valid_and_a_smaller_one_is_not(labels: Labels, seed: int) -> None:
    indices = np.arange(len(labels))
    with pytest.raises(DataError, match=r"images of class \d+; the smallest fraction is ") as error:
        draw_subset(labels, indices, fraction=1e-6, seed=seed)
    smallest = float(str(error.value).rsplit(maxsplit=1)[-1])
    assert np.bincount(labels[draw_subset(labels, indices, fraction=smallest, seed=seed)]).min() == 1
    with pytest.raises(DataError):
        draw_subset(labels, indices, fraction=smallest * 0.998, seed=seed)


def test_the_error_for_an_empty_class_has_the_class_and_its_count() -> None:
    labels = np.repeat([0, 1, 2], [100, 20, 50])
    with pytest.raises(DataError, match=r"0\.02 of the 20 images of class 1; the smallest fraction is 0\.025$"):
        draw_subset(labels, np.arange(170), fraction=0.02, seed=0)


def test_a_class_with_a_single_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"every class must have 2 images, .* got 1 of class 2"):
        hold_out(np.array([0, 0, 1, 1, 2]), fraction=0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_held_out_is_above_0_and_below_1(fraction: float) -> None:
    with pytest.raises(DataError, match="above 0 and below 1, got"):
        hold_out(np.array([0, 0]), fraction=fraction, seed=0)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_data_fraction_is_above_0_and_at_most_1(fraction: float) -> None:
    with pytest.raises(DataError, match="above 0 and at most 1, got"):
        draw_subset(np.array([0, 0]), np.arange(2), fraction=fraction, seed=0)


def test_the_draws_are_the_same_on_every_machine() -> None:
    labels = np.repeat(np.arange(3), [7, 30, 12])
    parts = hold_out(labels, fraction=0.2, seed=5)
    subset = draw_subset(labels, parts.train, fraction=0.25, seed=5)
    assert parts.validation.tolist() == [0, 10, 15, 18, 26, 28, 36, 43, 44]
    assert subset.tolist() == [3, 5, 8, 13, 30, 31, 33, 35, 46, 48]


def test_the_hash_of_indices_is_that_of_their_little_endian_bytes() -> None:
    known = "7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8"
    assert indices_hash(np.array([1], dtype=np.int64)) == known
    assert indices_hash(np.array([1], dtype=">i8")) == known
    assert indices_hash(np.array([2], dtype=np.int64)) != known


# Images a class


@given(unbalanced_labels(), st.data(), SEEDS)
def test_fewer_images_per_class_are_contained_in_more_and_classes_are_equal(
    labels: Labels, data: st.DataObject, seed: int
) -> None:
    smallest = int(np.bincount(labels).min())
    few, many = sorted(data.draw(st.tuples(*[st.integers(1, smallest)] * 2)))
    indices = np.arange(len(labels))
    fewer, more = (draw_per_class(labels, indices, images_per_class=count, seed=seed) for count in (few, many))
    assert set(fewer) <= set(more)
    assert (np.bincount(labels[fewer]) == few).all()
    assert (np.diff(more) > 0).all()
    again = draw_per_class(labels, indices, images_per_class=many, seed=seed)
    assert indices_hash(more) == indices_hash(again)


@given(unbalanced_labels(), SEEDS)
def test_the_largest_number_per_class_in_an_error_is_valid_and_one_more_is_not(labels: Labels, seed: int) -> None:
    indices = np.arange(len(labels))
    with pytest.raises(
        DataError,
        match=r"images_per_class must be at most \d+, the training images of class \d+ left after validation, got 1000",
    ) as error:
        draw_per_class(labels, indices, images_per_class=1000, seed=seed)
    largest = int(str(error.value).split("at most ")[1].split(",")[0])
    assert len(draw_per_class(labels, indices, images_per_class=largest, seed=seed)) == largest * len(np.unique(labels))
    with pytest.raises(DataError):
        draw_per_class(labels, indices, images_per_class=largest + 1, seed=seed)


@given(st.integers(1, 20), SEEDS)
def test_a_number_per_class_and_its_fraction_give_the_same_images_of_equal_classes(count: int, seed: int) -> None:
    labels = np.tile(np.arange(5), 20)
    by_count = draw_per_class(labels, np.arange(100), images_per_class=count, seed=seed)
    by_fraction = draw_subset(labels, np.arange(100), fraction=count / 20, seed=seed)
    np.testing.assert_array_equal(by_count, by_fraction)


def test_another_seed_gives_other_images_of_a_class() -> None:
    labels = np.repeat(np.arange(4), 100)
    drawn = {indices_hash(draw_per_class(labels, np.arange(400), images_per_class=5, seed=seed)) for seed in range(9)}
    assert len(drawn) == 9


@pytest.mark.parametrize("count", [0, -1])
def test_images_per_class_are_at_least_one(count: int) -> None:
    with pytest.raises(DataError, match=f"images_per_class must be at least 1, got {count}"):
        draw_per_class(np.array([0, 1]), np.arange(2), images_per_class=count, seed=0)


# Validation that shrinks with the subset


@given(unbalanced_labels(), FRACTIONS, FRACTIONS, SEEDS)
def test_a_smaller_share_of_validation_is_contained_in_a_larger_one(
    labels: Labels, one: float, other: float, seed: int
) -> None:
    held_out = hold_out(labels, fraction=0.4, seed=seed).validation
    small, large = (shrink_validation(labels, held_out, share=share, seed=seed) for share in sorted((one, other)))
    assert set(small) <= set(large) <= set(held_out)
    kept, exact = np.bincount(labels[small]), np.bincount(labels[held_out]) * min(one, other)
    assert kept.min() >= 1
    assert ((np.abs(kept - exact) < 1) | (kept == 1)).all()
    np.testing.assert_array_equal(shrink_validation(labels, held_out, share=1.0, seed=seed), held_out)


# What a trial is given


SIZES = st.one_of(
    st.builds(lambda size: Configuration(data_fraction=size), st.floats(0.01, 1.0)),
    st.builds(lambda size: Configuration(images_per_class=size), st.integers(1, 20)),
)


@given(unbalanced_labels(), SIZES, st.booleans(), SEEDS)
def test_no_draw_trains_on_validation_images(
    labels: Labels, configuration: Configuration, scaled: bool, seed: int
) -> None:
    data = DataSection(dataset="made", validation=0.3, scale_validation=scaled)
    draws = []
    for draw in range(3):
        try:
            drawn = configuration.model_copy(update={"draw": draw})
            draws.append(assign_images(labels, data, drawn, split_seed=seed))
        except DataError:
            assume(False)
    held_out = hold_out(labels, fraction=0.3, seed=0).validation
    assert len({indices_hash(parts.validation) for parts in draws}) == 1
    assert len(draws[0].validation) == len(held_out) or scaled
    for parts in draws:
        assert not set(parts.train) & set(draws[0].validation)
        assert set(labels[parts.train]) == set(labels[parts.validation]) == set(labels)


def test_the_images_of_a_trial_are_the_same_on_every_machine_and_do_not_change() -> None:
    labels = np.repeat(np.arange(3), [7, 30, 12])
    parts = assign_images(
        labels, DataSection(dataset="made", validation=0.2), Configuration(data_fraction=0.25, draw=1), split_seed=5
    )
    assert parts.validation.tolist() == [6, 13, 14, 15, 16, 22, 30, 42, 46]
    assert parts.train.tolist() == [0, 3, 7, 8, 23, 28, 29, 36, 47, 48]


@pytest.mark.parametrize("size", [Configuration(images_per_class=7), Configuration(data_fraction=0.3)])
def test_two_draws_overlap_as_expected_also_with_unequal_classes(size: Configuration) -> None:
    labels, data = np.repeat([0, 1], [10, 200]), DataSection(dataset="made", validation=0.1)
    draws = [assign_images(labels, data, size.model_copy(update={"draw": i}), split_seed=3) for i in range(40)]
    common = [len(np.intersect1d(a.train, b.train)) / len(a.train) for a, b in combinations(draws, 2)]
    assert np.mean(common) == pytest.approx(draws[0].expected_overlap, abs=0.01)
