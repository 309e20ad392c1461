"""Registry of metrics, and goals that follow from it."""

from typing import Any, get_args

import pytest

from lkca_search.records.record import Result, TrialMetadata
from lkca_search.spec.metrics import METRICS, MetricName
from lkca_search.spec.sections import SearchSection


def search(**given: Any) -> SearchSection:
    return SearchSection(trials_per_cell=1, **given)


def test_the_registry_has_every_metric_that_a_space_file_may_name() -> None:
    assert tuple(METRICS) == get_args(MetricName)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_a_field_of_its_source(name: MetricName) -> None:
    source = {"result": Result, "metadata": TrialMetadata}[METRICS[name].source]
    assert name in source.model_fields


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
    with pytest.raises(ValueError, match="the first metric leads and must be val_accuracy or val_loss, got flops"):
        search(metric="flops")
