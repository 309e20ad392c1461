"""Limits of a report's numbers, the most severe first.

The first sentence of each limit is complete without the others: the first screen has that of the first limit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lkca_search.analysis.compute_spent import ComputeSpent
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import State
from lkca_search.records.rounds import Round
from lkca_search.reporting.sections.score_table import cells_not_in_round
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count, join_words, pluralize
from lkca_search.spec.components import may_repeat_failures

_MAX_OVERLAP = 0.25
"""Share of common images from which draws are said to overlap."""
_MAX_NAMED = 2
"""Cells that the first sentence of a limit names at most."""


def write_caveats(
    results: SearchResults,
    scores: RoundScores | None,
    spent: Sequence[ComputeSpent],
    *,
    lengths: Sequence[str] = (),
    looks: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the limits of the numbers; `lengths` are those of the trainings, `looks` those of the rounds."""
    if scores is None:
        return (unconfirmed_caveat(results), *search_caveats(results, spent), *lengths)
    return (
        *search_caveats(results, spent),
        *replicate_caveats(results, scores),
        *lengths,
        *scope_caveats(scores, MetricFormat(results.metric)),
        *round_caveats(results, scores.round),
        *size_caveats(results, scores),
        *looks,
    )


def search_caveats(results: SearchResults, spent: Sequence[ComputeSpent]) -> list[str]:
    """Return the limits that damaged files, missing images and the budgets of the trials set."""
    caveats = [*_damaged_files(results), *_missing_images(results)]
    if unfinished := sum(cell.budget - cell.num_finished for cell in spent if cell.num_finished < cell.budget):
        caveats.append(
            f"{pluralize(unfinished, 'trial')} of the budget {_are(unfinished)} not finished, so cells were not "
            "searched equally."
        )
    caveats += _failures(results, spent)
    if deviating := [cell.cell for cell in spent if cell.deviations and cell.num_finished >= cell.budget]:
        caveats.append(
            f"Cells of the same size had unequal budgets. See {join_words(deviating)} in the table of compute per cell."
        )
    return caveats


def unconfirmed_caveat(results: SearchResults) -> str:
    """Return the limit of a search without a round."""
    metric = MetricFormat(results.metric)
    return (
        f"Nothing is confirmed yet: the best {metric.label} of many trials is too optimistic, and this report has no "
        f"{metric.test_label}. `lkca-search confirm {results.name}` retrains and tests."
    )


def _failures(results: SearchResults, spent: Sequence[ComputeSpent]) -> list[str]:
    """Return the caveat on failed trials, which spend the budget of their cell; empty if none has failed."""
    if not (failed := sum(cell.failed for cell in spent)):
        return []
    complete = [cell.complete for cell in spent]
    counts = format_count(min(complete)) if min(complete) == max(complete) else f"{min(complete)} to {max(complete)}"
    again = " The sampler does not learn from failed trials, and may suggest similar values again."
    return [
        f"{pluralize(failed, 'trial')} failed and spent part of the budget: cells have {counts} complete trials each."
        f"{again if may_repeat_failures(results.spec.search.sampler.name) else ''}"
    ]


def _damaged_files(results: SearchResults) -> Iterator[str]:
    """Yield the caveat on damaged files, which are left out of all numbers."""
    if not results.findings:
        return
    files = (
        "1 file of the search is" if len(results.findings) == 1 else f"{len(results.findings)} files of the search are"
    )
    first = results.findings[0]
    more = f", and {len(results.findings) - 1} more" if len(results.findings) > 1 else ""
    yield (
        f"{files} damaged and left out of all numbers: {first.place} ({first.damage}){more}. "
        f"`lkca-search repair {results.name}` lists and repairs them."
    )


def _missing_images(results: SearchResults) -> list[str]:
    """Return the caveat on an incomplete official dataset; empty if it is complete or not an official one."""
    if not results.shortages:
        return []
    name = results.spec.data.dataset  # None with several datasets, which the phrases name
    part = "The data were parts of their datasets" if name is None else f"The data were a part of {name}"
    return [f"{part}: {join_words(results.shortages)}. Accuracies on the whole dataset may differ."]


def scope_caveats(scores: RoundScores, metric: MetricFormat) -> Iterator[str]:
    """Yield the limits of what the intervals and verdicts are about."""
    if not scores.round.repeats:
        yield (
            "Every cell was searched once, so verdicts are about the configurations found, not about families. Another "
            "search may find other configurations. `search: {repeats: 5}` in the space file repeats the search."
        )
    else:
        yield (
            "All repeats of the search choose by the same validation images, so intervals do not include what other "
            "validation images would change."
        )
    if over_seeds := _sizes(cell.num_train_images for cell in scores.cells if cell.unit == "seed"):
        yield (
            f"At {over_seeds} images, every draw has all training images, so replicates differ only by seed. Results "
            "at this size hold for these training images alone."
        )
    overlapping = [cell for cell in scores.cells if cell.unit == "draw" and (cell.overlap or 0) > _MAX_OVERLAP]
    if partial := [cell for cell in overlapping if (cell.overlap or 0) < 1]:
        largest = max(cell.overlap or 0 for cell in partial)
        yield (
            f"At {_sizes(cell.num_train_images for cell in partial)} images, two draws have up to {100 * largest:.0f}% "
            "of their images in common. Intervals are about draws from these images, not about other images."
        )
    if whole := [cell.num_train_images for cell in overlapping if cell.overlap == 1]:
        yield (
            f"At {_sizes(whole)} images, every draw has all training images, so replicates differ only by the "
            "configuration found and by seed. Results at this size hold for these training images alone."
        )
    if any(cell.has_predictions and cell.image_scores is None for cell in scores.cells):
        yield (f"The {metric.test_label} is no mean over test images, so its intervals are for these test images only.")
    elif any(cell.image_scores is None for cell in scores.cells):
        yield (
            "Some replicates have no predictions per test image, so intervals without them are for these test images "
            "only."
        )


def _sizes(numbers: Iterable[int]) -> str:
    return join_words([format_count(number) for number in sorted(set(numbers))])


def round_caveats(results: SearchResults, sealed: Round) -> Iterator[str]:
    """Yield the limits of the choice of the configurations."""
    if sealed.num_trials_left:
        due = f"{pluralize(sealed.num_trials_left, 'trial')} {'was' if sealed.num_trials_left == 1 else 'were'}"
        yield f"Configurations were frozen while {due} still due, so budgets were unequal."
    if since := len(results.trials) - sealed.num_trials:
        yield f"{pluralize(since, 'trial')} finished after configurations were frozen and had no part in the round."
    for cell in sealed.cells_without:
        yield f"{cell} had no complete trial, so it was not confirmed."


def replicate_caveats(results: SearchResults, scores: RoundScores) -> Iterator[str]:
    """Yield the limits that missing replicates and a single draw set."""
    sealed = scores.round
    scored = {pick.cell for cell in scores.cells for pick in cell.picks}
    if unscored := [pick.cell for pick in sealed.picks if pick.rank == 1 and pick.cell not in scored]:
        named = join_words(unscored)
        yield (
            f"No replicate of {named} has finished."
            if len(unscored) <= _MAX_NAMED
            else f"No replicate of {format_count(len(unscored))} cells has finished. These are {named}."
        )
    yield from _not_in_round(results, sealed)
    yield from _without_result(results, sealed)
    single = [cell.num_train_images for cell in scores.cells if cell.unit == "draw"]
    if len(sealed.draws) < 2 and single:
        plural = "accuracies" if results.metric.test_field == "accuracy" else "scores"
        at = "" if len(single) == len(scores.cells) else f" at {_sizes(single)} images"
        yield f"There is a single draw, so test {plural}{at} have no intervals and no tests."


def _not_in_round(results: SearchResults, sealed: Round) -> Iterator[str]:
    """Yield the limit that cells set which the search got after the round was opened; nothing if there is none."""
    added = cells_not_in_round(results, sealed)
    if not added:
        return
    named = join_words(added)
    cells = named if len(added) <= _MAX_NAMED else f"{format_count(len(added))} cells of the search"
    later = [each.number for each in results.rounds if not cells_not_in_round(results, each)]
    remedy = f"Round {later[-1]} has them." if later else f"`lkca-search confirm {results.name}` opens one with them."
    these = "" if len(added) <= _MAX_NAMED else f" They are {named}."
    yield f"Round {sealed.number} does not test {cells}.{these} {remedy}"


def _without_result(results: SearchResults, sealed: Round) -> Iterator[str]:
    """Yield the limit that failed replicates, and those of an unfinished round, set; nothing if there is none."""
    states = {record.trial_id: record.state for record in results.replicates}
    found = [states.get(replication.replicate_id) for _, replication in sealed.replications()]
    num_failed, num_left = found.count(State.FAIL), found.count(None)
    if not (number := num_failed + num_left):
        return
    parts = [
        *([f"{num_failed} failed"] if num_failed else []),
        *([f"{num_left} {_are(num_left)} not tested yet"] if num_left else []),
    ]
    yield (
        f"{pluralize(number, 'replicate')} of the round {'has' if number == 1 else 'have'} no test result: "
        f"{join_words(parts)}. Draws and seeds without a partner are left out of differences."
    )


def size_caveats(results: SearchResults, scores: RoundScores) -> Iterator[str]:
    """Yield the limits that the numbers of images set."""
    for number, equal in scores.equal_sizes.items():
        yield (
            f"{join_words(equal)} have the same number of training images, {format_count(number)}, so they do not "
            "differ in size. Power laws, data efficiency and crossover use the mean over their replicates."
        )
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


def join_texts(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the distinct texts on each dataset, in order; those that not all datasets have begin with their names."""
    datasets: dict[str, list[str]] = {}
    for name, found in texts.items():
        for text in dict.fromkeys(found):
            datasets.setdefault(text, []).append(name)
    return [text if len(names) == len(texts) else f"On {join_words(names)}: {text}" for text, names in datasets.items()]
