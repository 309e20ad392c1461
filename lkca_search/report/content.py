"""Contents of a report: headline, summary, limits, sections and methods of one search."""

from collections.abc import Sequence

from lkca_search.analysis.compute_spent import compute_spent
from lkca_search.analysis.contrasts import Contrast, compute_contrasts
from lkca_search.analysis.curve_analysis import analyze_curves
from lkca_search.analysis.late_gain import late_gains
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import compute_selection_effects
from lkca_search.errors import SearchError
from lkca_search.records.looks import LookHistory
from lkca_search.records.rounds import Round
from lkca_search.report.methods.methods import methods
from lkca_search.report.sections import figures, tables
from lkca_search.report.sections.ablation import ablation_section
from lkca_search.report.sections.caveats import write_caveats
from lkca_search.report.sections.contrast_tables import contrast_table
from lkca_search.report.sections.costs import cost_section
from lkca_search.report.sections.looks import look_caveats
from lkca_search.report.sections.narrative import write_headline, write_summary
from lkca_search.report.sections.training_length import length_caveats, length_table
from lkca_search.report.values.metric_format import MetricFormat
from lkca_search.report.values.numbers import capitalize
from lkca_search.report.values.report import Report, Section
from lkca_search.seeds import derive_seed


def make_report(
    results: SearchResults, *, round_number: int | None = None, history: LookHistory | None = None
) -> Report:
    """Return the report of a search in its current state, for one of its rounds; by default the latest.

    `history` holds all looks at the test images in the home; without it, only the rounds of this search are counted.

    Raises:
        SearchError: The search has no such round.
    """
    sealed = _find_round(results, round_number)
    spent = compute_spent(results)
    scores = round_scores(results, sealed) if sealed else None
    contrasts = compute_contrasts(scores, results.reference) if scores else ()
    summary, test_sections = _describe_scores(results, scores, contrasts) if scores and scores.cells else ([], [])
    gains = late_gains(results, scores) if scores else ()
    lengths = (length_table(results, gains),) if gains else ()
    seed = derive_seed(results.spec.search.seed, "views")
    return Report(
        search=results.name,
        round=sealed.number if sealed else None,
        headline=write_headline(results, scores, contrasts),
        summary=tuple(summary),
        caveats=(
            *write_caveats(results, scores, spent),
            *length_caveats(results, spent, gains),
            *(look_caveats(results, scores, history) if scores else ()),
        ),
        sections=(
            *test_sections,
            ablation_section(results, scores, seed=seed),
            cost_section(results, seed=seed),
            Section(name="budgets", title="Compute spent", tables=(tables.compute_table(spent), *lengths)),
        ),
        methods=tuple(methods(results, scores)),
        contrasts=contrasts,
    )


def _describe_scores(
    results: SearchResults, scores: RoundScores, contrasts: Sequence[Contrast]
) -> tuple[list[str], list[Section]]:
    """Return the summary and the sections that are computed from test scores."""
    curves = analyze_curves(scores, results.reference, contrasts, seed=results.spec.search.seed)
    selections = compute_selection_effects(results, scores)
    reference, metric = results.reference.label, MetricFormat(results.metric)
    sections = [
        Section(
            name="scarcity",
            title=f"{capitalize(metric.name)} with fewer training images",
            figures=(figures.learning_curves(curves, scores, metric),),
            tables=(tables.score_table(scores, metric),),
        )
    ]
    if contrasts:
        sections.append(
            Section(
                name="contrasts",
                title=f"{reference} compared with the other variants",
                figures=(figures.differences(contrasts, scores, reference, metric),),
                tables=(contrast_table(contrasts, reference, metric, alpha=scores.round.alpha),),
            )
        )
    efficiencies = (tables.efficiency_table(curves, reference),) if curves.contrasts else ()
    sections += [
        Section(
            name="curves",
            title="Power laws, data efficiency and crossover",
            tables=(tables.curve_table(curves, metric), *efficiencies),
        ),
        Section(
            name="selection",
            title=f"{capitalize(metric.label)} and {metric.test_label}",
            tables=(tables.selection_table(selections, metric), tables.pick_table(results, scores)),
        ),
    ]
    return write_summary(results, scores, contrasts, curves, selections), sections


def _find_round(results: SearchResults, number: int | None) -> Round | None:
    if number is None:
        return results.rounds[-1] if results.rounds else None
    for sealed in results.rounds:
        if sealed.number == number:
            return sealed
    if not results.rounds:
        raise SearchError(f"search {results.name!r} has no round: run `lkca-search confirm {results.name}` first")
    numbers = ", ".join(str(sealed.number) for sealed in results.rounds)
    raise SearchError(f"round of search {results.name!r} must be one of {numbers}, got {number}")
