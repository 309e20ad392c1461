"""Results of a confirmation in Markdown, for the description of a search."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.contrasts import Contrast, compute_contrasts
from lkca_search.analysis.datasets import split_by_dataset
from lkca_search.analysis.scores import CellScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.reporting.sections.answer import write_finding, write_question
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_count, pluralize
from lkca_search.reporting.values.table import markdown_row


@dataclass(frozen=True, kw_only=True)
class ConfirmationCard:
    """Results of a round of a search."""

    parts: tuple[str, ...]
    """Paragraphs and tables, first the question and the finding of the report's first screen in one paragraph."""
    means: Mapping[str, float]
    """Mean of the leading metric on test images, per cell with a score."""
    test_metric: str
    """Name of this metric."""


def write_confirmation(results: SearchResults, number: int) -> ConfirmationCard:
    """Return the answer, the mean of each cell and the contrasts of a complete round, with intervals.

    The contrasts of several datasets are in the report, which corrects the tests of all of them.
    """
    sealed = next(each for each in results.rounds if each.number == number)
    metric = MetricFormat(results.metric)
    scores = {level: round_scores(part, sealed) for level, part in split_by_dataset(results).items()}
    found = [each for of_dataset in scores.values() for each in of_dataset.cells]
    answer = f"The report has the contrasts of {pluralize(len(scores), 'dataset')}."
    contrasts: tuple[Contrast, ...] = ()
    if len(scores) == 1:
        (only,) = scores.values()
        contrasts = compute_contrasts(only, results.reference)
        answer = write_finding(results, only, contrasts)
    means = {each.cell: mean_score(each).value / results.metric.scale for each in found}
    title = f"## {capitalize(metric.test_label)}, round {sealed.number}"
    head = markdown_row("cell", "training images", metric.header(metric.test_label), "95% interval", "replicates")
    parts = [
        f"**{write_question(results)}** {answer}",
        title,
        "\n".join([head, markdown_row(*["---"] * 5), *(_cell(each, metric) for each in found)]),
    ]
    if contrasts:
        design = f"{pluralize(len(sealed.draws), 'draw')} x {pluralize(sealed.num_seeds, 'seed')}"
        head = markdown_row(
            "contrast", "training images", metric.difference_header("difference"), "95% interval", "verdict"
        )
        rows = (_contrast(each, metric) for each in contrasts)
        parts += [f"## Contrasts over {design}", "\n".join([head, markdown_row(*["---"] * 5), *rows])]
    return ConfirmationCard(
        parts=tuple(parts),
        means={cell: mean for cell, mean in means.items() if np.isfinite(mean)},
        test_metric=f"test_{results.metric.test_field or metric.name}",
    )


def _cell(scores: CellScores, metric: MetricFormat) -> str:
    estimate = mean_score(scores)
    interval = metric.interval(estimate.interval) if estimate.interval else estimate.reason or ""
    count = f"{int(np.isfinite(scores.test_values).sum())} of {scores.num_replicates}"
    return markdown_row(
        scores.cell, format_count(scores.num_train_images), metric.value(estimate.value), interval, count
    )


def _contrast(contrast: Contrast, metric: MetricFormat) -> str:
    difference = contrast.paired.difference
    interval = metric.difference_interval(difference.interval) if difference.interval else difference.reason or ""
    subject = f"{contrast.reference} − {contrast.other}"
    images = format_count(contrast.num_train_images)
    return markdown_row(subject, images, metric.difference(difference.value), interval, contrast.verdict)
