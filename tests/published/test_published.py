"""Published results: a report and a comparison of them equal those of the search, and damage is an error."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from lkca_search.analysis.aggregate.searches import compare_searches
from lkca_search.analysis.search_results import SearchResults
from lkca_search.errors import SearchError
from lkca_search.layout import PUBLISHED
from lkca_search.published.results import (
    INSPECTIONS,
    PREDICTIONS,
    TEST_IMAGES,
    read_published,
    write_published,
)
from lkca_search.records.search.looks import Look, LookHistory
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from tests.support.inspections import make_inspection, with_inspections
from tests.support.odd_searches import odd_searches
from tests.support.predictions import with_class_predictions
from tests.support.search_results import law, make_search_results

OWN_LOOK = Look(search="other", uid="o" * 32, round=2, opened=1.5, test_hash="t" * 64, seal="s" * 64)
HISTORY = LookHistory(looks=[OWN_LOOK], present=frozenset({"o" * 32}), unreadable=["broken"])


def republished(results: SearchResults, folder: Path) -> SearchResults:
    write_published(results, HISTORY, folder)
    return read_published(folder)[0]


def full_results() -> SearchResults:
    """Return a confirmed search with predictions and inspections."""
    results = with_class_predictions(make_search_results(law(lead=0.05)), 10, names=[f"class {i}" for i in range(10)])
    return with_inspections(results, lambda family, images, draw, seed, layer: 1.0 + layer + draw / 10)


@given(results=odd_searches())
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_report_of_published_results_equals_that_of_the_search(results: SearchResults) -> None:
    results = replace(with_class_predictions(results, 10), image_scores=None)
    with TemporaryDirectory() as folder:
        again = republished(results, Path(folder))
    assert to_html(make_report(again), source="") == to_html(make_report(results), source="")


def test_predictions_and_inspections_are_published_exactly(tmp_path: Path) -> None:
    results = full_results()
    again = republished(results, tmp_path)
    assert again.predictions.keys() == results.predictions.keys()
    assert again.inspections.keys() == results.inspections.keys()
    for replicate, each in results.predictions.items():
        found = again.predictions[replicate]
        for name in ("predicted", "confidences", "scores"):
            ours, theirs = getattr(each, name), getattr(found, name)
            assert ours.dtype == theirs.dtype, name
            assert np.array_equal(ours, theirs), name
        assert np.array_equal(found.images.labels, each.images.labels)
        assert found.images.class_names == each.images.class_names
    assert to_html(make_report(again), source="") == to_html(make_report(results), source="")


def test_predictions_take_fewer_than_2_bytes_per_replicate_and_image(tmp_path: Path) -> None:
    results = full_results()
    write_published(results, HISTORY, tmp_path)
    num_predictions = sum(len(each.predicted) for each in results.predictions.values())
    assert (tmp_path / PREDICTIONS).stat().st_size < 2 * num_predictions


def test_a_comparison_of_published_results_equals_that_of_the_searches(tmp_path: Path) -> None:
    one, other = (with_class_predictions(make_search_results(law(lead=lead)), 10) for lead in (0.05, 0.01))
    other = replace(other, name="other")
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    again = [republished(each, folder) for each, folder in zip((one, other), folders, strict=True)]
    found, expected = compare_searches(*again).comparison, compare_searches(one, other).comparison
    assert found.contrasts == expected.contrasts
    assert found.differences == expected.differences
    assert found.left_out == expected.left_out


@pytest.mark.parametrize("kind", [np.float32, np.bool_])
def test_scores_of_a_leading_loss_or_top5_accuracy_keep_their_values_and_type(tmp_path: Path, kind: type) -> None:
    results = full_results()
    losses = {
        replicate: replace(each, scores=np.linspace(0, 3, len(each.predicted)).astype(kind))
        for replicate, each in results.predictions.items()
    }
    search = results.spec.search.model_copy(update={"metric": "val_loss", "goal": "minimize"})
    scores = {replicate: each.scores for replicate, each in losses.items()}
    results = replace(
        results,
        spec=results.spec.model_copy(update={"search": search}),
        predictions=losses,
        image_scores=scores,
    )
    again = republished(results, tmp_path)
    assert again.image_scores is not None
    for replicate, values in scores.items():
        assert again.image_scores[replicate].dtype == kind
        assert np.array_equal(again.image_scores[replicate], values)


def test_an_inspection_without_layers_keeps_the_reasons(tmp_path: Path) -> None:
    results = full_results()
    first = next(iter(results.inspections))
    empty = replace(make_inspection((), field=None), failures=("receptive field: out of memory",))
    again = republished(replace(results, inspections={**results.inspections, first: empty}), tmp_path)
    assert again.inspections[first].failures == empty.failures
    assert again.inspections[first].layers == ()
    assert again.inspections[first].receptive_field is None


def test_looks_of_other_searches_stay_in_the_report(tmp_path: Path) -> None:
    results = full_results()
    write_published(results, HISTORY, tmp_path)
    again, history = read_published(tmp_path)
    assert history == LookHistory(looks=(OWN_LOOK,), present=frozenset({"o" * 32}), unreadable=("broken",))
    assert make_report(again, history=history).caveats == make_report(results, history=HISTORY).caveats
    assert make_report(again, history=history).caveats != make_report(results).caveats


def test_publishing_an_earlier_state_again_leaves_no_file_of_the_later_one(tmp_path: Path) -> None:
    write_published(full_results(), HISTORY, tmp_path)
    write_published(make_search_results(None), HISTORY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PUBLISHED]
    assert read_published(tmp_path)[0].replicates == []


@pytest.mark.parametrize("name", [PUBLISHED, PREDICTIONS, TEST_IMAGES, INSPECTIONS])
@pytest.mark.parametrize("damage", ["missing", "cut off", "another table"])
def test_damaged_results_are_an_error_and_no_report_with_less(tmp_path: Path, name: str, damage: str) -> None:
    write_published(full_results(), HISTORY, tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        pq.write_table(pq.read_table(path).slice(0, 0).replace_schema_metadata(None), path)
    with pytest.raises(SearchError, match="published results must be the Parquet files"):
        read_published(tmp_path)
