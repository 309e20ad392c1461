"""First screen of a report on several datasets: question, finding and limit over all of them."""

from collections import Counter
from collections.abc import Sequence

from lkca_search.analysis.aggregate.aggregate import DatasetTests
from lkca_search.analysis.aggregate.differences import AggregateDifference
from lkca_search.analysis.contrasts import Verdict
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.reporting.sections.answer import (
    count_verdicts,
    first_sentence,
    in_brief,
    name_other,
    tested_figure,
    write_finding,
    write_question,
)
from lkca_search.reporting.sections.figures import validation_figure
from lkca_search.reporting.sections.narrative import name_others, reason_for_no_contrast
from lkca_search.reporting.values.figure import Figure
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_points, format_signed_interval, join_words
from lkca_search.reporting.values.report import Answer, Section

_VERDICTS: dict[Verdict, str] = {
    "ahead": "ahead of",
    "behind": "behind",
    "undecided": "not significantly different from",
    "untested": "not tested against",
}


def make_dataset_answer(
    results: SearchResults,
    scores: RoundScores | None,
    tests: DatasetTests,
    *,
    sections: Sequence[Section],
    caveats: Sequence[str],
) -> Answer:
    """Return the first screen; without an aggregate it has the contrasts of all datasets."""
    return Answer(
        question=write_question(results),
        finding=_finding(results, scores, tests),
        limit=first_sentence(caveats),
        num_more_limits=max(len(caveats) - 1, 0),
        figure=in_brief(_figure(sections, tests) if scores and scores.cells else validation_figure(results)),
    )


def _finding(results: SearchResults, scores: RoundScores | None, tests: DatasetTests) -> str:
    if scores is None or not scores.cells:
        return write_finding(results, scores, ())
    if not tests.contrasts:
        return reason_for_no_contrast(results, scores)
    if len(datasets := {str(contrast.dataset) for contrast in tests.contrasts}) == 1:
        return f"On {datasets.pop()} alone: {write_finding(results, scores, tests.contrasts)}"
    if isinstance(tests.aggregate, NotEstimable):
        return (
            f"{count_verdicts(results, tests.contrasts)}; over all datasets, nothing is estimable: {tests.aggregate}."
        )
    if not (whole := [found for found in tests.aggregate.differences if found.size is None]):
        return f"{count_verdicts(results, tests.contrasts)}; over all datasets, there is no comparison."
    return _over_datasets(results, whole)


def _over_datasets(results: SearchResults, whole: Sequence[AggregateDifference]) -> str:
    reference = whole[0].reference
    others: dict[Verdict, list[str]] = {}
    for found in whole:
        others.setdefault(found.verdict, []).append(found.other)
    subject, those = (
        (f"{reference} is", "") if results.repeats else (f"the configurations found for {reference} are", "those for ")
    )
    verdicts = [
        f"{text} {those}{name_others(others[verdict])}" for verdict, text in _VERDICTS.items() if verdict in others
    ]
    counts = Counter(found.datasets for found in whole)
    (datasets, _), *_ = counts.most_common(1)
    ordered = sorted(whole, key=lambda found: found.difference.value)
    range_ = f"of the range from chance to the best {MetricFormat(results.metric).test_label}"
    difference = (
        f"{_difference(ordered[0])} {range_}"
        if len(ordered) == 1
        else f"from {_difference(ordered[0])}{name_other(ordered[0].other)} to {_difference(ordered[-1])}"
        f"{name_other(ordered[-1].other)} {range_}"
    )
    over = f"{len(datasets)} datasets" if len(counts) == 1 else "the datasets"
    return f"Over {over}, {subject} {join_words(verdicts)}: the normalized difference is {difference}."


def _difference(found: AggregateDifference) -> str:
    interval = format_signed_interval(found.difference.interval) or "(no interval)"
    return f"{format_points(found.difference.value)}% {interval}"


def _figure(sections: Sequence[Section], tests: DatasetTests) -> Figure | None:
    """Return the figure of the differences over all datasets, else the profiles, else that of the first dataset."""
    for section in sections:
        if section.name == "aggregate":
            if figure := next((each for each in section.figures if isinstance(each, Figure)), None):
                return figure
    parts = [part for section in sections for part in section.subsections]
    return tested_figure(parts, tests.contrasts)
