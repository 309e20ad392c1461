"""The radius that holds 90% of the energy of planted maps: delta, box, Gaussian, nothing."""

import math

import numpy as np
import pytest

from lkca_search.records.inspection.radial import cumulative_shares, distances, radius_of_share


def test_a_delta_has_radius_0_and_all_of_its_energy_at_0() -> None:
    delta = np.zeros((15, 15))
    delta[7, 7] = -3.0
    assert radius_of_share(delta**2) == 0
    assert cumulative_shares(delta**2).tolist() == [1.0] * 11


@pytest.mark.parametrize(("row", "column", "radius"), [(7, 10, 3.0), (5, 7, 2.0), (0, 0, math.hypot(7, 7))])
def test_a_single_tap_has_the_radius_of_its_distance(row: int, column: int, radius: float) -> None:
    tap = np.zeros((15, 15))
    tap[row, column] = 1
    assert radius_of_share(tap) == pytest.approx(radius)


@pytest.mark.parametrize(("side", "radius"), [(1, 0.0), (3, math.sqrt(2)), (5, math.sqrt(8))])
def test_a_small_box_has_the_radius_of_its_corners(side: int, radius: float) -> None:
    """Corners of 3x3 and 5x5 taps have 4/9 and 4/25 of the energy, so 90% need them."""
    box = np.zeros((15, 15))
    half = side // 2
    box[7 - half : 8 + half, 7 - half : 8 + half] = 0.1
    assert radius_of_share(box**2) == pytest.approx(radius)


def test_the_radius_of_a_large_box_is_that_of_its_area() -> None:
    """A circle in a square of side s has 90% of it at the radius where their common area is 0.9 s^2."""
    side = 201
    found = 2 * radius_of_share(np.ones((side, side))) / side  # in halves of the side
    inside = 4 * math.sqrt(found**2 - 1) + found**2 * (math.pi - 4 * math.acos(1 / found))
    assert inside / 4 == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize("sigma", [2.0, 3.5, 6.0])
def test_a_gaussian_kernel_has_the_radius_sigma_sqrt_ln_10(sigma: float) -> None:
    """Its energy is exp(-r^2 / sigma^2), of which 1 - exp(-r^2 / sigma^2) lies within r."""
    kernel = np.exp(-(distances((63, 63)) ** 2) / (2 * sigma**2))
    assert radius_of_share(kernel**2) == pytest.approx(sigma * math.sqrt(math.log(10)), abs=0.35)
    shares = cumulative_shares(kernel**2)
    assert shares[round(2 * sigma)] == pytest.approx(1 - math.exp(-(round(2 * sigma) ** 2) / sigma**2), abs=0.03)


def test_shares_grow_from_the_center_to_1_and_do_not_depend_on_scale_or_sign() -> None:
    kernel = np.random.default_rng(0).normal(size=(9, 13))
    shares = cumulative_shares(kernel**2)
    assert (np.diff(shares) >= 0).all()
    assert shares[0] == pytest.approx(kernel[4, 6] ** 2 / (kernel**2).sum())
    assert shares[-1] == pytest.approx(1)
    np.testing.assert_allclose(cumulative_shares((-5 * kernel) ** 2), shares)
    assert radius_of_share((-5 * kernel) ** 2) == radius_of_share(kernel**2)


def test_a_map_without_energy_has_no_radius() -> None:
    assert math.isnan(radius_of_share(np.zeros((3, 3))))
    assert np.isnan(cumulative_shares(np.zeros((3, 3)))).all()


def test_distances_are_from_the_given_center() -> None:
    assert distances((2, 3), (0.0, 2.0)).tolist() == [[2, 1, 0], [pytest.approx(5**0.5), pytest.approx(2**0.5), 1]]
    energy = np.zeros((8, 8))
    energy[4, 4] = 1
    assert radius_of_share(energy, center=(4.0, 4.0)) == 0
    assert radius_of_share(energy) == pytest.approx(math.hypot(0.5, 0.5))
