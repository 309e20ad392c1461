"""Comparison of two searches: replicates are pairs only if they trained on the same images with the same seed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lkca_search.analysis.comparison import compare
from lkca_search.analysis.search_results import SearchResults
from lkca_search.errors import SearchError
from tests.support.search_results import Accuracy, law, make_search_results


def better(points: float) -> Accuracy:
    """Return accuracies that are `points` above those of `law()` in every training."""
    return lambda *where: law()(*where) + points / 100  # type: ignore[operator]


def changed(results: SearchResults, **changes: Any) -> SearchResults:
    return replace(results, **changes)


def with_other_replicates(
    results: SearchResults, facts: Mapping[str, Any] | None = None, seed: int = 0
) -> SearchResults:
    """Return a copy whose replicates have other metadata or other seeds."""
    replicates = [
        record.model_copy(
            update={
                "facts": record.facts.model_copy(update=facts or {}) if record.facts else None,
                "spec": record.spec.model_copy(update={"seed": record.spec.seed + seed}),
            }
        )
        for record in results.replicates
    ]
    return changed(results, replicates=replicates)


def test_two_searches_differ_by_the_difference_of_their_replicates_in_every_cell() -> None:
    one, other = (
        changed(make_search_results(better(3.0)), name="one"),
        changed(make_search_results(law()), name="other"),
    )
    found = compare(one, other)
    assert len(found.contrasts) == 10
    assert found.left_out == ()
    for each in found.contrasts:
        assert (each.reference, each.other) == ("one", "other")
        assert each.reference_cell == each.other_cell
        assert each.paired.difference.value == pytest.approx(3.0)
        assert each.paired.num_pairs == 10


def test_draws_and_seeds_that_only_one_search_has_are_left_out() -> None:
    found = compare(make_search_results(better(3.0), draws=7, seeds=1), make_search_results(law(), draws=5, seeds=3))
    assert {each.paired.num_pairs for each in found.contrasts} == {5}


def test_repeated_searches_are_compared_repeat_by_repeat() -> None:
    repeats = {"trials_per_cell": 3, "repeats": 5}
    found = compare(make_search_results(better(3.0), search=repeats), make_search_results(law(), search=repeats))
    assert len(found.contrasts) == 10
    assert {each.paired.num_pairs for each in found.contrasts} == {10}
    for each in found.contrasts:
        assert each.paired.draw_differences == pytest.approx([3.0] * 5)


@pytest.mark.parametrize("changes", [{"facts": {"subset_hash": "x" * 64}}, {"seed": 1}])
def test_replicates_with_other_images_or_seeds_are_not_paired(changes: dict[str, Any]) -> None:
    found = compare(make_search_results(law()), with_other_replicates(make_search_results(law()), **changes))
    assert found.contrasts == ()
    assert len(found.left_out) == 10
    assert "no two replicates trained on the same images with the same seed" in found.left_out[0]


def test_cells_that_only_one_search_confirmed_are_listed() -> None:
    one = changed(make_search_results(law(), families=("lkca", "vit")), name="one")
    other = changed(make_search_results(law(), families=("vit", "resnet")), name="other")
    found = compare(one, other)
    assert {each.reference_cell.split(",")[0] for each in found.contrasts} == {"family=vit"}
    assert sum("confirmed only by one" in reason for reason in found.left_out) == 5
    assert sum("confirmed only by other" in reason for reason in found.left_out) == 5


def test_a_search_without_confirmation_or_with_other_test_images_cannot_be_compared() -> None:
    with pytest.raises(SearchError, match="search 'made' is not confirmed"):
        compare(make_search_results(law()), make_search_results(None))
    results = make_search_results(law())
    other = changed(results, rounds=[results.rounds[0].model_copy(update={"test_hash": "x" * 64})])
    with pytest.raises(
        SearchError, match="test images of searches 'made' and 'made' differ, so they cannot be compared"
    ):
        compare(results, other)
