"""The summary of a report in plain words, computed from its numbers, and what is missing behind them."""

from collections.abc import Iterator, Sequence

from lkca_search.analysis.compute_spent import ComputeSpent
from lkca_search.analysis.contrasts import TARGET_DIFFERENCE, Contrast
from lkca_search.analysis.curve_analysis import CurveAnalysis, CurveContrast
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import SelectionEffect
from lkca_search.analysis.stats.estimate import NotEstimable
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


def summary(
    results: SearchResults,
    scores: RoundScores,
    contrasts: Sequence[Contrast],
    scarcity: CurveAnalysis,
    selections: Sequence[SelectionEffect],
) -> list[str]:
    """The answer, a sentence or two each."""
    repeats, draws = len(scores.round.repeats), pluralize(len(scores.round.draws), "draw")
    design = f"{f'{repeats} repeats of the search' if repeats else draws} x {pluralize(scores.round.num_seeds, 'seed')}"
    sentences = [*_verdicts(results, contrasts, design), *_resolving(contrasts)]
    for found in scarcity.contrasts:
        sentences += _efficiency(found, results.reference.label)
    if selections:
        mean = sum(each.test_gap for each in selections) / len(selections)
        best = f"The best validation accuracy of a cell was on average {format_percent(abs(mean))} points"
        than = "above" if mean > 0 else "below"
        sentences.append(f"{best} {than} what its configuration reaches on test images when it is trained again.")
    if not contrasts and scores.cells:
        sentences.append("There is one variant only, so nothing is compared.")
    return sentences


def _verdicts(results: SearchResults, contrasts: Sequence[Contrast], design: str) -> Iterator[str]:
    for other in dict.fromkeys(each.other for each in contrasts):
        own = [each for each in contrasts if each.other == other]
        name, decided = own[0].reference, [each for each in own if each.verdict in ("ahead", "behind")]
        told = [
            f"with {_images(results, each)} {name} {'leads' if each.verdict == 'ahead' else 'trails'} {other} by "
            f"{format_percent(abs(each.paired.difference.value))} points {_unsigned(each)}"
            for each in decided
        ]
        undecided = [format_count(each.num_train_images) for each in own if each.verdict == "undecided"]
        untested = [format_count(each.num_train_images) for each in own if each.verdict == "untested"]
        if undecided:
            told.append(f"at {join_words(undecided)} images {name} and {other} cannot be told apart")
        if untested:
            told.append(f"at {join_words(untested)} images a single draw tests nothing")
        sentence = "; ".join(told)
        yield f"{sentence[0].upper()}{sentence[1:]} ({design})."


def _unsigned(found: Contrast) -> str:
    """The interval of a difference, of whichever is ahead."""
    ends = found.paired.difference.interval
    if ends is None or found.verdict == "ahead":
        return format_interval(ends)
    lower, upper = (None if end is None else -end for end in (ends.upper, ends.lower))
    return format_interval(ends.model_copy(update={"lower": lower, "upper": upper}))


def _images(results: SearchResults, found: Contrast) -> str:
    levels = next(cell.levels for cell in results.compared_cells.values() if cell.key == found.reference_cell)
    fraction = levels.get("data_fraction")
    share = f" ({100 * float(fraction):g}%)" if isinstance(fraction, float) else ""
    return f"{format_count(found.num_train_images)} training images{share}"


def _resolving(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """What would tell apart what cannot be."""
    advised = [each for each in contrasts if each.verdict == "undecided" and each.power_analysis is not None]
    if not advised:
        return
    detectable = [each.power_analysis.detectable_difference for each in advised if each.power_analysis]
    low, high = format_percent(min(detectable)), format_percent(max(detectable))
    span = f"{low} points" if low == high else f"{low} to {high} points"
    yield (
        f"Where they cannot be told apart, this design would have found a true difference of {span} four times out of "
        f"five; the table of contrasts has how many more draws would find {TARGET_DIFFERENCE:g} points."
    )


def _efficiency(found: CurveContrast, reference: str) -> Iterator[str]:
    other = found.other.label
    if not isinstance(found.data_efficiency, NotEstimable):
        ratio = found.data_efficiency.ratio
        yield (
            f"For the same test error {other} needs {format_ratio(ratio.value)} times {format_ratio_interval(ratio.interval)} the "
            f"training images of {reference}."
        )
    passing = None if isinstance(found.crossover, NotEstimable) else found.crossover
    if passing and passing.num_train_images:
        crossing = passing.num_train_images
        first, last = (reference, other) if passing.better_at_smallest == "a" else (other, reference)
        near = f"{format_count(crossing.value)} training images {format_count_interval(crossing.interval)}"
        sure = f"in {format_percent(100 * passing.bootstrap_share)}% of the bootstrap samples"
        yield f"The lead passes from {first} to {last} near {near}; it does so {sure}."


def missing(results: SearchResults, scores: RoundScores | None, compute_spent: Sequence[ComputeSpent]) -> list[str]:
    """What a reader must know before he trusts the numbers."""
    notes: list[str] = []
    left = sum(each.budget - each.num_finished for each in compute_spent if each.num_finished < each.budget)
    if left:
        notes.append(
            f"{pluralize(left, 'trial')} of the budgets {_are(left)} not finished: cells were not searched equally."
        )
    if deviating := [each.cell for each in compute_spent if each.deviations and each.num_finished >= each.budget]:
        notes.append(f"Budgets were not equal within sizes: see {join_words(deviating)} in the table of budgets.")
    if scores is None:
        notes.append(
            "Nothing is confirmed yet: there is no test accuracy in this report. Validation accuracies of the best of "
            f"many trials are too good to be true. `lkca-search confirm {results.name}` retrains and tests."
        )
        return notes
    return [*notes, *_of_the_round(results, scores)]


def _of_the_round(results: SearchResults, scores: RoundScores) -> Iterator[str]:
    sealed = scores.round
    if len(results.rounds) > 1:
        others = join_words([str(other.number) for other in results.rounds if other.number != sealed.number])
        yield (
            f"This is round {sealed.number} of {len(results.rounds)}: test images were looked at in "
            f"{pluralize(len(results.rounds) - 1, 'other round')} as well (round {others})."
        )
    if sealed.num_trials_left:
        due = f"{pluralize(sealed.num_trials_left, 'trial')} {'was' if sealed.num_trials_left == 1 else 'were'}"
        yield f"The round was frozen while {due} still due: unequal budgets."
    if since := len(results.trials) - sealed.num_trials:
        yield f"{pluralize(since, 'trial')} finished after the round was frozen, and had no part in it."
    for cell in sealed.cells_without:
        yield f"{cell} had no complete trial, so that nothing of it was confirmed."
    scored = {pick.cell for cell in scores.cells for pick in cell.picks}
    if unscored := [pick.cell for pick in sealed.picks if pick.rank == 1 and pick.cell not in scored]:
        yield f"No replicate of {join_words(unscored)} has finished."
    if lacking := sum(cell.num_missing for cell in scores.cells):
        failed = sum(cell.num_failed for cell in scores.cells)
        of_these = f", {failed} of them failed" if failed else ""
        absent = f"{pluralize(lacking, 'replicate')} {_are(lacking)} missing{of_these}"
        yield f"{absent}: draws and seeds without a partner are left out."
    if len(sealed.draws) < 2:
        yield "A single draw has no spread: there are no intervals and no tests."
    if any(pick.configuration.data_fraction == 1.0 for pick in sealed.picks):
        alone = "what was found and by seed" if sealed.repeats else "seed alone"
        yield f"At a data fraction of 100% every draw is all training images, so that replicates differ by {alone}."
    if scores.cells and (small := _small_training_sets(results)):
        yield (
            f"Validation images outnumber training images in {pluralize(small, 'cell')}: the search had more to choose by "
            "than to learn from."
        )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _small_training_sets(results: SearchResults) -> int:
    small = {
        results.compared_cells[record.cell].key
        for record in results.trials
        if record.facts and record.facts.num_validation_images > record.facts.num_train_images
    }
    return len(small)


def headline(contrasts: Sequence[Contrast]) -> str:
    """The answer in one line."""
    if not contrasts:
        return "No comparison yet"
    name = contrasts[0].reference
    ahead = sum(each.verdict == "ahead" for each in contrasts)
    behind = sum(each.verdict == "behind" for each in contrasts)
    rest = len(contrasts) - ahead - behind
    parts = [
        *([f"ahead in {ahead}"] if ahead else []),
        *([f"behind in {behind}"] if behind else []),
        *([f"not told apart in {rest}"] if rest else []),
    ]
    largest = max(contrasts, key=lambda each: abs(each.paired.difference.value))
    most = f"at most {format_points(largest.paired.difference.value)} points ({format_count(largest.num_train_images)} images)"
    return f"{name}: {', '.join(parts)} of {pluralize(len(contrasts), 'contrast')}; {most}"
