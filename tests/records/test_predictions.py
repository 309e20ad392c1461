"""Test predictions of replicates: the file of each, and reading many."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import AnyPath, open_input
from lkca_search.records.predictions import (
    Predictions,
    read_correct,
    read_predictions,
    save_predictions,
    write_predictions,
)
from lkca_search.records.record import Record, State
from tests.support.object_store import running_object_store
from tests.support.records import make_predictions, make_replicate


def attempt_folder(folder: SearchFolder, record: Record) -> AnyPath:
    return folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt)


def save(folder: SearchFolder, record: Record, predictions: Predictions) -> None:
    save_predictions(predictions, attempt_folder(folder, record), replicate_id=record.trial_id)


@pytest.fixture(params=["disk", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchFolder]:
    if request.param == "disk":
        yield Home(root=tmp_path).search("made")
        return
    with running_object_store(monkeypatch) as bucket:
        yield Home(root=tmp_path).search("made").with_storage(bucket)


@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_predictions_are_equal_after_a_round_trip_through_their_file(folder: SearchFolder, num_classes: int) -> None:
    record, written = make_replicate(0), make_predictions(0, num_classes=num_classes)
    save(folder, record, written)
    read = read_predictions(folder, record)
    assert read is not None
    for name in ("labels", "predicted", "probabilities"):
        ours, other = getattr(read, name), getattr(written, name)
        assert (ours.dtype, ours.shape, ours.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert read.data_hash == written.data_hash


def test_correct_images_are_read_by_replicate_and_those_without_a_file_are_left_out(folder: SearchFolder) -> None:
    records = [make_replicate(seed, driver=2, attempt=1 + seed % 3) for seed in range(40)]
    written = {record.trial_id: make_predictions(record.attempt) for record in records[1:]}
    for record in records[1:]:
        save(folder, record, written[record.trial_id])
    correct = read_correct(folder, records)
    assert list(correct) == [record.trial_id for record in records[1:]]
    for replicate_id, predictions in written.items():
        assert correct[replicate_id].dtype == np.bool_
        np.testing.assert_array_equal(correct[replicate_id], predictions.predicted == predictions.labels)
    assert read_predictions(folder, records[0]) is None


def test_predictions_of_an_attempt_without_a_record_are_not_read(tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search("made")
    record = make_replicate(0, attempt=2)
    save(folder, record.model_copy(update={"attempt": 1}), make_predictions(1))
    assert read_correct(folder, [record]) == {}


def test_a_failed_replicate_has_no_predictions_even_if_its_worker_died_after_the_test(tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search("made")
    record = make_replicate(0, state=State.FAIL, test=None)
    save(folder, record, make_predictions(1))
    assert read_predictions(folder, record) is None
    assert read_correct(folder, [record]) == {}


def test_an_export_has_the_rows_of_each_replicate_in_a_row_group_of_its_own(folder: SearchFolder) -> None:
    records = [make_replicate(seed) for seed in range(20)]
    written = {record.trial_id: make_predictions(seed) for seed, record in enumerate(records) if seed != 3}
    for record in records:
        if record.trial_id in written:
            save(folder, record, written[record.trial_id])
    to = folder.trials.parent / "tables"
    (path,) = write_predictions(folder, records, to)
    assert path == to / "predictions.parquet"
    with open_input(path) as file:
        groups = pq.ParquetFile(file)
        assert groups.num_row_groups == len(written) == 19
        rows = groups.read().to_pandas()
    assert list(rows.columns) == ["replicate_id", "image", "label", "predicted", "probabilities"]
    assert list(dict.fromkeys(rows["replicate_id"])) == list(written)
    for replicate_id, own in rows.groupby("replicate_id"):
        expected = written[str(replicate_id)]
        assert list(own["image"]) == list(range(50))
        np.testing.assert_array_equal(own["label"], expected.labels)
        np.testing.assert_array_equal(own["predicted"], expected.predicted)
        np.testing.assert_array_equal(np.stack(own["probabilities"]), expected.probabilities)


def test_an_export_without_predictions_writes_no_file(tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search("made")
    assert write_predictions(folder, [make_replicate(0)], tmp_path / "tables") == []
    assert write_predictions(folder, [], tmp_path / "tables") == []
    assert not (tmp_path / "tables").exists()


def test_an_export_that_fails_leaves_the_earlier_file(folder: SearchFolder) -> None:
    records = [make_replicate(0), make_replicate(1)]
    save(folder, records[0], make_predictions(0))
    (path,) = write_predictions(folder, records, folder.trials)
    content = path.read_bytes()
    save(folder, records[1], make_predictions(1, num_classes=3))
    with pytest.raises(pa.ArrowException):
        write_predictions(folder, records, folder.trials)
    assert path.read_bytes() == content


def test_the_file_has_one_row_per_image_and_names_its_replicate_and_images(tmp_path: Path) -> None:
    folder, record, predictions = Home(root=tmp_path).search("made"), make_replicate(0), make_predictions(0)
    save(folder, record, predictions)
    (path,) = tmp_path.rglob("*.parquet")
    assert path.name == "predictions.parquet"
    schema = pq.read_schema(path)
    assert {field.name: field.type for field in schema} == {
        "image": pa.int32(),
        "label": pa.uint16(),
        "predicted": pa.uint16(),
        "probabilities": pa.list_(pa.float16(), 10),
    }
    ids = {b"replicate_id": record.trial_id.encode(), b"test_data_hash": b"t" * 64}
    assert schema.metadata == {**ids, b"class_names": b"[]"}
    rows = pd.read_parquet(path)
    assert list(rows["image"]) == list(range(50))
    np.testing.assert_array_equal(np.stack(rows["probabilities"]), predictions.probabilities)
