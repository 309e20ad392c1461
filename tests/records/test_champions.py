"""Champions are chosen by validation images; test images decide nothing."""

from collections.abc import Callable
from dataclasses import replace

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record
from lkca_search.records.search.champions import Champions, choose_champions
from tests.support.dataset_results import make_dataset_results, normal
from tests.support.search_results import law, make_search_results

SMALL = make_search_results(law(), fractions=(0.1, 1.0), draws=2, seeds=2)
LKCA, VIT = "family=lkca,data_fraction=0.1", "family=vit,data_fraction=1.0"
Value = Callable[[Record], float]


def with_values(results: SearchResults, validation: Value, test: Value = lambda _: 0.5) -> SearchResults:
    """Return results whose replicates have other validation and test accuracies."""

    def changed(record: Record) -> Record:
        assert record.test is not None
        last = record.curve[-1].model_copy(update={"val_accuracy": validation(record)})
        tested = record.test.model_copy(update={"accuracy": test(record)})
        return record.model_copy(update={"curve": (*record.curve[:-1], last), "test": tested})

    return replace(results, replicates=[changed(record) for record in results.replicates])


def choose(results: SearchResults, kept: Callable[[Record], bool] = lambda _: True) -> Champions:
    return choose_champions(
        results.spec,
        results.replicates,
        results.rounds[-1],
        {record.trial_id for record in results.replicates if kept(record)},
    )


def seed_of(record: Record) -> int:
    assert record.replicate is not None
    return record.replicate.seed


def test_the_replicate_of_a_cell_and_the_best_cell_are_chosen_by_validation_images() -> None:
    results = with_values(
        SMALL,
        lambda record: (0.6 if record.cell == LKCA else 0.5) + 0.01 * seed_of(record),
        lambda record: (0.4 if record.cell == LKCA else 0.9) - 0.01 * seed_of(record),
    )
    found = choose(results)
    assert found.cells == {None: LKCA}
    assert found.replicates.keys() == {cell.key for cell in results.cells}
    assert all(trial_id.endswith("draw=1,seed=1") for trial_id in found.replicates.values())
    assert round(found.values[LKCA], 6) == 60.5


def test_the_best_cell_has_the_best_mean_not_the_luckiest_replicate() -> None:
    lucky = "family=lkca,data_fraction=1.0/1/draw=1,seed=0"
    mean = {LKCA: 0.6, VIT: 0.55}
    results = with_values(SMALL, lambda record: 0.99 if record.trial_id == lucky else mean.get(record.cell, 0.1))
    found = choose(results)
    assert found.replicates["family=lkca,data_fraction=1.0"] == lucky
    assert found.cells == {None: LKCA}


def test_a_lower_loss_is_better_in_a_search_by_loss() -> None:
    results = make_search_results(law(), fractions=(0.1, 1.0), search={"trials_per_cell": 3, "metric": "val_loss"})
    lower = [
        record.model_copy(
            update={"curve": (record.curve[-1].model_copy(update={"val_loss": 1.0 if record.cell == VIT else 2.0}),)}
        )
        for record in results.replicates
    ]
    assert choose(replace(results, replicates=lower)).cells == {None: VIT}


def test_only_replicates_with_kept_models_are_champions() -> None:
    results = with_values(SMALL, lambda record: 0.6 if record.cell == LKCA else 0.5)
    found = choose(results, lambda record: record.cell != LKCA and seed_of(record) == 1)
    assert LKCA not in found.replicates
    assert found.cells[None] != LKCA
    assert all(trial_id.endswith("seed=1") for trial_id in found.replicates.values())
    assert choose(results, lambda _: False) == Champions(replicates={}, values=found.values, cells={})


def test_cells_of_different_datasets_are_not_compared() -> None:
    results = make_dataset_results(normal())
    found = choose(results)
    assert found.cells.keys() == {"cifar10", "cifar100", "tiny_imagenet"}
    assert all(f"dataset={level}" in cell for level, cell in found.cells.items())


def test_repeats_of_a_search_are_one_cell() -> None:
    results = make_search_results(
        law(), fractions=(0.1,), search={"trials_per_cell": 3, "repeats": 2}, draws=2, confirm={"draws": 2}
    )
    assert choose(results).replicates.keys() == {"family=lkca,data_fraction=0.1", "family=vit,data_fraction=0.1"}
