"""Images of disagreement: a planted image is first, and chance alone gives as many as random assignments."""

import numpy as np
import pytest

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.predictions.disagreement import NUM_ASSIGNMENTS, Disagreement, disagreement
from tests.support.predictions import make_cell

NAMES = ["cat", "dog"]


def cells(rights: np.ndarray) -> list[CellPredictions]:  # type: ignore[type-arg]
    """Return a cell per variant of two classes, right as given, (variants, draws, seeds, images)."""
    labels = np.arange(rights.shape[-1]) % 2
    return [
        make_cell(np.where(right, labels, 1 - labels), labels, variant=name)
        for right, name in zip(rights, ("lkca", "vit", "resnet"), strict=False)
    ]


def find(rights: np.ndarray) -> Disagreement:  # type: ignore[type-arg]
    found = disagreement(cells(rights), NAMES, generator=np.random.default_rng(0))
    assert found is not None
    return found


def test_an_image_that_one_variant_alone_knows_is_the_first() -> None:
    rights = np.random.default_rng(0).random((3, 5, 2, 400)) < 0.95
    rights[:, :, :, 7] = np.array([True, False, True])[:, None, None]
    first = find(rights).images[0]
    assert (first.index, first.true_class) == (7, "dog")
    votes = [(each.variant, each.num_right, each.num_replicates, each.predicted_class) for each in first.votes]
    assert votes == [("lkca", 10, 10, "dog"), ("vit", 0, 10, "cat"), ("resnet", 10, 10, "dog")]


def test_families_that_are_alike_have_as_many_images_as_random_assignments() -> None:
    found = [
        find(np.random.default_rng(seed).random((2, 5, 2, 1000)) < np.linspace(0.1, 0.9, 1000)) for seed in range(20)
    ]
    assert np.mean([each.num_disputed for each in found]) == pytest.approx(
        np.mean([each.by_chance for each in found]), rel=0.15
    )


def test_families_that_differ_have_more_images_than_random_assignments() -> None:
    generator = np.random.default_rng(0)
    levels = np.where(generator.random((2, 1, 1, 1000)) < 0.2, 0.1, 0.9)
    found = find(generator.random((2, 5, 2, 1000)) < levels)
    assert found.num_disputed > 5 * found.by_chance
    assert found.num_as_many < 0.05 * NUM_ASSIGNMENTS


def test_one_training_of_each_of_two_variants_shows_no_more_than_chance() -> None:
    found = find(np.random.default_rng(0).random((2, 1, 1, 200)) < 0.7)
    assert found.num_disputed == found.by_chance > 0


def test_one_variant_has_no_disagreement_and_equal_ones_have_no_images() -> None:
    rights = np.random.default_rng(0).random((1, 5, 2, 50)) < 0.5
    assert disagreement(cells(rights), NAMES, generator=np.random.default_rng(0)) is None
    found = find(np.concatenate([rights, rights]))
    assert (found.images, found.num_disputed) == ((), 0)
