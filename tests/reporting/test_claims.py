"""No sentence of a report claims more than its numbers: units, sampling of test images, crossovers, searches."""

import re
from dataclasses import replace

import pytest

from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.selection import mean_score
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.values.report import Report
from tests.support.search_results import Accuracy, law, make_search_results, with_predictions

WITH_ALL = (0.02, 0.25, 0.5, 1.0)


def crossing(*, spread: float = 0.002) -> Accuracy:
    """Return accuracies of which lkca has the lower ones below 3,000 images and the higher ones above."""

    def accuracy(family: str, images: int, draw: int, seed: int) -> float | None:
        shift = 0.05 if images > 3000 else -0.05
        return law(draw_spread=spread, seed_spread=spread, lead=shift)(family, images, draw, seed)

    return accuracy


def statistics_of(report: Report) -> str:
    return str(dict(report.methods)["Statistics"])


def test_a_crossover_is_stated_between_sizes_that_are_decided_each_way() -> None:
    report = make_report(make_search_results(crossing()))
    (sentence,) = (text for text in report.summary if "lead changes" in text)
    found = re.fullmatch(
        r"Between 360 and 9,000 training images, the lead changes from the configurations found for vit to "
        r"the configurations found for lkca, near ([\d,]+) "
        r"\[[\d,]+, [\d,]+\]\.",
        sentence,
    )
    assert found is not None
    assert 1800 < int(found[1].replace(",", "")) < 4500
    assert "bootstrap samples" not in to_html(report, source="").split("</main>")[0]


@pytest.mark.parametrize("accuracy", [law(), law(lead=0.05), lambda *where: 1.0, crossing(spread=0.08)])
def test_without_a_decision_each_way_no_crossover_can_be_shown(accuracy: Accuracy) -> None:
    report = make_report(make_search_results(accuracy))
    found = "No crossover between the configurations found for lkca and vit can be shown."
    assert found in report.summary
    assert not any("lead changes" in text for text in report.summary)


def test_a_single_size_has_no_sentence_on_a_crossover() -> None:
    report = make_report(make_search_results(law(lead=0.05), fractions=(0.1,)))
    assert not any("crossover" in text or "lead changes" in text for text in report.summary)


def test_trainings_are_the_unit_where_all_draws_have_the_same_images() -> None:
    results = make_search_results(law(lead=0.05), fractions=WITH_ALL)
    report = make_report(results)
    units = {each.num_train_images: (each.unit, each.paired.num_draws) for each in report.contrasts}
    assert units == {360: ("draw", 5), 4500: ("draw", 5), 9000: ("draw", 5), 18_000: ("seed", 10)}
    assert "At 18,000 images, all draws have the same images, so the test is over seeds." in report.summary[0]
    assert any(text.startswith("At 18,000 images, every draw has all training images") for text in report.caveats)
    assert "At 18,000 images, all draws have the same images. There the unit is the training" in statistics_of(report)
    (table,) = (table for table in report.tables if table.name == "contrasts")
    more = table.columns.index("more units for 0.5 points")
    assert ["trainings" in row[more].text for row in table.rows] == [False, False, False, True]
    assert all("draws" in row[more].text for row in table.rows[:3])


def test_trainings_are_the_unit_on_a_single_draw_of_all_images() -> None:
    report = make_report(make_search_results(law(lead=0.05), fractions=(0.5, 1.0), draws=1, seeds=6))
    assert [(each.verdict, each.paired.num_draws) for each in report.contrasts] == [("untested", 1), ("ahead", 6)]


def test_pairs_on_a_single_draw_are_the_reason_for_no_test() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float | None:
        return None if family == "vit" and draw > 1 else law()(family, images, draw, seed)

    summary = make_report(make_search_results(accuracy, fractions=(0.1,))).summary
    assert "At 1,800 images, no test is possible: pairs of replicates are from a single draw." in summary[0]


def test_scores_without_spread_have_no_detectable_difference() -> None:
    report = make_report(make_search_results(lambda *where: 1.0))
    assert all(each.power_analysis is None for each in report.contrasts)
    assert any("is not estimable for 5 of 5 contrasts" in text for text in report.summary)


def test_draws_that_overlap_by_more_than_a_quarter_are_named() -> None:
    caveats = make_report(make_search_results(law(), fractions=(0.02, 0.25, 0.3, 0.5, 1.0))).caveats
    (found,) = (text for text in caveats if "in common" in text)
    assert found.startswith("At 5,400 and 9,000 images, two draws have up to 50% of their images in common.")


def test_the_overlap_of_draws_is_that_of_the_records_and_else_the_data_fraction() -> None:
    results = make_search_results(law(), fractions=(0.02,))
    recorded = [
        record.model_copy(update={"facts": record.facts.model_copy(update={"expected_overlap": 0.4})})
        for record in results.replicates
        if record.facts
    ]
    overlaps = [
        round_scores(each, each.rounds[0]).cells[0].overlap for each in (results, replace(results, replicates=recorded))
    ]
    assert overlaps == [0.02, 0.4]


def test_if_the_search_was_repeated_repeats_stay_the_unit_at_all_images() -> None:
    search = {"trials_per_cell": 3, "repeats": 5}
    report = make_report(make_search_results(law(lead=0.05), fractions=(0.5, 1.0), search=search))
    assert {each.unit for each in report.contrasts} == {"draw"}
    assert report.headline == "lkca against vit: ahead in 2 of 2 contrasts"
    assert "lkca is ahead of vit by" in report.summary[0]
    assert not any("searched once" in text for text in report.caveats)


def test_a_repeated_search_names_the_images_that_its_repeats_share() -> None:
    search = {"trials_per_cell": 3, "repeats": 5}
    report = make_report(make_search_results(law(lead=0.05), fractions=(0.5, 1.0), search=search))
    assert any(text.startswith("All repeats of the search choose by the same validation") for text in report.caveats)
    assert any(
        text.startswith("At 18,000 images, every draw has all training images, so replicates differ only by the conf")
        for text in report.caveats
    )
    assert "At 18,000 images, all draws have the same images. There the unit is still the repeat" in statistics_of(
        report
    )
    confirmation = str(dict(report.methods)["Confirmation"])
    assert "searches that share the validation images; at a data fraction of 1.0, they also share" in confirmation
    once = make_report(make_search_results(law(), fractions=(0.5, 1.0)))
    assert not any("repeats of the search choose" in text for text in once.caveats)


def test_a_search_without_repeats_says_that_it_is_about_the_configurations_found() -> None:
    report = make_report(make_search_results(law(lead=0.05)))
    assert report.headline == "Configurations found for lkca against those for vit: ahead in 5 of 5 contrasts"
    assert any("`search: {repeats: 5}` in the space file repeats the search" in text for text in report.caveats)


def test_intervals_include_the_sampling_of_test_images_if_predictions_are_known() -> None:
    plain = make_search_results(law(lead=0.03))
    known = with_predictions(plain)
    cells = [round_scores(results, results.rounds[0]).cells[0] for results in (plain, known)]
    narrow, wide = (mean_score(cell).interval for cell in cells)
    assert cells[1].score_variance is not None
    # The accuracy of 1,000 independent images has a standard error of at most 1.6 points.
    assert 0 < cells[1].score_variance <= 1.6**2
    assert narrow is not None
    assert wide is not None
    assert wide.lower is not None
    assert narrow.lower is not None
    assert wide.lower < narrow.lower
    reports = [make_report(results) for results in (plain, known)]
    for one, other in zip(*(report.contrasts for report in reports), strict=True):
        assert one.paired.sampling_error is None
        assert other.paired.sampling_error is not None
        assert other.paired.difference.value == one.paired.difference.value
        assert (other.paired.p_value or 0) >= (one.paired.p_value or 0)
    assert "predictions per test image are not known" in statistics_of(reports[0])
    assert "they include the sampling of 1,000 test images" in statistics_of(reports[1])
    assert any("no predictions per test image" in text for text in reports[0].caveats)
    assert not any("no predictions per test image" in text for text in reports[1].caveats)


def test_an_undecided_contrast_has_no_difference_in_the_headline_and_no_power_from_three_draws() -> None:
    report = make_report(make_search_results(law(), draws=3, seeds=1))
    assert (
        report.headline
        == "Configurations found for lkca against those for vit: no significant difference in 5 of 5 contrasts"
    )
    assert all(each.power_analysis is None for each in report.contrasts)
    assert any(
        "5 of 5 contrasts without a significant difference: it needs at least 4 draws" in text
        for text in report.summary
    )
    (single,) = (make_report(make_search_results(law(), fractions=(0.1,))).headline,)
    assert re.search(r"; the difference is [+−]?\d\.\d points \[[+−]?\d\.\d, [+−]?\d\.\d\]$", single)


def test_the_sentence_on_coverage_is_about_the_design_of_the_round() -> None:
    same, other = (
        make_report(make_search_results(law(), draws=draws, seeds=seeds)) for draws, seeds in ((5, 2), (3, 1))
    )
    assert "which is the design of this round" in statistics_of(same)
    assert "but this round has 3 draws x 1 seed, which was not simulated" in statistics_of(other)


def test_the_sentence_on_coverage_names_the_intervals_that_were_simulated() -> None:
    text = statistics_of(make_report(make_search_results(law())))
    assert "95% intervals of means, differences, probabilities of improvement, parameters of power laws, data" in text
    assert "each kind" not in text


def test_a_data_efficiency_whose_interval_has_1_is_no_advantage() -> None:
    summary = make_report(make_search_results(law())).summary
    (sentence,) = (text for text in summary if "the same test error" in text)
    assert sentence.startswith("No difference in data efficiency is shown: for the same test error, the ")


def efficiency_sentence(report: Report) -> str:
    (sentence,) = (text for text in report.summary if "the same test error" in text)
    return sentence


def test_a_data_efficiency_from_three_draws_has_no_interval_and_is_no_advantage() -> None:
    report = make_report(make_search_results(law(lead=0.05), draws=3))
    sentence = efficiency_sentence(report)
    assert sentence.startswith("No difference in data efficiency is shown: for the same test error, the ")
    assert sentence.endswith(
        " (no interval: too many resamples of 3 draws have no spread for an interval at the level 0.95)."
    )
    (table,) = (table for table in report.tables if table.name == "efficiencies")
    assert "too many resamples of 3 draws" in table.rows[0][2].text


def test_a_data_efficiency_that_no_test_at_a_single_size_shows_states_that() -> None:
    small, large = (make_report(make_search_results(law(lead=lead))) for lead in (0.006, 0.05))
    assert {each.verdict for each in small.contrasts} == {"undecided"}
    assert efficiency_sentence(small).startswith("For the same test error, the configurations found for vit need ")
    assert efficiency_sentence(small).endswith(" No corrected test at a single size shows this advantage.")
    assert {each.verdict for each in large.contrasts} == {"ahead"}
    assert "test at a single size" not in efficiency_sentence(large)


def test_a_data_efficiency_names_the_sizes_whose_tests_show_the_opposite() -> None:
    report = make_report(make_search_results(crossing(spread=0.001)))
    sentence = efficiency_sentence(report)
    assert sentence.startswith("For the same test error, the configurations found for vit need ")
    ratio = re.search(r"need ([\d.]+) \[", sentence)
    assert ratio is not None
    opposite = "behind" if float(ratio[1]) > 1 else "ahead"
    sizes = [f"{each.num_train_images:,}" for each in report.contrasts if each.verdict == opposite]
    assert sizes
    assert all(size in sentence.partition("comparisons. At ")[2] for size in sizes)
    assert sentence.endswith(" images, the corrected test shows the opposite.")


def test_captions_claim_the_sampling_of_test_images_only_of_intervals_that_include_it() -> None:
    plain = make_search_results(law(lead=0.03))
    captions = [
        {table.name: table.caption for table in make_report(results).tables}
        for results in (plain, with_predictions(plain))
    ]
    for name, subject in (("accuracies", "Both intervals"), ("contrasts", "They")):
        assert f"{subject} are for these test images." in captions[0][name]
        assert f"{subject} include the sampling of test images." in captions[1][name]
    assert "another kind than the intervals of means, which are on the scale of log odds" in captions[0]["contrasts"]
