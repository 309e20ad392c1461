"""Reports of searches by each metric: numbers, verdicts and words follow the leading metric, not accuracy."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lkca_search.analysis.contrasts import compute_contrasts
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.reporting.content import make_report
from lkca_search.reporting.values.report import Report
from lkca_search.spec.metrics import METRICS
from tests.support.search_results import law, make_search_results

OWN = "mylab.metrics.kappa"
LEADING = [*(name for name, metric in METRICS.items() if metric.can_lead and name != "val_accuracy"), OWN]
LABELS = {"val_loss": "loss", "val_macro_auroc": "macro AUROC", "val_calibration_error": "calibration error"}


def searched_by(metric: str) -> SearchResults:
    """Return a confirmed search in which lkca is better by 0.1 in the metric, and worse in accuracy."""
    search: dict[str, Any] = {"metric": metric, "trials_per_cell": 3}
    if metric == OWN:
        search["goal"] = "maximize"
    results = make_search_results(law(), families=("lkca", "vit"), search=search)
    definition = results.metric
    name = definition.test_field or ""

    def value(family: str, noise: float) -> float:
        return 0.5 + definition.sign * (0.05 if family == "lkca" else -0.05) + noise

    def with_value(record: Any) -> Any:
        noise = 0.01 * float(np.random.default_rng([record.spec.seed, len(record.trial_id)]).standard_normal())
        measured = value(record.spec.configuration.family, noise)
        in_result = {"val_loss": measured} if name == "loss" else {"metrics": {metric: measured}}
        in_test = {"loss": measured} if name == "loss" else {"metrics": {name: measured}}
        curve = tuple(result.model_copy(update=in_result) for result in record.curve)
        test = record.test and record.test.model_copy(update={**in_test, "accuracy": 0.2})
        return record.model_copy(update={"curve": curve, "test": test})

    return replace(
        results,
        trials=[with_value(record) for record in results.trials],
        replicates=[with_value(record) for record in results.replicates],
    )


def sentences(report: Report) -> list[str]:
    captions = [text for table in report.tables for text in (table.title, table.caption)]
    labels = [text for figure in report.figures for text in (figure.title, figure.caption, figure.y_label)]
    return [
        report.headline,
        *report.summary,
        *report.caveats,
        *captions,
        *labels,
        *(text for _, text in report.methods),
    ]


@pytest.mark.parametrize("metric", LEADING)
def test_differences_are_those_of_the_leading_metric_and_ahead_is_better(metric: str) -> None:
    results = searched_by(metric)
    contrasts = compute_contrasts(round_scores(results, results.rounds[-1]), results.reference)
    assert contrasts
    definition = results.metric
    for contrast in contrasts:
        assert contrast.paired.difference.value == pytest.approx(definition.sign * definition.scale * 0.1, rel=0.2)
        assert contrast.verdict == "ahead"
        assert contrast.improvement.probability.value > 0.9
        assert contrast.power_analysis is None or contrast.power_analysis.difference == definition.small


@pytest.mark.parametrize("metric", LEADING)
def test_a_report_names_its_metric_and_not_accuracy(metric: str) -> None:
    report = make_report(searched_by(metric))
    label = LABELS.get(metric, METRICS[metric].label.removeprefix("validation ") if metric in METRICS else "kappa")
    assert any(f"test {label}" in text for text in sentences(report))
    for text in sentences(report):
        for other in ("test accuracy", "validation accuracy", "mean accuracies", "test accuracies"):
            assert other not in text
    assert ("points" in report.summary[0]) is (metric not in ("val_loss", OWN))
    assert f"of test {label}" in report.summary[0]


def test_a_metric_without_a_best_value_has_no_power_law_and_gives_the_reason() -> None:
    (table,) = (table for table in make_report(searched_by(OWN)).tables if table.name == "curves")
    assert {row[-1].text for row in table.rows} == {
        "a power law needs errors of at least 0, and this metric has values without a best one"
    }


def test_a_score_that_is_no_mean_over_images_states_what_its_intervals_are_for() -> None:
    results = searched_by("val_macro_auroc")
    correct = {record.trial_id: np.arange(100) < 20 for record in results.replicates}
    report = make_report(replace(results, correct=correct, image_scores={}))
    expected = "The test macro AUROC is no mean over test images, so its intervals are for these test images only."
    assert expected in report.caveats
    captions = {table.name: table.caption for table in report.tables}
    assert "Both intervals are for these test images." in captions["accuracies"]
    assert "They are for these test images." in captions["contrasts"]
    assert not any("include the sampling" in caption for caption in captions.values())


def test_negative_values_of_a_metric_have_the_minus_of_all_other_numbers() -> None:
    results = searched_by(OWN)

    def negative(record: Any) -> Any:
        metrics = {name: -value for name, value in record.test.metrics.items()}
        return record.model_copy(update={"test": record.test.model_copy(update={"metrics": metrics})})

    report = make_report(replace(results, replicates=[negative(record) for record in results.replicates]))
    texts = [cell.text for table in report.tables for row in table.rows for cell in row]
    assert any(text.startswith("−0.") for text in texts)
    assert not [text for text in texts if re.search(r"(^|\[| )-\d", text)]
