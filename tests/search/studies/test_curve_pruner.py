"""Tests of the pruner `curves`: its probabilities are right, and it compares trials of one cell only."""

import math
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from lkca_search.layout import Home
from lkca_search.records.record import Record, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.simulation.toy_training import ToyTraining
from lkca_search.search.studies.algorithms.curve_pruner import probability_of_best
from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.search.studies.study import open_in_memory_storage
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, make_spec

REPORTS = 10


def make_curves(count: int, generator: random.Random) -> list[list[float]]:
    """Return curves that rise to normally distributed final values, at one rate and with noise."""
    finals = [generator.gauss(0.6, 0.1) for _ in range(count)]
    return [
        [final * (1 - math.exp(-0.4 * report)) + generator.gauss(0, 0.01) for report in range(1, REPORTS + 1)]
        for final in finals
    ]


def test_the_probability_of_the_best_is_calibrated() -> None:
    """A trial that is stopped at a probability of 0.2 becomes the best in fewer than 20% of the cases."""
    generator, pairs = random.Random(0), list[tuple[float, bool]]()
    for _ in range(150):
        *finished, trial = make_curves(8, generator)
        best = max(curve[-1] for curve in finished)
        pairs += [(probability_of_best(trial[:report], finished), trial[-1] > best) for report in (1, 3, 6)]
    assert fmean(wins for probability, wins in pairs if probability < 0.2) < 0.05
    assert fmean(wins for probability, wins in pairs if probability > 0.8) > 0.95
    assert fmean(wins for _, wins in pairs) == pytest.approx(fmean(probability for probability, _ in pairs), abs=0.03)


def test_more_of_a_bad_curve_makes_it_less_probable_and_more_finished_curves_make_it_certain() -> None:
    generator = random.Random(1)
    finished = make_curves(12, generator)
    worst = min(finished, key=lambda curve: curve[-1])
    others = [curve for curve in finished if curve is not worst]
    early, late = probability_of_best(worst[:1], others), probability_of_best(worst[:8], others)
    assert late < early
    assert late < 1e-4
    assert probability_of_best(worst[:4], others) < probability_of_best(worst[:4], others[:1])


def test_a_metric_that_is_minimized_gives_the_same_probability() -> None:
    finished = make_curves(5, random.Random(2))
    trial = finished.pop()[:4]
    losses = [[-value for value in curve] for curve in finished]
    assert probability_of_best([-value for value in trial], losses, sign=-1) == probability_of_best(trial, finished)


def test_a_curve_that_ended_early_by_patience_stays_at_its_last_value() -> None:
    finished = make_curves(4, random.Random(3))
    padded = [*finished, [0.2, 0.3] + [0.3] * (REPORTS - 2)]
    short = [*finished, [0.2, 0.3]]
    trial = [0.2, 0.3, 0.4, 0.45]
    assert probability_of_best(trial, short) == pytest.approx(probability_of_best(trial, padded), rel=0.05)


def test_equal_curves_without_noise_decide_nothing() -> None:
    flat = [[0.5] * REPORTS] * 3
    assert probability_of_best([0.5], flat) == pytest.approx(0.5)


def search_spec(**search: Any) -> SearchSpec:
    values = make_spec(trials_per_cell=24, **search).model_dump(by_alias=True)
    return SearchSpec.model_validate({**values, "training": {"steps": 1000, "reports": 20}})


def run(home: Path, name: str, spec: SearchSpec, *, num_slots: int = 1) -> tuple[Record, ...]:
    folder = Home(root=home).search(name)
    ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), storage=open_in_memory_storage())
    return simulate(ledger, ToyTraining(), num_slots=num_slots).records


def outcomes_of(records: tuple[Record, ...], cell: str) -> dict[int, tuple[State, int]]:
    return {record.number: (record.state, len(record.curve)) for record in records if record.cell == cell}


def test_it_saves_most_steps_and_keeps_the_best_trial(tmp_path: Path) -> None:
    full = run(tmp_path, "full", search_spec())
    stopped = run(tmp_path, "stopped", search_spec(pruner="curves"))
    for cell in ("family=lkca", "family=vit"):
        best = max(record.value or 0 for record in full if record.cell == cell)
        kept = max(record.value or 0 for record in stopped if record.cell == cell and record.state is State.COMPLETE)
        assert kept >= best - 0.005
    steps = [sum(record.curve[-1].step for record in records) for records in (full, stopped)]
    assert steps[1] < 0.6 * steps[0]


@pytest.mark.parametrize("num_slots", [1, 3])
def test_trials_of_another_cell_change_no_decision(tmp_path: Path, num_slots: int) -> None:
    both = run(tmp_path, "both", search_spec(pruner="curves"))
    values = search_spec(pruner="curves").model_dump(by_alias=True)
    parameters = {name: domain for name, domain in values["parameters"].items() if name != "kernel_size"}
    alone = SearchSpec.model_validate({**values, "factors": {"family": ("vit",)}, "parameters": parameters})
    assert outcomes_of(run(tmp_path, "alone", alone), "family=vit") == outcomes_of(both, "family=vit")
    assert len(run(tmp_path, f"slots-{num_slots}", alone, num_slots=num_slots)) == 24


def test_a_driver_that_starts_again_decides_as_one_that_goes_on(tmp_path: Path) -> None:
    """Each decision is a function of the recorded curves: the studies are made again from them, in the middle."""
    spec = search_spec(pruner="curves")
    whole = run(tmp_path, "whole", spec)
    folder = Home(root=tmp_path).search("cut")
    for driver in (1, 2, 3, 4):
        ledger = Ledger(folder, spec, DIGITS, 10, Tracker(), driver=driver, storage=open_in_memory_storage())
        for _ in range(12):
            assignment = ledger.assign()
            assert assignment is not None
            for message in ToyTraining()(assignment):
                if ledger.on_message(assignment.trial_id, message):
                    break
            ledger.finish(assignment.trial_id)
    for cell in ("family=lkca", "family=vit"):
        assert outcomes_of(tuple(read_records(folder)), cell) == outcomes_of(whole, cell)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"min_probability": 1.5}, "min_probability must be between 0 and 1, got 1.5"),
        ({"n_startup_trials": 0}, "n_startup_trials must be at least 1, got 0"),
        ({"warmup_share": 2.0}, "warmup_share must be between 0 and 1, got 2.0"),
        ({"probability": 0.1}, "pruner curves has no argument probability, got 0.1; did you mean min_probability?"),
    ],
)
def test_a_wrong_argument_is_an_error_with_its_rule(arguments: dict[str, Any], rule: str) -> None:
    (problem,) = find_sampler_problems(make_spec(pruner={"name": "curves", **arguments}))
    assert rule in problem.rule
