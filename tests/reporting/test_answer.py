"""The first screen is a figure and three sentences, which claim no more than the numbers of the report."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from lkca_search.analysis.search_results import SearchResults
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.values.report import Report
from tests.support.dataset_results import make_dataset_results, normal
from tests.support.search_results import law, make_search_results

THREE = ("lkca", "vit", "resnet")
MANY = {"family": ("lkca", "vit"), "kernel_size": (3, 5), "depth": (1, 2), "data_fraction": (0.1, 0.5)}
KINDS: dict[str, Callable[[], SearchResults]] = {
    "one contrast": lambda: make_search_results(law(lead=0.05), fractions=(0.1,)),
    "two families": lambda: make_search_results(law(lead=0.05)),
    "equal families": lambda: make_search_results(law(), families=THREE),
    "many variants": lambda: make_search_results(law(), factors=MANY),
    "a single draw": lambda: make_search_results(law(), draws=1, seeds=3),
    "one variant": lambda: make_search_results(law(), families=("lkca",)),
    "no partner": lambda: make_search_results(
        lambda family, images, draw, seed: 0.5 if (family == "vit") == seed else None
    ),
    "one variant tested": lambda: make_search_results(lambda family, *rest: 0.5 if family == "vit" else None),
    "nothing confirmed": lambda: make_search_results(None),
    "nothing trained": lambda: replace(make_search_results(None), trials=[]),
    "nothing tested": lambda: make_search_results(lambda *key: None),
    "repeats": lambda: make_search_results(law(lead=0.05), search={"trials_per_cell": 3, "repeats": 5}),
    "datasets": lambda: make_dataset_results(normal(leads=0.04), families=THREE),
    "datasets with two variants": lambda: make_dataset_results(normal(noise=3)),
    "one dataset tested": lambda: make_dataset_results(lambda *key: normal()(*key) if key[0] == "cifar10" else None),
    "datasets not confirmed": lambda: make_dataset_results(None),
    "datasets with one variant": lambda: make_dataset_results(normal(), families=("lkca",)),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {kind: make_report(make()) for kind, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_question_finding_and_limit_are_one_sentence_each(reports: dict[str, Report], kind: str) -> None:
    answer = reports[kind].answer
    for text in (answer.question, answer.finding, answer.limit):
        assert re.fullmatch(r"\S.*[.?]", text)
        assert not re.search(r"[.?!]\s+[A-Z`]", text), "a second sentence"
        assert len(text) < 260, "a phone has space for about 260 characters"
    assert not re.search(r"\bnan\b|None|\.\.", f"{answer.question}{answer.finding}{answer.limit}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_begins_the_list_of_limits(reports: dict[str, Report], kind: str) -> None:
    report = reports[kind]
    assert report.caveats[0].startswith(report.answer.limit)
    assert report.answer.num_more_limits == len(report.caveats) - 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nothing trained"])
def test_every_first_screen_has_a_figure_whose_caption_states_what_is_drawn(
    reports: dict[str, Report], kind: str
) -> None:
    figure = reports[kind].answer.figure
    assert figure is not None
    assert 1 <= len(re.split(r"(?<=\.) (?=[A-Z])", figure.caption)) <= 3
    assert figure.has_legend is (len({series.color_index for series in figure.series}) <= 6)
    assert figure.name in {each.name for each in reports[kind].figures}, "it is among the files too"


def test_a_lead_has_its_number_of_contrasts_and_the_intervals_at_the_smallest_and_the_largest_size(
    reports: dict[str, Report],
) -> None:
    report = reports["two families"]
    first, last = report.contrasts[0].paired.difference, report.contrasts[-1].paired.difference
    assert first.interval is not None
    assert last.interval is not None
    assert report.answer.question == (
        "Is the test accuracy of lkca higher than that of vit on digits, after training on 360 to 9,000 images?"
    )
    assert report.answer.finding == (
        "Compared with the configurations found for vit, those for lkca are ahead in 5 of 5 contrasts: the difference "
        f"is +{first.value:.1f} points [+{first.interval.lower:.1f}, +{first.interval.upper:.1f}] with 360 and "
        f"+{last.value:.1f} points [+{last.interval.lower:.1f}, +{last.interval.upper:.1f}] with 9,000 images."
    )
    assert report.answer.figure is not None
    assert report.answer.figure.name == "differences"


def test_of_several_variants_the_extreme_differences_at_the_smallest_size_are_stated(
    reports: dict[str, Report],
) -> None:
    report = reports["equal families"]
    at_smallest = [each for each in report.contrasts if each.num_train_images == 360]
    low, high = sorted(at_smallest, key=lambda each: each.paired.difference.value)
    assert report.answer.finding.startswith(
        "Compared with the configurations found for vit and resnet, those for lkca are not significantly different in "
        "10 of 10 contrasts: "
    )
    assert report.answer.finding.endswith(f"(to {high.other}).")
    assert f"(to {low.other}) to " in report.answer.finding
    assert report.answer.finding.count("[") == 2


def test_the_first_screen_has_the_mean_of_each_variant_with_its_interval_and_the_best_of_many(
    reports: dict[str, Report],
) -> None:
    report = reports["equal families"]
    means = report.answer.means
    assert means is not None
    assert means.columns == ("test accuracy, % [95% interval]", "360 images", "9,000 images")
    accuracies = next(table for table in report.tables if table.name == "accuracies")
    by_cell = {(row[0].text, row[1].text): f"{row[2].text} {row[3].text}" for row in accuracies.rows}
    assert {row[0].text for row in means.rows} == set(THREE)
    for label, *found in means.rows:
        assert [cell.text for cell in found] == [by_cell[label.text, size] for size in ("360", "9,000")]
    largest = [row[-1].number or 0.0 for row in means.rows]
    assert largest == sorted(largest, reverse=True)
    many = reports["many variants"].answer.means
    assert many is not None
    best = [row[-1].number or 0.0 for row in many.rows]
    assert best == sorted(best, reverse=True)
    assert reports["many variants"].contrasts[0].reference in {row[0].text for row in many.rows}
    assert (len(many.rows), many.caption) == (2, "2 of 8 variants, highest first at 9,000 images.")
    for kind in ("one variant", "nothing confirmed", "nothing tested", "datasets"):
        assert reports[kind].answer.means is None
    losses = make_report(make_search_results(law(), search={"trials_per_cell": 3, "metric": "val_loss"})).answer.means
    assert losses is not None
    assert losses.columns[0] == "test loss [95% interval]"
    assert losses.caption.startswith("Lowest first at 9,000 images.")
    single = make_report(make_search_results(law(), draws=1)).answer.means
    assert single is not None
    assert "Without an interval: a single draw has no spread for an interval." in single.caption
    assert losses.rows[0][-1].number == min(row[-1].number or 0.0 for row in losses.rows)


def test_of_repeated_searches_the_finding_is_about_families(reports: dict[str, Report]) -> None:
    assert reports["repeats"].answer.finding.startswith("Compared with vit, lkca is ahead in 5 of 5 contrasts: ")
    assert reports["one contrast"].answer.finding.startswith(
        "The configuration found for lkca is ahead of that for vit"
    )


def test_a_search_without_a_test_result_claims_none(reports: dict[str, Report]) -> None:
    answer = reports["nothing confirmed"].answer
    assert answer.finding == (
        "No test result exists yet: 30 of 30 trials are finished, and the highest validation accuracy is 60.0%, of "
        "lkca with 360 training images."
    )
    assert answer.limit.startswith("Nothing is confirmed yet: the best validation accuracy of many trials is too opt")
    assert answer.figure is not None
    assert answer.figure.caption.startswith("Not a test: ")
    assert not any(series.lower for series in answer.figure.series)
    assert reports["nothing trained"].answer.finding == "No test result exists yet: 0 of 30 trials are finished."
    assert reports["nothing trained"].answer.figure is None
    assert reports["nothing tested"].answer.finding.startswith("No replicate is tested yet: ")


def test_without_a_comparison_the_finding_is_the_mean_of_the_variant_or_the_reason(reports: dict[str, Report]) -> None:
    one = reports["one variant"].answer
    assert one.question == "The test accuracy of lkca is measured on digits, after training on 360 to 9,000 images."
    assert re.fullmatch(
        r"The configurations found for lkca have a mean test accuracy of \d\d\.\d% \[\d\d\.\d, \d\d\.\d\] with 360 and "
        r"\d\d\.\d% \[\d\d\.\d, \d\d\.\d\] with 9,000 images\.",
        one.finding,
    )
    assert one.figure is not None
    assert one.figure.name == "learning_curves"
    assert reports["one variant tested"].answer.finding.startswith(
        "Only vit has test results, so nothing is compared: "
    )
    assert reports["no partner"].answer.finding.startswith("Nothing is compared: no replicate of lkca has a partner")


def test_differences_without_an_interval_are_drawn_as_learning_curves(reports: dict[str, Report]) -> None:
    answer = reports["a single draw"].answer
    assert answer.finding.startswith(
        "Compared with the configurations found for vit, those for lkca are not tested in 5 of 5 contrasts: "
    )
    assert answer.finding.count("(no interval)") == 2
    assert answer.figure is not None
    assert answer.figure.name == "learning_curves"


def test_several_datasets_are_answered_by_their_aggregate(reports: dict[str, Report]) -> None:
    report = reports["datasets"]
    assert report.aggregate is not None
    low, high = sorted(
        (each for each in report.aggregate.differences if each.size is None), key=lambda each: each.difference.value
    )
    assert report.answer.finding.startswith(
        "Over 3 datasets, the configurations found for lkca are ahead of those for vit and resnet: the normalized "
        f"difference is from +{low.difference.value:.1f}% ["
    )
    assert f"(to {low.other}) to +{high.difference.value:.1f}% [" in report.answer.finding
    assert report.answer.figure is not None
    assert report.answer.figure.name == "aggregate_differences"
    equal = reports["datasets with two variants"].answer.finding
    assert "are not significantly different from those for vit: the normalized difference is " in equal
    alone = reports["one dataset tested"].answer
    assert alone.finding.startswith("On cifar10 alone: Compared with the configurations found")
    assert alone.figure is not None
    assert alone.figure.title.startswith("cifar10: ")


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_the_question_and_the_unit_are_those_of_the_metric(metric: str) -> None:
    report = make_report(make_search_results(law(), search={"trials_per_cell": 3, "metric": metric}))
    is_loss = metric == "val_loss"
    assert f"{'lower' if is_loss else 'higher'} than that of vit" in report.answer.question
    assert ("points" in report.answer.finding) is not is_loss
    assert ("the difference in test loss (lower is better) is " in report.answer.finding) is is_loss


@pytest.mark.parametrize("kind", ["equal families", "datasets", "many variants", "nothing confirmed"])
def test_the_first_screen_fits_a_desktop_and_a_phone(
    browser: Browser, reports: dict[str, Report], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(to_html(reports[kind], source=""))
    page = browser.new_page()
    page.goto(path.as_uri())
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(f"document.querySelector('#answer-figure .main-svg')?.clientWidth <= {width}")
        boxes = [page.locator(each).bounding_box() for each in ("#answer", "#answer-figure", "#answer figcaption")]
        texts = [text.bounding_box() for text in page.locator("#answer p").all()]
        assert len(texts) == 3
        texts += [table.bounding_box() for table in page.locator("#answer .means").all()]
        last = page.locator("nav a").last.bounding_box()
        assert last is not None
        assert width < 600 or last["x"] + last["width"] <= width, "a wide menu shows every link"
        for box in (*boxes, *texts):
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= height
        assert page.evaluate("document.documentElement.scrollWidth") == width
        plot = page.locator("#answer-figure .plot-container .nsewdrag").bounding_box()
        assert plot is not None
        assert plot["height"] >= 100, "the legend leaves space for the data"
    page.close()
