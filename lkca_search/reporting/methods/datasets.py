"""Methods of a report on several datasets: paragraphs that differ between datasets are written per dataset."""

from collections.abc import Iterator, Mapping

from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.reporting.methods.methods import methods
from lkca_search.reporting.methods.statistics import statistics_sentences
from lkca_search.reporting.sections.caveats import join_texts
from lkca_search.reporting.values.numbers import join_words
from lkca_search.reporting.values.report import Paragraph

_PER_DATASET = ("Data", "Models", "Training")
"""Subjects that each dataset has its own numbers of."""
_AGGREGATE = (
    "Datasets are never pooled in a curve, contrast, effect or importance. Over the datasets, differences are divided "
    "by the range of each dataset from chance to its best cell. Their interquartile mean has t times the standard "
    "error of a bootstrap that resamples draws within each dataset, with Satterthwaite's degrees of freedom. Holm's "
    "correction is over all contrasts of all datasets and the tests over the datasets. In simulations with 2 to 4 "
    "datasets, these intervals covered the truth in 94 to 98% of cases at 3 and 5 draws (benchmarks/known_truth.py)."
)


def dataset_methods(
    results: SearchResults,
    parts: Mapping[str, tuple[SearchResults, RoundScores | None]],
    merged: RoundScores | None,
) -> list[Paragraph]:
    """Return the paragraphs; `merged` holds the scores of all datasets, None if nothing is confirmed."""
    of_parts = {name: dict(methods(part, scores)) for name, (part, scores) in parts.items()}
    sentences = join_texts({name: statistics_sentences(scores, results.metric) for name, (_, scores) in parts.items()})
    paragraphs: list[Paragraph] = []
    for subject, text in methods(results, merged):
        if subject == "Statistics":
            paragraphs.append((subject, " ".join([*sentences, _AGGREGATE])))
        elif subject in _PER_DATASET:
            paragraphs += _per_dataset(subject, {name: found[subject] for name, found in of_parts.items()})
        else:
            paragraphs.append((subject, text))
    return paragraphs


def _per_dataset(subject: str, texts: Mapping[str, str]) -> Iterator[Paragraph]:
    """Yield one paragraph per distinct text, with the datasets in its subject unless all have the same text."""
    for text in dict.fromkeys(texts.values()):
        names = [name for name, found in texts.items() if found == text]
        yield (subject if len(names) == len(texts) else f"{subject}: {join_words(names)}"), text
