"""Parquet tables of a search: one row per trial, per replicate, and per result of either."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from lkca_search.paths import AnyPath, open_input, write_atomically
from lkca_search.records.provenance import Provenance
from lkca_search.records.record import Record, Result, State, TestResult, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, Configuration
from lkca_search.spec.metrics import METRICS, name_of


def trials_table(records: Sequence[Record]) -> pa.Table:
    """Return one row per trial: identity, outcome, last result, configuration, metadata and provenance."""
    schema = pa.schema([*_with_own(_TRIALS, _own_names(records)), *_own_hyperparameters(records)])
    return pa.Table.from_pylist(_cast([_trial_row(record) for record in records], schema), schema=schema)


def curves_table(records: Sequence[Record]) -> pa.Table:
    """Return one row per result of each trial or replicate."""
    schema = _with_own(_CURVES, _own_names(records))
    results = [result for record in records for result in record.curve]
    columns: dict[str, list[Any]] = {}  # by column: a row would be a dict per result, and take five times as long
    for name in schema.names:
        if name in _IDENTITY:
            columns[name] = [getattr(record, name) for record in records for _ in record.curve]
        elif name in _RESULT:
            columns[name] = [getattr(result, name) for result in results]
        else:
            columns[name] = [result.metrics.get(name) for result in results]
    return pa.Table.from_pydict(columns, schema=schema)


def replicates_table(replicates: Sequence[Record]) -> pa.Table:
    """Return one row per replicate: the columns of a trial, its trial and seed number, and its test result.

    `replicate_id` is its `trial_id` in the table of curves, and `of_trial` is the trial whose configuration it has.
    """
    rows = []
    for record in replicates:
        assert record.replicate is not None
        test = {**record.test.model_dump(exclude={"metrics"}), **record.test.metrics} if record.test else {}
        ids = {"replicate_id": record.trial_id, "of_trial": record.replicate.of, "seed_number": record.replicate.seed}
        row = {**_trial_row(record), **ids, **{f"test_{name}": value for name, value in test.items()}}
        del row["trial_id"]
        rows.append(row)
    own = _own_names(replicates)
    schema = _with_own(_REPLICATES, [*own, *(f"test_{name}" for name in own)])
    schema = pa.schema([*schema, *_own_hyperparameters(replicates)])
    return pa.Table.from_pylist(_cast(rows, schema), schema=schema)


def write_tables(
    records: Sequence[Record], replicates: Sequence[Record], folder: AnyPath, *, only_changed: bool = False
) -> list[AnyPath]:
    """Write `trials.parquet`, `curves.parquet` and, if there are replicates, `replicates.parquet`; return their paths.

    Each file is written atomically. The curves of replicates are in `curves.parquet` too. With `only_changed`, files
    with the rows of exactly these records are left: each file states a hash of the records from which it was made.
    """
    tables: dict[str, Callable[[], Any]] = {
        "trials": lambda: trials_table(records),
        "curves": lambda: curves_table([*records, *replicates]),
    }
    if replicates:
        tables["replicates"] = lambda: replicates_table(replicates)
    content = _hash_records([*records, *replicates])
    for name, make_table in tables.items():
        path = folder / f"{name}.parquet"
        if only_changed and _stated_hash(path) == content:
            continue
        buffer = pa.BufferOutputStream()
        pq.write_table(make_table().replace_schema_metadata({_CONTENT: content}), buffer)
        write_atomically(path, buffer.getvalue().to_pybytes())
    return [folder / f"{name}.parquet" for name in tables]


def _hash_records(records: Sequence[Record]) -> bytes:
    """Return a hash of everything that decides the tables: records, and the columns of this version."""
    digest = hashlib.sha256(repr([_TRIALS, _CURVES, _REPLICATES]).encode())
    for record in records:
        digest.update(record.model_dump_json().encode())
    return digest.hexdigest().encode()


def _stated_hash(path: AnyPath) -> bytes | None:
    """Return the hash in a table; None if there is no such file, if it is no table, or another version wrote it."""
    try:
        with open_input(path) as file:
            return (pq.read_schema(file).metadata or {}).get(_CONTENT)
    except (OSError, pa.ArrowException):
        return None


def write_rows(rows: Mapping[str, Sequence[Mapping[str, Any]]], folder: AnyPath) -> list[AnyPath]:
    """Write each table of rows as `NAME.parquet`, atomically; return the paths. A column without values has floats."""
    for name, found in rows.items():
        table = pa.Table.from_pylist(list(found))
        empty = [index for index, column in enumerate(table.schema.types) if pa.types.is_null(column)]
        for index in empty:
            table = table.set_column(index, table.column_names[index], table.column(index).cast(pa.float64()))
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_atomically(folder / f"{name}.parquet", buffer.getvalue().to_pybytes())
    return [folder / f"{name}.parquet" for name in rows]


def _trial_row(record: Record) -> dict[str, Any]:
    return {
        **_values(record, (*_IDENTITY, *_OUTCOME)),
        "seed": record.spec.seed,
        "split_seed": record.spec.split_seed,
        **_values(record.spec.complete_configuration, _CONFIGURATION),
        **record.spec.configuration.own,
        **({**_values(record.curve[-1], _LAST_RESULT), **record.curve[-1].metrics} if record.curve else {}),
        **(_values(record.facts, _METADATA) if record.facts else {}),
        **(_values(record.facts.provenance, _PROVENANCE) if record.facts else {}),
    }


def _values(model: FrozenModel, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(model, name) for name in names}


def _own_names(records: Sequence[Record]) -> list[str]:
    """Return the dotted paths of the own metrics of trainings, sorted: columns after those of the registry."""
    return sorted({name_of(metric) for record in records for metric in record.spec.metrics} - METRICS.keys())


def _with_own(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([*schema, *(pa.field(name, pa.float64()) for name in names)])


def _own_hyperparameters(records: Sequence[Record]) -> list[pa.Field]:
    """Return a column per name of a family of your own; it has strings if the values have several types."""
    kinds: dict[str, set[type]] = {}
    for record in records:
        for name, value in record.spec.configuration.own.items():
            kinds.setdefault(name, set()).add(type(value))
    types = {frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64()}
    types |= {frozenset({float}): pa.float64(), frozenset({int, float}): pa.float64()}
    return [pa.field(name, types.get(frozenset(kinds[name]), pa.string())) for name in sorted(kinds)]


def _cast(rows: list[dict[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the rows with text in the columns of text."""
    texts = {field.name for field in schema if field.type == pa.string()}
    return [
        {name: str(value) if name in texts and value is not None else value for name, value in row.items()}
        for row in rows
    ]


def _fields(model: type[FrozenModel], names: Sequence[str] | None = None) -> list[pa.Field]:
    return [pa.field(name, _arrow_type(model.model_fields[name].annotation)) for name in names or model.model_fields]


def _arrow_type(annotation: Any) -> pa.DataType:
    """Return the column type of a field: the first type that its annotation allows besides None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    for option in get_args(annotation):
        if option is not type(None):
            return _arrow_type(option)
    kind = annotation if isinstance(annotation, type) else type(annotation)
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), State: pa.string()}
    return types[kind]


_CONTENT = b"lkca.records"
"""Key of the hash of the records in the metadata of a table."""
_WITHOUT_COLUMN = ("provenance", "description", "damaged_checkpoints", "nondeterministic", "backends")
"""Fields of the metadata without a column of their own: they are nested or lists."""
_METADATA = tuple(name for name in TrialMetadata.model_fields if name not in _WITHOUT_COLUMN)
_PROVENANCE = tuple(name for name in Provenance.model_fields if name != "packages")
_CONFIGURATION = tuple(name for name in NAMES if name != "samples")  # the column `samples` is the number seen
_TEST = ("num_images", "data_hash", "loss", "accuracy")
_OUTCOME = ("attempt", "driver", "state", "metric", "value", "error", "started", "finished")
_LAST_RESULT = ("step", "epoch", "samples", "seconds", "train_loss", "val_loss", "val_accuracy")
_RESULT = tuple(name for name in Result.model_fields if name != "metrics")
_IDENTITY = ("trial_id", "search", "cell", "number")
_IDENTITY_FIELDS = _fields(Record, _IDENTITY)
_FURTHER = [name for name, metric in METRICS.items() if metric.source == "result" and name not in Result.model_fields]
"""Metrics of the registry that are keys of `Result.metrics`. A column is empty where they were not measured."""
_FURTHER_FIELDS = [pa.field(name, pa.float64()) for name in _FURTHER]
_CURVES = pa.schema([*_IDENTITY_FIELDS, *_fields(Result, _RESULT), *_FURTHER_FIELDS])
_TRIALS = pa.schema(
    [
        *_IDENTITY_FIELDS,
        *_fields(Record, _OUTCOME),
        *_fields(TrialSpec, ("seed", "split_seed")),
        *_fields(Configuration, _CONFIGURATION),
        *_fields(Result, _LAST_RESULT),
        *_FURTHER_FIELDS,
        *_fields(TrialMetadata, _METADATA),
        *_fields(Provenance, _PROVENANCE),
    ]
)
_REPLICATES = pa.schema(
    [
        pa.field("replicate_id", pa.string()),
        pa.field("of_trial", pa.string()),
        *(field for field in _TRIALS if field.name != "trial_id"),
        pa.field("seed_number", pa.int64()),
        *(field.with_name(f"test_{field.name}") for field in _fields(TestResult, _TEST)),
        *(pa.field(f"test_{METRICS[name].test_field}", pa.float64()) for name in _FURTHER),
    ]
)
COLUMNS = frozenset([*_TRIALS.names, *_REPLICATES.names, *_CURVES.names])
"""Columns of every search. A name of a family of your own must not be one of them."""
