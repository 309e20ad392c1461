"""First screen of a report: one sentence each on what was asked, what was found and what limits it, and one figure."""

import re
from collections import Counter
from collections.abc import Sequence

from lkca_search.analysis.contrasts import Contrast, Verdict
from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.records.objectives import rank_trials
from lkca_search.reporting.sections.figures import validation_figure
from lkca_search.reporting.sections.narrative import (
    MAX_CHARACTERS,
    MAX_NAMED,
    name_others,
    of_metric,
    reason_for_no_contrast,
)
from lkca_search.reporting.values.figure import Figure
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_count, join_words, pluralize
from lkca_search.reporting.values.report import Answer, Section
from lkca_search.reporting.values.table import Table, TableCell, text_cell, value_and_interval_cell
from lkca_search.spec.cells import dataset_levels

_MAX_LEGEND = 6
"""Names of a legend that leave space for the figure on a phone."""
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z`])")
_TO_ONE: dict[Verdict, str] = {
    "ahead": "ahead of",
    "behind": "behind",
    "undecided": "not significantly different from",
    "untested": "not tested against",
}
_AMONG: dict[Verdict, str] = {
    "ahead": "ahead in {}",
    "behind": "behind in {}",
    "undecided": "not significantly different in {}",
    "untested": "not tested in {}",
}


def make_answer(
    results: SearchResults,
    scores: RoundScores | None,
    contrasts: Sequence[Contrast],
    *,
    sections: Sequence[Section],
    caveats: Sequence[str],
) -> Answer:
    """Return the first screen of a report on one dataset; its figure is one of the `sections` if anything is tested."""
    return Answer(
        question=write_question(results),
        finding=write_finding(results, scores, contrasts),
        limit=first_sentence(caveats),
        num_more_limits=max(len(caveats) - 1, 0),
        figure=in_brief(tested_figure(sections, contrasts) or validation_figure(results)),
        means=None if scores is None else means_table(results, scores),
    )


def means_table(results: SearchResults, scores: RoundScores) -> Table | None:
    """Return the mean test scores at the smallest and the largest size; None if fewer than two variants are tested.

    Of many variants, it has the reference, and the one of the others that is the best at the largest size.
    """
    if len(scores.variants) < 2:
        return None
    metric = MetricFormat(results.metric)
    sizes = sorted({cell.num_train_images for cell in scores.cells})
    ends = list(dict.fromkeys((sizes[0], sizes[-1])))
    cells = {
        variant.label: {cell.num_train_images: cell for cell in scores.cells_of_variant(variant)}
        for variant in scores.variants
    }
    at_largest = {label: mean_score(found[sizes[-1]]).value for label, found in cells.items() if sizes[-1] in found}
    ranked = sorted(at_largest, key=lambda label: -metric.metric.sign * at_largest[label])
    order = "highest" if metric.metric.sign > 0 else "lowest"
    reference = results.reference.label
    others = [label for label in ranked if label != reference]
    shown = [label for label in ranked if len(ranked) <= MAX_NAMED or label in (reference, others[0])]
    part = "" if len(shown) == len(ranked) else f"{len(shown)} of {len(ranked)} variants, "
    estimates = [mean_score(cells[label][size]) for label in shown for size in ends if size in cells[label]]
    reasons = dict.fromkeys(estimate.reason for estimate in estimates if estimate.reason)
    lacking = f" Without an interval: {'; '.join(filter(None, reasons))}." if reasons else ""
    return Table(
        name="answer_means",
        title=f"Mean {metric.test_label_in_unit}",
        caption=capitalize(f"{part}{order} first at {format_count(sizes[-1])} images.{lacking}"),
        columns=(
            f"{metric.header(metric.test_label)} [95% interval]",
            *(f"{format_count(size)} images" for size in ends),
        ),
        rows=tuple(
            (text_cell(label), *(_mean_cell(cells[label].get(size), metric) for size in ends)) for label in shown
        ),
    )


def _mean_cell(cell: CellScores | None, metric: MetricFormat) -> TableCell:
    return value_and_interval_cell(mean_score(cell) if cell else None, metric.estimate)


def first_sentence(caveats: Sequence[str]) -> str:
    """Return the first sentence of the first limit, which is the most severe one."""
    return _SENTENCE_END.split(caveats[0])[0] if caveats else "No limit of these results is known."


def in_brief(figure: Figure | None) -> Figure | None:
    """Return a figure for the first screen: its caption states what is drawn, and a long legend is folded."""
    if figure is None:
        return None
    first, *others = _SENTENCE_END.split(figure.caption)
    sentences = [first, *(sentence for sentence in others if sentence.startswith("Above 0"))]
    names = {series.color_index for series in figure.series}
    return figure.model_copy(update={"caption": " ".join(sentences), "has_legend": len(names) <= _MAX_LEGEND})


def write_question(results: SearchResults) -> str:
    """Return what the search compares, as a question; a statement for a single variant."""
    metric, labels = (
        MetricFormat(results.metric),
        [variant.label for variant in dict.fromkeys(results.variants.values())],
    )
    others = [label for label in labels if label != results.reference.label]
    subject = f"the {metric.test_label} of {results.reference.label}"
    if not others:
        return f"{capitalize(subject)} is measured on {_dataset(results)}{_after_training(results)}."
    better = "higher" if metric.metric.direction == "maximize" else "lower"
    return f"Is {subject} {better} than that of {name_others(others)} on {_dataset(results)}{_after_training(results)}?"


def write_finding(results: SearchResults, scores: RoundScores | None, contrasts: Sequence[Contrast]) -> str:
    """Return the verdicts with their differences and intervals, or what is known without a contrast."""
    if scores is None or not scores.cells:
        return _progress(results, scores)
    if not contrasts:
        return _without_contrast(results, scores)
    if len(contrasts) == 1:
        return _single(results, contrasts[0])
    others = list(dict.fromkeys(contrast.other for contrast in contrasts))
    return f"{count_verdicts(results, contrasts)}: {_differences(contrasts, others, MetricFormat(results.metric))}."


def count_verdicts(results: SearchResults, contrasts: Sequence[Contrast]) -> str:
    """Return the number of contrasts with each verdict, without a final stop."""
    counts = Counter(contrast.verdict for contrast in contrasts)
    verdicts = join_words([text.format(counts[verdict]) for verdict, text in _AMONG.items() if counts[verdict]])
    others = name_others(list(dict.fromkeys(contrast.other for contrast in contrasts)))
    reference = contrasts[0].reference
    compared = (
        f"Compared with {others}, {reference} is"
        if results.repeats
        else f"Compared with the configurations found for {others}, those for {reference} are"
    )
    return f"{compared} {verdicts} of {pluralize(len(contrasts), 'contrast')}"


def name_other(label: str) -> str:
    """Return the name of a variant after its difference; empty if it is long."""
    return f" (to {label})" if len(label) <= MAX_CHARACTERS // MAX_NAMED else ""


def tested_figure(sections: Sequence[Section], contrasts: Sequence[Contrast]) -> Figure | None:
    """Return the differences if one has an interval, else the learning curves; None if nothing is tested."""
    known = any(contrast.paired.difference.interval for contrast in contrasts)
    for name in (*(("contrasts",) if known else ()), "scarcity"):
        for section in sections:
            figure = next((each for each in section.figures if isinstance(each, Figure)), None)
            if section.name.rpartition("-")[2] == name and figure is not None:
                return figure
    return None


def _dataset(results: SearchResults) -> str:
    """Return the name of the dataset, without the folders of its path."""
    levels = [level or str(results.spec.data.dataset) for level in dataset_levels(results.spec)]
    names = [level.rstrip("/").rpartition("/")[2] for level in levels]
    return join_words(names) if len(names) <= MAX_NAMED else f"{len(names)} datasets"


def _after_training(results: SearchResults) -> str:
    """Return the phrase on the numbers of training images; empty if no trial is finished."""
    records = (*results.trials, *results.replicates)
    sizes = sorted({record.facts.num_train_images for record in records if record.facts})
    if not sizes:
        return ""
    numbers = [format_count(size) for size in (sizes[0], sizes[-1])]
    phrase = numbers[0] if len(sizes) == 1 else f"{' or ' if len(sizes) == 2 else ' to '}".join(numbers)
    return f", after training on {phrase} images"


def _progress(results: SearchResults, scores: RoundScores | None) -> str:
    """Return how far a search without a test result is."""
    spec = results.spec.search
    start = "No test result exists yet" if scores is None else "No replicate is tested yet"
    budget = spec.trials_per_cell * len(results.cells)
    progress = (
        f"{start}: {len(results.trials)} of {pluralize(budget, 'trial')} {'is' if budget == 1 else 'are'} finished"
    )
    best = next((record for record in rank_trials(results.trials, spec) if record.facts), None)
    if best is None or best.facts is None or len(dataset_levels(results.spec)) > 1:
        return f"{progress}."
    metric = MetricFormat(results.metric)
    return (
        f"{progress}, and the {metric.metric.best} {metric.label} is "
        f"{metric.value_with_unit(results.metric_value(best))}, of {results.variants[best.cell].label} with "
        f"{format_count(best.facts.num_train_images)} training images."
    )


def _without_contrast(results: SearchResults, scores: RoundScores) -> str:
    if len(scores.variants) > 1:
        return reason_for_no_contrast(results, scores)
    label = scores.variants[0].label
    is_alone = len(set(results.variants.values())) == 1
    start = "" if is_alone else f"Only {label} has test results, so nothing is compared: "
    cells = scores.cells_of_variant(scores.variants[0])
    subject = f"{label} has" if results.repeats else f"the configurations found for {label} have"
    means = join_words([_mean(cell) for cell in dict.fromkeys((cells[0], cells[-1]))])
    sentence = f"{subject} a mean {MetricFormat(results.metric).test_label} of {means} images."
    return f"{start}{sentence}" if start or results.repeats else capitalize(sentence)


def _mean(cell: CellScores) -> str:
    metric, estimate = MetricFormat(cell.metric), mean_score(cell)
    interval = metric.interval(estimate.interval) or "(no interval)"
    return f"{metric.value_with_unit(estimate.value)} {interval} with {format_count(cell.num_train_images)}"


def _single(results: SearchResults, contrast: Contrast) -> str:
    found, that = ("", "") if results.repeats else ("The configuration found for ", "that for ")
    metric = MetricFormat(results.metric)
    return (
        f"{found}{contrast.reference} is {_TO_ONE[contrast.verdict]} {that}{contrast.other}: the "
        f"difference {of_metric(metric)}is {_difference(contrast, metric)} with "
        f"{format_count(contrast.num_train_images)} images."
    )


def _differences(contrasts: Sequence[Contrast], others: Sequence[str], metric: MetricFormat) -> str:
    """Return the differences at the smallest and the largest size; of several variants, the extreme ones at the former.

    The choice does not depend on the verdicts.
    """
    subject = f"the difference {of_metric(metric)}is"
    if len(others) == 1:
        ends = sorted(contrasts, key=lambda contrast: contrast.num_train_images)
        at = [f"{_difference(each, metric)} with {format_count(each.num_train_images)}" for each in (ends[0], ends[-1])]
        return f"{subject} {join_words(at)} images"
    smallest = min(contrast.num_train_images for contrast in contrasts)
    at_smallest = [contrast for contrast in contrasts if contrast.num_train_images == smallest]
    *_, high = low, *_ = sorted(at_smallest, key=lambda contrast: contrast.paired.difference.value)
    size = f"with {format_count(smallest)} images"
    if low is high:
        return f"{size}, {subject} {_difference(low, metric)}{name_other(low.other)}"
    return (
        f"{size}, {subject} from {_difference(low, metric)}{name_other(low.other)} to {_difference(high, metric)}"
        f"{name_other(high.other)}"
    )


def _difference(contrast: Contrast, metric: MetricFormat) -> str:
    difference = contrast.paired.difference
    interval = metric.difference_interval(difference.interval) or "(no interval)"
    return f"{metric.signed_with_unit(difference.value)} {interval}"
