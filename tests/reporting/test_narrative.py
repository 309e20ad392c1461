"""Summary, limits and methods of a report follow from its numbers."""

import re
from dataclasses import replace

import pytest

from lkca_search.analysis.compute_spent import compute_spent
from lkca_search.errors import SearchError
from lkca_search.records.record import State
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from tests.support.search_results import law, make_search_results

SIZES = [360, 900, 1800, 4500, 9000]


def test_a_significant_lead_has_its_images_points_interval_and_design() -> None:
    report = make_report(make_search_results(law(lead=0.05)))
    first = report.summary[0]
    assert re.match(
        r"With 360 training images \(2%\), the configuration found for lkca is ahead of that for vit by "
        r"\d\.\d points \[\d\.\d, \d\.\d\]\. With 900",
        first,
    )
    assert report.headline == "Configurations found for lkca against those for vit: ahead in 5 of 5 contrasts"
    assert all(each.verdict == "ahead" for each in report.contrasts)


def test_the_interval_of_a_lag_has_the_sign_of_the_lag() -> None:
    report = make_report(make_search_results(law(lead=-0.05)))
    assert re.match(
        r"With 360 training images \(2%\), the configuration found for lkca is behind that for vit by "
        r"\d\.\d points \[\d\.\d, \d\.\d\]",
        report.summary[0],
    )
    assert report.contrasts[0].paired.difference.value < 0


def test_without_a_significant_difference_the_summary_has_the_detectable_difference() -> None:
    report = make_report(make_search_results(law()))
    assert (
        report.summary[0] == "At 360, 900, 1,800, 4,500 and 9,000 images, no significant difference between the "
        "configurations found for lkca and vit is shown. These results are from 5 draws x 2 seeds."
    )
    assert re.search(r"detects with a power of 80% is \d\.\d to \d\.\d points", report.summary[1])


def test_the_summary_has_the_data_efficiency_of_a_family_that_needs_half_the_images() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float:
        return law(draw_spread=0.001, seed_spread=0.001)(family, images if family == "vit" else 2 * images, draw, seed)

    report = make_report(make_search_results(accuracy))
    sentence = next(
        sentence for sentence in report.summary if sentence.startswith("For the same test error, the configurations")
    )
    ratio = re.search(r"vit need ([\d.]+) \[([\d.]+), ([\d.]+)\] times as many training images", sentence)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(2, abs=0.1)


def test_a_report_without_a_round_has_no_comparison() -> None:
    report = make_report(make_search_results(None))
    assert report.headline == "No comparison yet"
    assert report.summary == report.contrasts == ()
    assert "and this report has no test accuracy." in report.caveats[0]
    assert {table.name for table in report.tables} == {
        "effects",
        "best_levels",
        "fields",
        "pareto",
        "importances",
        "budgets",
    }
    assert "test accuracy, %" not in to_html(report, source="")


def test_missing_and_failed_replicates_are_counted_and_their_partners_are_left_out() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float | None:
        return None if (family, draw, seed) == ("vit", 3, 1) else law()(family, images, draw, seed)

    results = make_search_results(
        accuracy, fails=lambda family, images, draw, seed: (family, draw, seed) == ("lkca", 2, 0)
    )
    report = make_report(results)
    assert (
        "10 replicates of the round have no test result: 5 failed and 5 are not tested yet. Draws and seeds without a "
        "partner are left out of differences."
    ) in report.caveats
    assert {each.paired.num_pairs for each in report.contrasts} == {8}
    assert {each.paired.num_draws for each in report.contrasts} == {5}


def test_one_draw_has_no_interval_and_no_test() -> None:
    report = make_report(make_search_results(law(), draws=1, seeds=3))
    assert {each.verdict for each in report.contrasts} == {"untested"}
    assert "There is a single draw, so test accuracies have no intervals and no tests." in report.caveats
    assert (
        "At 360, 900, 1,800, 4,500 and 9,000 images, no test is possible: there is a single draw." in report.summary[0]
    )
    assert not re.search(r"\bnan\b", to_html(report, source="").split("</main>")[0], re.IGNORECASE)


def test_a_single_draw_has_no_tests_only_where_draws_are_the_units() -> None:
    report = make_report(make_search_results(law(), fractions=(0.1, 1.0), draws=1, seeds=3))
    assert (
        "There is a single draw, so test accuracies at 1,800 images have no intervals and no tests." in report.caveats
    )
    assert {each.num_train_images: each.verdict == "untested" for each in report.contrasts} == {
        1800: True,
        18_000: False,
    }


def test_a_single_family_has_curves_but_no_contrasts() -> None:
    report = make_report(make_search_results(law(), families=("lkca",)))
    assert report.headline == "One variant, no comparison"
    assert "There is only one variant, so nothing is compared." in report.summary
    assert [figure.name for figure in report.figures] == ["learning_curves", "pareto_flops", "training_lkca"]


def test_a_headline_without_a_contrast_has_the_reason() -> None:
    apart = make_report(
        make_search_results(lambda family, images, draw, seed: 0.5 if (family == "vit") == seed else None)
    )
    assert apart.headline == "No comparison: no replicate of lkca has a partner"
    one = make_report(make_search_results(lambda family, *rest: 0.5 if family == "vit" else None))
    assert one.headline == "No comparison: only vit has test results"


def test_cells_with_another_budget_are_highlighted() -> None:
    results = make_search_results(law())
    lacking = [record for record in results.trials if record.trial_id != "family=vit,data_fraction=0.1/2"]
    short = replace(results, trials=lacking)
    deviating = [each.cell for each in compute_spent(short) if each.deviations]
    assert deviating == ["family=vit,data_fraction=0.1"]
    report = make_report(short)
    assert "1 trial of the budget is not finished, so cells were not searched equally." in report.caveats
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert [table.rows[place][0].text for place in table.highlighted] == deviating


def test_other_rounds_are_a_caveat() -> None:
    results = make_search_results(law())
    second = results.rounds[0].model_copy(update={"number": 2, "num_trials_left": 4}).sealed()
    both = replace(results, rounds=[*results.rounds, second])
    caveats = make_report(both).caveats
    assert (
        "This is round 2 of 2 of this search, and every round uses the test images. Its tests of all contrasts "
        "together have the level 0.8%, because all rounds share 5%. The 95% intervals are those of a single look."
    ) in caveats
    assert "Configurations were frozen while 4 trials were still due, so budgets were unequal." in caveats
    assert make_report(both, round_number=1).round == 1
    with pytest.raises(SearchError, match="round of search 'made' must be one of 1, 2, got 3"):
        make_report(both, round_number=3)
    with pytest.raises(SearchError, match="search 'made' has no round: run `lkca-search confirm made` first"):
        make_report(make_search_results(None), round_number=1)


def test_the_level_of_a_round_is_in_caveats_methods_and_caption() -> None:
    results = make_search_results(law())
    report = make_report(results)
    assert (
        "This is the only round of this search so far. Its tests of all contrasts together have the level 4%, because "
        "all rounds share 5%. The 95% intervals are those of a single look."
    ) in report.caveats
    assert "round 1 tests at 4%, round 2 at 0.8%, round 3 at 0.16%" in dict(report.methods)["Statistics"]
    third = results.rounds[0].model_copy(update={"number": 3}).sealed()
    for each, level in ((report, "4%"), (make_report(replace(results, rounds=[third])), "0.16%")):
        (table,) = (table for table in each.tables if table.name == "contrasts")
        assert f"for the rounds of a search, of which this one has the level {level}." in table.caption


def test_an_unfinished_round_is_one_more_look() -> None:
    report = make_report(make_search_results(lambda *where: None if where[2] == 4 else law()(*where)))
    look = "The round is unfinished: a decision now and a second one at its end are two looks, and the level is that of"
    (missing,) = (each for each in report.caveats if "20 replicates" in each)
    assert missing.startswith("20 replicates of the round have no test result: 20 are not tested yet. Draws and seeds")
    assert len([each for each in report.caveats if each.startswith(look)]) == 1
    finished = make_report(make_search_results(law())).caveats
    assert not [each for each in finished if "no test result" in each or "unfinished" in each]


def test_methods_have_design_hyperparameters_round_and_provenance() -> None:
    paragraphs = dict(make_report(make_search_results(law())).methods)
    assert paragraphs.keys() >= {"Data", "Design", "Training", "Search", "Confirmation", "Statistics", "Provenance"}
    assert "5 subset draws that no trial had used, with 2 seeds per draw" in paragraphs["Confirmation"]
    assert "learning_rate in [0.0001, 0.01], logarithmic" in paragraphs["Hyperparameters"]
    assert "a" * 40 in paragraphs["Provenance"]


def test_texts_and_tables_name_the_metric_of_the_search() -> None:
    search = {"trials_per_cell": 3, "sampler": "random", "metric": "val_loss"}
    report = make_report(make_search_results(law(), search=search))
    tables = {table.name: table for table in report.tables}
    assert "validation loss" in tables["pareto"].columns
    assert "lowest validation loss" in tables["best_of_k"].caption
    assert "selection bias" in tables["selection"].columns
    assert {"best", "mean"} <= {*tables["fields"].columns}
    assert "effect" in tables["effects"].columns
    assert [row[-1].text for row in tables["pareto"].rows] == ["2.250"] * len(tables["pareto"].rows)
    (figure,) = (figure for figure in report.figures if figure.name == "pareto_flops")
    assert (figure.title[:15], figure.y_label) == ("Validation loss", "validation loss")
    sentence = next(sentence for sentence in report.summary if "the best validation loss" in sentence)
    assert re.search(
        r"the best validation loss of a cell was on average \d\.\d{3} \w+ the test loss of its retrained", sentence
    )
    assert "Trials are compared by validation loss (minimize)." in dict(report.methods)["Search"]
    texts = [text for table in report.tables for text in (*table.columns, table.caption)]
    texts += [text for section in report.sections for text in (section.title, *section.paragraphs)]
    assert not [text for text in texts if "validation accuracy" in text]


def test_a_search_with_only_failed_trials_has_a_report() -> None:
    results = make_search_results(None)
    failed = [
        record.model_copy(update={"state": State.FAIL, "value": None, "facts": None, "curve": (), "error": "broken"})
        for record in results.trials
    ]
    report = make_report(replace(results, trials=failed))
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert len(table.highlighted) == len(table.rows) == 10
    assert {row[-1].text for row in table.rows} == {"3 failed"}
    assert any("Cells of the same size had unequal budgets." in caveat for caveat in report.caveats)
    assert "Nothing is confirmed yet" in report.caveats[0]
    reasons = {section.name: section.paragraphs for section in report.sections}
    assert reasons["ablation"][0].startswith("Not estimable: no hyperparameter has two values")
    assert reasons["costs"] == ("Not estimable: no trial is complete.",)
    assert to_html(report, source="")


def test_a_cell_without_a_trial_is_a_caveat_and_the_rest_is_compared() -> None:
    results = make_search_results(lambda *where: None if where[:2] == ("vit", 360) else law(lead=0.05)(*where))
    empty = "family=vit,data_fraction=0.02"
    sealed = results.rounds[0]
    picks = tuple(pick for pick in sealed.picks if pick.cell != empty)
    sealed = sealed.model_copy(update={"picks": picks, "cells_without": (empty,)}).sealed()
    left = [record for record in results.trials if record.cell != empty]
    report = make_report(replace(results, trials=left, rounds=[sealed]))
    assert f"{empty} had no complete trial, so it was not confirmed." in report.caveats
    assert [each.num_train_images for each in report.contrasts] == SIZES[1:]
    assert {each.verdict for each in report.contrasts} == {"ahead"}


def test_a_table_of_contrasts_has_dashes_for_missing_intervals_and_their_reasons_in_the_caption() -> None:
    report = make_report(make_search_results(law(), draws=3, seeds=1))
    (table,) = (table for table in report.tables if table.name == "contrasts")
    column = table.columns.index("95% bootstrap")
    assert {row[column].text for row in table.rows} == {"–"}
    assert table.caption.endswith(
        " Without an interval (–): too many resamples of 3 draws have no spread for an interval at the level 0.95."
    )
    assert not any(table.has_long_texts(each) for each in range(len(table.columns)))
    complete = make_report(make_search_results(law()))
    (table,) = (table for table in complete.tables if table.name == "contrasts")
    assert "Without an interval" not in table.caption
