"""Only `confirm` opens the test images, once per replicate, and its results can be reproduced."""

import json
import re
import subprocess
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lkca_search.analysis.search_results import read_search_results
from lkca_search.records.record import Record, read_replicates
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.looks import Look
from lkca_search.reporting.content import make_report
from lkca_search.training.assembly import open_training
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import CELLS, COMMAND, ONE_WORKER, SPACE, SearchCommands

pytestmark = pytest.mark.slow

NUM_TRAIN, NUM_TEST = 1500, 297
GARBAGE = b"no image is in here"


def write_split(path: Path, rows: slice) -> None:
    digits, images = load_digits(), []
    for pixels in np.round(digits.images[rows] * 255 / 16).astype(np.uint8):
        file = BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        images.append(file.getvalue())
    labels = digits.target[rows]
    names = [f"digit {label}" for label in labels]
    pq.write_table(pa.table({"image": images, "label": labels.tolist(), "label_name": names}), path)


class ClosedTest(SearchCommands):
    """Search over a part of an official dataset, whose test split is unreadable until `open_test` is called."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.data = root / "data" / "cifar10"
        self.environment["LKCA_DATA_DIR"] = str(self.data.parent)
        self.printed = ""
        """Lines that the confirmation printed for the user."""
        self.data.mkdir(parents=True)
        self.space.write_text(SPACE.replace("dataset: digits", "dataset: cifar10"))
        write_split(self.data / "train.parquet", slice(0, -NUM_TEST))
        self.close_test()

    def close_test(self) -> None:
        """Make the test split unreadable."""
        (self.data / "test.parquet").write_bytes(GARBAGE)
        for path in (self.home.root / "datasets").glob("*-test-*"):
            path.write_bytes(GARBAGE)

    def open_test(self) -> None:
        """Make the test split readable."""
        for path in (self.home.root / "datasets").glob("*-test-*"):
            path.unlink()
        write_split(self.data / "test.parquet", slice(-NUM_TEST, None))

    def fail(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
        return done.returncode, done.stderr

    def replicates(self) -> list[Record]:
        return read_replicates(self.folder)

    def looks(self) -> list[Look]:
        """Return the looks in the register, without those of rounds that are not registered."""
        (folder,) = (self.home.root / "test_looks").glob("*")
        return [Look.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*"))]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> ClosedTest:
    """Return a search that ended while its test images were unreadable."""
    searching = ClosedTest(tmp_path_factory.mktemp("closed") / "home")
    code, printed = searching.start_run().wait()
    assert code == 0, printed
    assert f"cifar10: {NUM_TRAIN:,} of the 50,000 official training images" in printed
    return searching


@pytest.fixture(scope="module")
def refused(searched: ClosedTest) -> tuple[int, str]:
    """Return exit code and error output of `confirm` while the test images are unreadable."""
    return searched.fail("confirm", "toy")


class Interruption(NamedTuple):
    """End of a `confirm` that could not write its look into the register, and the files that it left."""

    code: int
    error: str
    seal: bytes
    """File of the sealed round."""
    num_replicates: int
    """Replicates that were started."""


@pytest.fixture(scope="module")
def interrupted(searched: ClosedTest, refused: tuple[int, str]) -> Interruption:
    """Interrupt `confirm` between the seal of its round and the register: a file has the place of its folder."""
    searched.open_test()
    blocked = searched.home.root / "test_looks"
    assert isinstance(blocked, Path)
    blocked.write_bytes(b"")
    code, error = searched.fail("confirm", "toy", "--draws", "2", "--seeds", "1", *ONE_WORKER)
    blocked.unlink()
    (sealed,) = searched.folder.rounds.glob("*.json")
    return Interruption(code, error, sealed.read_bytes(), len(list(searched.folder.trials.glob("*/*/draw=*"))))


@pytest.fixture(scope="module")
def confirmed(searched: ClosedTest, interrupted: Interruption) -> ClosedTest:
    code, searched.printed = searched.fail("confirm", "toy", "--draws", "2", "--seeds", "1", *ONE_WORKER)
    assert code == 0, searched.printed
    return searched


def test_a_search_does_not_need_readable_test_images(searched: ClosedTest) -> None:
    searched.assert_exact(trials_per_cell=2)
    assert {record.state for record in searched.records()} == {"COMPLETE"}
    assert (searched.data / "test.parquet").read_bytes() == GARBAGE
    assert not list((searched.home.root / "datasets").glob("*-test-*")), "no process has decoded them"


def test_a_confirmation_without_test_images_is_refused(searched: ClosedTest, refused: tuple[int, str]) -> None:
    code, error = refused
    assert code == 2
    assert "test.parquet" in error
    assert "Traceback" not in error


def test_a_confirmation_that_ended_between_seal_and_register_is_completed_by_the_same_command(
    confirmed: ClosedTest, interrupted: Interruption
) -> None:
    assert interrupted.code == 2
    assert "test_looks" in interrupted.error
    assert interrupted.num_replicates == 0, "no replicate is tested before its look is registered"
    (sealed,) = confirmed.folder.rounds.glob("*.json")
    assert sealed.read_bytes() == interrupted.seal
    (stored,) = read_rounds(confirmed.folder)
    uses = "These test images have been used by 1 round of 1 search in this home, this round included."
    assert uses in confirmed.printed
    assert "replicates to train, tests at the level 0.04" in confirmed.printed
    (look,) = confirmed.looks()
    assert (look.search, look.round, look.seal, look.test_hash) == ("toy", 1, stored.seal, stored.test_hash)


def test_each_replicate_is_tested_once_on_all_test_images(confirmed: ClosedTest) -> None:
    (sealed,) = read_rounds(confirmed.folder)
    replicates = confirmed.replicates()
    assert [pick.cell for pick in sealed.picks] == CELLS
    assert {record.trial_id for record in replicates} == {
        replication.replicate_id for _, replication in sealed.replications()
    }
    assert len(list(confirmed.folder.trials.rglob("attempt-*/record.json"))) == 2 * 4 + 2 * 4
    for record in replicates:
        assert record.state == "COMPLETE"
        assert record.test is not None
        assert (record.test.num_images, record.test.data_hash) == (NUM_TEST, sealed.test_hash)
        assert 0 <= record.test.accuracy <= 1
    assert len({record.test.loss for record in replicates if record.test}) == len(replicates), "each trained on its own"


def test_families_train_on_the_same_images_per_draw(confirmed: ClosedTest) -> None:
    sizes = {record.cell: record.facts.num_train_images for record in confirmed.records() if record.facts}
    subsets: dict[tuple[float | None, int], set[str]] = {}
    for record in confirmed.replicates():
        assert record.facts is not None
        assert record.facts.num_train_images == sizes[record.cell]
        key = record.spec.configuration.data_fraction, record.spec.configuration.draw
        subsets.setdefault(key, set()).add(record.facts.subset_hash)
        assert (confirmed.folder.root / "subsets" / f"{record.facts.subset_hash}.json").is_file()
    assert [len(hashes) for hashes in subsets.values()] == [1] * 4, "the same images for every family"
    assert subsets[0.2, 1] != subsets[0.2, 2]
    trained = {record.facts.subset_hash for record in confirmed.records() if record.facts}
    assert not trained & (subsets[0.2, 1] | subsets[0.2, 2]), "no trial has trained on them"


def test_the_test_accuracy_equals_that_of_the_trained_model_on_the_raw_images(confirmed: ClosedTest) -> None:
    record = confirmed.replicates()[-1]
    data_dirs = DataDirs(cache=confirmed.home.datasets, data_dir=confirmed.data.parent)
    configure_torch(num_threads=1)
    _, training = open_training(record.spec, data_dirs, device=torch.device("cpu"))
    *_, last = training.results()
    pixels = np.round(load_digits().images[-NUM_TEST:] * 255 / 16).astype(np.uint8)
    images = torch.from_numpy(pixels).float().div(255)[:, None]  # (B, H, W) -> (B, C, H, W)
    normalized = (images - training.batches.mean[:, None, None]) / training.batches.std[:, None, None]
    training.model.eval()
    with torch.inference_mode():
        guesses = training.model(normalized).argmax(dim=1).numpy()
    assert record.test is not None
    assert last.val_accuracy == record.curve[-1].val_accuracy
    assert float((guesses == load_digits().target[-NUM_TEST:]).mean()) == pytest.approx(record.test.accuracy, abs=1e-9)


def test_replicates_are_child_runs_of_the_search_in_mlflow(confirmed: ClosedTest) -> None:
    client = confirmed.client()
    experiment = client.get_experiment_by_name("lkca-search")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    kinds = Counter((run.data.tags["kind"], run.info.status) for run in runs)
    assert kinds == {("search", "FINISHED"): 1, ("trial", "FINISHED"): 8, ("replicate", "FINISHED"): 8}
    (parent,) = (run for run in runs if run.data.tags["kind"] == "search")
    records = {record.trial_id: record for record in confirmed.replicates()}
    for run in runs:
        if run.data.tags["kind"] == "replicate":
            record = records[run.data.tags["lkca.trial_id"]]
            assert record.test is not None
            assert run.data.metrics["test_accuracy"] == record.test.accuracy
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            assert run.data.tags["of_trial"] == record.trial_id.rpartition("/")[0]
        else:
            assert "test_accuracy" not in run.data.metrics


def test_the_same_command_trains_nothing_again_and_status_shows_the_round(confirmed: ClosedTest) -> None:
    before = {path: path.read_bytes() for path in confirmed.folder.trials.rglob("record.json")}
    confirmed.call("confirm", "toy")
    code, output = confirmed.fail("confirm", "toy", "--draws", "3")
    assert code == 2
    assert "round 1 has draws 2, got draws 3: finish it, then seal another by" in output
    assert "`lkca-search confirm toy --draws 3 --new-round`" in output
    assert {path: path.read_bytes() for path in confirmed.folder.trials.rglob("record.json")} == before
    assert re.search(
        r"confirmation, round 1: 8 of 8 replicates finished; 4 configurations selected from 8 trials$",
        confirmed.call("status", "toy").strip(),
    )
    (status,) = json.loads(confirmed.call("status", "toy", "--json"))["rounds"]
    assert (status["complete"], status["num_trials_since"]) == (8, 0)


def test_tables_have_one_row_per_replicate(confirmed: ClosedTest) -> None:
    confirmed.call("export", "toy")
    rows = {row["replicate_id"]: row for row in pq.read_table(confirmed.folder.root / "replicates.parquet").to_pylist()}
    assert rows.keys() == {record.trial_id for record in confirmed.replicates()}
    predictions = pd.read_parquet(confirmed.folder.root / "predictions.parquet")
    assert len(predictions) == len(rows) * NUM_TEST
    kernels = pd.read_parquet(confirmed.folder.root / "kernels.parquet")
    assert set(kernels["replicate_id"]) == set(rows)
    assert (kernels["kind"] == "receptive_field").sum() == len(rows)
    accuracies = (predictions["predicted"] == predictions["label"]).groupby(predictions["replicate_id"]).mean()
    for record in confirmed.replicates():
        row = rows[record.trial_id]
        assert accuracies[record.trial_id] == row["test_accuracy"]
        assert record.replicate is not None
        assert record.test is not None
        values = (row["of_trial"], row["draw"], row["seed_number"], row["test_accuracy"], row["test_num_images"])
        assert values == (*record.replicate.model_dump().values(), record.test.accuracy, NUM_TEST)


def test_a_replicate_can_be_rerun_without_the_test_images(confirmed: ClosedTest) -> None:
    confirmed.close_test()
    record = confirmed.replicates()[0]
    outcome = json.loads(confirmed.call("rerun", "toy", "--trial", record.trial_id, "--json"))
    assert outcome["metric"] == "val_accuracy"
    assert outcome["difference"] == 0
    confirmed.open_test()


def test_a_confirmation_that_a_space_file_requests_leaves_a_finished_round_as_it_is(confirmed: ClosedTest) -> None:
    confirmed.open_test()
    output = confirmed.run("search.trials_per_cell=3", "confirm.draws=2", "confirm.seeds=1")
    assert "round 1: 8 of 8 replicates finished; 4 configurations selected from 8 trials; 4 trials finished" in output
    (sealed,) = read_rounds(confirmed.folder)
    assert sealed.num_trials == 8
    assert [look.round for look in confirmed.looks()] == [1]


def test_a_report_states_that_the_data_were_a_part(confirmed: ClosedTest) -> None:
    report = make_report(read_search_results(confirmed.folder))
    part = f"{NUM_TRAIN:,} of the 50,000 official training images and {NUM_TEST} of the 10,000 official test images"
    assert f"The data were a part of cifar10: {part}. Accuracies on the whole dataset may differ." in report.caveats
    assert f"The dataset had only {part}." in dict(report.methods)["Data"]


def test_changed_images_are_refused_by_run_confirm_and_rerun(confirmed: ClosedTest) -> None:
    (old,) = {record.facts.data_hash for record in confirmed.records() if record.facts}
    write_split(confirmed.data / "train.parquet", slice(1, -NUM_TEST))
    before = confirmed.folder.records()
    for command in (("run", str(confirmed.space), "search.trials_per_cell=4"), ("confirm", "toy", "--new-round")):
        code, error = confirmed.fail(*command)
        assert code == 2
        assert f"the training images of search 'toy' must have SHA-256 {old}, got " in error
    assert confirmed.folder.records() == before
    code, error = confirmed.fail("rerun", "toy")
    assert code == 2
    assert re.search(rf"data_hash was {old}, is \w+: the training images have changed", error)
