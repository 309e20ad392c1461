"""Accuracy per class and confusions: planted rates are found, and intervals cover them."""

from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.predictions.cell_predictions import class_names
from lkca_search.analysis.predictions.class_accuracies import (
    class_accuracies,
    confusion,
    confusion_shares,
    frequent_pairs,
)
from lkca_search.analysis.stats.student import NO_SPREAD, SINGLE_DRAW
from lkca_search.spec.metrics import METRICS
from tests.support.predictions import make_cell

CONFUSED = 0.3
"""Rate at which the planted classifier takes class 2 for class 0."""


def planted(
    num_draws: int, num_seeds: int, num_images: int, *, seed: int, num_classes: int = 4
) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images) % num_classes
    difficulty = generator.random(num_images)  # the same for all trainings
    noise = generator.random((num_draws, num_seeds, num_images))
    is_confused = (labels == 2) & (np.where(generator.random(num_images) < 0.5, difficulty, noise) < CONFUSED)
    return np.where(is_confused, 0, labels), labels


def test_a_classifier_that_confuses_two_classes_has_the_planted_rate_and_no_other_confusion() -> None:
    cell = make_cell(*planted(5, 2, 4000, seed=0))
    names = ["cat", "dog", "ship", "tree"]
    found = confusion(cell, names, 2, 0)
    assert (found.true_class, found.predicted_class) == ("ship", "cat")
    assert found.share.value == pytest.approx(100 * CONFUSED, abs=3)
    assert found.share.interval is not None
    assert found.share.interval.contains(100 * CONFUSED)
    assert found.images == pytest.approx(1000 * found.share.value / 100)
    assert frequent_pairs(cell, 4) == [(2, 0)]
    accuracies = {each.class_name: each.accuracy for each in class_accuracies(cell, names)}
    assert accuracies["ship"].value == pytest.approx(100 - found.share.value)
    assert (accuracies["cat"].value, accuracies["cat"].reason) == (100.0, NO_SPREAD)
    shares = confusion_shares(cell, 4)
    assert shares.sum(axis=1) == pytest.approx([100] * 4)
    assert shares[2, 0] == pytest.approx(found.share.value)


def test_intervals_of_a_confusion_cover_the_planted_rate() -> None:
    shares = [confusion(make_cell(*planted(5, 2, 400, seed=seed)), list("abcd"), 2, 0).share for seed in range(300)]
    covered = [share.interval.contains(100 * CONFUSED) for share in shares if share.interval]
    assert len(covered) == 300
    assert np.mean(covered) >= 0.92


def test_a_single_draw_has_shares_without_intervals() -> None:
    share = confusion(make_cell(*planted(1, 2, 400, seed=1)), list("abcd"), 2, 0).share
    assert (share.interval, share.reason) == (None, SINGLE_DRAW)


def test_missing_replicates_do_not_count() -> None:
    predicted, labels = planted(3, 2, 400, seed=2)
    present = np.array([[True, True], [True, False], [False, False]])
    kept = make_cell(np.where(present[..., None], predicted, 3), labels, present=present)
    alone = make_cell(predicted[:2], labels, present=present[:2])
    assert class_accuracies(kept, list("abcd")) == class_accuracies(alone, list("abcd"))
    assert confusion_shares(kept, 4).tolist() == confusion_shares(alone, 4).tolist()
    assert confusion_shares(kept, 4)[:, 3].tolist() == [0, 0, 0, 100]


def test_classes_without_names_or_test_images_are_allowed() -> None:
    labels = np.array([0, 0, 2, 2])
    cell = make_cell(np.array([[[0, 3, 2, 2]], [[0, 0, 2, 3]]]), labels)
    assert class_names([cell]) == ["class 0", "class 1", "class 2", "class 3"]
    assert [each.class_index for each in class_accuracies(cell, class_names([cell]))] == [0, 2]
    assert set(frequent_pairs(cell, 4)) == {(0, 3), (2, 3)}


def test_no_interval_of_the_loss_of_a_class_is_below_0() -> None:
    labels = np.arange(40) % 2
    cell = make_cell(np.broadcast_to(labels, (2, 1, 40)), labels)
    losses = np.broadcast_to(np.array([0.1, 0.9])[:, None, None], (2, 1, 40))
    by_loss = replace(cell, scores=replace(cell.scores, metric=METRICS["val_loss"]), image_scores=losses)
    for each in class_accuracies(by_loss, ["cat", "dog"]):
        assert each.score is not None
        assert each.score.interval is not None
        assert each.score.interval.lower == 0.0
        assert each.score.interval.upper is not None
        assert each.score.interval.upper > 0.9
