"""Calibration: a calibrated classifier has only the error of chance, and an overconfident one its planted gap."""

from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.predictions.calibration import Calibration, calibration
from lkca_search.training.metrics import calibration_error
from tests.support.predictions import make_cell

NUM_IMAGES = 4000


def planted(gap: float, *, seed: int = 0, draws: int = 5, num_images: int = NUM_IMAGES) -> Calibration:
    """Return the calibration of a binary classifier whose probabilities exceed its accuracy by `gap`."""
    generator = np.random.default_rng(seed)
    shape = draws, 2, num_images
    truth = generator.uniform(0.5, 0.9, shape)
    # The same uniform number per image makes an image easy or difficult for all trainings.
    is_right = (
        np.where(generator.random(num_images) < 0.5, generator.random(num_images), generator.random(shape)) < truth
    )
    labels = np.arange(num_images) % 2
    cell = make_cell(np.where(is_right, labels, 1 - labels), labels, confidences=truth + gap)
    found = calibration(cell)
    assert found is not None
    return found


def test_a_calibrated_classifier_has_the_error_of_chance_and_no_overconfidence() -> None:
    found = planted(0.0)
    assert found.overconfidence.interval is not None
    assert found.overconfidence.interval.contains(0.0)
    assert found.error.value == pytest.approx(found.calibrated_error, rel=0.5)
    assert found.error.value < 3
    inside = [each.accuracy.interval.contains(each.confidence) for each in found.bins if each.accuracy.interval]
    assert len(inside) == 7
    assert sum(inside) >= 6


def test_an_overconfident_classifier_has_its_planted_gap() -> None:
    found = planted(0.1)
    assert found.overconfidence.value == pytest.approx(10, abs=1.5)
    assert found.error.value == pytest.approx(10, abs=1.5)
    assert found.error.interval is not None
    assert found.error.interval.lower is not None
    assert found.error.interval.lower > found.calibrated_error
    for each in found.bins:
        assert each.accuracy.value < each.confidence
    assert planted(-0.1).overconfidence.value == pytest.approx(-10, abs=1.5)


def test_the_error_is_the_metric_that_is_measured_in_training() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(10) / 2, size=(3, 2, 500)).astype(np.float32)
    labels = np.array([generator.choice(10, p=each / each.sum()) for each in probabilities[0, 0].astype(float)])
    cell = make_cell(probabilities.argmax(axis=-1), labels, confidences=probabilities.max(axis=-1))
    found = calibration(cell)
    assert found is not None
    expected = [calibration_error(probabilities[draw, seed], labels) for draw in range(3) for seed in range(2)]
    assert found.error.value == pytest.approx(100 * np.mean(expected), abs=0.2)  # probabilities have three digits


def test_a_recorded_error_is_the_error_and_one_without_a_record_is_computed() -> None:
    labels = np.arange(200) % 2
    predicted = np.broadcast_to(labels, (2, 1, 200))
    cell = make_cell(predicted, labels, confidences=np.full((2, 1, 200), 0.8))  # computed: 20%
    found = calibration(replace(cell, recorded_errors=np.array([[19.0], [np.nan]])))
    assert found is not None
    assert found.error.value == pytest.approx((19 + 20) / 2, abs=0.02)


def test_the_error_of_a_calibrated_classifier_is_the_mean_of_simulated_ones() -> None:
    found = [planted(0.0, seed=seed, num_images=500) for seed in range(20)]
    assert np.mean([each.error.value for each in found]) == pytest.approx(
        np.mean([each.calibrated_error for each in found]), rel=0.1
    )


def test_intervals_of_the_overconfidence_cover_the_planted_gap() -> None:
    found = [planted(0.05, seed=seed, num_images=300).overconfidence for seed in range(200)]
    covered = [each.interval.contains(5.0) for each in found if each.interval]
    assert len(covered) == 200
    assert np.mean(covered) >= 0.92


def test_a_single_draw_has_a_calibration_without_intervals() -> None:
    found = planted(0.1, draws=1)
    assert found.error.interval is None
    assert found.overconfidence.interval is None
    assert {each.accuracy.interval for each in found.bins} == {None}


def test_without_probabilities_there_is_no_calibration() -> None:
    labels = np.arange(10) % 2
    assert calibration(make_cell(np.zeros((2, 1, 10)), labels)) is None
