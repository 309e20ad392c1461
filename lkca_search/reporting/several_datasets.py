"""Report of a search with several datasets: a section on all of them, then one per dataset.

No number of a dataset's section comes from another dataset, except the correction of its tests.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from lkca_search.analysis.aggregate.aggregate import DatasetTests, compute_tests
from lkca_search.analysis.aggregate.dataset_scores import DatasetScores
from lkca_search.analysis.scores import RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.file_names import plain_name
from lkca_search.records.rounds import Round
from lkca_search.records.search.looks import LookHistory
from lkca_search.records.search.mlflow_runs import MlflowRuns
from lkca_search.reporting.aggregate.answer import make_dataset_answer
from lkca_search.reporting.aggregate.section import aggregate_section
from lkca_search.reporting.aggregate.sentences import aggregate_sentences
from lkca_search.reporting.dataset_part import DatasetPart, make_part
from lkca_search.reporting.methods.datasets import dataset_methods
from lkca_search.reporting.predictions.disagreements import FindPictures
from lkca_search.reporting.sections.caveats import (
    join_texts,
    replicate_caveats,
    round_caveats,
    scope_caveats,
    search_caveats,
    size_caveats,
    unconfirmed_caveat,
)
from lkca_search.reporting.sections.looks import look_caveats
from lkca_search.reporting.sections.narrative import write_headline
from lkca_search.reporting.trials.training_length import length_caveats
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.report import Report, Section

_TESTS = "contrasts of all datasets and the tests over the datasets"


def report_datasets(
    results: SearchResults,
    by_dataset: Mapping[str | None, SearchResults],
    sealed: Round | None,
    history: LookHistory | None,
    find_pictures: FindPictures,
    runs: MlflowRuns,
) -> Report:
    """Return the report of a search with the results `by_dataset`, for a round; None if nothing is confirmed."""
    scores = {str(name): _scores(part, sealed) for name, part in by_dataset.items()}
    tests = _tests(results, by_dataset, scores, sealed)
    parts = {
        str(name): make_part(
            part,
            scores[str(name)],
            tuple(each for each in tests.contrasts if each.dataset == name),
            tests=_TESTS,
            find_pictures=find_pictures,
            runs=runs,
        )
        for name, part in by_dataset.items()
    }
    metric = MetricFormat(results.metric)
    known = [found for found in scores.values() if found]
    merged = RoundScores(round=sealed, cells=tuple(cell for each in known for cell in each.cells)) if sealed else None
    scored = {name: (part.results, part.scores) for name, part in parts.items()}
    sentences = list(aggregate_sentences(tests.aggregate, metric, is_repeated=bool(results.repeats))) if sealed else []
    sections = (
        *((aggregate_section(tests.aggregate, metric, alpha=sealed.alpha),) if sealed else ()),
        *(_dataset_section(name, prefix, parts[name]) for name, prefix in _prefixes(list(parts)).items()),
    )
    caveats = tuple(_caveats(results, parts, merged, history))
    return Report(
        search=results.name,
        round=sealed.number if sealed else None,
        answer=make_dataset_answer(results, merged, tests, sections=sections, caveats=caveats),
        headline=_headline(results, merged, tests, len(parts)),
        summary=(*sentences, *(_headline_of(name, part) for name, part in parts.items() if sealed)),
        caveats=caveats,
        sections=sections,
        methods=tuple(dataset_methods(results, scored, merged)),
        contrasts=tests.contrasts,
        curves=tuple(cell for part in parts.values() for cell in part.curves),
        runs=runs,
        predictions={name: part.predictions for name, part in parts.items() if part.predictions is not None},
        aggregate=None if isinstance(tests.aggregate, NotEstimable) else tests.aggregate,
    )


def _scores(part: SearchResults, sealed: Round | None) -> RoundScores | None:
    if sealed is None:
        return None
    return round_scores(part, next(each for each in part.rounds if each.number == sealed.number))


def _tests(
    results: SearchResults,
    by_dataset: Mapping[str | None, SearchResults],
    scores: Mapping[str, RoundScores | None],
    sealed: Round | None,
) -> DatasetTests:
    if sealed is None:
        return DatasetTests(contrasts=(), aggregate=NotEstimable("nothing is confirmed"))
    datasets = [
        DatasetScores(dataset=str(name), results=part, scores=found)
        for name, part in by_dataset.items()
        if (found := scores[str(name)]) is not None
    ]
    return compute_tests(datasets, results.reference, alpha=sealed.alpha)


def _headline(results: SearchResults, merged: RoundScores | None, tests: DatasetTests, num_datasets: int) -> str:
    headline = write_headline(results, merged, tests.contrasts)
    return f"{headline}, on {num_datasets} datasets" if tests.contrasts else headline


def _headline_of(name: str, part: DatasetPart) -> str:
    return f"{name}: {write_headline(part.results, part.scores, part.contrasts)}. See the section on {name}."


def _dataset_section(name: str, prefix: str, part: DatasetPart) -> Section:
    return Section(
        name=prefix,
        title=name,
        summary=part.summary,
        subsections=tuple(section.on_dataset(name, prefix) for section in part.sections),
    )


def _caveats(
    results: SearchResults,
    parts: Mapping[str, DatasetPart],
    merged: RoundScores | None,
    history: LookHistory | None,
) -> list[str]:
    """Return the limits of the search, and those of each dataset; equal ones of all datasets once."""
    caveats = search_caveats(results, [cell for part in parts.values() for cell in part.spent])
    lengths = join_texts(
        {name: list(length_caveats(part.results, part.spent, part.gains)) for name, part in parts.items()}
    )
    if merged is None:
        return [unconfirmed_caveat(results), *caveats, *lengths]
    scored = {name: (part.results, part.scores) for name, part in parts.items() if part.scores}
    return [
        *caveats,
        *join_texts({name: list(replicate_caveats(part, scores)) for name, (part, scores) in scored.items() if scores}),
        *lengths,
        *join_texts(
            {
                name: list(scope_caveats(scores, MetricFormat(results.metric)))
                for name, (_, scores) in scored.items()
                if scores
            }
        ),
        *round_caveats(results, merged.round),
        *join_texts({name: list(size_caveats(part, scores)) for name, (part, scores) in scored.items() if scores}),
        *look_caveats(results, merged, history),
    ]


def _prefixes(names: Sequence[str]) -> dict[str, str]:
    """Return a distinct prefix for the files of each dataset, with only characters that a file name may have."""
    plain = {name: plain_name(name) for name in names}
    result = {}
    for _, group in groupby(sorted(names, key=plain.__getitem__), key=plain.__getitem__):
        for index, name in enumerate(group):
            result[name] = f"{plain[name]}_{index + 1}" if index else plain[name]
    return {name: result[name] for name in names}
