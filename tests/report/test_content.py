"""The texts and tables of a report follow from its replicates; missing numbers have a reason."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from lkca_search.analysis.compute_spent import compute_spent
from lkca_search.analysis.contrasts import compute_contrasts
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.selection import compute_selection_effects
from lkca_search.errors import SearchError
from lkca_search.records.record import State
from lkca_search.report.content import make_report
from lkca_search.report.rendering.html import to_html
from lkca_search.report.rendering.paper import draw
from tests.support.search_results import FRACTIONS, images_of, law, make_search_results, make_spec

SIZES = [360, 900, 1800, 4500, 9000]


def test_a_significant_lead_has_its_images_points_interval_and_design() -> None:
    report = make_report(make_search_results(law(lead=0.05)))
    first = report.summary[0]
    assert re.match(
        r"With 360 training images \(2%\), lkca is ahead of vit by \d\.\d points \[\d\.\d, \d\.\d\]\. With 900", first
    )
    assert report.headline.startswith("lkca: ahead in 5 of 5 contrasts; largest difference +")
    assert all(each.verdict == "ahead" for each in report.contrasts)


def test_the_interval_of_a_lag_has_the_sign_of_the_lag() -> None:
    report = make_report(make_search_results(law(lead=-0.05)))
    assert re.match(
        r"With 360 training images \(2%\), lkca is behind vit by \d\.\d points \[\d\.\d, \d\.\d\]", report.summary[0]
    )
    assert report.contrasts[0].paired.difference.value < 0


def test_without_a_significant_difference_the_summary_has_the_detectable_difference() -> None:
    report = make_report(make_search_results(law()))
    assert (
        report.summary[0] == "At 360, 900, 1,800, 4,500 and 9,000 images, lkca and vit do not differ significantly. "
        "These results are from 5 draws x 2 seeds."
    )
    assert re.search(r"detects a true difference of \d\.\d to \d\.\d points with a power of 80%", report.summary[1])


def test_every_number_of_a_contrast_comes_from_its_replicates() -> None:
    results = make_search_results(law(lead=0.02))
    scores = round_scores(results, results.rounds[-1])
    found = compute_contrasts(scores, results.reference)
    assert [each.num_train_images for each in found] == SIZES
    for each in found:
        values = {
            (record.spec.configuration.family, record.replicate.draw, record.replicate.seed): 100 * record.test.accuracy
            for record in results.replicates
            if record.test and record.replicate and images_of(record.spec.configuration) == each.num_train_images
        }
        draws = [
            np.mean([values["lkca", draw, seed] - values["vit", draw, seed] for seed in (0, 1)]) for draw in range(1, 6)
        ]
        expected = stats.ttest_1samp(draws, 0)
        interval = expected.confidence_interval(0.95)
        assert each.paired.difference.value == pytest.approx(np.mean(draws))
        assert each.paired.p_value == pytest.approx(expected.pvalue)
        assert each.paired.difference.interval is not None
        assert (each.paired.difference.interval.lower, each.paired.difference.interval.upper) == pytest.approx(
            (interval.low, interval.high)
        )
    p_values = sorted(each.paired.p_value or 1 for each in found)
    adjusted = sorted(each.adjusted_p or 1 for each in found)
    assert adjusted[0] == pytest.approx(5 * p_values[0])


def test_if_the_search_was_repeated_a_repeat_is_the_unit() -> None:
    repeated = make_search_results(law(lead=0.05), search={"trials_per_cell": 3, "repeats": 5})
    assert len(repeated.trials) == 5 * len(make_search_results(None).trials)
    assert len(repeated.replicates) == len(make_search_results(law()).replicates)
    (sealed,) = repeated.rounds
    scores = round_scores(repeated, sealed)
    assert [cell.cell for cell in scores.cells][:2] == [
        "family=lkca,data_fraction=0.02",
        "family=lkca,data_fraction=0.05",
    ]
    assert all(cell.num_missing == 0 for cell in scores.cells)
    assert {pick.configuration.draw for pick in scores.cells[0].picks} == {0, 1, 2, 3, 4}
    found = compute_contrasts(scores, repeated.reference)
    assert [each.num_train_images for each in found] == SIZES
    for each in found:
        values = {
            (record.cell, record.replicate.seed): 100 * record.test.accuracy
            for record in repeated.replicates
            if record.test and record.replicate and images_of(record.spec.configuration) == each.num_train_images
        }
        of_repeat = [
            np.mean(
                [
                    values[f"{each.reference_cell},draw={k}", seed] - values[f"{each.other_cell},draw={k}", seed]
                    for seed in (0, 1)
                ]
            )
            for k in range(5)
        ]
        assert each.paired.draw_differences == pytest.approx(of_repeat)
        assert each.paired.p_value == pytest.approx(stats.ttest_1samp(of_repeat, 0).pvalue)
    report = make_report(repeated)
    assert report.summary[0].endswith("These results are from 5 repeats of the search x 2 seeds.")
    paragraphs = dict(report.methods)
    assert (
        "Crossed factors: family (lkca and vit); data_fraction (0.02, 0.05, 0.1, 0.25 and 0.5). This gives 10 cells."
        in paragraphs["Design"]
    )
    assert "Every cell is searched 5 times, on subset draws 0, 1, 2, 3 and 4" in paragraphs["Search"]
    assert "conditional on" not in paragraphs["Search"]
    assert "The best configuration of each repeat was retrained on one of 5 subset draws" in paragraphs["Confirmation"]
    assert "conditional on this one search" in dict(make_report(make_search_results(law())).methods)["Search"]
    assert {row[2].number for table in report.tables if table.name == "selection" for row in table.rows} == {15}
    to_html(report, source="")


def test_the_fitted_power_law_is_the_true_one() -> None:
    report = make_report(make_search_results(law(draw_spread=0.002, seed_spread=0.001)))
    (table,) = (table for table in report.tables if table.name == "curves")
    for row in table.rows:
        alpha, gamma = row[2].number, row[4].number
        assert alpha is not None
        assert gamma is not None
        assert alpha == pytest.approx(10, abs=2)
        assert gamma == pytest.approx(-0.4, abs=0.05)


def test_the_summary_has_the_data_efficiency_of_a_family_that_needs_half_the_images() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float:
        return law(draw_spread=0.001, seed_spread=0.001)(family, images if family == "vit" else 2 * images, draw, seed)

    report = make_report(make_search_results(accuracy))
    sentence = next(
        sentence for sentence in report.summary if sentence.startswith("For the same test error, vit needs")
    )
    ratio = re.search(r"needs ([\d.]+) times \[([\d.]+), ([\d.]+)\]", sentence)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(2, abs=0.1)


def test_a_report_without_a_round_has_no_comparison() -> None:
    report = make_report(make_search_results(None))
    assert report.headline == "No comparison yet"
    assert report.summary == report.contrasts == ()
    assert "Nothing is confirmed yet, so this report has no test accuracy." in report.caveats[0]
    assert {table.name for table in report.tables} == {"effects", "fields", "pareto", "importances", "budgets"}
    assert "test accuracy, %" not in to_html(report, source="")


def test_missing_and_failed_replicates_are_counted_and_their_partners_are_left_out() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float | None:
        return None if (family, draw, seed) == ("vit", 3, 1) else law()(family, images, draw, seed)

    results = make_search_results(
        accuracy, fails=lambda family, images, draw, seed: (family, draw, seed) == ("lkca", 2, 0)
    )
    report = make_report(results)
    assert (
        "10 replicates are missing (5 of them failed). Draws and seeds without a partner are left out."
        in report.caveats
    )
    assert {each.paired.num_pairs for each in report.contrasts} == {8}
    assert {each.paired.num_draws for each in report.contrasts} == {5}


def test_a_draw_without_any_replicate_is_left_out() -> None:
    report = make_report(make_search_results(lambda *where: None if where[2] == 4 else law()(*where)))
    assert {each.paired.num_draws for each in report.contrasts} == {4}
    assert draw(report.figures[0]).keys() == {"png", "svg", "pdf"}


def test_one_draw_has_no_interval_and_no_test() -> None:
    report = make_report(make_search_results(law(), draws=1, seeds=3))
    assert {each.verdict for each in report.contrasts} == {"untested"}
    assert "There is a single draw, so there are no intervals and no tests." in report.caveats
    assert (
        "At 360, 900, 1,800, 4,500 and 9,000 images, no test is possible: there is a single draw." in report.summary[0]
    )
    assert not re.search(r"\bnan\b", to_html(report, source="").split("</main>")[0], re.IGNORECASE)


def test_one_seed_will_do() -> None:
    report = make_report(make_search_results(law(lead=0.05), seeds=1))
    assert {each.verdict for each in report.contrasts} == {"ahead"}


def test_replicates_without_spread_have_a_reason_in_place_of_an_interval() -> None:
    report = make_report(make_search_results(law(lead=0.05, draw_spread=0, seed_spread=0)))
    assert all(each.paired.difference.interval is None for each in report.contrasts)
    assert all(each.paired.difference.reason for each in report.contrasts)
    page = to_html(report, source="")
    assert "every draw gives the same value" in page


def test_a_single_family_has_curves_but_no_contrasts() -> None:
    report = make_report(make_search_results(law(), families=("lkca",)))
    assert "There is only one variant, so nothing is compared." in report.summary
    assert [figure.name for figure in report.figures] == ["learning_curves", "pareto_flops"]


def test_a_single_size_has_a_reason_in_place_of_a_power_law() -> None:
    report = make_report(make_search_results(law(), fractions=(0.1,)))
    (table,) = (table for table in report.tables if table.name == "curves")
    assert {row[-1].text for row in table.rows} == {
        "a fitted curve needs at least 5 numbers of training images, there are 1"
    }
    (table,) = (table for table in report.tables if table.name == "efficiencies")
    assert table.rows[0][-1].text != ""


@pytest.mark.parametrize("most", [400, 1000])
def test_a_family_with_fewer_sizes_is_compared_at_those_sizes(most: int) -> None:
    report = make_report(
        make_search_results(lambda *where: None if where[0] == "vit" and where[1] > most else law()(*where))
    )
    assert [each.num_train_images for each in report.contrasts] == [size for size in SIZES if size <= most]
    assert any(caveat.startswith("No replicate of family=vit,data_fraction=0.") for caveat in report.caveats)


def test_the_reference_is_the_base_else_the_first_lkca_else_the_first() -> None:
    assert make_search_results(law(), families=("vit", "lkca")).reference.label == "lkca"
    assert make_search_results(law(), families=("vit", "resnet")).reference.label == "vit"
    changes = {"design": "one_at_a_time", "base": {"family": "vit"}}
    assert dict(make_search_results(law(), families=("lkca", "vit"), **changes).reference.levels) == {"family": "vit"}


def test_the_label_of_a_variant_has_only_the_levels_that_differ() -> None:
    spec = make_spec(("lkca",), FRACTIONS)
    factors = {"family": ("lkca",), "kernel_size": (3, 5), "data_fraction": (0.1, 0.5)}
    results = make_search_results(law(), families=("lkca",), factors=factors)
    assert {variant.label for variant in results.variants.values()} == {"kernel_size 3", "kernel_size 5"}
    assert spec.factors.keys() == {"family", "data_fraction"}


def test_the_label_of_a_variant_has_its_changes_to_the_base() -> None:
    factors = {"family": ("lkca", "vit"), "position_embedding": (True, False), "data_fraction": (0.1, 0.5)}
    results = make_search_results(law(), design="one_at_a_time", base={"family": "lkca"}, factors=factors)
    labels = [variant.label for variant in dict.fromkeys(results.variants.values())]
    assert labels == ["base", "vit", "position_embedding false"]
    assert results.reference.label == "base"
    report = make_report(results)
    assert {(each.reference, each.other) for each in report.contrasts} == {
        ("base", "vit"),
        ("base", "position_embedding false"),
    }


def test_the_test_gap_is_the_selected_accuracy_minus_the_test_accuracy() -> None:
    results = make_search_results(law())
    found = compute_selection_effects(results, round_scores(results, results.rounds[-1]))
    for each in found:
        assert each.picked == pytest.approx(60)
        assert each.test_gap == pytest.approx(60 - each.test.value)
        assert each.num_trials == 3


def test_cells_with_another_budget_are_highlighted() -> None:
    results = make_search_results(law())
    lacking = [record for record in results.trials if record.trial_id != "family=vit,data_fraction=0.1/2"]
    short = type(results)(**{**attributes_of(results), "trials": lacking})
    deviating = [each.cell for each in compute_spent(short) if each.deviations]
    assert deviating == ["family=vit,data_fraction=0.1"]
    report = make_report(short)
    assert "1 trial of the budget is not finished, so cells were not searched equally." in report.caveats
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert [table.rows[place][0].text for place in table.highlighted] == deviating


def test_other_rounds_are_a_caveat() -> None:
    results = make_search_results(law())
    second = results.rounds[0].model_copy(update={"number": 2, "num_trials_left": 4}).sealed()
    both = type(results)(**{**attributes_of(results), "rounds": [*results.rounds, second]})
    caveats = make_report(both).caveats
    assert "This is round 2 of 2. Test images were also used in 1 other round (round 1)." in caveats
    assert "Configurations were frozen while 4 trials were still due, so budgets were unequal." in caveats
    assert make_report(both, round_number=1).round == 1
    with pytest.raises(SearchError, match="round of search 'made' must be one of 1, 2, got 3"):
        make_report(both, round_number=3)
    with pytest.raises(SearchError, match="search 'made' has no round: run `lkca-search confirm made` first"):
        make_report(make_search_results(None), round_number=1)


def test_methods_have_design_hyperparameters_round_and_provenance() -> None:
    paragraphs = dict(make_report(make_search_results(law())).methods)
    assert paragraphs.keys() >= {"Data", "Design", "Training", "Search", "Confirmation", "Statistics", "Provenance"}
    assert "5 subset draws that no trial had used, with 2 seeds per draw" in paragraphs["Confirmation"]
    assert "learning_rate in [0.0001, 0.01], logarithmic" in paragraphs["Hyperparameters"]
    assert "a" * 40 in paragraphs["Provenance"]


def test_the_same_results_give_the_same_report() -> None:
    one, other = (make_report(make_search_results(law(lead=0.01))) for _ in range(2))
    assert to_html(one, source="") == to_html(other, source="")
    assert draw(one.figures[0]) == draw(other.figures[0])


def test_mlflow_accepts_the_metric_names_of_a_report() -> None:
    found = make_report(make_search_results(law(), families=("lkca", "timm:resnet18"))).mlflow_metrics()
    assert len(found) == 5
    for name, value in found.items():
        assert re.fullmatch(r"[\w\-. /]+", name)
        assert math.isfinite(value)


def attributes_of(results: object) -> dict[str, object]:
    return {name: getattr(results, name) for name in ("name", "spec", "trials", "replicates", "rounds")}


def test_the_expected_best_of_k_requires_independent_trials() -> None:
    with_tpe = make_report(make_search_results(law()))
    assert "best_of_k" not in {table.name for table in with_tpe.tables}
    (costs,) = (section for section in with_tpe.sections if section.name == "costs")
    assert costs.paragraphs == (
        "The expected best of k trials is not estimable: sampler tpe chooses a trial by the results of earlier trials.",
    )
    results = make_search_results(law(), search={"trials_per_cell": 3, "sampler": "random"})
    (table,) = (table for table in make_report(results).tables if table.name == "best_of_k")
    assert table.columns == ("cell", "complete trials", "k = 1", "k = 2", "k = 3")
    for row in table.rows:
        assert [field.number for field in row[1:]] == pytest.approx([3, 50, (60 + 60 + 50) / 3, 60])


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
    sentence = next(sentence for sentence in report.summary if sentence.startswith("On average"))
    assert re.search(r"the best validation loss of a cell was \d\.\d{3} \w+ the test loss of its retrained", sentence)
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
    report = make_report(type(results)(**{**attributes_of(results), "trials": failed}))
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert len(table.highlighted) == len(table.rows) == 10
    assert {row[-1].text for row in table.rows} == {"3 failed"}
    assert any("Cells of the same size had unequal budgets." in caveat for caveat in report.caveats)
    assert "Nothing is confirmed yet" in report.caveats[-1]
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
    report = make_report(type(results)(**{**attributes_of(results), "trials": left, "rounds": [sealed]}))
    assert f"{empty} had no complete trial, so nothing of it was confirmed." in report.caveats
    assert [each.num_train_images for each in report.contrasts] == SIZES[1:]
    assert {each.verdict for each in report.contrasts} == {"ahead"}


def test_equal_accuracies_do_not_differ_significantly() -> None:
    report = make_report(make_search_results(lambda family, images, draw, seed: law()("vit", images, draw, seed)))
    assert {each.verdict for each in report.contrasts} == {"undecided"}
    assert {each.paired.difference.value for each in report.contrasts} == {0}
    assert {each.adjusted_p for each in report.contrasts} == {1}
    assert {each.improvement.probability.value for each in report.contrasts} == {0.5}
