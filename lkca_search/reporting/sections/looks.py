"""Sentences on the use of the test images: rounds, their levels, other searches, and what intervals are for."""

from collections.abc import Iterable, Iterator

from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.rounds import ERROR_RATE, SPENT_SHARE, Round
from lkca_search.records.search.looks import LookHistory
from lkca_search.reporting.values.numbers import format_count, join_words, pluralize

ALPHA_RULE = (
    f"Every round is one look at the test images and spends {100 * SPENT_SHARE:g}% of what earlier rounds have left of "
    f"{100 * ERROR_RATE:g}%: round 1 tests at 4%, round 2 at 0.8%, round 3 at 0.16%. By Bonferroni's inequality, all "
    f"rounds of a search together claim a false difference with a probability of at most {100 * ERROR_RATE:g}%, if "
    "every test keeps its level, however many rounds there are and whatever decides on the next one."
)
"""Sentences of the methods on the levels of rounds."""


def format_alpha(alpha: float) -> str:
    """Return the level of a round in percent, with two significant digits: 4%, 0.8%, 0.16%."""
    return f"{100 * alpha:.2g}%"


def look_caveats(results: SearchResults, scores: RoundScores, history: LookHistory | None) -> Iterator[str]:
    """Yield the number of looks at the test images, the level of this round, and the limits of both.

    Without a `history`, only the rounds of this search are counted.
    """
    sealed, num_rounds = scores.round, len(results.rounds)
    place = (
        "This is the only round of this search so far"
        if num_rounds == 1
        else f"This is round {sealed.number} of {num_rounds} of this search, and every round uses the test images"
    )
    yield (
        f"{place}. Its tests of all contrasts together have the level {format_alpha(sealed.alpha)}, because all rounds "
        f"share {100 * ERROR_RATE:g}%. The 95% intervals are those of a single look."
    )
    if _is_unfinished(results, sealed):
        yield (
            "The round is unfinished: a decision now and a second one at its end are two looks, and the level is that "
            "of one."
        )
    if history is not None:
        yield _history(history)


def _is_unfinished(results: SearchResults, sealed: Round) -> bool:
    return not sealed.replicate_ids <= {record.trial_id for record in results.replicates}


def _history(history: LookHistory) -> str:
    searches = [
        name + _notes(num_rounds, is_deleted=uid not in history.present)
        for (name, uid), num_rounds in history.num_rounds.items()
    ]
    unreadable = (
        f" {join_words(history.unreadable)} cannot be read, so there may be more uses." if history.unreadable else ""
    )
    if len(searches) == 1:
        return f"No other search in this home has used these test images at this image size.{unreadable}"
    return (
        f"These test images, at this image size, were used in {pluralize(len(history.looks), 'round')} of "
        f"{format_count(len(searches))} searches in this home: {join_words(searches)}. p-values are corrected for the "
        f"rounds of one search, not for the choice of a search among several.{unreadable}"
    )


def _notes(num_rounds: int, *, is_deleted: bool) -> str:
    """Return the notes on a search: its rounds if there are several, and whether it is deleted."""
    notes = [*([pluralize(num_rounds, "round")] if num_rounds > 1 else []), *(["deleted"] if is_deleted else [])]
    return f" ({', '.join(notes)})" if notes else ""


def scope_of_intervals(subject: str, is_known: Iterable[bool]) -> str:
    """Return the sentence; `is_known` is True per interval that includes the sampling of test images."""
    known = set(is_known)
    if known == {True}:
        return f"{subject} include the sampling of test images."
    if True not in known:
        return f"{subject} are for these test images."
    return f"{subject} include the sampling of test images where predictions are known, else they are for these images."
