"""A report of several datasets has a section per dataset and one on all of them; nothing is pooled."""

import re
from dataclasses import replace

import pytest

from lkca_search.records.search.dataset import SearchDataset
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import draw
from lkca_search.reporting.values.report import Report
from tests.support.dataset_results import CLASSES, make_dataset_results, normal
from tests.support.search_results import law, make_search_results, with_predictions

LEADS = {"cifar10": 0.04, "cifar100": 0.04, "tiny_imagenet": 0.04}
PARTS = [
    "scarcity",
    "contrasts",
    "curves",
    "selection",
    "kernels",
    "trials",
    "ablation",
    "costs",
    "training",
    "budgets",
]


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(make_dataset_results(normal(leads=LEADS), families=("lkca", "vit", "resnet")))


def table_of(report: Report, name: str) -> list[list[str]]:
    (table,) = (table for table in report.tables if table.name == name)
    return [[cell.text for cell in row] for row in table.rows]


def test_every_dataset_has_all_sections_of_a_report(report: Report) -> None:
    assert [section.name for section in report.sections] == ["aggregate", *CLASSES]
    alone = make_report(make_search_results(law(), families=("lkca", "vit", "resnet")))
    assert [section.name for section in alone.sections] == PARTS
    for section in report.sections[1:]:
        assert section.title == section.name
        assert [part.name for part in section.subsections] == [f"{section.name}-{part}" for part in PARTS]


def test_names_of_figures_and_tables_are_distinct_and_say_their_dataset(report: Report) -> None:
    for items in (report.figures, report.tables):
        names = [item.name for item in items]
        assert len(set(names)) == len(names)
    for section in report.sections[1:]:
        for part in section.every():
            for item in (*part.figures, *part.tables):
                assert item.name.startswith(f"{section.name}_")
                assert item.title.startswith(f"{section.name}: ")


def test_no_table_of_a_dataset_has_cells_of_another_one(report: Report) -> None:
    for section in report.sections[1:]:
        texts = [text for part in section.every() for table in part.tables for row in table.rows for text in row]
        others = [f"dataset={name}," for name in CLASSES if name != section.name]
        assert any(f"dataset={section.name}," in cell.text for cell in texts)
        assert not any(other in cell.text for cell in texts for other in others)


def test_sentences_over_all_datasets_have_the_numbers_of_the_aggregate(report: Report) -> None:
    assert report.aggregate is not None
    for found in report.aggregate.differences:
        if found.size is None:
            (sentence,) = (text for text in report.summary if f"those for {found.other}:" in text)
            assert found.verdict == "ahead"
            interval = found.difference.interval
            assert interval is not None
            assert sentence.startswith(
                "Over cifar10, cifar100 and tiny_imagenet, the configurations found for lkca are ahead of those for "
                f"{found.other}: the interquartile mean of the normalized differences is "
                f"+{found.difference.value:.1f}% [+{interval.lower:.1f}, +{interval.upper:.1f}] of the range"
            )
            assert f"with a probability of {100 * found.improvement.value:.1f}%" in sentence


def test_equal_families_have_no_verdict() -> None:
    report = make_report(make_dataset_results(normal(noise=3)))
    assert {each.verdict for each in report.contrasts} == {"undecided"}
    assert report.aggregate is not None
    assert {each.verdict for each in report.aggregate.differences} == {"undecided"}
    assert re.match(
        "Over cifar10, cifar100 and tiny_imagenet, no significant difference between the configurations found for lkca "
        "and those for vit is shown: ",
        report.summary[0],
    )


def test_a_sentence_per_dataset_is_the_headline_of_its_section(report: Report) -> None:
    for name in CLASSES:
        (sentence,) = (text for text in report.summary if text.startswith(f"{name}: "))
        of_dataset = [each for each in report.contrasts if each.dataset == name]
        ahead = sum(each.verdict == "ahead" for each in of_dataset)
        assert f"ahead in {ahead}" in sentence
        assert f"of {len(of_dataset)} contrasts" in sentence


def test_limits_of_all_datasets_are_written_once_and_those_of_one_with_its_name() -> None:
    accuracy = normal()
    report = make_report(
        make_dataset_results(lambda *key: None if key[0] == "cifar100" and key[3] == 2 else accuracy(*key))
    )
    assert len([text for text in report.caveats if "Every cell was searched once," in text]) == 1
    (missing,) = (text for text in report.caveats if "no test result" in text)
    assert missing.startswith("On cifar100: 8 replicates of the round have no test result: 8 are not tested yet")


def test_a_single_draw_has_the_reason_in_every_section() -> None:
    report = make_report(make_dataset_results(normal(), draws=1))
    assert "are not tested (a dataset has a single draw, which has no spread for an interval)" in report.summary[0]
    assert report.aggregate is not None
    assert all(each.difference.interval is None for each in report.aggregate.differences)
    (profiles,) = (figure for figure in report.figures if figure.name == "performance_profiles")
    assert "no bands, because a dataset has a single draw" in profiles.caption
    assert draw(profiles).keys() == {"png", "svg", "pdf"}
    to_html(report, source="")


def test_one_dataset_with_test_results_has_the_reason_in_place_of_the_aggregate() -> None:
    report = make_report(make_dataset_results(lambda *key: normal()(*key) if key[0] == "cifar10" else None))
    assert report.aggregate is None
    (section,) = (section for section in report.sections if section.name == "aggregate")
    assert section.paragraphs == (
        "Not estimable: an aggregate needs at least 2 datasets with test results, only cifar10 has.",
    )
    assert section.tables == section.figures == ()


def test_a_search_without_a_round_has_a_section_per_dataset() -> None:
    report = make_report(make_dataset_results(None))
    assert report.headline == "No comparison yet"
    assert [section.name for section in report.sections] == list(CLASSES)
    assert report.summary == ()
    assert len([text for text in report.caveats if "Nothing is confirmed yet" in text]) == 1


def test_a_factor_with_one_dataset_has_the_report_of_that_dataset() -> None:
    report = make_report(make_dataset_results(normal(leads=LEADS), datasets=("cifar10",)))
    assert [section.name for section in report.sections] == PARTS
    assert report.aggregate is None


def test_methods_are_per_dataset_where_they_differ(report: Report) -> None:
    subjects = [subject for subject, _ in report.methods]
    assert [subject for subject in subjects if subject.startswith("Data")] == [f"Data: {name}" for name in CLASSES]
    assert subjects.count("Statistics") == subjects.count("Search") == subjects.count("Confirmation") == 1
    statistics = dict(report.methods)["Statistics"]
    assert statistics.count("Replicates of two variants") == 1
    assert "Holm's correction is over all contrasts of all datasets" in statistics


def test_figures_for_the_paper_have_a_legend_entry_per_variant(report: Report) -> None:
    (profiles,) = (figure for figure in report.figures if figure.name == "performance_profiles")
    assert [series.name for series in profiles.series if series.in_legend] == ["lkca", "vit", "resnet"]
    assert b">resnet<" in draw(profiles)["svg"]


def test_the_reference_is_the_same_on_every_dataset() -> None:
    results = make_dataset_results(normal(), exclude=({"dataset": ("cifar100",), "family": ("lkca",)},))
    report = make_report(results)
    assert {each.dataset for each in report.contrasts} == {"cifar10", "tiny_imagenet"}
    assert {each.reference for each in report.contrasts} == {"lkca"}


def test_metric_names_of_mlflow_have_the_dataset(report: Report) -> None:
    names = report.mlflow_metrics()
    assert len(names) == len(report.contrasts)
    assert "difference lkca - vit at 1800 on cifar100" in names


def test_predictions_widen_the_intervals_over_the_datasets() -> None:
    results = make_dataset_results(normal(leads=LEADS))
    widths = []
    for each in (results, with_predictions(results)):
        found = make_report(each).aggregate
        assert found is not None
        interval = found.differences[0].difference.interval
        assert interval is not None
        widths.append((interval.upper or 0) - (interval.lower or 0))
    assert widths[1] > widths[0]


def test_repeats_of_a_search_of_several_datasets_are_the_units() -> None:
    results = make_dataset_results(normal(leads=LEADS), search={"trials_per_cell": 3, "repeats": 5})
    report = make_report(results)
    assert report.summary[0].startswith("Over cifar10, cifar100 and tiny_imagenet, lkca is ahead of vit: ")
    assert {each.paired.num_draws for each in report.contrasts} == {5}


def test_old_records_without_the_number_of_classes_have_the_reason() -> None:
    results = make_dataset_results(normal())
    old = [
        record.model_copy(update={"facts": record.facts.model_copy(update={"num_classes": None})})
        for record in (*results.trials, *results.replicates)
        if record.facts
    ]
    report = make_report(replace(results, trials=old[: len(results.trials)], replicates=old[len(results.trials) :]))
    assert report.aggregate is None
    assert "the records do not have the number of classes of cifar10" in report.summary[0]


def test_missing_training_images_are_stated_with_their_dataset() -> None:
    results = make_dataset_results(normal(leads=LEADS))
    part = SearchDataset(dataset="cifar10", data_hash="d" * 64, num_images=20_000, num_official=50_000)
    caveats = make_report(replace(results, datasets={"cifar10": part})).caveats
    stated = "The data were parts of their datasets: 20,000 of the 50,000 official training images of cifar10. "
    assert len([text for text in caveats if text.startswith(stated)]) == 1
