"""What a report says follows from its replicates, and where they say nothing it says so."""

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


def test_a_lead_is_told_with_its_images_points_interval_and_the_design() -> None:
    report = make_report(make_search_results(law(lead=0.05)))
    first = report.summary[0]
    assert re.match(
        r"With 360 training images \(2%\) lkca leads vit by \d\.\d points \[\d\.\d, \d\.\d\]; with 900", first
    )
    assert report.headline.startswith("lkca: ahead in 5 of 5 contrasts; at most +")
    assert all(each.verdict == "ahead" for each in report.contrasts)


def test_a_lag_is_told_by_an_interval_of_its_own_sign() -> None:
    report = make_report(make_search_results(law(lead=-0.05)))
    assert re.match(
        r"With 360 training images \(2%\) lkca trails vit by \d\.\d points \[\d\.\d, \d\.\d\]", report.summary[0]
    )
    assert report.contrasts[0].paired.difference.value < 0


def test_what_cannot_be_told_apart_is_said_to_be_so_with_what_would_have_been_found() -> None:
    report = make_report(make_search_results(law()))
    assert (
        report.summary[0]
        == "At 360, 900, 1,800, 4,500 and 9,000 images lkca and vit cannot be told apart (5 draws x 2 seeds)."
    )
    assert re.search(
        r"would have found a true difference of \d\.\d to \d\.\d points four times out of five", report.summary[1]
    )


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


def test_where_the_search_was_repeated_a_repeat_is_the_unit_and_the_report_says_so() -> None:
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
    assert report.summary[0].endswith("(5 repeats of the search x 2 seeds).")
    told = dict(report.methods)
    assert (
        "Factors, crossed: family: lkca and vit; data_fraction: 0.02, 0.05, 0.1, 0.25 and 0.5. 10 cells."
        in told["Design"]
    )
    assert "Every cell is searched 5 times, on subset draws 0, 1, 2, 3 and 4" in told["Search"]
    assert "conditional on" not in told["Search"]
    assert "The best of each repeat was retrained on one of 5 subset draws" in told["Confirmation"]
    assert "conditional on this one search" in dict(make_report(make_search_results(law())).methods)["Search"]
    assert {row[2].number for table in report.tables if table.name == "selection" for row in table.rows} == {15}
    to_html(report, source="")


def test_the_law_behind_the_errors_is_found() -> None:
    report = make_report(make_search_results(law(draw_spread=0.002, seed_spread=0.001)))
    (table,) = (table for table in report.tables if table.name == "curves")
    for row in table.rows:
        alpha, gamma = row[2].number, row[4].number
        assert alpha is not None
        assert gamma is not None
        assert alpha == pytest.approx(10, abs=2)
        assert gamma == pytest.approx(-0.4, abs=0.05)


def test_a_family_that_needs_half_the_images_is_told_to() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float:
        return law(draw_spread=0.001, seed_spread=0.001)(family, images if family == "vit" else 2 * images, draw, seed)

    report = make_report(make_search_results(accuracy))
    told = next(sentence for sentence in report.summary if sentence.startswith("For the same test error vit needs"))
    ratio = re.search(r"needs ([\d.]+) times \[([\d.]+), ([\d.]+)\]", told)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(2, abs=0.1)


def test_a_search_that_is_not_confirmed_claims_nothing() -> None:
    report = make_report(make_search_results(None))
    assert report.headline == "No comparison yet"
    assert report.summary == report.contrasts == ()
    assert "Nothing is confirmed yet: there is no test accuracy in this report." in report.caveats[0]
    assert {table.name for table in report.tables} == {"effects", "fields", "pareto", "importances", "budgets"}
    assert "test accuracy, %" not in to_html(report, source="")


def test_missing_and_failed_replicates_are_counted_and_their_partners_left_out() -> None:
    def accuracy(family: str, images: int, draw: int, seed: int) -> float | None:
        return None if (family, draw, seed) == ("vit", 3, 1) else law()(family, images, draw, seed)

    results = make_search_results(
        accuracy, fails=lambda family, images, draw, seed: (family, draw, seed) == ("lkca", 2, 0)
    )
    report = make_report(results)
    assert (
        "10 replicates are missing, 5 of them failed: draws and seeds without a partner are left out." in report.caveats
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
    assert "A single draw has no spread: there are no intervals and no tests." in report.caveats
    assert "at 360, 900, 1,800, 4,500 and 9,000 images a single draw tests nothing" in report.summary[0].lower()
    assert not re.search(r"\bnan\b", to_html(report, source="").split("</main>")[0], re.IGNORECASE)


def test_one_seed_will_do() -> None:
    report = make_report(make_search_results(law(lead=0.05), seeds=1))
    assert {each.verdict for each in report.contrasts} == {"ahead"}


def test_replicates_without_spread_do_not_become_certain() -> None:
    report = make_report(make_search_results(law(lead=0.05, draw_spread=0, seed_spread=0)))
    assert all(each.paired.difference.interval is None for each in report.contrasts)
    assert all(each.paired.difference.reason for each in report.contrasts)
    page = to_html(report, source="")
    assert "every draw gives the same value" in page


def test_one_family_is_shown_and_not_compared() -> None:
    report = make_report(make_search_results(law(), families=("lkca",)))
    assert "There is one variant only, so nothing is compared." in report.summary
    assert [figure.name for figure in report.figures] == ["learning_curves", "pareto_flops"]


def test_one_size_has_no_law_and_says_why() -> None:
    report = make_report(make_search_results(law(), fractions=(0.1,)))
    (table,) = (table for table in report.tables if table.name == "curves")
    assert {row[-1].text for row in table.rows} == {
        "a fitted curve needs at least 5 numbers of training images, there are 1"
    }
    (table,) = (table for table in report.tables if table.name == "efficiencies")
    assert table.rows[0][-1].text != ""


@pytest.mark.parametrize("most", [400, 1000])
def test_a_family_with_fewer_sizes_is_compared_where_it_has_them(most: int) -> None:
    report = make_report(
        make_search_results(lambda *where: None if where[0] == "vit" and where[1] > most else law()(*where))
    )
    assert [each.num_train_images for each in report.contrasts] == [size for size in SIZES if size <= most]
    assert any(note.startswith("No replicate of family=vit,data_fraction=0.") for note in report.caveats)


def test_the_reference_is_the_first_lkca_else_the_first_else_the_base() -> None:
    assert make_search_results(law(), families=("vit", "lkca")).reference.label == "lkca"
    assert make_search_results(law(), families=("vit", "resnet")).reference.label == "vit"
    changes = {"design": "one_at_a_time", "base": {"family": "vit"}}
    assert dict(make_search_results(law(), families=("lkca", "vit"), **changes).reference.levels) == {"family": "vit"}


def test_variants_are_named_by_what_tells_them_apart() -> None:
    spec = make_spec(("lkca",), FRACTIONS)
    factors = {"family": ("lkca",), "kernel_size": (3, 5), "data_fraction": (0.1, 0.5)}
    results = make_search_results(law(), families=("lkca",), factors=factors)
    assert {variant.label for variant in results.variants.values()} == {"kernel_size 3", "kernel_size 5"}
    assert spec.factors.keys() == {"family", "data_fraction"}


def test_variants_of_a_design_with_a_base_are_named_by_what_they_change() -> None:
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


def test_the_selection_effect_is_what_the_pick_was_above_its_replicates() -> None:
    results = make_search_results(law())
    found = compute_selection_effects(results, round_scores(results, results.rounds[-1]))
    for each in found:
        assert each.picked == pytest.approx(60)
        assert each.drop == pytest.approx(60 - each.test.value)
        assert each.num_trials == 3


def test_cells_that_had_another_budget_stand_out() -> None:
    results = make_search_results(law())
    lacking = [record for record in results.trials if record.trial_id != "family=vit,data_fraction=0.1/2"]
    short = type(results)(**{**vars_of(results), "trials": lacking})
    marked = [each.cell for each in compute_spent(short) if each.deviations]
    assert marked == ["family=vit,data_fraction=0.1"]
    report = make_report(short)
    assert "1 trial of the budgets is not finished: cells were not searched equally." in report.caveats
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert [table.rows[place][0].text for place in table.marked] == marked


def test_rounds_beside_the_one_that_is_reported_are_disclosed() -> None:
    results = make_search_results(law())
    second = results.rounds[0].model_copy(update={"number": 2, "num_trials_left": 4}).sealed()
    both = type(results)(**{**vars_of(results), "rounds": [*results.rounds, second]})
    notes = make_report(both).caveats
    assert "This is round 2 of 2: test images were looked at in 1 other round as well (round 1)." in notes
    assert "The round was frozen while 4 trials were still due: unequal budgets." in notes
    assert make_report(both, round_number=1).round == 1
    with pytest.raises(SearchError, match="search 'made' has no round 3 of confirmation; its rounds: 1, 2"):
        make_report(both, round_number=3)


def test_methods_name_what_an_appendix_asks_for() -> None:
    told = dict(make_report(make_search_results(law())).methods)
    assert told.keys() >= {"Data", "Design", "Training", "Search", "Confirmation", "Statistics", "Provenance"}
    assert "5 subset draws that no trial had used x 2 seeds" in told["Confirmation"]
    assert "learning_rate in [0.0001, 0.01], logarithmic" in told["Parameters"]
    assert "a" * 40 in told["Provenance"]


def test_the_same_material_gives_the_same_report() -> None:
    one, other = (make_report(make_search_results(law(lead=0.01))) for _ in range(2))
    assert to_html(one, source="") == to_html(other, source="")
    assert draw(one.figures[0]) == draw(other.figures[0])


def test_mlflow_accepts_the_metric_names_of_a_report() -> None:
    found = make_report(make_search_results(law(), families=("lkca", "timm:resnet18"))).mlflow_metrics()
    assert len(found) == 5
    for name, value in found.items():
        assert re.fullmatch(r"[\w\-. /]+", name)
        assert math.isfinite(value)


def vars_of(results: object) -> dict[str, object]:
    return {name: getattr(results, name) for name in ("name", "spec", "trials", "replicates", "rounds")}


def test_the_expected_best_of_k_is_for_samplers_that_do_not_learn() -> None:
    learned = make_report(make_search_results(law()))
    assert "best_of_k" not in {table.name for table in learned.tables}
    results = make_search_results(law(), search={"trials_per_cell": 3, "sampler": "random"})
    (table,) = (table for table in make_report(results).tables if table.name == "best_of_k")
    assert table.columns == ("cell", "complete trials", "k = 1", "k = 2", "k = 3")
    for row in table.rows:
        assert [field.number for field in row[1:]] == pytest.approx([3, 50, (60 + 60 + 50) / 3, 60])


def test_a_search_whose_trials_all_failed_says_so() -> None:
    results = make_search_results(None)
    failed = [
        record.model_copy(update={"state": State.FAIL, "value": None, "facts": None, "curve": (), "error": "broken"})
        for record in results.trials
    ]
    report = make_report(type(results)(**{**vars_of(results), "trials": failed}))
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert len(table.marked) == len(table.rows) == 10
    assert {row[-1].text for row in table.rows} == {"3 failed"}
    assert any("Budgets were not equal" in note for note in report.caveats)
    assert "Nothing is confirmed yet" in report.caveats[-1]
    assert to_html(report, source="")


def test_a_cell_without_any_trial_is_named_and_the_rest_is_compared() -> None:
    results = make_search_results(lambda *where: None if where[:2] == ("vit", 360) else law(lead=0.05)(*where))
    empty = "family=vit,data_fraction=0.02"
    sealed = results.rounds[0]
    picks = tuple(pick for pick in sealed.picks if pick.cell != empty)
    sealed = sealed.model_copy(update={"picks": picks, "cells_without": (empty,)}).sealed()
    left = [record for record in results.trials if record.cell != empty]
    report = make_report(type(results)(**{**vars_of(results), "trials": left, "rounds": [sealed]}))
    assert f"{empty} had no complete trial, so that nothing of it was confirmed." in report.caveats
    assert [each.num_train_images for each in report.contrasts] == SIZES[1:]
    assert {each.verdict for each in report.contrasts} == {"ahead"}


def test_ties_are_no_lead() -> None:
    report = make_report(make_search_results(lambda family, images, draw, seed: law()("vit", images, draw, seed)))
    assert {each.verdict for each in report.contrasts} == {"undecided"}
    assert {each.paired.difference.value for each in report.contrasts} == {0}
    assert {each.adjusted_p for each in report.contrasts} == {1}
    assert {each.improvement.probability.value for each in report.contrasts} == {0.5}
