"""A report is made of every search that can be finished: what cannot be estimated has a reason in its place."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from lkca_search.analysis.curve_analysis import analyze_curves
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import draw
from lkca_search.reporting.values.figure import Figure
from tests.support.odd_searches import odd_searches
from tests.support.search_results import law, make_search_results


@given(results=odd_searches())
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_no_finished_search_is_without_a_report(results: SearchResults) -> None:
    for number in [None, *(sealed.number for sealed in results.rounds)]:
        report = make_report(results, round_number=number)
        page = to_html(report, source="")
        assert report.headline in page
        assert not any(each.is_empty for each in report.figures if isinstance(each, Figure)), "no figure is empty"
        verdicts = {each.verdict for each in report.contrasts}
        verdicts |= {each.verdict for each in report.aggregate.differences} if report.aggregate else set()
        for verdict in ("ahead", "behind"):
            assert (verdict in report.answer.finding) is (verdict in verdicts), "no claim without its test"


def with_images(results: SearchResults, fraction: float, images: int) -> SearchResults:
    """Return a copy in which a data fraction gave another number of training images."""

    def changed(records: Sequence[Record]) -> list[Record]:
        return [
            record.model_copy(update={"facts": record.facts.model_copy(update={"num_train_images": images})})
            if record.facts and record.spec.configuration.data_fraction == fraction
            else record
            for record in records
        ]

    return replace(results, trials=changed(results.trials), replicates=changed(results.replicates))


def test_levels_with_equal_numbers_of_images_have_a_point_and_a_contrast_each() -> None:
    fractions = (0.02, 0.05, 0.1, 0.25, 0.5)
    results = with_images(make_search_results(law(lead=0.05), fractions=fractions), 0.05, 360)
    scores = round_scores(results, results.rounds[-1])
    curve = analyze_curves(scores, results.reference, (), seed=0).curves[0]
    assert [point.num_train_images for point in curve.points] == [360, 360, 1800, 4500, 9000]
    for point, cell in zip(curve.points, scores.cells_of_variant(curve.variant), strict=True):
        assert point.error.value == pytest.approx(np.mean(cell.errors))
    report = make_report(results)
    pairs = [(each.reference_cell.split(",")[1], each.other_cell.split(",")[1]) for each in report.contrasts]
    assert pairs[:2] == [("data_fraction=0.02",) * 2, ("data_fraction=0.05",) * 2]
    assert any("same number of training images, 360" in caveat for caveat in report.caveats)


def test_repeats_that_chose_different_sizes_are_not_averaged() -> None:
    results = make_search_results(law(), fractions=(0.1,), search={"trials_per_cell": 3, "repeats": 5})
    of_first = [
        record.model_copy(update={"facts": record.facts.model_copy(update={"num_train_images": 360})})
        if record.facts and ",draw=0" in record.cell
        else record
        for record in results.replicates
    ]
    scores = round_scores(replace(results, replicates=of_first), results.rounds[-1])
    assert [(cell.num_train_images, cell.num_scored, cell.num_missing) for cell in scores.cells] == [
        (360, 2, 0),
        (1800, 8, 0),
        (360, 2, 0),
        (1800, 8, 0),
    ]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_figures_of_constant_scores_can_be_drawn(accuracy: float) -> None:
    for figure in make_report(make_search_results(lambda *where: accuracy)).figures:
        assert draw(figure).keys() == {"png", "svg", "pdf"}
