"""Sentences of a report, computed from its numbers: headline and summary."""

from collections import Counter
from collections.abc import Iterator, Sequence

from lkca_search.analysis.contrasts import Contrast, Verdict
from lkca_search.analysis.curve_analysis import CurveAnalysis, CurveContrast
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import SelectionEffect
from lkca_search.analysis.stats.estimate import Estimate, Interval, NotEstimable
from lkca_search.analysis.stats.power import MIN_DRAWS
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    capitalize,
    format_count,
    format_count_interval,
    format_ratio,
    format_ratio_interval,
    join_words,
    pluralize,
)

MAX_NAMED = 3
"""Variants and datasets that a sentence names at most; more are counted."""
MAX_CHARACTERS = 60
"""Characters of all names of variants above which they are counted."""


def name_others(labels: Sequence[str]) -> str:
    """Return the names of the other variants, or their number if there are many."""
    names = join_words(list(labels))
    is_short = len(labels) <= MAX_NAMED and len(names) <= MAX_CHARACTERS
    return names if is_short else pluralize(len(labels), "other variant")


def write_headline(results: SearchResults, scores: RoundScores | None, contrasts: Sequence[Contrast]) -> str:
    """Return the answer in one line: the verdicts, and the difference if there is a single contrast."""
    if scores is None or not scores.cells:
        return "No comparison yet"
    if not contrasts:
        return _headline_without_contrast(results, scores)
    counts = Counter(contrast.verdict for contrast in contrasts)
    verdicts: dict[Verdict, str] = {
        "ahead": "ahead in {}",
        "behind": "behind in {}",
        "undecided": "no significant difference in {}",
        "untested": "not tested in {}",
    }
    parts = [text.format(counts[verdict]) for verdict, text in verdicts.items() if counts[verdict]]
    others = name_others(list(dict.fromkeys(contrast.other for contrast in contrasts)))
    found, those = ("", "") if results.repeats else ("Configurations found for ", "those for ")
    subject = f"{found}{contrasts[0].reference} against {those}{others}"
    headline = f"{subject}: {', '.join(parts)} of {pluralize(len(contrasts), 'contrast')}"
    difference = contrasts[0].paired.difference
    if len(contrasts) > 1 or difference.interval is None:
        return headline
    metric = MetricFormat(results.metric)
    interval = metric.difference_interval(difference.interval)
    return f"{headline}; the difference {of_metric(metric)}is {metric.signed_with_unit(difference.value)} {interval}"


def write_summary(
    results: SearchResults,
    scores: RoundScores,
    contrasts: Sequence[Contrast],
    curves: CurveAnalysis,
    selections: Sequence[SelectionEffect],
) -> list[str]:
    """Return the paragraphs of the summary."""
    paragraphs = [*_verdicts(results, scores, contrasts), *_detectable(contrasts, MetricFormat(results.metric))]
    for curve_contrast in curves.contrasts:
        paragraphs += _efficiency(results, contrasts, curve_contrast)
    if selections:
        gap = sum(selection.test_gap for selection in selections) / len(selections)
        metric = MetricFormat(results.metric)
        paragraphs.append(
            f"In this search, the best {metric.label} of a cell was on average {metric.distance(gap)} "
            f"{'above' if metric.metric.sign * gap > 0 else 'below'} the {metric.test_label} of its retrained "
            "configuration."
        )
    if not contrasts and scores.cells:
        paragraphs.append(reason_for_no_contrast(results, scores))
    return paragraphs


def _headline_without_contrast(results: SearchResults, scores: RoundScores) -> str:
    if len(set(results.variants.values())) == 1:
        return "One variant, no comparison"
    if len(scores.variants) == 1:
        return f"No comparison: only {scores.variants[0].label} has test results"
    return f"No comparison: no replicate of {results.reference.label} has a partner"


def reason_for_no_contrast(results: SearchResults, scores: RoundScores) -> str:
    """Return the sentence on a round without a contrast."""
    if len(set(results.variants.values())) == 1:
        return "There is only one variant, so nothing is compared."
    if len(scores.variants) == 1:
        return f"Only {scores.variants[0].label} has test results, so nothing is compared."
    return (
        f"Nothing is compared: no replicate of {results.reference.label} has a partner with the same number of "
        "training images, draw and seed in another variant."
    )


def _verdicts(results: SearchResults, scores: RoundScores, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Yield one paragraph per other variant."""
    repeats, draws = len(scores.round.repeats), pluralize(len(scores.round.draws), "draw")
    design = f"{f'{repeats} repeats of the search' if repeats else draws} x {pluralize(scores.round.num_seeds, 'seed')}"
    for other in dict.fromkeys(contrast.other for contrast in contrasts):
        of_other = [contrast for contrast in contrasts if contrast.other == other]
        reference = of_other[0].reference
        both = f"{reference} and {other}" if repeats else f"the configurations found for {reference} and {other}"
        sentences = [_decided(results, contrast) for contrast in of_other if contrast.verdict in ("ahead", "behind")]
        if undecided := _sizes(of_other, "undecided"):
            sentences.append(f"At {join_words(undecided)} images, no significant difference between {both} is shown.")
        if untested := _sizes(of_other, "untested"):
            reason = "there is" if len(scores.round.draws) == 1 else "pairs of replicates are from"
            sentences.append(f"At {join_words(untested)} images, no test is possible: {reason} a single draw.")
        if over_seeds := [format_count(each.num_train_images) for each in of_other if each.unit == "seed"]:
            sentences.append(
                f"At {join_words(over_seeds)} images, all draws have the same images, so the test is over seeds."
            )
        yield f"{' '.join(sentences)} These results are from {design}."


def _sizes(contrasts: Sequence[Contrast], verdict: Verdict) -> list[str]:
    """Return the distinct numbers of training images with a verdict."""
    sizes = (format_count(contrast.num_train_images) for contrast in contrasts if contrast.verdict == verdict)
    return list(dict.fromkeys(sizes))


def _decided(results: SearchResults, contrast: Contrast) -> str:
    verdict = "ahead of" if contrast.verdict == "ahead" else "behind"
    metric = MetricFormat(results.metric)
    found, that = ("", "") if results.repeats else ("the configuration found for ", "that for ")
    return (
        f"With {_images(results, contrast)}, {found}{contrast.reference} is {verdict} {that}{contrast.other} by "
        f"{metric.distance(contrast.paired.difference.value)}{_measured_in(metric)}"
        f"{_absolute_interval(contrast, metric)}."
    )


def _absolute_interval(contrast: Contrast, metric: MetricFormat) -> str:
    """Return the interval of the difference, with its sign reversed if the difference is below 0."""
    interval = contrast.paired.difference.interval
    if interval is None:
        return f" (no interval: {contrast.paired.difference.reason})"
    if contrast.paired.difference.value < 0:
        lower, upper = (None if end is None else -end for end in (interval.upper, interval.lower))
        interval = interval.model_copy(update={"lower": lower, "upper": upper})
    return f" {metric.interval(interval)}"


def of_metric(metric: MetricFormat) -> str:
    """Return the phrase that names the metric of a difference; empty for accuracy, whose unit is points."""
    return "" if metric.name == "accuracy" else f"in {metric.test_difference_label} "


def _measured_in(metric: MetricFormat) -> str:
    return "" if metric.name == "accuracy" else f" of {metric.test_label}"


def _images(results: SearchResults, contrast: Contrast) -> str:
    levels = next(cell.levels for cell in results.compared_cells.values() if cell.key == contrast.reference_cell)
    fraction = levels.get("data_fraction")
    share = f" ({100 * float(fraction):g}%)" if isinstance(fraction, float) else ""
    return f"{format_count(contrast.num_train_images)} training images{share}"


def _detectable(contrasts: Sequence[Contrast], metric: MetricFormat) -> Iterator[str]:
    """Yield the difference that this design can detect, if a contrast is not significant."""
    undecided = [contrast for contrast in contrasts if contrast.verdict == "undecided"]
    if not undecided:
        return
    detectable = [contrast.power_analysis.detectable_difference for contrast in undecided if contrast.power_analysis]
    if len(detectable) < len(undecided):
        yield (
            "The difference that this design can detect is not estimable for "
            f"{len(undecided) - len(detectable)} of {pluralize(len(undecided), 'contrast')} without a significant "
            f"difference: it needs at least {MIN_DRAWS} draws or trainings, with spread between them. No significant "
            "difference does not mean that there is none."
        )
        return
    low, high = metric.value(min(detectable)), metric.distance(max(detectable))
    span = high if metric.distance(min(detectable)) == high else f"{low} to {high}"
    yield (
        f"Where the difference is not significant, the smallest true difference that this design detects with a power "
        f"of 80% is {span}. The table of contrasts lists the number of additional draws or trainings for "
        f"{metric.small}."
    )


def _efficiency(results: SearchResults, contrasts: Sequence[Contrast], contrast: CurveContrast) -> Iterator[str]:
    """Yield the data efficiency and the crossover; a single size can have no crossover, so it is not named."""
    names = results.reference.label, contrast.other.label
    of_other = [each for each in contrasts if each.other == contrast.other.label]
    found = "" if results.repeats else "the configurations found for "
    if not isinstance(contrast.data_efficiency, NotEstimable):
        error, ratio = MetricFormat(results.metric).error_label, contrast.data_efficiency.ratio
        sentence = _efficiency_sentence(ratio, *names, error, is_repeated=bool(results.repeats))
        yield " ".join((sentence, *_open_end(ratio.interval), *_other_verdicts(ratio, of_other)))
    if isinstance(contrast.crossover, NotEstimable):
        if len({each.num_train_images for each in of_other}) > 1:
            yield f"No crossover between {found}{names[0]} and {names[1]} can be shown."
        return
    reference, other = (f"{found}{name}" for name in names)
    images = contrast.crossover.num_train_images
    below, above = (reference, other) if contrast.crossover.better_below == "a" else (other, reference)
    low, high = map(format_count, contrast.crossover.between)
    interval = images.interval
    change = f"Between {low} and {high} training images, the lead changes from {below} to {above}"
    if interval is None:
        yield f"{change}."
        return
    place = f"{change}, near {format_count(images.value)} {format_count_interval(interval)}."
    yield " ".join((place, *_open_end(interval, "these sizes")))


def _efficiency_sentence(ratio: Estimate, reference: str, other: str, error: str, *, is_repeated: bool) -> str:
    """Return the data efficiency with its interval; it states no advantage without one, nor if it contains 1."""
    number = f"{format_ratio(ratio.value)} {format_ratio_interval(ratio.interval)}".rstrip()
    found, those = ("", "") if is_repeated else ("the configurations found for ", "those for ")
    needs = f"{found}{other} {'needs' if is_repeated else 'need'}"
    reason = f" (no interval: {ratio.reason})" if ratio.reason else ""
    sentence = f"for the same {error}, {needs} {number} times as many training images as {those}{reference}{reason}."
    if ratio.interval is None or ratio.interval.contains(1.0):
        return f"No difference in data efficiency is shown: {sentence}"
    return (
        f"{capitalize(sentence)} It is a mean over the errors that both reach, and its interval is not corrected for "
        "other comparisons."
    )


def _open_end(interval: Interval | None, sizes: str = "the measured sizes") -> Iterator[str]:
    """Yield the meaning of an open end, if an interval has one."""
    if interval is not None and None in (interval.lower, interval.upper):
        yield f"The end … is beyond {sizes}."


def _other_verdicts(ratio: Estimate, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Yield the verdicts at single sizes, if an advantage in data efficiency is stated that none of them shows."""
    if ratio.interval is None or ratio.interval.contains(1.0):
        return
    verdicts: tuple[Verdict, Verdict] = ("ahead", "behind")
    same, opposite = verdicts if ratio.value > 1 else verdicts[::-1]
    if not _sizes(contrasts, same):
        yield "No corrected test at a single size shows this advantage."
    if reversed_at := _sizes(contrasts, opposite):
        yield f"At {join_words(reversed_at)} images, the corrected test shows the opposite."
