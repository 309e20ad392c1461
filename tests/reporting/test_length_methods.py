"""Methods and budgets of a report whose cells differ in batch size, augmentations or length."""

from typing import Any

import numpy as np

from lkca_search.analysis.ablation.ablations import compute_ablations
from lkca_search.analysis.compute_spent import compute_spent
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.tables import trials_table
from lkca_search.reporting.content import make_report
from lkca_search.seeds import derive_seed
from tests.support.search_results import law, make_search_results


def made(training: dict[str, Any], data: dict[str, Any] | None = None, **factors: tuple[Any, ...]) -> SearchResults:
    levels = {"family": ("lkca",), "data_fraction": (0.005, 0.1), **factors}
    return make_search_results(
        law(), factors=levels, training={"reports": 2, **training}, data={"dataset": "cifar10", **(data or {})}
    )


def methods(results: SearchResults) -> dict[str, str]:
    return dict(make_report(results).methods)


def test_methods_list_the_levels_of_batch_size_and_the_sizes_below_them() -> None:
    text = methods(made({"steps": 20}, batch_size=(16, 64, 512)))["Training"]
    assert "The batch size is a level of factor batch_size: 16, 64 and 512; a smaller subset is one batch (90" in text
    single = methods(made({"steps": 20, "batch_size": 16}))["Training"]
    assert "The batch size is 16. The last batch" in single


def test_methods_list_every_length_and_state_that_budgets_differ() -> None:
    text = methods(made({"min_steps": 5}, epochs=(20, 40)))["Training"]
    assert text.startswith(
        "The length of a training is a level of factor epochs: 20 epochs, but at least 5 steps and 40 epochs, but at "
        "least 5 steps. This is 20 steps"
    )
    assert "Cells have equal numbers of trials, and trials with other lengths other budgets." in text


def test_methods_describe_each_level_of_augment_with_its_strengths() -> None:
    text = methods(made({"steps": 20}, augment=("none", "standard", ("crop", "mylab.Blur"))))["Data"]
    assert "Training images are augmented by the level of augment: crop+mylab.Blur: crop (a random window" in text
    assert "; none: nothing; standard: crop (a random window" in text
    assert "and flip (left to right, with probability 1/2)." in text


def test_cells_that_see_other_numbers_of_images_have_another_budget() -> None:
    results = made({}, steps=(20, 40))
    longer = [
        record.model_copy(
            update={"curve": tuple(each.model_copy(update={"samples": 2 * each.samples}) for each in record.curve)}
        )
        if record.spec.training.steps == 40
        else record
        for record in results.trials
    ]
    spent = compute_spent(SearchResults(**{**vars(results), "trials": longer}))
    assert all("planned images seen per trial, others of its size" in each.deviations[0] for each in spent)
    assert not any(each.deviations for each in compute_spent(made({"steps": 20}, batch_size=(16, 64))))


def test_ablations_and_tables_have_the_levels_in_force() -> None:
    results = made({"steps": 20, "batch_size": 32}, augment=("none", "standard"))
    ablations = compute_ablations(results, None, generator=np.random.default_rng(derive_seed(0, "test")))
    levels = {each.hyperparameter: [level.label for level in each.levels] for each in ablations}
    assert levels["augment"] == ["none", "standard"]
    columns = trials_table(results.trials).select(["batch_size", "augment"]).to_pylist()
    assert {(row["batch_size"], row["augment"]) for row in columns} == {(32, "none"), (32, "standard")}
