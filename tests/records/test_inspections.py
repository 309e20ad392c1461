"""File of an inspection: round trip, damage, and the table of all replicates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lkca_search.layout import INSPECTION, Home, SearchFolder
from lkca_search.records.finding import DamagedError
from lkca_search.records.inspection.inspection import Inspection, group_limit
from lkca_search.records.inspection.inspection_file import (
    inspection_path,
    read_inspection,
    save_inspection,
    scan_inspections,
)
from lkca_search.records.inspection.kernel_table import write_kernels
from lkca_search.records.record import Record, State
from tests.support.inspections import make_inspection
from tests.support.records import make_replicate

MADE = make_inspection((1.0, 2.0), groups=3)


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return Home(root=tmp_path).search("made")


def save(folder: SearchFolder, record: Record, inspection: Inspection = MADE) -> Path:
    path = inspection_path(folder, record)
    assert isinstance(path, Path)
    save_inspection(inspection, path.parent, replicate_id=record.trial_id)
    return path


def test_an_inspection_is_equal_after_a_round_trip_through_its_file(folder: SearchFolder) -> None:
    record = make_replicate(0)
    save(folder, record)
    read = read_inspection(folder, record)
    assert read is not None
    assert (read.num_images, read.image_size, read.failures) == (MADE.num_images, MADE.image_size, ())
    for ours, other in zip(read.layers, MADE.layers, strict=True):
        assert (ours.kind, ours.layer, ours.name, ours.grid, ours.num_groups) == (
            *(other.kind, other.layer, other.name, other.grid, other.num_groups),
        )
        for name in ("weights", "energy", "mass"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(other, name))
    assert read.receptive_field is not None
    assert MADE.receptive_field is not None
    np.testing.assert_array_equal(read.receptive_field.energy, MADE.receptive_field.energy)
    assert read.receptive_field.center == MADE.receptive_field.center


def test_an_inspection_without_layers_and_field_keeps_its_reasons(folder: SearchFolder) -> None:
    record = make_replicate(0)
    empty = Inspection(
        layers=(), receptive_field=None, num_images=3, image_size=(8, 9), seconds=0.0, failures=("attention: broken",)
    )
    save(folder, record, empty)
    read = read_inspection(folder, record)
    assert read is not None
    assert (read.layers, read.receptive_field, read.failures) == ((), None, ("attention: broken",))


def test_replicates_without_a_file_or_without_a_test_are_left_out(folder: SearchFolder) -> None:
    failed = make_replicate(1, state=State.FAIL, test=None)
    save(folder, failed)
    assert scan_inspections(folder, [make_replicate(0), failed]) == ({}, [])
    assert write_kernels(folder, [make_replicate(0)], folder.root) == []


def change_values(path: Path) -> None:
    table = pq.read_table(path)
    energy = pa.array([[1.0]] * len(table), pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.column_names.index("energy"), "energy", energy), path)


def drop_metadata(path: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)


def drop_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns("weights"), path)


def add_infinity(path: Path) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["mass"][0] = float("inf")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [change_values, drop_metadata, drop_column, add_infinity, truncate])
def test_a_damaged_file_is_a_finding_and_others_are_read(folder: SearchFolder, damage: object) -> None:
    records = [make_replicate(0), make_replicate(1)]
    paths = [save(folder, record) for record in records]
    assert callable(damage)
    damage(paths[0])
    found, findings = scan_inspections(folder, records)
    assert list(found) == [records[1].trial_id]
    assert [finding.place for finding in findings] == [str(paths[0])]
    with pytest.raises(DamagedError, match="must be a Parquet file of an inspection"):
        read_inspection(folder, records[0])


def test_the_table_has_a_row_per_replicate_and_layer_or_field(folder: SearchFolder, tmp_path: Path) -> None:
    records = [make_replicate(0), make_replicate(1)]
    for record in records:
        save(folder, record)
    (path,) = write_kernels(folder, records, tmp_path / "tables")
    rows = pd.read_parquet(str(path))
    assert path == tmp_path / "tables" / "kernels.parquet"
    assert list(rows["kind"]) == ["kernel", "kernel", "receptive_field"] * 2
    assert list(rows["replicate_id"].unique()) == [record.trial_id for record in records]
    first, second = rows["radius_90"][0], rows["radius_90"][1]
    assert 1.4 <= first < second
    assert first / 8 == rows["radius_90_of_grid"][0]
    assert rows["unit"].tolist()[:3] == ["token", "token", "pixel"]
    assert len(rows["weights"][0]) == 3 * 15 * 15
    assert rows["profile"][0][-1] == pytest.approx(1)


def test_a_file_is_small_and_the_number_of_stored_groups_is_bounded(folder: SearchFolder) -> None:
    path = save(folder, make_replicate(0), make_inspection((2.0,) * 9, groups=1))
    assert path.name == INSPECTION
    assert path.stat().st_size < 100_000
    assert group_limit(9, (15, 15)) == 98
    assert group_limit(12, (127, 127)) == 1
