"""Mean of kernels whose sign and scale mean nothing."""

import numpy as np
import pytest

from lkca_search.analysis.kernels.mean_map import mean_map
from tests.support.inspections import gaussian

KERNEL = gaussian(2.0)[None].astype(np.float64)


def test_equal_kernels_of_other_signs_and_scales_have_themselves_as_mean() -> None:
    mean = mean_map([KERNEL, -3 * KERNEL, 0.1 * KERNEL])
    assert mean is not None
    np.testing.assert_allclose(mean.values, KERNEL[0] / np.linalg.norm(KERNEL), atol=1e-12)
    assert mean.agreement == pytest.approx(1)
    assert mean.num_replicates == 3


def test_unrelated_kernels_have_little_agreement_and_a_mean_of_little_energy() -> None:
    kernels = np.random.default_rng(0).normal(size=(10, 1, 15, 15))
    mean = mean_map(list(kernels))
    assert mean is not None
    assert mean.agreement == pytest.approx(np.sqrt(2 / np.pi / 225), abs=0.02)
    assert (mean.values**2).sum() < 0.3


def test_the_largest_weight_of_a_mean_is_positive() -> None:
    kernel = np.zeros((1, 5, 5))
    kernel[0, 2, 2], kernel[0, 2, 3] = -2, 1
    mean = mean_map([kernel, kernel])
    assert mean is not None
    assert mean.values[2, 2] > 0 > mean.values[2, 3]


def test_kernels_of_two_sizes_or_without_weights_have_no_mean() -> None:
    assert mean_map([KERNEL, np.ones((1, 3, 3))]) is None
    assert mean_map([0 * KERNEL]) is None
    assert mean_map([]) is None
    mean = mean_map([0 * KERNEL, KERNEL])
    assert mean is not None
    assert (mean.num_replicates, mean.agreement) == (1, None)
