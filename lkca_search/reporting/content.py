"""Contents of a report: headline, summary, limits, sections and methods of one search."""

from lkca_search.analysis.contrasts import compute_contrasts
from lkca_search.analysis.datasets import split_by_dataset
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.errors import SearchError
from lkca_search.records.rounds import Round
from lkca_search.records.search.looks import LookHistory
from lkca_search.records.search.mlflow_runs import NO_RUNS, MlflowRuns
from lkca_search.reporting.dataset_part import make_part
from lkca_search.reporting.methods.methods import methods
from lkca_search.reporting.predictions.disagreements import FindPictures, no_pictures
from lkca_search.reporting.sections.answer import make_answer
from lkca_search.reporting.sections.caveats import write_caveats
from lkca_search.reporting.sections.looks import look_caveats
from lkca_search.reporting.sections.narrative import write_headline
from lkca_search.reporting.several_datasets import report_datasets
from lkca_search.reporting.trials.training_length import length_caveats
from lkca_search.reporting.values.report import Report


def make_report(
    results: SearchResults,
    *,
    round_number: int | None = None,
    history: LookHistory | None = None,
    find_pictures: FindPictures = no_pictures,
    runs: MlflowRuns = NO_RUNS,
) -> Report:
    """Return the report of a search in its current state, for one of its rounds; by default the latest.

    A search of several datasets has a section per dataset and one on all of them. `history` holds all looks at the test
    images in the home; without it, only the rounds of this search are counted. `find_pictures` returns test images on
    which variants disagree; without it, the report has their indices. `runs` are the runs in MLflow that it names.

    Raises:
        SearchError: The search has no such round.
    """
    sealed = _find_round(results, round_number)
    by_dataset = split_by_dataset(results)
    if len(by_dataset) > 1:
        return report_datasets(results, by_dataset, sealed, history, find_pictures, runs)
    scores = round_scores(results, sealed) if sealed else None
    contrasts = compute_contrasts(scores, results.reference) if scores else ()
    part = make_part(
        results, scores, contrasts, tests="tested contrasts of this table", find_pictures=find_pictures, runs=runs
    )
    caveats = write_caveats(
        results,
        scores,
        part.spent,
        lengths=tuple(length_caveats(results, part.spent, part.gains)),
        looks=tuple(look_caveats(results, scores, history)) if scores else (),
    )
    return Report(
        search=results.name,
        round=sealed.number if sealed else None,
        answer=make_answer(results, scores, contrasts, sections=part.sections, caveats=caveats),
        headline=write_headline(results, scores, contrasts),
        summary=part.summary,
        caveats=caveats,
        sections=part.sections,
        methods=tuple(methods(results, scores)),
        contrasts=contrasts,
        curves=part.curves,
        runs=runs,
        predictions={} if part.predictions is None else {None: part.predictions},
    )


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
