"""Seals of rounds, and their levels: all rounds together claim a false difference in at most 5% of searches."""

import pytest

from lkca_search.analysis.contrasts import compute_contrasts
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.errors import SearchError
from lkca_search.paths import write_atomically
from lkca_search.records.rounds import ERROR_RATE, Round, correct_for_rounds, read_rounds, round_file
from tests.support.records import make_search
from tests.support.search_results import law, make_search_results

OLD_ROUND = b"""{
 "number": 1, "opened": 1700000000.5, "metric": "val_accuracy", "goal": "maximize", "draws": [1, 2], "num_seeds": 2,
 "top": 1, "test_hash": "abababababababababababababababababababababababababababababababab", "num_trials": 6,
 "num_trials_left": 0,
 "picks": [
  {"cell": "family=lkca,data_fraction=0.1", "rank": 1, "trial_id": "family=lkca,data_fraction=0.1/1", "value": 0.5,
   "configuration": {
    "family": "lkca", "data_fraction": 0.1, "images_per_class": null, "draw": 0, "patch_size": 2, "depth": null,
    "width": null, "match_parameters": null, "mlp_ratio": null, "kernel_size": 3, "kernel_init": null,
    "num_heads": null, "pooling": null, "position_embedding": null, "drop_path_rate": null, "learning_rate": 0.0001,
    "weight_decay": 0.05, "label_smoothing": 0.1, "warmup_fraction": 0.1},
   "num_trials": 3}
 ],
 "cells_without": [],
 "seal": "SEAL"
}"""
"""File of a round, as the code before the levels of rounds wrote it."""
OLD_SEAL = b"3a19a6cb69256b99496c958a3839cc4d3d8eb852c269ac284287122f84cd8cbf"
SEAL_WITHOUT_FIELD = b"cb9cf00ae11ed78eca6d90e7266cbd4b415cdca0e457f73044d55d49a7790833"
"""Seal that code without `warmup_fraction` would have written."""
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


def write_round(content: bytes) -> list[Round]:
    folder = make_search("made")
    write_atomically(folder.rounds / round_file(1), content)
    return read_rounds(folder)


def test_a_round_of_earlier_code_matches_its_seal() -> None:
    (stored,) = write_round(OLD_ROUND.replace(b"SEAL", OLD_SEAL))
    assert (stored.number, stored.seal) == (1, OLD_SEAL.decode())


def test_a_changed_round_of_earlier_code_does_not_match_its_seal() -> None:
    with pytest.raises(SearchError, match="must match its seal"):
        write_round(OLD_ROUND.replace(b"SEAL", OLD_SEAL).replace(b"0.0001", b"0.0002"))


def test_a_field_that_was_added_since_does_not_break_the_seal_of_a_round() -> None:
    without_field = OLD_ROUND.replace(b', "warmup_fraction": 0.1', b"")
    (stored,) = write_round(without_field.replace(b"SEAL", SEAL_WITHOUT_FIELD))
    assert stored.picks[0].configuration.warmup_fraction == 0.1
