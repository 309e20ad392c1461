"""What a report says, before anybody has decided how it looks: words, figures and tables in their order."""

from collections.abc import Sequence

from lkca_search.analysis.compute_spent import compute_spent
from lkca_search.analysis.contrasts import Contrast, compute_contrasts
from lkca_search.analysis.curve_analysis import analyze_curves
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import compute_selection_effects
from lkca_search.errors import SearchError
from lkca_search.records.rounds import Round
from lkca_search.report.sections import figures, tables
from lkca_search.report.sections import narrative as words
from lkca_search.report.sections.ablation import ablation_sections
from lkca_search.report.sections.contrast_tables import contrast_table
from lkca_search.report.sections.methods import methods
from lkca_search.report.values.report import Report, Section


def make_report(results: SearchResults, *, round_number: int | None = None) -> Report:
    """Work out a report of a search as it stands, of its latest round unless another is asked for.

    SearchError for a round that there is not.
    """
    sealed = _find_round(results, round_number)
    spent = compute_spent(results)
    scores = round_scores(results, sealed) if sealed else None
    found = compute_contrasts(scores, results.reference) if scores else ()
    summary, confirmed = _confirmed(results, scores, found) if scores and scores.cells else ([], [])
    views = ablation_sections(results)
    budgets = Section(name="budgets", title="What was spent", tables=(tables.spending_table(spent),))
    return Report(
        search=results.name,
        round=sealed.number if sealed else None,
        headline=words.headline(found),
        summary=tuple(summary),
        caveats=tuple(words.missing(results, scores, spent)),
        sections=(*confirmed, *views, budgets),
        methods=tuple(methods(results, scores)),
        contrasts=found,
    )


def _confirmed(
    results: SearchResults, scores: RoundScores, found: Sequence[Contrast]
) -> tuple[list[str], list[Section]]:
    """The summary, and the sections that rest on test accuracies."""
    curves = analyze_curves(scores, results.reference, seed=results.spec.search.seed)
    selected = compute_selection_effects(results, scores)
    name = results.reference.label
    sections = [
        Section(
            name="scarcity",
            title="As training images get scarce",
            figures=(figures.learning_curves(curves, scores),),
            tables=(tables.accuracies(scores),),
        ),
        *(
            [
                Section(
                    name="contrasts",
                    title=f"{name} against the others",
                    figures=(figures.differences(found, scores, name),),
                    tables=(contrast_table(found, name),),
                )
            ]
            if found
            else []
        ),
        Section(
            name="curves",
            title="Laws, data efficiency and crossover",
            tables=(tables.curves(curves), *([tables.efficiencies(curves, name)] if curves.contrasts else [])),
        ),
        Section(
            name="selection",
            title="From validation to test",
            tables=(tables.selection_table(selected), tables.picks(results, scores)),
        ),
    ]
    return words.summary(results, scores, found, curves, selected), sections


def _find_round(results: SearchResults, number: int | None) -> Round | None:
    if number is None:
        return results.rounds[-1] if results.rounds else None
    for sealed in results.rounds:
        if sealed.number == number:
            return sealed
    known = ", ".join(str(sealed.number) for sealed in results.rounds) or "none"
    raise SearchError(f"search {results.name!r} has no round {number} of confirmation; its rounds: {known}")
