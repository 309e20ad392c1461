"""Two searches of several datasets are compared over their datasets, with the statistics of a report."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lkca_search.analysis.aggregate.differences import AggregateDifference
from lkca_search.analysis.aggregate.searches import compare_searches
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from tests.support.dataset_results import CLASSES, make_dataset_results, normal
from tests.support.search_results import law, make_search_results


def test_the_difference_of_two_searches_is_normalized_per_dataset() -> None:
    a, b = (
        replace(make_dataset_results(normal(leads=lead), families=("lkca",), fractions=(0.1,)), name=name)
        for name, lead in (("wide", 0.03), ("narrow", 0.0))
    )
    found = compare_searches(a, b)
    assert isinstance(found.aggregate, AggregateDifference)
    expected = []
    for name, number in CLASSES.items():
        best = max(cell.mean() for cell in (accuracies(a, name), accuracies(b, name)))
        expected += list(100 * (accuracies(a, name) - accuracies(b, name)).mean(axis=1) / (best - 100 / number))
    assert found.aggregate.difference.value == pytest.approx(stats.trim_mean(expected, 0.25))
    assert (found.aggregate.reference, found.aggregate.other) == ("wide", "narrow")
    assert len(found.comparison.contrasts) == 3
    assert found.aggregate.verdict == "ahead"


def accuracies(results: SearchResults, name: str) -> np.ndarray:
    """Return the test accuracies of a dataset in percent, (draws, seeds)."""
    values = [
        100 * record.test.accuracy
        for record in results.replicates
        if record.test and record.spec.configuration.dataset == name
    ]
    return np.array(values).reshape(5, 2)


def test_searches_of_one_dataset_have_no_aggregate() -> None:
    a, b = (replace(make_search_results(law()), name=name) for name in ("one", "other"))
    assert compare_searches(a, b).aggregate is None


def test_searches_with_one_dataset_in_common_have_the_reason() -> None:
    a, b = (
        replace(make_dataset_results(normal(), datasets=datasets, fractions=(0.1,)), name="-".join(datasets))
        for datasets in (("cifar10", "cifar100"), ("cifar10", "tiny_imagenet"))
    )
    found = compare_searches(a, b, allow_differences=True)
    assert isinstance(found.aggregate, NotEstimable)
    assert str(found.aggregate) == "pairs of replicates are on cifar10, 2 datasets are needed"
