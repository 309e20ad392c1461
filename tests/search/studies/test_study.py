"""Tests of a cell's study for every sampler and pruner: reproducible suggestions, finite grids, user attributes."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest

from lkca_search.layout import SearchFolder
from lkca_search.records.record import State
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.database import Database, find_database
from lkca_search.search.studies.algorithms.grid_sampler import GridSampler
from lkca_search.search.studies.registry import REGISTRY
from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.search.studies.study import Study, open_storage
from lkca_search.spec.cells import Cell, cells, grid_points
from lkca_search.spec.components import PRUNERS, SAMPLERS
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, train_all

CHOICES: dict[str, Any] = {
    "kernel_size": {"choice": (3, 5, 7)},
    "mlp_ratio": {"choice": (1.0, 2.0)},
    "kernel_init": {"choice": ("zero", "delta"), "when": {"mlp_ratio": (2.0,)}},
    "patch_size": {"value": 2},
}
"""Nine configurations: three with one `mlp_ratio`, six with the other."""
RANGES = {**CHOICES, "depth": {"int": (1, 9)}, "learning_rate": {"float": (1e-4, 1e-1), "log": True}}
SAMPLER_CONFIGS: list[Any] = [
    *("tpe", "random", "qmc", "grid"),
    *(["cmaes"] if find_spec("cmaes") else []),
    {"name": "gp", "n_startup_trials": 4},
    {"name": "nsga2", "population_size": 4},
    {"name": "tpe", "n_startup_trials": 3},
    "optuna.samplers.NSGAIIISampler",
]
PRUNER_CONFIGS: list[Any] = [
    *(name for name in PRUNERS if name not in ("percentile", "patient", "threshold")),
    {"name": "percentile", "percentile": 25.0},
    {"name": "patient", "patience": 1, "wraps": {"name": "median", "n_startup_trials": 1}},
    {"name": "patient", "patience": 1},
    {"name": "threshold", "lower": 0.5},
    "optuna.pruners.NopPruner",
]


def spec_of(sampler: Any, parameters: dict[str, Any] = RANGES, num_metrics: int = 1, **search: Any) -> SearchSpec:
    """Return the spec of a search with one cell, and with one or two metrics."""
    several = {"metric": ("val_accuracy", "flops"), "goal": ("maximize", "minimize")} if num_metrics > 1 else {}
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca",)},
            "parameters": parameters,
            "training": {"steps": 20, "reports": 4},
            "search": {"trials_per_cell": 14, "sampler": sampler, **several, **search},
        }
    )


def suggest_all(spec: SearchSpec, ledger: Path, *, count: int, reopened: bool) -> list[dict[str, Scalar]]:
    """Return the suggestions of a study, trial after trial. If `reopened`, a new driver follows every third trial."""
    storage, (cell,) = open_storage(Database.sqlite(ledger)), cells(spec)
    study = Study(storage, spec, cell)
    suggestions = []
    for _ in range(count):
        number, chosen = study.ask()
        suggestions.append(chosen)
        depth, ratio = float(chosen.get("depth", 1)), float(chosen["mlp_ratio"])
        study.tell(number, State.COMPLETE, [depth * ratio, depth][: len(spec.search.metrics)])
        if reopened and number % 3 == 2:
            study = Study(open_storage(Database.sqlite(ledger)), spec, cell)
    return suggestions


def test_the_registry_has_exactly_the_names_of_the_space_file() -> None:
    assert tuple(REGISTRY["sampler"]) == SAMPLERS
    assert tuple(REGISTRY["pruner"]) == PRUNERS


@pytest.mark.parametrize(
    ("sampler", "num_metrics"),
    [
        (sampler, num_metrics)
        for sampler in SAMPLER_CONFIGS
        for num_metrics in (1, 2)
        if (sampler, num_metrics) != ("cmaes", 2)
    ],
    ids=str,
)
def test_suggestions_depend_on_the_seed_and_not_on_restarts_of_the_driver(
    tmp_path: Path, sampler: Any, num_metrics: int
) -> None:
    spec = spec_of(sampler, CHOICES if sampler == "grid" else RANGES, num_metrics)
    assert list(find_sampler_problems(spec)) == []
    first = suggest_all(spec, tmp_path / "first.db", count=9, reopened=False)
    assert suggest_all(spec, tmp_path / "second.db", count=9, reopened=True) == first
    other = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": 1})})
    assert suggest_all(other, tmp_path / "third.db", count=4, reopened=False) != first[:4]


def test_a_grid_suggests_every_configuration_once(tmp_path: Path) -> None:
    spec = spec_of("grid", CHOICES)
    (cell,) = cells(spec)
    assert len(grid_points(spec, cell)) == 9
    suggestions = suggest_all(spec, tmp_path / "ledger.db", count=9, reopened=True)
    assert len({tuple(sorted(chosen.items())) for chosen in suggestions}) == 9
    assert all(("kernel_init" in chosen) == (chosen["mlp_ratio"] == 2.0) for chosen in suggestions)


def test_a_finished_grid_exhausts_its_cell(folder: SearchFolder) -> None:
    spec = spec_of("grid", CHOICES, trials_per_cell=20)
    ledger = Ledger(folder, spec, DIGITS, 10, Tracker())
    assert len(train_all(ledger)) == 9
    assert ledger.num_left == 0
    assert Study(open_storage(find_database(folder)), spec, cells(spec)[0]).is_exhausted


def test_a_grid_is_exhausted_before_its_first_duplicate(tmp_path: Path) -> None:
    spec = spec_of("grid", CHOICES)
    storage, (cell,) = open_storage(Database.sqlite(tmp_path / "ledger.db")), cells(spec)
    study = Study(storage, spec, cell)
    for _ in range(9):
        assert not study.is_exhausted
        study.tell(study.ask()[0], State.FAIL, ())
    assert study.is_exhausted


def test_the_order_of_a_grid_depends_on_its_seed_alone() -> None:
    points = [{"depth": depth} for depth in range(20)]
    orders = [GridSampler(points=points, seed=seed).points for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert points == [{"depth": depth} for depth in range(20)]


HUB = """\
import types
from optuna.samplers import BaseSampler, RandomSampler

class Shy(RandomSampler):
    def __init__(self, shyness, seed=None):
        super().__init__(seed=seed)
        self.shyness = shyness

class Bold(Shy):
    pass

def load_module(package):
    if package == "samplers/none":
        raise OSError("no network")
    module = types.ModuleType(package)
    module.RandomSampler, module.Shy = RandomSampler, Shy
    if package == "samplers/two":
        module.Bold = Bold
    return module
"""


@pytest.mark.parametrize(
    ("sampler", "rule"),
    [
        ({"name": "optunahub:samplers/shy", "shyness": 3}, None),
        ("optunahub:samplers/shy", "sampler optunahub:samplers/shy needs the argument shyness"),
        ("optunahub:samplers/none", "sampler optunahub:samplers/none cannot be loaded: OSError: no network"),
        ("optunahub:samplers/two", "must be a package with one sampler, got ['Shy', 'Bold']"),
    ],
    ids=str,
)
def test_a_package_of_optunahub_is_loaded_if_optunahub_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: Any, rule: str | None
) -> None:
    (tmp_path / "optunahub.py").write_text(HUB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "optunahub", raising=False)
    spec = spec_of(sampler)
    problems = list(find_sampler_problems(spec))
    if rule is None:
        assert problems == []
        first = suggest_all(spec, tmp_path / "first.db", count=3, reopened=False)
        assert suggest_all(spec, tmp_path / "second.db", count=3, reopened=True) == first
    else:
        assert [rule in problem.rule for problem in problems] == [True]


def test_a_sampler_is_printed_as_a_call() -> None:
    assert str(spec_of("tpe").search.sampler) == "tpe"
    assert str(spec_of({"name": "tpe", "n_startup_trials": 3}).search.sampler) == "tpe(n_startup_trials=3)"


@pytest.mark.parametrize("pruner", PRUNER_CONFIGS, ids=str)
def test_every_pruner_can_be_built_and_prunes_bad_trials(tmp_path: Path, pruner: Any) -> None:
    spec = spec_of("random", pruner=pruner)
    assert list(find_sampler_problems(spec)) == []
    storage, (cell,) = open_storage(Database.sqlite(tmp_path / "ledger.db")), cells(spec)
    study = Study(storage, spec, cell)
    pruned = []
    for quality in (0.9, 0.8, 0.7, 0.9, 0.8, 0.7, 0.1, 0.1):
        number, _ = study.ask()
        stops = [study.report(number, index, quality - index / 1000) for index in (1, 2, 3, 4)]
        state = State.PRUNED if any(stops) else State.COMPLETE
        study.tell(number, state, [quality])
        pruned.append(state is State.PRUNED)
    assert pruned[0] is (pruner == {"name": "patient", "patience": 1})
    assert any(pruned) == (pruner not in ("none", "optuna.pruners.NopPruner"))


def test_a_pruner_with_several_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pruner must be none with several metrics"):
        spec_of("random", num_metrics=2, pruner="median")


def test_a_study_stores_its_sampler_and_pruner_with_every_argument(tmp_path: Path) -> None:
    spec = spec_of(
        {"name": "tpe", "n_startup_trials": 3},
        pruner={"name": "patient", "patience": 2, "wraps": {"name": "hyperband", "reduction_factor": 2}},
    )
    Study(open_storage(Database.sqlite(tmp_path / "ledger.db")), spec, Cell(levels={"family": "lkca"}))
    (study,) = open_storage(Database.sqlite(tmp_path / "ledger.db")).get_all_studies()
    assert study.user_attrs == {
        "sampler": {
            "name": "tpe",
            "n_startup_trials": 3,
            "n_ei_candidates": 24,
            "multivariate": True,
            "group": True,
            "constant_liar": True,
        },
        "pruner": {
            "name": "patient",
            "patience": 2,
            "min_delta": 0.0,
            "wraps": {
                "name": "hyperband",
                "min_resource": 1,
                "max_resource": 4,
                "reduction_factor": 2,
                "bootstrap_count": 0,
            },
        },
        "optuna_version": optuna.__version__,
    }


def test_a_study_stores_every_version_of_optuna_that_ran_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("random")
    for version in ("5.0.0", "5.1.0", "5.1.0"):
        monkeypatch.setattr(optuna, "__version__", version)
        Study(open_storage(Database.sqlite(tmp_path / "ledger.db")), spec, cells(spec)[0])
    (study,) = open_storage(Database.sqlite(tmp_path / "ledger.db")).get_all_studies()
    assert study.user_attrs["optuna_version"] == "5.0.0, 5.1.0"


def test_a_range_whose_step_misses_the_upper_bound_ends_below_it(tmp_path: Path) -> None:
    spec = spec_of("random", {"depth": {"int": (1, 4), "step": 2}, "mlp_ratio": {"value": 1.0}})
    suggestions = suggest_all(spec, tmp_path / "ledger.db", count=14, reopened=False)
    assert {chosen["depth"] for chosen in suggestions} == {1, 3}


def test_a_resumed_trial_of_a_grid_keeps_its_point(tmp_path: Path) -> None:
    spec = spec_of("grid", CHOICES)
    storage, (cell,) = open_storage(Database.sqlite(tmp_path / "ledger.db")), cells(spec)
    study = Study(storage, spec, cell)
    suggested = [study.ask()[1] for _ in range(3)]
    reopened = Study(open_storage(Database.sqlite(tmp_path / "ledger.db")), spec, cell)
    assert [reopened.resume(frozen) for frozen in reopened.trials()] == suggested
