"""A search whose factor is the dataset: each cell is checked, trained and tested on its own images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lkca_search.errors import SearchError, SpaceFileError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import parse_path
from lkca_search.records.predictions import save_predictions, write_predictions
from lkca_search.records.record import RecordReader, read_records, read_replicates
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.dataset import read_search_datasets
from lkca_search.records.search.looks import read_looks, register_looks
from lkca_search.records.tables import trials_table
from lkca_search.search.driver.confirmation import Confirmation, write_round_manifests
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.rounds import find_or_open_round
from lkca_search.search.planning.planner import make_plan
from lkca_search.search.planning.workload import largest_gpu_bytes
from lkca_search.search.ray_backend.node_checks import node_problem
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.search.state.best_trials import best_of_search, find_best_records
from lkca_search.search.state.dataset import commit_search, describe_datasets, with_located_datasets
from lkca_search.search.state.manifests import scan_manifests, write_manifests
from lkca_search.search.state.status import read_status
from lkca_search.search.studies.space_check import check_space
from lkca_search.spec.cells import dataset_levels, spec_of_dataset
from lkca_search.spec.sections import ConfirmSection
from lkca_search.spec.space_file import SpaceFile
from lkca_search.tracking.run_fields import start_tags
from lkca_search.tracking.tracker import Tracker, TrialStart
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device
from lkca_search.training.images import DataDirs, open_all_train_images
from lkca_search.training.testing import evaluate_on_test, open_all_test_images, open_test_images
from tests.support.search.trained import rerun
from tests.support.search.two_datasets import CELLS, problems_of, read_space, write_photos


class Starts(Tracker):
    """Tracker that keeps every start."""

    def __init__(self) -> None:
        self.starts: list[TrialStart] = []

    def trial_started(self, start: TrialStart) -> None:
        self.starts.append(start)


class Driver:
    """Driver without Ray: it trains every trial in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dirs = DataDirs(cache=root / "cache", data_dir=None)
        self.home = Home(root=root / "home")
        self.folder: SearchFolder = self.home.search("two")
        self.tracker = Starts()

    def open(self, *overrides: str) -> Ledger:
        """Check and commit the search, and open its ledger."""
        space_file = self.space_file(*overrides)
        self.images = open_all_train_images(space_file.spec, self.dirs, verify=True)
        check_space(space_file, self.images)
        self.spec, reader = space_file.spec, RecordReader(self.folder)
        commit_search(self.folder, describe_datasets(self.spec, self.images), reader, space_file)
        manifests = write_manifests(self.spec, self.images, self.folder)
        first = self.images["digits"]
        return Ledger(self.folder, self.spec, first.shape, 10, self.tracker, images=self.images, manifests=manifests)

    def space_file(self, *overrides: str) -> SpaceFile:
        return with_located_datasets(read_space(self.root, *overrides), self.folder)

    def finish(self, queue: TrialQueue) -> None:
        while (assignment := queue.assign()) is not None:
            for message in self.train(assignment):
                queue.on_message(assignment.trial_id, message)
            queue.finish(assignment.trial_id)

    def train(self, assignment: Assignment) -> Iterator[Message]:
        metadata, training = open_training(assignment.spec, self.dirs, device=choose_device(0))
        assert (metadata.data_hash, metadata.subset_hash) == (assignment.data_hash, assignment.subset_hash)
        for result in training.results():
            done, test = training.is_last(result), None
            if done and assignment.test_hash is not None:
                images = open_test_images(assignment.spec.data, self.dirs)
                assert images.content_hash == assignment.test_hash
                test, predictions = evaluate_on_test(training, images, device=choose_device(0))
                save_predictions(predictions, parse_path(assignment.attempt_folder), replicate_id=assignment.trial_id)
            yield Message(metadata=metadata, result=result, test=test, done=done)

    def confirm(self) -> Confirmation:
        tested = open_all_test_images(self.spec, self.dirs, train=self.images)
        sealed = find_or_open_round(
            self.folder,
            self.spec,
            self.spec.confirm or ConfirmSection(),
            RecordReader(self.folder),
            test_hashes={level: images.content_hash for level, images in tested.items()},
            num_trials_left=0,
            new_round=False,
        )
        register_looks(self.folder, self.home)
        manifests = write_round_manifests(sealed, self.spec, self.images, self.folder)
        return Confirmation(self.folder, self.spec, sealed, self.tracker, manifests=manifests)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    return Driver(tmp_path)


def test_each_cell_trains_and_tests_on_the_images_of_its_dataset(driver: Driver) -> None:
    driver.finish(driver.open())
    driver.finish(driver.confirm())
    records, replicates = read_records(driver.folder), read_replicates(driver.folder)
    assert [record.cell for record in records] == [cell for cell in CELLS for _ in range(2)]
    assert [record.state.name for record in (*records, *replicates)] == ["COMPLETE"] * 12
    for record in (*records, *replicates):
        level = record.spec.configuration.dataset
        assert level == record.spec.dataset == record.cell.split(",")[0].removeprefix("dataset=")
        assert record.facts is not None
        assert record.facts.data_hash == driver.images[level].content_hash
        assert record.facts.num_train_images == {"digits": 10, "photos": 3}[level] * int(record.cell[-1])
        assert record.test is None or record.test.num_images == {"digits": 359, "photos": 9}[level]
    photos = next(record for record in records if record.spec.dataset == "photos")
    assert photos.spec.data.dataset == f"folder:{driver.root}/photos"
    assert photos.facts is not None
    assert photos.facts.description is not None
    assert photos.spec.configuration == photos.facts.description.configuration  # resolved for 12 x 12 images in color
    assert trials_table(records)["dataset"].to_pylist() == ["digits"] * 4 + ["photos"] * 4
    assert start_tags(driver.tracker.starts[0])["dataset"] == "digits"
    assert rerun(TrialFile.from_record(photos), driver.dirs).outcome.difference == 0


def test_a_driver_that_ends_at_any_trial_is_followed_by_one_that_finishes_the_same_search(
    driver: Driver, tmp_path: Path
) -> None:
    driver.finish(driver.open())
    expected = [record.value for record in read_records(driver.folder)]
    other = Driver(tmp_path)
    other.folder = other.home.search("again")
    while (ledger := other.open()).num_left:
        assignment = ledger.assign()
        assert assignment is not None
        for message in other.train(assignment):
            ledger.on_message(assignment.trial_id, message)
        ledger.finish(assignment.trial_id)
        ledger.assign()  # its driver dies
    assert [record.value for record in read_records(other.folder)] == expected


def test_every_dataset_has_its_description_and_its_nested_subsets(driver: Driver) -> None:
    driver.open()
    datasets = read_search_datasets(driver.folder)
    assert {level: (each.dataset, each.num_images) for level, each in datasets.items()} == {
        "digits": ("digits", 1438),
        "photos": ("photos", 24),
    }
    manifests, damaged = scan_manifests(driver.folder)
    assert (len(manifests), damaged) == (4, [])
    for level in ("digits", "photos"):
        small, large = sorted(
            (manifest for manifest in manifests if manifest.level == level),
            key=lambda manifest: manifest.images_per_class or 0,
        )
        assert set(small.train.indices) < set(large.train.indices)
    assert [cell.num_train_images for cell in read_status(driver.folder).cells] == [20, 40, 6, 12]


def test_datasets_with_equal_indices_have_a_manifest_each(driver: Driver) -> None:
    write_photos(driver.root / "more", seed=1)
    driver.open('factors.dataset=["digits", "photos", "more"]', 'data.sources.more="folder:more"')
    manifests, damaged = scan_manifests(driver.folder)
    photos, more = ([m.train.hash for m in manifests if m.level == level] for level in ("photos", "more"))
    assert sorted(photos) == sorted(more)
    assert (len(manifests), damaged) == (6, [])


def test_a_round_has_the_hash_of_each_test_split_and_is_one_look_at_each(driver: Driver) -> None:
    driver.finish(driver.open())
    driver.confirm()
    (sealed,) = read_rounds(driver.folder)
    hashes = sealed.hash_by_dataset
    assert list(hashes) == ["digits", "photos"]
    assert len(set(hashes.values()) | {sealed.test_hash}) == 3
    for test_hash in hashes.values():
        assert len(read_looks(driver.home, test_hash).looks) == 1
    assert len(read_looks(driver.home, *hashes.values()).looks) == 1
    pick = {pick.cell: pick.configuration.dataset for pick in sealed.picks}
    assert pick == {cell: cell.split(",")[0].removeprefix("dataset=") for cell in CELLS}


def test_changed_test_images_of_one_dataset_are_refused_with_its_name(driver: Driver) -> None:
    driver.finish(driver.open())
    driver.confirm()
    (driver.root / "photos" / "test" / "cat" / "0.png").unlink()
    with pytest.raises(SearchError, match="test images of photos must be those of round 1"):
        driver.confirm()


def test_changed_training_images_of_one_dataset_are_refused_with_its_name(driver: Driver) -> None:
    driver.open()
    (driver.root / "photos" / "train" / "cat" / "0.png").unlink()
    with pytest.raises(SearchError, match=r"must have SHA-256 .* got .* \(photos\): they have changed"):
        driver.open()


def test_a_search_may_add_a_dataset_and_its_folders_may_move(driver: Driver) -> None:
    driver.open("factors.dataset=[digits]", "~data.sources")
    driver.open()
    assert list(read_search_datasets(driver.folder)) == ["digits", "photos"]
    (driver.root / "elsewhere").mkdir()
    (driver.root / "photos").rename(driver.root / "elsewhere" / "pictures")
    ledger = driver.open('data.sources.photos="folder:elsewhere/pictures"')
    driver.finish(ledger)
    places = {record.spec.data.dataset for record in read_records(driver.folder)}
    assert places == {"digits", f"folder:{driver.root}/elsewhere/pictures"}
    with pytest.raises(SearchError, match="factors"):
        driver.open("factors.dataset=[digits]", "~data.sources")


def test_a_folder_is_found_again_from_another_working_folder(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.open()
    (driver.root / "other").mkdir()
    monkeypatch.chdir(driver.root / "other")
    driver.open()


def test_a_rule_that_one_dataset_breaks_is_reported_once_with_its_name(driver: Driver) -> None:
    space_file = driver.space_file("factors.images_per_class=[2, 4, 100]", "parameters.patch_size={choice: [2, 5]}")
    with pytest.raises(SpaceFileError) as error:
        check_space(space_file, open_all_train_images(space_file.spec, driver.dirs))
    lines = error.value.lines
    assert sum("images_per_class must be at most 6" in line and "(dataset photos)" in line for line in lines) == 1
    assert sum("patch_size" in line and "(dataset digits)" in line for line in lines) == 1
    assert sum("patch_size" in line and "(dataset photos)" in line for line in lines) == 1


def test_two_levels_with_the_same_training_images_are_refused(driver: Driver) -> None:
    write_photos(driver.root / "copy")
    space_file = driver.space_file('factors.dataset=["digits", "photos", "copy"]', 'data.sources.copy="folder:copy"')
    with pytest.raises(SpaceFileError) as error:
        check_space(space_file, open_all_train_images(space_file.spec, driver.dirs))
    assert "must have different training images, got the same for photos and copy" in problems_of(error)


def test_a_condition_limits_a_subset_size_to_a_dataset(driver: Driver) -> None:
    overrides = ("~factors.images_per_class", "parameters.images_per_class={int: [2, 50], when: {dataset: [digits]}}")
    driver.open(*overrides)
    counts = {(manifest.level, manifest.images_per_class) for manifest in scan_manifests(driver.folder)[0]}
    assert {("digits", 2), ("digits", 50), ("photos", None)} <= counts
    assert ("photos", 50) not in counts


def test_a_plan_has_the_images_of_each_dataset_and_the_cost_of_each_cell(driver: Driver) -> None:
    plan = make_plan(driver.space_file(), driver.dirs, num_cpus=2, num_gpus=0)
    assert [(each.name, tuple(each.shape), each.num_classes) for each in plan.datasets] == [
        ("digits", (8, 8, 1), 10),
        ("photos", (12, 12, 3), 3),
    ]
    assert [cell.num_train_images for cell in plan.cells] == [(20, 20), (40, 40), (6, 6), (12, 12)]
    assert plan.disk.images == 1438 * (64 + 8) + 24 * (12 * 12 * 3 + 8)
    assert plan.disk.predictions is None  # the test images of a folder are not opened before a confirmation


def test_the_memory_of_a_gpu_is_planned_for_the_largest_dataset(driver: Driver) -> None:
    spec = driver.space_file().spec
    images = open_all_train_images(spec, driver.dirs)
    each = [largest_gpu_bytes(spec_of_dataset(spec, level), images) for level in dataset_levels(spec)]
    assert largest_gpu_bytes(spec, images) == max(each)
    assert each[0] != each[1]


def test_an_excluded_dataset_is_not_opened(driver: Driver) -> None:
    excluded = "exclude=[{dataset: photos}]"
    assert dataset_levels(driver.space_file(excluded).spec) == ("digits",)


def test_the_dataset_file_of_a_search_with_one_dataset_is_that_of_earlier_versions(driver: Driver) -> None:
    overrides = ("~factors.dataset", "~data.sources", "data.dataset=digits", "parameters.patch_size={value: 2}")
    space_file = driver.space_file(*overrides)
    images = open_all_train_images(space_file.spec, driver.dirs)
    datasets = describe_datasets(space_file.spec, images)
    commit_search(driver.folder, datasets, RecordReader(driver.folder), space_file)
    content = json.loads(driver.folder.dataset_files[0].read_bytes())
    assert list(content) == ["dataset", "data_hash", "num_images", "num_official", "num_official_test"]
    assert read_search_datasets(driver.folder) == datasets


def test_the_best_trial_is_that_of_a_cell_because_datasets_cannot_be_compared(driver: Driver) -> None:
    driver.finish(driver.open())
    with pytest.raises(SearchError, match=r"several datasets, whose values cannot be compared: give a cell \(dataset="):
        find_best_records(driver.folder)
    for cell in CELLS:
        assert find_best_records(driver.folder, cell=cell)[0].cell == cell
    assert best_of_search(read_records(driver.folder), driver.spec) is None


def test_a_calibration_times_configurations_of_every_dataset(driver: Driver) -> None:
    plan = make_plan(driver.space_file(), driver.dirs, num_cpus=2, num_gpus=0, calibrate_speed=True)
    assert plan.calibration is not None
    assert plan.calibration.held_out is not None
    timed = (*plan.calibration.fitted, plan.calibration.held_out.measured)
    assert len({measurement.flops for measurement in timed}) == 3  # two patch sizes of digits, and the photos


@pytest.mark.parametrize("wrong", ["train", "test"])
def test_a_node_with_other_images_of_one_dataset_is_refused_with_its_name(driver: Driver, wrong: str) -> None:
    spec = driver.space_file().spec
    train = open_all_train_images(spec, driver.dirs)
    hashes = {
        "train": {level: images.content_hash for level, images in train.items()},
        "test": {
            level: images.content_hash for level, images in open_all_test_images(spec, driver.dirs, train=train).items()
        },
    }
    marker = driver.root / "marker"
    marker.write_text("token")
    arguments = (str(marker), "token", spec.model_dump_json(by_alias=True), str(driver.dirs.cache), None)
    assert node_problem(*arguments, hashes["train"], hashes["test"]) is None
    hashes[wrong]["photos"] = "other"
    problem = node_problem(*arguments, hashes["train"], hashes["test"])
    assert str(problem).startswith("has other images than the driver of photos: ")


def test_a_worker_that_is_used_for_several_datasets_trains_as_a_new_one(driver: Driver) -> None:
    def assign(ledger: Ledger) -> dict[str, Any]:
        assignment = ledger.assign()
        assert assignment is not None
        dirs = {"cache": str(driver.dirs.cache), "data_dir": None}
        return {"assignment": assignment.model_dump_json(), "data_dirs": dirs}

    ledger = driver.open()
    configs = [assign(ledger) for _ in range(4)]
    reused = TrialActor(config=configs[0])
    for config in configs[1:]:
        reused.reset_config(config)
        new = TrialActor(config=config)
        for _ in range(2):
            one, other = (Message.model_validate_json(actor.step()["message"]) for actor in (reused, new))
            assert one.failure is None
            assert one.result is not None
            assert other.result is not None
            assert one.result.val_loss == other.result.val_loss


def test_the_exported_predictions_have_a_probability_per_class_of_the_dataset(driver: Driver) -> None:
    driver.finish(driver.open())
    driver.finish(driver.confirm())
    replicates = read_replicates(driver.folder)
    (path,) = write_predictions(driver.folder, replicates, driver.root)
    rows = pq.read_table(path).to_pylist()
    lengths = {row["replicate_id"].split(",")[0]: len(row["probabilities"]) for row in rows}
    assert lengths == {"dataset=digits": 10, "dataset=photos": 3}
    for record in replicates:
        own = [row for row in rows if row["replicate_id"] == record.trial_id]
        assert record.test is not None
        assert sum(row["label"] == row["predicted"] for row in own) / len(own) == record.test.accuracy
