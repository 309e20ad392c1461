"""Comparison of two searches: differences are refused or listed, replicates are paired, other cells are unpaired."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lkca_search.analysis.comparison import compare
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.student import SINGLE_DRAW
from lkca_search.errors import SearchError
from tests.support.records import FACTS
from tests.support.search_results import Accuracy, law, make_search_results


def better(points: float) -> Accuracy:
    """Return accuracies that are `points` above those of `law()` in every training."""
    return lambda *where: law()(*where) + points / 100  # type: ignore[operator]


def changed(results: SearchResults, **changes: Any) -> SearchResults:
    return replace(results, **changes)


def other_search(accuracy: Accuracy | None = None, **changes: Any) -> SearchResults:
    """Return a confirmed search with another name."""
    return changed(make_search_results(accuracy or law(), **changes), name="other")


def with_other_replicates(
    results: SearchResults, facts: Mapping[str, Any] | None = None, seed: int = 0, subsets: str = ""
) -> SearchResults:
    """Return a copy whose replicates have other metadata, other seeds or other subsets per draw."""
    replicates = [
        record.model_copy(
            update={
                "facts": record.facts.model_copy(
                    update={"subset_hash": f"{subsets}{record.facts.subset_hash}", **(facts or {})}
                )
                if record.facts
                else None,
                "spec": record.spec.model_copy(update={"seed": record.spec.seed + seed}),
            }
        )
        for record in results.replicates
    ]
    return changed(results, replicates=replicates)


def test_two_searches_differ_by_the_difference_of_their_replicates_in_every_cell() -> None:
    found = compare(changed(make_search_results(better(3.0)), name="one"), other_search())
    assert len(found.contrasts) == 10
    assert found.left_out == ()
    for each in found.contrasts:
        assert (each.reference, each.other) == ("one", "other")
        assert each.reference_cell == each.other_cell
        assert each.paired.difference.value == pytest.approx(3.0)
        assert each.paired.num_pairs == 10


def test_draws_and_seeds_that_only_one_search_has_are_left_out() -> None:
    found = compare(make_search_results(better(3.0), draws=7, seeds=1), other_search(draws=5, seeds=3))
    assert {each.paired.num_pairs for each in found.contrasts} == {5}


def test_repeated_searches_are_compared_repeat_by_repeat() -> None:
    repeats = {"trials_per_cell": 3, "repeats": 5}
    found = compare(make_search_results(better(3.0), search=repeats), other_search(search=repeats))
    assert len(found.contrasts) == 10
    assert {each.paired.num_pairs for each in found.contrasts} == {10}
    for each in found.contrasts:
        assert each.paired.draw_differences == pytest.approx([3.0] * 5)


@pytest.mark.parametrize("changes", [{"subsets": "other"}, {"seed": 1}])
def test_cells_without_pairs_have_welchs_test_over_the_means_of_draws(changes: dict[str, Any]) -> None:
    one, other = make_search_results(better(3.0), draws=4), with_other_replicates(other_search(draws=6), **changes)
    found = compare(one, other)
    assert (found.contrasts, found.left_out) == ((), ())
    assert len(found.unpaired) == 10
    p_values = []
    for each in found.unpaired:
        a, b = (
            [
                np.mean(
                    [
                        100 * record.test.accuracy
                        for record in results.replicates
                        if record.test
                        and record.replicate
                        and (record.cell, record.replicate.draw) == (each.cell, draw)
                    ]
                )
                for draw in results.rounds[-1].draws
            ]
            for results in (one, other)
        )
        expected = stats.ttest_ind(a, b, equal_var=False)
        interval = expected.confidence_interval(0.95)
        assert each.num_draws == (4, 6)
        assert each.difference.value == pytest.approx(np.mean(a) - np.mean(b))
        assert each.p_value == pytest.approx(expected.pvalue)
        assert each.difference.interval is not None
        assert (each.difference.interval.lower, each.difference.interval.upper) == pytest.approx(
            (interval.low, interval.high)
        )
        p_values.append(expected.pvalue)
    smallest = min(range(10), key=p_values.__getitem__)
    assert found.unpaired[smallest].adjusted_p == pytest.approx(min(1, 10 * p_values[smallest] * 0.05 / found.alpha))


def test_paired_and_unpaired_tests_are_corrected_together() -> None:
    other = other_search()
    split = [
        record.model_copy(update={"spec": record.spec.model_copy(update={"seed": 1})})
        if "family=vit" in record.cell
        else record
        for record in other.replicates
    ]
    found = compare(make_search_results(better(3.0), seeds=1), changed(other, replicates=split))
    assert (len(found.contrasts), len(found.unpaired)) == (5, 5)
    alone = compare(make_search_results(better(3.0), seeds=1), other_search(seeds=1, families=("lkca",)))
    for each, of_five in zip(found.contrasts, alone.contrasts, strict=True):
        assert each.adjusted_p is not None
        assert of_five.adjusted_p is not None
        assert each.adjusted_p >= of_five.adjusted_p


def test_the_power_analysis_is_for_as_many_tests_as_the_correction() -> None:
    mixed = other_search(law(noise=1))
    split = [
        record.model_copy(update={"spec": record.spec.model_copy(update={"seed": 1})})
        if "family=vit" in record.cell
        else record
        for record in mixed.replicates
    ]
    found = compare(make_search_results(better(3.0)), changed(mixed, replicates=split))
    tested = [each for each in (*found.contrasts, *found.unpaired) if each.adjusted_p is not None]
    assert len(tested) > len(found.contrasts)
    for each in found.contrasts:
        assert each.power_analysis is not None
        assert each.power_analysis.level == pytest.approx(1 - found.alpha / len(tested))


def test_replicates_of_other_ranks_and_rounds_do_not_break_pairs() -> None:
    results = make_search_results(better(3.0))
    others = [
        record.model_copy(
            update={
                "trial_id": f"other/{record.trial_id}",
                "replicate": record.replicate.model_copy(update={"of": f"{record.cell}/2"}),
                "spec": record.spec.model_copy(update={"seed": 999}),
            }
        )
        for record in results.replicates
        if record.replicate
    ]
    found = compare(changed(results, replicates=[*results.replicates, *others]), other_search())
    assert (len(found.contrasts), found.unpaired) == (10, ())


def test_a_single_draw_without_a_pair_is_not_tested() -> None:
    found = compare(make_search_results(law(), draws=1), with_other_replicates(other_search(), seed=1))
    assert {each.verdict for each in found.unpaired} == {"untested"}
    assert {each.difference.reason for each in found.unpaired} == {SINGLE_DRAW}


def test_different_data_or_training_is_refused_with_every_difference_unless_it_is_allowed() -> None:
    training = {"training": {"steps": 40, "reports": 2, "batch_size": 64}}
    data = {"data": {"dataset": "digits", "validation": 0.2, "augment": ("crop",)}}
    other = other_search(**training, **data)
    with pytest.raises(SearchError, match="--allow-differences") as caught:
        compare(make_search_results(law()), other)
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "data.augment: [] in made, [crop] in other",
        "data.validation: 0.1 in made, 0.2 in other",
        "training.batch_size: 128 in made, 64 in other",
        "training.steps: 20 in made, 40 in other",
    ]
    found = compare(make_search_results(law()), other, allow_differences=True)
    assert [(each.kind, each.name) for each in found.differences] == [
        ("training", name) for name in ("data.augment", "data.validation", "training.batch_size", "training.steps")
    ]
    assert len(found.contrasts) == 10


def test_other_pixels_of_the_training_split_are_refused() -> None:
    other = with_other_replicates(other_search(), facts={"data_hash": "x" * 64})
    with pytest.raises(SearchError, match="content hash of the training split: dddd"):
        compare(make_search_results(law()), other)


def test_another_path_of_the_same_images_is_no_difference() -> None:
    assert compare(make_search_results(law()), other_search(data={"dataset": "folder:/digits"})).differences == ()


def test_a_different_space_search_or_machine_is_listed_and_compared() -> None:
    search = {"trials_per_cell": 3, "seed": 1, "max_retries": 9}
    parameters = {"patch_size": {"value": 2}, "learning_rate": {"float": (1e-4, 1e-1), "log": True}}
    made = other_search(search=search, parameters=parameters, confirm={"draws": 5, "seeds": 2, "top": 2})
    provenance = FACTS.provenance.model_copy(update={"device": "H100", "node": "there"})
    found = compare(make_search_results(law()), with_other_replicates(made, facts={"provenance": provenance}))
    assert [(each.kind, each.name, each.one, each.other) for each in found.differences] == [
        ("search", "parameters.learning_rate.float", "[0.0001, 0.01]", "[0.0001, 0.1]"),
        ("search", "search.seed", "0", "1"),
        ("machine", "device", "cpu", "H100"),
    ]


def test_a_search_is_not_compared_with_itself_nor_with_its_copy() -> None:
    results = make_search_results(law())
    with pytest.raises(SearchError, match="compare needs two searches, got 'made' and 'made', which are one search"):
        compare(results, results)
    with pytest.raises(SearchError, match="got 'made' and 'copy', which are one search"):
        compare(changed(results, uid="1"), changed(results, uid="1", name="copy"))


def test_cells_that_only_one_search_confirmed_are_listed() -> None:
    one = changed(make_search_results(law(), families=("lkca", "vit")), name="one")
    other = changed(make_search_results(law(), families=("vit", "resnet")), name="other")
    found = compare(one, other)
    assert {each.reference_cell.split(",")[0] for each in found.contrasts} == {"family=vit"}
    assert sum("confirmed only by one" in reason for reason in found.left_out) == 5
    assert sum("confirmed only by other" in reason for reason in found.left_out) == 5


def test_a_search_without_confirmation_or_with_other_test_images_cannot_be_compared() -> None:
    with pytest.raises(SearchError, match="search 'made' is not confirmed"):
        compare(other_search(), make_search_results(None))
    results = make_search_results(law())
    other = changed(results, name="other", rounds=[results.rounds[0].model_copy(update={"test_hash": "x" * 64})])
    with pytest.raises(
        SearchError, match="test images of searches 'made' and 'other' differ, so they cannot be compared"
    ):
        compare(results, other)
