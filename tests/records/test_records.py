"""Records and their Parquet tables."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lkca_search.records.record import Record, RecordReader, State, TestResult, read_records
from lkca_search.records.tables import curves_table, replicates_table, trials_table, write_tables
from lkca_search.records.trial import Replication
from lkca_search.spec.metrics import OwnMetric
from tests.support.records import CELL, FACTS, PROVENANCE, make_record, make_result, make_search

FURTHER = ("val_top5_accuracy", "val_balanced_accuracy", "val_calibration_error", "val_macro_auroc")
RECORDS = [
    make_record(0),
    make_record(1, family="vit", accuracy=0.75),
    make_record(2, state=State.PRUNED, curve=(make_result(10, 0.25),), value=0.25),
    make_record(3, state=State.FAIL),
]


def test_a_record_is_equal_after_a_round_trip_through_json() -> None:
    for record in RECORDS:
        assert Record.model_validate_json(record.model_dump_json()) == record


def test_the_trials_table_has_one_row_per_trial_and_one_column_per_value() -> None:
    table = trials_table(RECORDS)
    assert table.num_rows == len(RECORDS)
    assert len(set(table.column_names)) == table.num_columns
    first = table.to_pylist()[0]
    record = RECORDS[0]
    last = record.curve[-1]
    assert first == {
        **{name: getattr(record, name) for name in ("trial_id", "search", "cell", "number", "attempt", "driver")},
        **{name: getattr(record, name) for name in ("metric", "value", "error", "started", "finished")},
        "state": "COMPLETE",
        "seed": 2**32 - 1,
        "split_seed": 7,
        **record.spec.configuration.model_dump(exclude={"samples"}),
        "dataset": "digits",
        "augment": "crop",
        "batch_size": 128,
        "steps": 20,
        "beta2": 0.999,
        **last.model_dump(exclude={"learning_rate", "time", "metrics"}),
        **dict.fromkeys(FURTHER),
        **FACTS.model_dump(
            exclude={"provenance", "description", "damaged_checkpoints", "nondeterministic", "backends"}
        ),
        **PROVENANCE.model_dump(exclude={"packages"}),
    }
    assert first["learning_rate"] == record.spec.configuration.learning_rate != last.learning_rate


def test_missing_values_are_null_in_the_trials_table() -> None:
    lkca, vit, pruned, failed = trials_table(RECORDS).to_pylist()
    assert (lkca["kernel_size"], vit["kernel_size"]) == (3, None)
    assert lkca["pooling"] is vit["pooling"] is None
    assert (pruned["state"], pruned["step"], pruned["val_accuracy"]) == ("PRUNED", 10, 0.25)
    unknown = ["value", "step", "val_accuracy", "model", "flops", "subset_hash", "git_commit", "device", "num_threads"]
    assert all(failed[name] is None for name in unknown)
    assert failed["error"] == "Traceback [red]\nRuntimeError: broken"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("trial_id", pa.string()),
        ("number", pa.int64()),
        ("state", pa.string()),
        ("value", pa.float64()),
        ("error", pa.string()),
        ("dataset", pa.string()),
        ("seed", pa.int64()),
        ("data_fraction", pa.float64()),
        ("draw", pa.int64()),
        ("kernel_size", pa.int64()),
        ("pooling", pa.string()),
        ("learning_rate", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("match_parameters", pa.int64()),
        ("kernel_init", pa.string()),
        ("position_embedding", pa.bool_()),
        ("model", pa.string()),
        ("num_parameters", pa.int64()),
        ("flops", pa.int64()),
        ("activation_bytes", pa.int64()),
        ("num_threads", pa.int64()),
    ],
)
def test_a_column_has_its_type_for_any_rows(column: str, kind: pa.DataType) -> None:
    for records in ([], RECORDS[3:], RECORDS):
        assert trials_table(records).schema.field(column).type == kind


def test_the_curves_table_has_one_row_per_result() -> None:
    table = curves_table(RECORDS)
    assert len(set(table.column_names)) == table.num_columns
    assert table.to_pylist() == [
        {
            **{name: getattr(record, name) for name in ("trial_id", "search", "cell", "number")},
            **result.model_dump(exclude={"metrics"}),
            **dict.fromkeys(FURTHER),
        }
        for record in RECORDS
        for result in record.curve
    ]
    assert curves_table([]).schema == table.schema


def test_each_further_metric_has_a_column_in_every_table() -> None:
    own = OwnMetric(name="mylab.metrics.brier", direction="minimize")
    measured = {"val_top5_accuracy": 0.9, "mylab.metrics.brier": 0.2}
    result = make_result(10, 0.5).model_copy(update={"metrics": measured})
    test = TestResult(
        num_images=10,
        data_hash="t" * 64,
        loss=1.0,
        accuracy=0.5,
        metrics={"macro_auroc": 0.7, "mylab.metrics.brier": 0.3},
    )
    replication = Replication(of=f"{CELL}/1", draw=2, seed=0)
    plain = make_record(1)
    spec = plain.spec.model_copy(update={"metrics": ("val_accuracy", own)})
    record = plain.model_copy(update={"spec": spec, "curve": (result,)})
    replicate = record.model_copy(update={"replicate": replication, "trial_id": replication.replicate_id, "test": test})
    for table in (trials_table([plain, record]), curves_table([plain, record])):
        rows = table.to_pylist()
        assert rows[-1] | measured | {"val_macro_auroc": None} == rows[-1]
        assert rows[0]["mylab.metrics.brier"] is None
    (row,) = replicates_table([replicate]).to_pylist()
    assert (row["test_macro_auroc"], row["test_mylab.metrics.brier"], row["test_top5_accuracy"]) == (0.7, 0.3, None)
    assert (row["val_top5_accuracy"], row["mylab.metrics.brier"]) == (0.9, 0.2)
    assert Record.model_validate_json(replicate.model_dump_json()) == replicate


def test_an_id_means_the_same_in_every_table() -> None:
    replication = Replication(of=f"{CELL}/1", draw=2, seed=0)
    replicate = make_record(1, replicate=replication, trial_id=replication.replicate_id)
    (row,) = replicates_table([replicate]).to_pylist()
    assert "trial_id" not in row  # in the other tables, it is the id of the row's own trial or replicate
    assert row["of_trial"] == trials_table([make_record(1)]).to_pylist()[0]["trial_id"]
    assert {row["replicate_id"]} == {point["trial_id"] for point in curves_table([replicate]).to_pylist()}


def test_tables_are_equal_after_a_round_trip_through_parquet_and_leave_no_other_file(tmp_path: Path) -> None:
    assert write_tables(RECORDS[:1], (), tmp_path / "new") == write_tables(RECORDS, (), tmp_path / "new")
    trials, curves = write_tables(RECORDS, (), tmp_path / "new")
    assert pq.read_table(trials).equals(trials_table(RECORDS))
    assert pq.read_table(curves).equals(curves_table(RECORDS))
    assert sorted(path.name for path in trials.parent.iterdir()) == ["curves.parquet", "trials.parquet"]


def test_records_of_finished_trials_are_read_by_cell_and_number() -> None:
    records = [make_record(number) for number in (10, 9, 0)] + [make_record(2, family="vit")]
    folder = make_search("made", records)
    folder.trial(f"{CELL}/11").attempt(driver=1, attempt=1).mkdir(parents=True)
    assert [(record.cell, record.number) for record in read_records(folder)] == [
        (CELL, 0),
        (CELL, 9),
        (CELL, 10),
        ("family=vit,data_fraction=0.1", 2),
    ]
    assert RecordReader(folder).find(f"{CELL}/9") == records[1]
    assert RecordReader(folder).find(f"{CELL}/11") is None
    assert RecordReader(folder).find("nowhere/0") is None


def test_tables_of_the_same_records_are_left_and_all_others_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "tables"

    def written(records: Sequence[Record]) -> list[str]:
        paths = write_tables(RECORDS, (), folder)
        for path in paths:
            os.utime(path, (1, 1))
        return [path.name for path in write_tables(records, (), folder, only_changed=True) if path.stat().st_mtime != 1]

    edited = [RECORDS[0].model_copy(update={"value": 0.123}), *RECORDS[1:]]
    assert written(RECORDS) == []
    assert written(RECORDS[:-1]) == written(edited) == ["trials.parquet", "curves.parquet"]
    (folder / "trials.parquet").write_bytes(b"damaged")
    write_tables(RECORDS, (), folder, only_changed=True)
    assert pq.read_table(folder / "trials.parquet").equals(trials_table(RECORDS))
