"""Section on further metrics and single classes: accuracy per class and confusions are those of the predictions."""

from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.percentage_mean import mean_percentage
from lkca_search.records.predictions import ReplicatePredictions, TestImages
from lkca_search.reporting.content import make_report
from lkca_search.reporting.sections.classes import MAX_CLASSES, class_section
from lkca_search.reporting.values.numbers import format_estimate
from lkca_search.reporting.values.report import Section
from tests.support.search_results import law, make_search_results

NUM_IMAGES = 300


def with_classes(results: SearchResults, num_classes: int, names: tuple[str, ...] = ()) -> SearchResults:
    """Return results in which each replicate confuses class 0 with 1, and each other class with 0, now and then."""
    images = TestImages(labels=np.arange(NUM_IMAGES, dtype=np.uint16) % num_classes, class_names=names)
    predictions, replicates = {}, []
    for record in results.replicates:
        generator = np.random.default_rng(record.spec.seed)
        is_wrong = generator.random(NUM_IMAGES) < 0.2
        wrong = np.where(images.labels == 0, 1, 0)
        predicted = np.where(is_wrong, wrong, images.labels).astype(np.uint16)
        predictions[record.trial_id] = ReplicatePredictions(predicted=predicted, images=images, scores=None)
        measured = {"balanced_accuracy": 0.7 + 0.01 * generator.random(), "macro_auroc": 0.9}
        test = record.test and record.test.model_copy(update={"metrics": measured})
        replicates.append(record.model_copy(update={"test": test}))
    return replace(results, replicates=replicates, predictions=predictions)


def section_of(results: SearchResults) -> Section:
    found = class_section(results, round_scores(results, results.rounds[-1]))
    assert found is not None
    return found


def test_accuracy_per_class_is_the_mean_over_draws_of_the_largest_training_set() -> None:
    results = with_classes(make_search_results(law()), 4, ("cat", "dog", "ship", "tree"))
    metrics, classes, confusions = section_of(results).tables
    largest = max(record.facts.num_train_images for record in results.replicates if record.facts)
    of_cell: dict[int, list[float]] = {}
    for record in results.replicates:
        if record.facts and record.facts.num_train_images == largest and record.spec.configuration.family == "lkca":
            each = results.predictions[record.trial_id]
            assert record.replicate is not None
            of_cell.setdefault(record.replicate.draw, []).append(100 * each.correct[each.images.labels == 2].mean())
    expected = mean_percentage(np.array([np.mean(values) for values in of_cell.values()]))
    (row,) = (row for row in classes.rows if row[0].text == "ship")
    assert classes.columns[1] == "lkca, %"
    assert (row[1].text, row[1].number) == (format_estimate(expected), pytest.approx(expected.value))
    values = [row[1].number for row in classes.rows]
    assert values == sorted(values)
    assert {(row[0].text, row[1].text) for row in confusions.rows} == {
        *(("cat", "dog"), ("dog", "cat"), ("ship", "cat"), ("tree", "cat"))
    }
    balanced = metrics.columns.index("test balanced accuracy, %")
    assert all(70 <= row[balanced].number <= 71 for row in metrics.rows)
    assert "test accuracy, %" not in metrics.columns  # it leads and has a table of its own


def test_a_confusion_matrix_has_rows_that_sum_to_all_images_of_a_class() -> None:
    (figure,) = section_of(with_classes(make_search_results(law()), 4)).figures
    assert figure.name == "confusion_matrix"
    assert figure.rows == ("class 0", "class 1", "class 2", "class 3")
    assert np.sum(figure.values, axis=1).tolist() == pytest.approx([100] * 4)


def test_many_classes_have_a_table_of_the_lowest_and_no_matrix() -> None:
    section = section_of(with_classes(make_search_results(law()), 30))
    assert section.figures == ()
    assert len(section.tables[1].rows) == MAX_CLASSES


def test_a_search_of_an_earlier_version_has_no_such_section() -> None:
    results = make_search_results(law())
    assert class_section(results, round_scores(results, results.rounds[-1])) is None
    assert "classes" not in {section.name for section in make_report(results).sections}
    assert "classes" in {section.name for section in make_report(with_classes(results, 4)).sections}
