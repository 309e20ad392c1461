"""Registry of metrics, and goals that follow from it."""

import math
from typing import Any, Literal

import pytest

from lkca_search.records.record import Result, TrialMetadata
from lkca_search.spec.metrics import METRICS, Metric, OwnMetric
from lkca_search.spec.sections import SearchSection
from lkca_search.training.metrics import FUNCTIONS


def search(**given: Any) -> SearchSection:
    return SearchSection(trials_per_cell=1, **given)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_a_field_of_its_source_or_measured_at_every_report(name: str) -> None:
    source = {"result": Result, "metadata": TrialMetadata}[METRICS[name].source]
    assert name in source.model_fields or METRICS[name].test_field in FUNCTIONS


def test_every_metric_of_validation_images_may_lead_and_has_the_same_name_on_test_images() -> None:
    for name, metric in METRICS.items():
        assert metric.can_lead is name.startswith("val_")
        assert metric.test_field is None or name == f"val_{metric.test_field}"


@pytest.mark.parametrize(
    ("given", "close"),
    [
        ("val_acuracy", "val_accuracy"),
        ("val_nll", "val_loss"),
        ("val_ece", "val_calibration_error"),
        ("auroc", "val_macro_auroc"),
        ("val_top5", "val_top5_accuracy"),
    ],
)
def test_a_name_that_is_no_metric_is_an_error_with_the_likely_one(given: str, close: str) -> None:
    for metric in (given, ("val_loss", given)):
        with pytest.raises(ValueError, match=f"got '{given}'; did you mean {close}") as caught:
            search(metric=metric)
        assert "metric must be one of val_accuracy, val_loss" in str(caught.value)


def test_an_own_metric_takes_its_direction_from_the_goal_or_from_a_mapping() -> None:
    by_goal = search(metric="mylab.metrics.brier", goal="minimize")
    written = search(metric=OwnMetric(name="mylab.metrics.brier", direction="minimize"))
    assert by_goal == written
    assert by_goal.metrics == ("mylab.metrics.brier",)
    assert (by_goal.directions, by_goal.signs) == (("minimize",), (-1,))
    assert SearchSection.model_validate_json(by_goal.model_dump_json()) == by_goal
    both = search(metric=("val_accuracy", "mylab.metrics.kappa"), goal=("maximize", "maximize"))
    assert both.definitions[1].label == "validation kappa"
    labeled = OwnMetric(name="mylab.metrics.kappa", direction="maximize", label="Cohen's kappa", unit="%")
    assert search(also_measure=(labeled,)).measured == ("val_accuracy", labeled)
    assert (labeled.metric.label, labeled.metric.scale) == ("validation Cohen's kappa", 100.0)


def test_the_range_of_an_own_metric_gives_its_bounds_and_its_perfect_value() -> None:
    def own(direction: Literal["maximize", "minimize"], **choice: Any) -> Metric:
        return OwnMetric(name="mylab.metrics.score", direction=direction, **choice).metric

    assert own("minimize").bounds == (-math.inf, math.inf)
    assert own("minimize").perfect is None
    brier = own("minimize", range=(0, 2))
    assert (brier.bounds, brier.difference_bounds, brier.perfect) == ((0, 2), (-2, 2), 0)
    kappa = own("maximize", range=(-1, 1))
    assert (kappa.bounds, kappa.difference_bounds, kappa.perfect) == ((-1, 1), (-2, 2), 1)
    assert own("minimize", range=(1, None)).bounds == (1, math.inf)
    assert own("maximize", unit="%").bounds == (0, 100)
    assert METRICS["val_accuracy"].bounds == (0, 100)
    assert METRICS["val_loss"].bounds == (0, math.inf)
    with pytest.raises(ValueError, match=r"range must be \[lowest, highest\], got \[1.0, 0.0\]"):
        own("maximize", range=(1, 0))
    with pytest.raises(ValueError, match=r"range must be left out with unit: '%', which is a share of 1"):
        own("maximize", range=(0, 1), unit="%")


def test_an_own_metric_without_a_direction_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"an own metric must have a direction, got a.b without one; write goal"):
        search(metric="a.b")
    with pytest.raises(ValueError, match=r"an own metric must have a direction, got a.b without one"):
        search(also_measure=("a.b",))
    with pytest.raises(ValueError, match="also_measure must have other metrics than metric, each once, got"):
        search(metric="val_loss", also_measure=("val_loss",))


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("val_accuracy", "maximize"),
        ("val_loss", "minimize"),
        (("val_accuracy", "flops"), ("maximize", "minimize")),
        (("val_loss",), "minimize"),
    ],
)
def test_a_search_is_equal_with_its_goal_written_and_derived(metric: Any, goal: Any) -> None:
    written, derived = search(metric=metric, goal=goal), search(metric=metric)
    assert derived == written
    assert derived.model_dump_json() == written.model_dump_json()
    assert SearchSection.model_validate_json(derived.model_dump_json()) == written


def test_a_written_goal_must_be_the_direction_of_its_metric() -> None:
    with pytest.raises(ValueError, match="goal of metric val_loss must be minimize, got maximize"):
        search(metric="val_loss", goal="maximize")
    with pytest.raises(ValueError, match="goal must have one direction per metric, got 2 metrics and"):
        search(metric=("val_accuracy", "flops"), goal="maximize")
    with pytest.raises(
        ValueError, match=r"the first metric leads and must be val_accuracy or val_loss .* or an own one, got flops"
    ):
        search(metric="flops")
