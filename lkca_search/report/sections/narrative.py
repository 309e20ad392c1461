"""Sentences of a report, computed from its numbers: headline, summary and limits."""

from collections import Counter
from collections.abc import Iterator, Sequence

from lkca_search.analysis.compute_spent import ComputeSpent
from lkca_search.analysis.contrasts import TARGET_DIFFERENCE, Contrast, Verdict
from lkca_search.analysis.curve_analysis import CurveAnalysis, CurveContrast
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import SelectionEffect
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.report.values.metric_format import MetricFormat
from lkca_search.report.values.numbers import (
    format_count,
    format_count_interval,
    format_interval,
    format_percent,
    format_points,
    format_ratio,
    format_ratio_interval,
    join_words,
    pluralize,
)


def write_headline(contrasts: Sequence[Contrast]) -> str:
    """Return the answer in one line."""
    if not contrasts:
        return "No comparison yet"
    counts = Counter(contrast.verdict for contrast in contrasts)
    verdicts: dict[Verdict, str] = {
        "ahead": "ahead in {}",
        "behind": "behind in {}",
        "undecided": "no significant difference in {}",
        "untested": "not tested in {}",
    }
    parts = [text.format(counts[verdict]) for verdict, text in verdicts.items() if counts[verdict]]
    largest = max(contrasts, key=lambda contrast: abs(contrast.paired.difference.value))
    return (
        f"{contrasts[0].reference}: {', '.join(parts)} of {pluralize(len(contrasts), 'contrast')}; largest difference "
        f"{format_points(largest.paired.difference.value)} points ({format_count(largest.num_train_images)} images)"
    )


def write_summary(
    results: SearchResults,
    scores: RoundScores,
    contrasts: Sequence[Contrast],
    curves: CurveAnalysis,
    selections: Sequence[SelectionEffect],
) -> list[str]:
    """Return the paragraphs of the summary."""
    repeats, draws = len(scores.round.repeats), pluralize(len(scores.round.draws), "draw")
    design = f"{f'{repeats} repeats of the search' if repeats else draws} x {pluralize(scores.round.num_seeds, 'seed')}"
    paragraphs = [*_verdicts(results, contrasts, design), *_detectable(contrasts)]
    for curve_contrast in curves.contrasts:
        paragraphs += _efficiency(curve_contrast, results.reference.label)
    if selections:
        gap = sum(selection.test_gap for selection in selections) / len(selections)
        metric = MetricFormat(results.metric)
        paragraphs.append(
            f"On average, the best {metric.label} of a cell was {metric.distance(gap)} "
            f"{'above' if metric.metric.sign * gap > 0 else 'below'} the {metric.test_label} of its retrained "
            "configuration."
        )
    if not contrasts and scores.cells:
        paragraphs.append(_reason_for_no_contrast(results, scores))
    return paragraphs


def _reason_for_no_contrast(results: SearchResults, scores: RoundScores) -> str:
    if len(set(results.variants.values())) == 1:
        return "There is only one variant, so nothing is compared."
    if len(scores.variants) == 1:
        return f"Only {scores.variants[0].label} has test results, so nothing is compared."
    return (
        f"Nothing is compared: no replicate of {results.reference.label} has a partner with the same number of "
        "training images, draw and seed in another variant."
    )


def _verdicts(results: SearchResults, contrasts: Sequence[Contrast], design: str) -> Iterator[str]:
    """Yield one paragraph per other variant."""
    for other in dict.fromkeys(contrast.other for contrast in contrasts):
        of_other = [contrast for contrast in contrasts if contrast.other == other]
        reference = of_other[0].reference
        sentences = [_decided(results, contrast) for contrast in of_other if contrast.verdict in ("ahead", "behind")]
        if undecided := _sizes(of_other, "undecided"):
            sentences.append(f"At {join_words(undecided)} images, {reference} and {other} do not differ significantly.")
        if untested := _sizes(of_other, "untested"):
            sentences.append(f"At {join_words(untested)} images, no test is possible: there is a single draw.")
        yield f"{' '.join(sentences)} These results are from {design}."


def _sizes(contrasts: Sequence[Contrast], verdict: Verdict) -> list[str]:
    """Return the distinct numbers of training images with a verdict."""
    sizes = (format_count(contrast.num_train_images) for contrast in contrasts if contrast.verdict == verdict)
    return list(dict.fromkeys(sizes))


def _decided(results: SearchResults, contrast: Contrast) -> str:
    verdict = "ahead of" if contrast.verdict == "ahead" else "behind"
    points = format_percent(abs(contrast.paired.difference.value))
    return (
        f"With {_images(results, contrast)}, {contrast.reference} is {verdict} {contrast.other} by {points} points "
        f"{_absolute_interval(contrast)}."
    )


def _absolute_interval(contrast: Contrast) -> str:
    """Return the interval of the difference, with its sign reversed if the reference is behind."""
    interval = contrast.paired.difference.interval
    if interval is None or contrast.verdict == "ahead":
        return format_interval(interval)
    lower, upper = (None if end is None else -end for end in (interval.upper, interval.lower))
    return format_interval(interval.model_copy(update={"lower": lower, "upper": upper}))


def _images(results: SearchResults, contrast: Contrast) -> str:
    levels = next(cell.levels for cell in results.compared_cells.values() if cell.key == contrast.reference_cell)
    fraction = levels.get("data_fraction")
    share = f" ({100 * float(fraction):g}%)" if isinstance(fraction, float) else ""
    return f"{format_count(contrast.num_train_images)} training images{share}"


def _detectable(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Yield the difference that this design can detect, if a contrast is not significant."""
    undecided = [contrast.power_analysis for contrast in contrasts if contrast.verdict == "undecided"]
    detectable = [power_analysis.detectable_difference for power_analysis in undecided if power_analysis is not None]
    if not detectable:
        return
    low, high = format_percent(min(detectable)), format_percent(max(detectable))
    span = f"{low} points" if low == high else f"{low} to {high} points"
    yield (
        f"Where the difference is not significant, this design detects a true difference of {span} with a power of "
        f"80%. The table of contrasts lists the number of additional draws for {TARGET_DIFFERENCE:g} points."
    )


def _efficiency(contrast: CurveContrast, reference: str) -> Iterator[str]:
    other = contrast.other.label
    if not isinstance(contrast.data_efficiency, NotEstimable):
        ratio = contrast.data_efficiency.ratio
        yield (
            f"For the same test error, {other} needs {format_ratio(ratio.value)} times "
            f"{format_ratio_interval(ratio.interval)} the training images of {reference}."
        )
    if isinstance(contrast.crossover, NotEstimable) or contrast.crossover.num_train_images is None:
        return
    images = contrast.crossover.num_train_images
    first, last = (reference, other) if contrast.crossover.better_at_smallest == "a" else (other, reference)
    interval = images.interval
    if interval is not None and interval.lower is None and interval.upper is None:
        bounds = " (95% interval: all measured sizes)"
    else:
        bounds = f" {format_count_interval(interval)}"
    yield (
        f"The lead changes from {first} to {last} near {format_count(images.value)} training images{bounds}. It does "
        f"so in {format_percent(100 * contrast.crossover.bootstrap_share)}% of the bootstrap samples."
    )


def write_caveats(results: SearchResults, scores: RoundScores | None, spent: Sequence[ComputeSpent]) -> list[str]:
    """Return the limits of the numbers: missing trials and replicates, and unequal budgets."""
    caveats: list[str] = []
    if unfinished := sum(cell.budget - cell.num_finished for cell in spent if cell.num_finished < cell.budget):
        caveats.append(
            f"{pluralize(unfinished, 'trial')} of the budget {_are(unfinished)} not finished, so cells were not "
            "searched equally."
        )
    if deviating := [cell.cell for cell in spent if cell.deviations and cell.num_finished >= cell.budget]:
        caveats.append(
            f"Cells of the same size had unequal budgets. See {join_words(deviating)} in the table of compute per cell."
        )
    if scores is None:
        caveats.append(
            f"Nothing is confirmed yet, so this report has no test accuracy. The best {results.metric.label} of many "
            f"trials is too optimistic. `lkca-search confirm {results.name}` retrains and tests."
        )
        return caveats
    return [*caveats, *_round_caveats(results, scores), *_replicate_caveats(results, scores)]


def _round_caveats(results: SearchResults, scores: RoundScores) -> Iterator[str]:
    sealed = scores.round
    if sealed.num_trials_left:
        due = f"{pluralize(sealed.num_trials_left, 'trial')} {'was' if sealed.num_trials_left == 1 else 'were'}"
        yield f"Configurations were frozen while {due} still due, so budgets were unequal."
    if since := len(results.trials) - sealed.num_trials:
        yield f"{pluralize(since, 'trial')} finished after configurations were frozen and had no part in the round."
    for cell in sealed.cells_without:
        yield f"{cell} had no complete trial, so it was not confirmed."


def _replicate_caveats(results: SearchResults, scores: RoundScores) -> Iterator[str]:
    sealed = scores.round
    scored = {pick.cell for cell in scores.cells for pick in cell.picks}
    if unscored := [pick.cell for pick in sealed.picks if pick.rank == 1 and pick.cell not in scored]:
        yield f"No replicate of {join_words(unscored)} has finished."
    if num_missing := sum(cell.num_missing for cell in scores.cells):
        num_failed = sum(cell.num_failed for cell in scores.cells)
        failed = f" ({num_failed} of them failed)" if num_failed else ""
        yield (
            f"{pluralize(num_missing, 'replicate')} {_are(num_missing)} missing{failed}. Draws and seeds without a "
            "partner are left out."
        )
    for number, equal in scores.equal_sizes.items():
        yield (
            f"{join_words(equal)} have the same number of training images, {format_count(number)}, so they do not "
            "differ in size. Power laws, data efficiency and crossover use the mean over their replicates."
        )
    if len(sealed.draws) < 2:
        yield "There is a single draw, so there are no intervals and no tests."
    if any(pick.configuration.data_fraction == 1.0 for pick in sealed.picks):
        alone = "by the configuration found and by seed" if sealed.repeats else "by seed"
        yield f"At a data fraction of 100%, every draw has all training images, so replicates differ only {alone}."
    if scores.cells and (num_small := _num_small_cells(results)):
        yield (
            f"In {pluralize(num_small, 'cell')}, validation images outnumber training images: the search had more "
            "images to choose by than to train on."
        )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _num_small_cells(results: SearchResults) -> int:
    """Return the number of cells with more validation images than training images."""
    small = {
        results.compared_cells[record.cell].key
        for record in results.trials
        if record.facts and record.facts.num_validation_images > record.facts.num_train_images
    }
    return len(small)
