"""Tests of `lkca-search simulate`: replays of finished searches from their recorded curves."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.simulation.toy_training import ToyTraining
from lkca_search.search.state.resume import commit_space_file
from lkca_search.search.studies.study import open_in_memory_storage
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.tracker import Tracker
from tests.support.processes import Command, parsed
from tests.support.records import make_record, make_search

SPACE = """\
data: {dataset: digits}
factors: {family: [lkca, vit]}
parameters:
  kernel_size: {choice: [3, 5, 7], when: {family: [lkca]}}
  patch_size: {value: 2}
  depth: {int: [2, 9]}
  learning_rate: {float: [1.0e-4, 1.0e-1], log: true}
training: {steps: 1000, reports: 9}
search: {trials_per_cell: 12, sampler: tpe}
"""
CELLS = ["family=lkca", "family=vit"]


def make_finished(name: str, *overrides: str, num_slots: int = 1) -> SearchFolder:
    """Run a search with a toy in place of the training."""
    home = Home.from_environment()
    folder, space = home.search(name), home.root / f"{name}.yaml"
    space.parent.mkdir(parents=True, exist_ok=True)
    space.write_text(SPACE)
    space_file = read_space_file(space, overrides)
    commit_space_file(folder, space_file)
    storage = open_in_memory_storage()
    ledger = Ledger(folder, space_file.spec, ImageShape(8, 8, 1), 10, Tracker(), storage=storage)
    simulate(ledger, ToyTraining(), num_slots=num_slots)
    return folder


def files(folder: SearchFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def num_steps(records: Iterable[Record]) -> int:
    return sum(record.curve[-1].step for record in records)


def test_a_replay_without_a_pruner_equals_the_search(command: Command) -> None:
    folder = make_finished("done")
    result = parsed(command("simulate", "done", "--pruner", "none", "--slots", "3", "--json"))
    assert [cell["cell"] for cell in result["cells"]] == [*CELLS, "all cells"]
    for cell in result["cells"][:2]:
        recorded = [record for record in read_records(folder) if record.cell == cell["cell"]]
        best = max(record.value or 0 for record in recorded)
        assert (cell["num_trials"], cell["num_pruned"], cell["num_steps"]) == (12, 0, num_steps(recorded))
        assert (cell["best_value"], cell["recorded_best"]) == (best, best)
        assert (cell["share_saved"], cell["regret"], cell["best_pruned"]) == (0, 0, 0)
        close = min(i for i, record in enumerate(recorded, start=1) if (record.value or 0) >= best - 0.005)
        assert close / 12 <= cell["share_to_close"] <= 1
    assert result["spreads"] == []


@pytest.mark.parametrize("num_slots", [1, 4])
def test_a_replay_with_the_pruner_of_a_pruned_search_prunes_the_same_trials(command: Command, num_slots: int) -> None:
    """The replay keeps trial numbers, which decide the brackets, and the interleaving of the workers."""
    overrides = ("search.pruner=hyperband", "search.sampler=random")
    pruned = make_finished("pruned", *overrides, num_slots=num_slots)
    unpruned = make_finished("unpruned", "search.sampler=random", num_slots=num_slots)
    result = parsed(command("simulate", "unpruned", "--pruner", "hyperband", "--slots", str(num_slots), "--json"))
    for cell in result["cells"][:2]:
        recorded = [record for record in read_records(pruned) if record.cell == cell["cell"]]
        unpruned_records = [record for record in read_records(unpruned) if record.cell == cell["cell"]]
        assert [record.spec for record in recorded] == [record.spec for record in unpruned_records]
        assert cell["num_pruned"] == sum(record.state is State.PRUNED for record in recorded) > 0
        assert cell["num_steps"] == num_steps(recorded) < num_steps(unpruned_records)
        assert cell["share_saved"] == pytest.approx(1 - num_steps(recorded) / num_steps(unpruned_records))
        complete = [record.value for record in recorded if record.state is State.COMPLETE]
        assert cell["best_value"] == max(value for value in complete if value is not None)


def test_a_replay_does_not_change_the_search(command: Command) -> None:
    folder = make_finished("done")
    before = files(folder)
    parsed(command("simulate", "done", "--pruner", "median", "--seeds", "2", "--json"))
    assert files(folder) == before


def test_shuffled_orders_give_a_mean_and_an_interval(command: Command) -> None:
    make_finished("done")
    arguments = ("simulate", "done", "--pruner", "hyperband", "--seeds", "8", "--json")
    result = parsed(command(*arguments))
    assert [cell["cell"] for cell in result["spreads"]] == [*CELLS, "all cells"]
    for cell in result["spreads"]:
        saved = cell["share_saved"]
        assert 0 <= saved["low"] < saved["mean"] < saved["high"] < 1
        assert 0 <= cell["regret"]["low"] <= cell["regret"]["mean"] <= cell["regret"]["high"]
        assert 0 <= cell["best_pruned"] <= 1
        assert 0 < cell["share_to_close"]["mean"] <= 1
    first, second, total = result["cells"]
    assert total["mean_regret"] == pytest.approx((first["regret"] + second["regret"]) / 2)
    assert total["share_to_close"] == pytest.approx((first["share_to_close"] + second["share_to_close"]) / 2)
    assert parsed(command(*arguments)) == result


def test_another_sampler_gets_the_curves_of_the_nearest_configurations(command: Command) -> None:
    folder = make_finished("done")
    result = parsed(command("simulate", "done", "--pruner", "none", "--sampler", "random", "--seeds", "3", "--json"))
    known = {record.value for record in read_records(folder)}
    assert {cell["num_trials"] for cell in result["cells"][:2]} == {12}
    assert {cell["best_value"] for cell in result["cells"][:2]} <= known
    assert all(cell["regret"] >= 0 for cell in result["cells"])


def test_a_pruned_trial_ends_with_its_recorded_curve_and_the_output_counts_it(command: Command) -> None:
    folder = make_finished("pruned", "search.pruner=hyperband")
    num_pruned = sum(record.state is State.PRUNED for record in read_records(folder))
    assert num_pruned
    result = parsed(command("simulate", "pruned", "--pruner", "none", "--json"))
    total = result["cells"][-1]
    assert (total["num_pruned"], total["num_cut_short"], result["num_recorded_pruned"]) == (0, num_pruned, num_pruned)
    assert (total["num_steps"], total["share_saved"], total["regret"]) == (num_steps(read_records(folder)), 0, 0)
    code, out, err = command("simulate", "pruned", "--pruner", "none")
    assert (code, err) == (0, "")
    assert f"{num_pruned} recorded trials were pruned, so their curves are incomplete. {num_pruned} of them" in out


def test_cells_with_unequal_trial_counts_and_failed_trials_are_replayed(command: Command) -> None:
    records = [make_record(i, accuracy=0.5 + i / 10) for i in range(2)]
    configuration = [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}]
    specs = [
        record.spec.model_copy(update={"configuration": record.spec.configuration.model_copy(update=update)})
        for record, update in zip(records, configuration, strict=True)
    ]
    records = [record.model_copy(update={"spec": spec}) for record, spec in zip(records, specs, strict=True)]
    failed = make_record(0, family="vit", data_fraction=1.0, state=State.FAIL, error="broken")
    make_search("made", [*records, failed])
    result = parsed(command("simulate", "made", "--pruner", "none", "--json"))
    assert [(cell["cell"], cell["num_trials"], cell["best_value"]) for cell in result["cells"]] == [
        ("family=lkca,data_fraction=0.1", 2, 0.6),
        ("family=vit,data_fraction=1.0", 1, None),
        ("all cells", 3, None),
    ]


def test_the_table_has_one_line_per_cell(command: Command) -> None:
    make_finished("done")
    code, out, err = command("simulate", "done", "--pruner", "hyperband", "--seeds", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "search done with pruner hyperband: trials in recorded order, 1 at a time"
    columns = "cell trials pruned steps saved best val_accuracy recorded best regret recorded best pruned"
    assert lines[1].split() == columns.split()
    assert [line.split("  ")[0] for line in lines[2:5]] == [*CELLS, "all cells"]
    assert lines[6] == "over 2 shuffled orders: mean (range of the central 95%)"


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("nothing --pruner hyperband", "there is no search 'nothing'"),
        ("done --pruner asha", "pruner must be one of none, median, hyperband"),
        ("done --pruner none --sampler best", "sampler must be one of tpe"),
        ("done --pruner none --sampler grid", "sampler grid cannot be simulated"),
        ("done --pruner wilcoxn.Pruner", "pruner wilcoxn.Pruner cannot be loaded"),
    ],
)
def test_an_invalid_simulation_ends_with_code_2_and_the_rule(command: Command, arguments: str, rule: str) -> None:
    make_finished("done")
    code, out, err = command("simulate", *arguments.split())
    assert (code, out) == (2, "")
    assert rule in err


def test_a_search_without_complete_trials_is_refused(command: Command) -> None:
    make_search("made", [make_record(0, state=State.FAIL, error="broken"), make_record(1, state=State.PRUNED)])
    code, out, err = command("simulate", "made", "--pruner", "hyperband")
    assert (code, out) == (2, "")
    assert "search 'made' has no complete trial and cannot be simulated" in err


def test_a_search_with_several_goals_is_refused(command: Command) -> None:
    make_finished("done", "search.metric=[val_accuracy, flops]", "search.goal=[maximize, minimize]")
    code, out, err = command("simulate", "done", "--pruner", "hyperband")
    assert (code, out) == (2, "")
    assert "search 'done' has several metrics and cannot be simulated: a pruner needs one value" in err
