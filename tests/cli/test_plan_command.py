"""Tests of `lkca-search plan`: its table, its totals, and that nothing is started."""

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lkca_search.layout import Home
from lkca_search.search.planning.plan import Plan
from tests.support.processes import Command, parsed

SPACE = """\
data: {dataset: digits, validation: 0.2, augment: [crop]}
factors:
  family: [lkca, vit]
parameters:
  kernel_size: {choice: [3, 5], when: {family: [lkca]}}
  depth: {int: [1, 3]}
  width: {choice: [16, 32]}
  patch_size: {value: 2}
training: {steps: 200, batch_size: 64}
search: {trials_per_cell: 8}
"""


@pytest.fixture(autouse=True)
def _space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)


def assert_nothing_was_started() -> None:
    assert [path.name for path in Home.from_environment().root.iterdir()] == ["datasets"]


def test_a_plan_is_a_table_of_cells_and_totals(command: Command) -> None:
    code, out, err = command("plan", "space.yaml", "--num-cpus", "4", "--num-gpus", "0")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in reversed(out.splitlines()) if line}  # the tables come before the notes
    assert rows["family=lkca"].split()[1:6] == ["1,151", "8", "12", "200", "11"]
    assert rows["family=vit"].split()[1:7] == ["1,151", "6", "of", "8", "!", "6"]
    assert "! family=vit has 6 configurations for 8 trials: a configuration is trained only once" in out
    number, unit = rows["family=vit"].split()[-2:]
    assert unit == "s", "a short time has its own unit"
    assert float(number) > 0
    assert rows["trials"].split() == ["trials", "14"]
    assert re.fullmatch(r"[0-9.]+G", rows["FLOPs"].split()[1]), "FLOPs have their own unit"
    assert "(assumed), 4 trials at a time on 4 cores and 0 GPUs" in rows["time"]
    assert "estimated from FLOPs at an assumed" in out
    assert "440 MB for a worker with torch, 16 bytes per parameter" in out
    assert_nothing_was_started()


def test_a_plan_warns_of_short_trainings_and_names_the_shortest(command: Command) -> None:
    fractions = "factors.data_fraction=[0.1, 0.5, 1.0]"
    code, out, _ = command("plan", "space.yaml", fractions)
    assert code == 0
    (warning,) = (line for line in out.splitlines() if "epochs, and" in line)
    assert warning.startswith("! trials of 2 cells of 6 have fewer than 20 epochs, and 11 in ")
    assert "family=lkca,data_fraction=1.0" in warning
    _, out, _ = command("plan", "space.yaml", fractions, "training={epochs: 20, min_steps: 100, batch_size: 64}")
    assert "epochs, and" not in out


def test_a_plan_warns_of_long_trainings_and_names_the_longest(command: Command) -> None:
    long = "training={epochs: 1000, batch_size: 64}"
    _, out, _ = command("plan", "space.yaml", long)
    assert "they repeat few images" not in out
    _, out, _ = command("plan", "space.yaml", long, "factors.data_fraction=[0.1, 1.0]", "training.min_steps=2500")
    (warning,) = (line for line in out.splitlines() if "they repeat few images" in line)
    assert warning.startswith("! trials of 2 cells of 4 have more than 1,000 epochs, and 1,250 in ")
    assert "data_fraction=0.1" in warning


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        ((), "raise training.steps"),
        (("~training.steps", "training.epochs=2"), "raise training.epochs"),
        (
            ("~training.steps", "training.epochs=90", "training.max_steps=20"),
            "raise training.epochs or training.max_steps",
        ),
        (("~training.steps", "factors.epochs=[1, 2]"), "raise factors.epochs"),
    ],
)
def test_a_warning_of_short_trainings_names_the_keys_of_the_file(
    command: Command, overrides: tuple[str, ...], keys: str
) -> None:
    out = " ".join(command("plan", "space.yaml", *overrides).out.split())
    assert out.split(" when they end; ")[1].split(" total ")[0].split(" ! ")[0] == keys


def test_a_plan_warns_of_trials_with_fewer_steps_than_reports(command: Command) -> None:
    training = "training={epochs: 2, batch_size: 64, reports: 100}"
    code, out, _ = command("plan", "space.yaml", training)
    assert code == 0
    assert "! trials of 2 cells of 2 have fewer steps than training.reports, and 36 in family=lkca" in out
    _, out, _ = command("plan", "space.yaml", "training={epochs: 2, batch_size: 64, reports: 36}")
    assert "fewer steps than training.reports" not in out


def test_more_reports_than_steps_are_refused(command: Command) -> None:
    code, out, err = command("plan", "space.yaml", "training={steps: 20, reports: 400}")
    assert (code, out) == (2, "")
    assert err.startswith("error: training.reports must be at most 20, got 400: a report follows a step")


def test_json_output_is_the_plan(command: Command) -> None:
    result = parsed(command("plan", "space.yaml", "search.trials_per_cell=5", "--num-cpus", "3", "--json"))
    plan = Plan.model_validate_json(json.dumps(result))
    assert (plan.num_trials, plan.num_cpus, plan.num_slots, plan.basis) == (10, 3, 3, "assumed")
    assert [cell.num_configurations for cell in plan.cells] == [12, 6]
    # 200 steps are 11 epochs of 18 batches, and 2 batches of 64 images.
    assert [cell.epochs[0] for cell in plan.cells] == pytest.approx([11 + 128 / 1151] * 2)
    assert plan.few_epochs == ("family=lkca", "family=vit")


def test_a_search_that_cannot_be_trained_ends_with_code_2_and_the_line(command: Command) -> None:
    Path("wrong.yaml").write_text(SPACE.replace("[3, 5]", "[3, 9]"))
    code, out, err = command("plan", "wrong.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("error: kernel_size")
    assert "got 9" in err
    assert "(wrong.yaml:5)" in err
    code, out, err = command("plan", "space.yaml", "resources.gpu=0.5", "--num-gpus", "0")
    assert (code, out) == (2, "")
    assert "resources must fit on one node, got {cpu: 1, gpu: 0.5} per trial" in err


def test_a_plan_longer_than_max_hours_ends_with_code_1(command: Command) -> None:
    assert command("plan", "space.yaml", "--max-hours", "10", "--num-cpus", "1").code == 0
    code, out, err = command("plan", "space.yaml", "--max-hours", "0.0001", "--num-cpus", "1")
    assert code == 1
    assert "family=vit" in out
    assert "too long: " in err
    assert "(assumed) exceeds --max-hours 0.0001" in err


def test_a_calibration_predicts_a_held_out_configuration(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lkca_search.search.planning.calibration.MEASURED_SECONDS", 0.1)
    code, out, err = command("plan", "space.yaml", "--calibrate", "--num-cpus", "1")
    assert code == 0
    assert "timed 7 of 7 configurations" in err
    assert "(calibrated), 1 trial at a time" in out
    roles = [line.rstrip().rpartition("  ")[2] for line in out.splitlines()]
    assert (roles.count("fitted"), roles.count("held out")) == (6, 1)
    assert "held-out configuration, seconds per trial: predicted" in out
    assert_nothing_was_started()


def test_a_plan_states_that_a_dataset_is_a_part_of_the_official_one(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_digits()
    images = []
    for pixels in digits.images[:200]:
        file = BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, format="PNG")
        images.append(file.getvalue())
    labels = digits.target[:200].tolist()
    table = pa.table({"image": images, "label": labels, "label_name": [str(label) for label in labels]})
    (tmp_path / "data" / "fashion_mnist").mkdir(parents=True)
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / "data" / "fashion_mnist" / f"{split}.parquet")
    monkeypatch.setenv("LKCA_DATA_DIR", str(tmp_path / "data"))
    _, out, _ = command("plan", "space.yaml", "data.dataset=fashion_mnist", "--num-cpus", "2", "--num-gpus", "0")
    assert "fashion_mnist: 200 of the 60,000 official training images\n" in out
    _, out, _ = command("plan", "space.yaml", "--num-cpus", "2", "--num-gpus", "0")
    assert "official" not in out
