"""Sections on further metrics and predictions: numbers are those of the predictions, for any classes and metric."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.predictions.prediction_analysis import analyze_predictions, search_prediction_rows
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.reporting.content import make_report
from lkca_search.reporting.predictions.class_tables import MAX_CLASSES
from lkca_search.reporting.predictions.disagreements import MAX_PICTURES
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import draw
from lkca_search.reporting.values.report import Report, Section
from lkca_search.reporting.values.table import Table
from tests.support.dataset_results import CLASSES, make_dataset_results, normal
from tests.support.predictions import with_class_predictions
from tests.support.search_results import law, make_search_results

PNG = b"\x89PNG\r\n\x1a\n made"


def made(num_classes: int = 4, *, names: tuple[str, ...] = (), draws: int = 5, seeds: int = 2) -> SearchResults:
    results = make_search_results(law(lead=0.05), draws=draws, seeds=seeds)
    return with_class_predictions(results, num_classes, num_images=600, names=names)


def section(report: Report, name: str) -> Section:
    (found,) = (each for each in report.sections if each.name == name)
    return found


def table(report: Report, name: str) -> Table:
    (found,) = (each for each in report.tables if each.name == name)
    return found


def test_accuracy_per_class_is_that_of_the_replicates_and_lowest_first() -> None:
    results = made(names=("cat", "dog", "ship", "tree"))
    found = table(make_report(results), "classes")
    assert found.columns == ("class", "test images", "lkca, %", "vit, %")
    shares: dict[int, list[float]] = {}
    for record in results.replicates:
        if record.facts and record.facts.num_train_images == 9000 and record.spec.configuration.family == "lkca":
            each = results.predictions[record.trial_id]
            assert record.replicate is not None
            shares.setdefault(record.replicate.draw, []).append(100 * each.correct[each.images.labels == 2].mean())
    (row,) = (row for row in found.rows if row[0].text == "ship")
    assert row[2].number == pytest.approx(np.mean([np.mean(values) for values in shares.values()]))
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", row[2].text)
    values = [row[2].number for row in found.rows]
    assert values == sorted(values)
    assert table(make_report(results), "class_sizes").columns[2:] == tuple(
        f"{size} images, %" for size in ("360", "900", "1,800", "4,500", "9,000")
    )


def test_the_mean_of_equally_large_classes_is_the_accuracy_with_its_interval() -> None:
    results = made(2)
    scores = round_scores(results, results.rounds[-1])
    analysis = analyze_predictions(results, scores)
    assert analysis is not None
    for cell in scores.cells:
        own = [
            each.accuracy.value
            for each in analysis.classes
            if (each.variant, each.num_train_images) == (cell.variant.label, cell.num_train_images)
        ]
        assert np.mean(own) == pytest.approx(mean_score(cell).value, abs=0.1)


def test_a_confusion_matrix_has_rows_that_sum_to_all_images_of_a_class() -> None:
    report = make_report(made())
    matrices = section(report, "classes").small_plots
    assert [figure.name for figure in matrices] == [
        "confusion_matrix",
        "confusion_matrix_smallest",
        "confusion_matrix_2",
    ]
    for figure in matrices:
        assert figure.rows == ("class 0", "class 1", "class 2", "class 3")
        assert np.sum(figure.values, axis=1).tolist() == pytest.approx([100] * 4)
        assert re.fullmatch(r"class 0 as class 1: \d+\.\d% \[.*\] of the class", figure.hover_texts[0][1])
    confusions = table(report, "confusions")
    assert {(row[0].text, row[1].text) for row in confusions.rows[:4]} == {
        (f"class {index}", f"class {(index + 1) % 4}") for index in range(4)
    }


@pytest.mark.parametrize("num_classes", [2, 200])
def test_two_and_two_hundred_classes_have_tables_and_only_few_have_a_matrix(num_classes: int) -> None:
    report = make_report(made(num_classes))
    assert len(table(report, "classes").rows) == min(num_classes, MAX_CLASSES)
    assert bool(section(report, "classes").figures) == (num_classes <= MAX_CLASSES)
    assert len(table(report, "confusions").rows) == (2 if num_classes == 2 else 10)
    assert len(to_html(report, source="")) < 6_000_000


def test_each_sentence_has_the_numbers_of_its_table() -> None:
    report = make_report(made())
    (row,) = (row for row in table(report, "agreement").rows if row[0].text == "lkca and vit" and row[1].number == 9000)
    agreement, disputed = section(report, "agreement").summary
    assert f"κ {row[5].text}" in agreement
    assert row[2].text.replace(" ", "% ", 1) in agreement
    assert f"independent errors with the same accuracies give {row[4].text}%" in agreement
    assert re.search(r"differ by at least a half on \d+ of 600 test images", disputed)
    first, second = section(report, "calibration").summary
    assert first.startswith("The mean probability of the predicted class of lkca minus its accuracy is +")
    assert "(overconfident)" in first
    overconfidence = {(row[0].text, row[1].number): row[4].text for row in table(report, "calibration").rows}
    assert f"{overconfidence['vit', 360]} points at 360 training images" in second


def test_missing_predictions_are_left_out_and_counted() -> None:
    results = made()
    left_out = [record.trial_id for record in results.replicates if record.trial_id.startswith("family=vit")][:3]
    kept = {name: each for name, each in results.predictions.items() if name not in left_out}
    report = make_report(replace(results, predictions=kept))
    (sentence,) = (text for text in section(report, "classes").summary if "no predictions" in text)
    assert sentence.startswith("3 replicates of 100 with a test result have no predictions that can be read.")
    assert section(report, "agreement").tables
    only_one = {name: each for name, each in kept.items() if name.startswith("family=lkca")}
    report = make_report(replace(results, predictions=only_one))
    assert [name for name in ("classes", "agreement", "calibration") if section(report, name)]
    assert table(report, "classes").columns[2:] == ("lkca, %",)
    assert [row[0].text for row in table(report, "agreement").rows] == ["lkca, retrained"] * 5


def test_a_single_draw_has_numbers_without_intervals() -> None:
    report = make_report(made(draws=1, seeds=1))
    assert all("[" not in cell.text for row in table(report, "classes").rows for cell in row)
    assert "no interval: a single draw" in " ".join(section(report, "calibration").summary)
    assert "[" not in section(report, "agreement").summary[0]
    for figure in report.figures:
        assert draw(figure).keys() == {"png", "svg", "pdf"}


def test_the_leading_metric_has_a_table_per_class_if_it_is_another_mean_over_images() -> None:
    results = make_search_results(law(), search={"trials_per_cell": 3, "metric": "val_loss"})
    replicates = [
        record.model_copy(update={"test": record.test.model_copy(update={"loss": 1.0})}) if record.test else record
        for record in results.replicates
    ]
    results = with_class_predictions(replace(results, replicates=replicates), 4, num_images=600)
    losses = {
        name: replace(each, scores=(each.images.labels + 0.1 * each.correct).astype(np.float32))
        for name, each in results.predictions.items()
    }
    report = make_report(replace(results, predictions=losses, image_scores={}))
    found = table(report, "class_scores")
    assert found.title == "Test loss per class"
    for row in found.rows:
        assert row[2].number == pytest.approx(int(row[0].text.removeprefix("class ")), abs=0.11)
    assert "class_scores" not in {each.name for each in make_report(made()).tables}


def test_several_datasets_have_sections_of_their_own() -> None:
    results = make_dataset_results(normal(leads=0.03))
    predictions = {}
    for dataset, num_classes in CLASSES.items():
        own = [record for record in results.replicates if record.spec.configuration.dataset == dataset]
        predictions |= with_class_predictions(
            replace(results, replicates=own), num_classes, num_images=400, data_hash=dataset
        ).predictions
    results = replace(results, predictions=predictions)
    report = make_report(results)
    assert {"cifar10_classes", "cifar100_classes", "tiny_imagenet_classes"} <= {each.name for each in report.tables}
    (part,) = (each for each in report.sections if each.name == "cifar10")
    assert len([each for each in part.subsections if each.name == "cifar10-agreement"]) == 1
    rows = search_prediction_rows(results)
    assert {row["dataset"] for row in rows["class_accuracies"]} == set(CLASSES)
    assert len(rows["class_accuracies"]) == 4 * sum(CLASSES.values())


def test_pictures_are_embedded_where_the_images_are_found() -> None:
    results = made(names=("cat", "dog", "ship", "tree"))
    asked = []

    def find_pictures(data_hash: str, indices: list[int]) -> dict[int, bytes]:
        asked.append(data_hash)
        return dict.fromkeys(indices, PNG)

    report = make_report(results, find_pictures=find_pictures)  # type: ignore[arg-type]
    (gallery,) = section(report, "agreement").galleries
    assert asked == ["t" * 64]
    assert len(gallery.pictures) == MAX_PICTURES
    page = to_html(report, source="")
    assert page.count('<img src="data:image/png;base64,iVBORw0KGgogbWFkZQ==') == MAX_PICTURES
    first = table(report, "disputed_images").rows[0]
    assert gallery.pictures[0].lines[0] == first[1].text
    assert gallery.pictures[0].lines[-1] == f"image {first[0].number:.0f}"
    assert f"lkca {first[2].text}" in gallery.pictures[0].lines[1]
    without = make_report(results)
    assert section(without, "agreement").galleries == ()
    assert "There are no pictures" in table(without, "disputed_images").caption


def test_names_on_the_page_are_unique() -> None:
    ids = re.findall(r' id="([^"]+)"', to_html(make_report(made()), source=""))
    assert len(ids) == len(set(ids))


def test_rows_of_parquet_have_the_numbers_of_the_tables() -> None:
    results = made()
    rows, report = search_prediction_rows(results), make_report(results)
    assert rows.keys() == {
        "class_accuracies",
        "confusions",
        "agreements",
        "disputed_images",
        "calibration",
        "reliability",
    }
    found = {(row["variant"], row["num_train_images"]): row for row in rows["calibration"]}
    for row in table(report, "calibration").rows:
        own = found[row[0].text, row[1].number]
        assert own["error"] == row[2].number
        assert format_percent_interval(own) in row[2].text
    assert {row["class_name"] for row in rows["class_accuracies"]} == {f"class {index}" for index in range(4)}


def format_percent_interval(row: dict[str, float]) -> str:
    return f"[{row['error_lower']:.1f}, {row['error_upper']:.1f}]"


def test_a_search_of_an_earlier_version_has_no_such_section() -> None:
    results = make_search_results(law())
    assert analyze_predictions(results, round_scores(results, results.rounds[-1])) is None
    assert not {"classes", "agreement", "calibration", "metrics"} & {
        each.name for each in make_report(results).sections
    }
    assert search_prediction_rows(replace(results, rounds=[])) == {}


def test_a_cell_has_one_calibration_error_in_all_sections() -> None:
    results = made()
    errors = iter(np.linspace(0.01, 0.3, len(results.replicates)).tolist())
    replicates = [
        record.model_copy(
            update={"test": record.test.model_copy(update={"metrics": {"calibration_error": next(errors)}})}
        )
        for record in results.replicates
        if record.test
    ]
    report = make_report(replace(results, replicates=replicates))
    metrics, predictions = table(report, "metrics"), table(report, "calibration")
    column = metrics.columns.index("test calibration error, %")
    recorded = {(row[0].text, row[1].number): row[column].number for row in metrics.rows}
    assert {(row[0].text, row[1].number): row[2].number for row in predictions.rows} == pytest.approx(recorded)
    assert "they do not include their sampling, as those of the section on calibration do" in metrics.caption
    assert "Calibration errors are those of the records" in predictions.caption


@pytest.mark.parametrize(("unit", "is_stated"), [(0.5, False), (1.0, True)])
def test_the_pairs_of_agreement_are_explained_where_trainings_are_the_units(unit: float, is_stated: bool) -> None:
    results = with_class_predictions(make_search_results(law(), fractions=(unit,), draws=3, seeds=1), 4, num_images=300)
    found = table(make_report(results), "agreement")
    assert ("Where all draws have the same images, each training is a unit." in found.caption) is is_stated
    assert [row[-1].text for row in found.rows] == (["3", "1", "1"] if is_stated else ["3"])


def test_other_metrics_have_a_table_without_the_leading_one() -> None:
    results = make_search_results(law())
    replicates = [
        record.model_copy(
            update={"test": record.test.model_copy(update={"metrics": {"balanced_accuracy": 0.7, "macro_auroc": 0.9}})}
        )
        for record in results.replicates
        if record.test
    ]
    found = table(make_report(replace(results, replicates=replicates)), "metrics")
    balanced = found.columns.index("test balanced accuracy, %")
    assert [row[balanced].number for row in found.rows] == pytest.approx([70] * len(found.rows))
    assert "test accuracy, %" not in found.columns
