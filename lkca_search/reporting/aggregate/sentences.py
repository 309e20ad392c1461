"""Sentences on all datasets together, computed from the aggregate."""

from collections.abc import Iterator

from lkca_search.analysis.aggregate.aggregate import Aggregate
from lkca_search.analysis.aggregate.differences import AggregateDifference
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.reporting.aggregate.figures import format_size
from lkca_search.reporting.sections.contrast_tables import as_percentage
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    format_interval,
    format_percent_estimate,
    format_points,
    join_words,
)


def aggregate_sentences(
    aggregate: Aggregate | NotEstimable, metric: MetricFormat, *, is_repeated: bool
) -> Iterator[str]:
    """Yield the results over all datasets, one paragraph per other variant; or the reason why there are none."""
    if isinstance(aggregate, NotEstimable):
        yield f"Over all datasets, nothing is estimable: {aggregate}."
        return
    for other in dict.fromkeys(each.other for each in aggregate.differences):
        of_other = [each for each in aggregate.differences if each.other == other]
        yield " ".join(_sentence(each, metric, is_repeated=is_repeated) for each in of_other)
    for reason in aggregate.left_out:
        yield f"Over all datasets, there is no comparison: {reason}."


def _sentence(found: AggregateDifference, metric: MetricFormat, *, is_repeated: bool) -> str:
    if found.size is not None:
        return _sentence_at_size(found)
    subject = found.reference if is_repeated else f"the configurations found for {found.reference}"
    verb, other = ("is", found.other) if is_repeated else ("are", f"those for {found.other}")
    verdicts = {
        "ahead": f"{subject} {verb} ahead of {other}",
        "behind": f"{subject} {verb} behind {other}",
        "undecided": f"no significant difference between {subject} and {other} is shown",
        "untested": f"{subject} and {other} are not tested ({found.difference.reason})",
    }
    return (
        f"Over {join_words(found.datasets)}, {verdicts[found.verdict]}: the interquartile mean of the normalized "
        f"differences is {_percent(found.difference)} of the range from chance to the best {metric.test_label}. A "
        f"training of {found.reference} is better than one of {found.other} with a probability of "
        f"{format_percent_estimate(as_percentage(found.improvement))}."
    )


def _sentence_at_size(found: AggregateDifference) -> str:
    verdicts = {
        "ahead": f"{found.reference} is ahead",
        "behind": f"{found.reference} is behind",
        "undecided": "no significant difference is shown",
        "untested": "no test is possible",
    }
    return f"At {format_size(found.size)}, {verdicts[found.verdict]}: {_percent(found.difference)}."


def _percent(difference: Estimate) -> str:
    interval = format_interval(difference.interval, format_points)
    return f"{format_points(difference.value)}% {interval}".rstrip()
