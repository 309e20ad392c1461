"""Tests of known starts: the first trials of a cell have the given values, whatever stops the driver."""

from pathlib import Path
from typing import Any

import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.database import find_database
from lkca_search.search.studies.starts import find_start_problems, starts_of
from lkca_search.search.studies.study import Study, open_in_memory_storage, open_storage
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, make_spec, train, train_all

LKCA, VIT = "family=lkca", "family=vit"
STARTS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 0.01},
    {"kernel_size": 7, "learning_rate": 0.001},
    {"family": "vit", "learning_rate": 0.1},
)


def values_of(folder: SearchFolder, **search: Any) -> dict[str, tuple[float, int | None]]:
    """Train a whole search, and return learning rate and kernel size per trial."""
    spec = make_spec(**search)
    ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), storage=open_in_memory_storage())
    return {
        record.trial_id: (record.spec.configuration.learning_rate, record.spec.configuration.kernel_size)
        for record in train_all(ledger)
    }


def test_a_start_holds_in_the_cells_where_all_its_names_exist_and_counts_within_the_budget(
    folder: SearchFolder,
) -> None:
    values = values_of(folder, start=STARTS)
    assert len(values) == 6
    assert values[f"{LKCA}/0"][0] == values[f"{VIT}/0"][0] == 0.01
    assert values[f"{LKCA}/0"][1] in (3, 5, 7)  # the sampler chooses what a start does not have
    assert values[f"{LKCA}/1"] == (0.001, 7)
    assert values[f"{VIT}/1"] == (0.1, None)


def test_a_start_with_a_condition_holds_only_with_the_values_that_it_depends_on() -> None:
    spec = make_spec(start=({"optimizer": "sgd", "momentum": 0.5}, {"momentum": 0.5}))
    parameters = {
        "optimizer": {"choice": ("sgd", "adamw")},
        "momentum": {"float": (0.0, 0.9), "when": {"optimizer": ("sgd",)}},
    }
    spec = SearchSpec.model_validate({**spec.model_dump(by_alias=True), "parameters": parameters})
    assert starts_of(spec, cells(spec)[0]) == ({"optimizer": "sgd", "momentum": 0.5},)
    (problem,) = find_start_problems(spec)
    assert problem.location == ("search", "start", 1)
    assert problem.rule.startswith("a start must hold in a cell, got no cell that has all of momentum; give")


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "gp", "nsga2", "cmaes"])
def test_every_sampler_but_grid_takes_starts_and_a_search_without_them_is_unchanged(
    tmp_path: Path, sampler: str
) -> None:
    home = Home(root=tmp_path)
    plain = values_of(home.search("plain"), sampler=sampler, trials_per_cell=5)
    empty = values_of(home.search("empty"), sampler=sampler, trials_per_cell=5, start=())
    given = values_of(home.search("given"), sampler=sampler, trials_per_cell=5, start=STARTS[:2])
    assert plain == empty
    assert given[f"{LKCA}/1"] == (0.001, 7)
    assert given[f"{VIT}/0"] == (0.01, None)
    if sampler == "random":
        later = [f"{cell}/{number}" for cell in (LKCA, VIT) for number in (2, 3, 4)]
        assert [given[trial] for trial in later] == [plain[trial] for trial in later]


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_driver_that_dies_in_or_after_a_start_is_followed_by_one_that_gives_the_same_values(
    folder: SearchFolder, survived: int
) -> None:
    """Only the number of a trial decides its start, so nothing has to be stored before the trial is."""
    spec = make_spec(start=STARTS)
    storage = open_storage(find_database(folder))
    cell = cells(spec)[0]
    if survived == 0:  # the trial is in the database, without values
        Study(storage, spec, cell)
        storage.create_new_trial(storage.get_study_id_from_name(cell.key))
    else:
        ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), storage=storage)
        for _ in range(survived):
            assert ledger.assign() is not None
    train_all(Ledger(folder, spec, DIGITS, 10, Tracker(), driver=2, storage=storage))
    values = {
        record.trial_id: (record.spec.configuration.learning_rate, record.spec.configuration.kernel_size)
        for record in read_records(folder)
    }
    assert values == values_of(Home(root=folder.root.parent / "calm").search("calm"), start=STARTS)


def test_a_lost_ledger_gets_its_starts_back(folder: SearchFolder) -> None:
    spec = make_spec(start=STARTS)
    storage = open_in_memory_storage()
    ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), storage=storage)
    for _ in range(3):
        assignment = ledger.assign()
        assert assignment is not None
        train(ledger, assignment)
    restored = open_in_memory_storage()
    train_all(Ledger(folder, spec, DIGITS, 10, Tracker(), driver=2, storage=restored))

    def given(of: Any) -> list[Any]:
        trials = of.get_all_trials(of.get_study_id_from_name(LKCA))
        return [trial.system_attrs.get("fixed_params") for trial in trials[:2]]

    assert given(restored) == given(storage) == [{"learning_rate": 0.01}, {"learning_rate": 0.001, "kernel_size": 7}]
    assert len(read_records(folder)) == 6


def test_grid_takes_no_starts() -> None:
    values = make_spec(start=({"kernel_size": 7},)).model_dump(by_alias=True)
    parameters = {"kernel_size": {"choice": (3, 5, 7)}}
    search = {**values["search"], "sampler": "grid"}
    spec = SearchSpec.model_validate({**values, "parameters": parameters, "search": search})
    (problem,) = find_start_problems(spec)
    assert problem.rule == "start must be left out with sampler grid, which tries every configuration"
