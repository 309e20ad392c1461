"""The texts and tables of a report follow from its replicates; missing numbers have a reason."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from lkca_search.analysis.contrasts import compute_contrasts
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.selection import compute_selection_effects
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import draw
from lkca_search.spec.metrics import METRICS
from tests.support.search_results import FRACTIONS, images_of, law, make_search_results, make_spec

SIZES = [360, 900, 1800, 4500, 9000]


def test_the_interval_of_a_difference_has_only_possible_values() -> None:
    results = make_search_results(
        lambda family, images, draw, seed: 0.5 if family == "vit" else 0.9 if draw % 2 else 0.2,
        fractions=[0.5],
        draws=2,
    )
    (found,) = compute_contrasts(round_scores(results, results.rounds[-1]), results.reference)
    difference = found.paired.difference
    assert difference.interval is not None
    assert float(stats.t.ppf(0.975, 1)) * 35 > 100, "half of the interval, if nothing is cut off"
    assert (difference.interval.lower, difference.interval.upper) == (-100, 100)
    assert METRICS["val_loss"].difference_bounds == (-math.inf, math.inf)


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
    assert adjusted[0] == pytest.approx(5 * p_values[0] * 0.05 / 0.04)


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


def test_a_draw_without_any_replicate_is_left_out() -> None:
    report = make_report(make_search_results(lambda *where: None if where[2] == 4 else law()(*where)))
    assert {each.paired.num_draws for each in report.contrasts} == {4}
    assert draw(report.figures[0]).keys() == {"png", "svg", "pdf"}


def test_one_seed_per_draw_is_enough() -> None:
    report = make_report(make_search_results(law(lead=0.05), seeds=1))
    assert {each.verdict for each in report.contrasts} == {"ahead"}


def test_replicates_without_spread_have_a_reason_in_place_of_an_interval() -> None:
    report = make_report(make_search_results(law(lead=0.05, draw_spread=0, seed_spread=0)))
    assert all(each.paired.difference.interval is None for each in report.contrasts)
    assert all(each.paired.difference.reason for each in report.contrasts)
    page = to_html(report, source="")
    assert "every draw gives the same value" in page


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
    assert any(re.match(r"No replicate of (family=vit,|\d cells).* has finished", caveat) for caveat in report.caveats)


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


def test_equal_accuracies_do_not_differ_significantly() -> None:
    report = make_report(make_search_results(lambda family, images, draw, seed: law()("vit", images, draw, seed)))
    assert {each.verdict for each in report.contrasts} == {"undecided"}
    assert {each.paired.difference.value for each in report.contrasts} == {0}
    assert {each.adjusted_p for each in report.contrasts} == {1}
    assert {each.improvement.probability.value for each in report.contrasts} == {0.5}
