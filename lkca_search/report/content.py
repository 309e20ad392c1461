"""What a report says, before anybody has decided how it looks: words, figures and tables in their order."""

from collections.abc import Sequence
from dataclasses import dataclass

from lkca_search.analysis.contrasts import Contrast, contrasts
from lkca_search.analysis.scarcity import scarcity
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import selections
from lkca_search.analysis.spending import spendings
from lkca_search.errors import SearchError
from lkca_search.records.rounds import Round
from lkca_search.report.sections import figures, tables
from lkca_search.report.sections import narrative as words
from lkca_search.report.sections.ablation import ablation_sections
from lkca_search.report.sections.contrast_tables import contrast_table
from lkca_search.report.sections.methods import Paragraph, methods
from lkca_search.report.values.figure import Drawing
from lkca_search.report.values.section import Section
from lkca_search.report.values.table import Table


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report of one search, of one of its rounds if it has any."""

    search: str
    round: int | None
    """Number of the round that it is of."""
    headline: str
    summary: tuple[str, ...]
    """The answer in plain words, each from numbers below."""
    missing: tuple[str, ...]
    """What a reader must know before he trusts them."""
    sections: tuple[Section, ...]
    methods: tuple[Paragraph, ...]
    contrasts: tuple[Contrast, ...]

    @property
    def tables(self) -> list[Table]:
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[Drawing]:
        return [figure for section in self.sections for figure in section.figures]

    def key_figures(self) -> dict[str, float]:
        """Numbers by which a report is looked up, by names that MLflow takes: a difference, in points, a contrast."""
        return {
            f"difference {_plain(each.reference)} - {_plain(each.other)} at {each.num_train_images}": (
                each.paired.difference.value
            )
            for each in self.contrasts
        }


def make_report(results: SearchResults, *, round_number: int | None = None) -> Report:
    """Work out a report of a search as it stands, of its latest round unless another is asked for.

    SearchError for a round that there is not.
    """
    sealed = _find_round(results, round_number)
    spent = spendings(results)
    scores = round_scores(results, sealed) if sealed else None
    found = contrasts(scores, results.reference) if scores else ()
    summary, confirmed = _confirmed(results, scores, found) if scores and scores.cells else ([], [])
    views = ablation_sections(results)
    budgets = Section(name="budgets", title="What was spent", tables=(tables.spending_table(spent),))
    return Report(
        search=results.name,
        round=sealed.number if sealed else None,
        headline=words.headline(found),
        summary=tuple(summary),
        missing=tuple(words.missing(results, scores, spent)),
        sections=(*confirmed, *views, budgets),
        methods=tuple(methods(results, scores)),
        contrasts=found,
    )


def _confirmed(
    results: SearchResults, scores: RoundScores, found: Sequence[Contrast]
) -> tuple[list[str], list[Section]]:
    """The summary, and the sections that rest on test accuracies."""
    curves = scarcity(scores, results.reference, seed=results.spec.search.seed)
    selected = selections(results, scores)
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


def _plain(label: str) -> str:
    """A label in the characters that MLflow allows in a metric's name."""
    return "".join(mark if mark.isalnum() or mark in "_-. /" else " " for mark in label)
