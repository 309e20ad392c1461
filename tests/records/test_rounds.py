"""Levels of the rounds of one search: all rounds together claim a false difference in at most 5% of searches."""

import pytest

from lkca_search.analysis.contrasts import compute_contrasts
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.records.rounds import ERROR_RATE, Round, correct_for_rounds
from tests.support.search_results import law, make_search_results

RESULTS = make_search_results(law(lead=0.015))


def round_with_number(number: int) -> Round:
    return RESULTS.rounds[0].model_copy(update={"number": number}).sealed()


def scores_of_round(number: int) -> RoundScores:
    return round_scores(RESULTS, round_with_number(number))


def test_each_round_spends_four_fifths_of_what_is_left_of_5_percent() -> None:
    left = ERROR_RATE
    for number, alpha in enumerate((0.04, 0.008, 0.0016, 0.00032), start=1):
        assert round_with_number(number).alpha == pytest.approx(alpha) == pytest.approx(0.8 * left)
        left -= alpha


def test_the_levels_of_any_number_of_rounds_add_up_to_at_most_5_percent() -> None:
    alphas = [round_with_number(number).alpha for number in range(1, 1001)]
    assert sum(alphas) <= ERROR_RATE + 1e-15
    assert min(alphas) > 0


def test_a_corrected_p_is_at_most_5_percent_exactly_if_p_is_at_most_the_level_of_the_round() -> None:
    for number in (1, 2, 3):
        alpha = round_with_number(number).alpha
        below, above, large, untested = correct_for_rounds([0.999 * alpha, 1.001 * alpha, 0.9, None], alpha)
        assert below is not None
        assert above is not None
        assert below < 0.05 < above
        assert (large, untested) == (1.0, None)


def test_a_difference_may_be_significant_in_the_first_round_and_not_in_a_later_one() -> None:
    first, second = (compute_contrasts(scores_of_round(number), RESULTS.reference) for number in (1, 2))
    assert [each.paired for each in first] == [each.paired for each in second]
    for each, later in zip(first, second, strict=True):
        assert each.adjusted_p is not None
        assert later.adjusted_p == pytest.approx(min(1.0, 5 * each.adjusted_p))
    assert {each.verdict for each in first} == {"ahead"}
    assert [each.verdict for each in second].count("ahead") == 1


def test_the_power_analysis_has_the_level_of_the_round() -> None:
    for number in (1, 2):
        for each in compute_contrasts(scores_of_round(number), RESULTS.reference):
            assert each.power_analysis is not None
            assert 1 - each.power_analysis.level == pytest.approx(round_with_number(number).alpha / 5)


@pytest.mark.parametrize("number", [22, 23, 30, 500])
def test_the_contrasts_of_any_round_can_be_computed(number: int) -> None:
    assert {each.verdict for each in compute_contrasts(scores_of_round(number), RESULTS.reference)} == {"undecided"}
