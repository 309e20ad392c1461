"""File of an inspection: `inspection.parquet` in the folder of a replicate's attempt, one row per layer or field."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lkca_search.faults import first_line
from lkca_search.layout import INSPECTION, SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.finding import READ_THREADS, DamagedError, Finding, read_stored_bytes
from lkca_search.records.inspection.inspection import Inspection, LayerMaps, Maps, ReceptiveField
from lkca_search.records.record import Record

_FIELD = "receptive_field"
"""Kind of the row of a receptive field."""
_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string()),
        pa.field("layer", pa.int32()),
        pa.field("name", pa.string()),
        pa.field("grid_height", pa.int32()),
        pa.field("grid_width", pa.int32()),
        pa.field("num_groups", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("center_row", pa.float64()),
        pa.field("center_column", pa.float64()),
        pa.field("cell", pa.int32()),
        pa.field("energy", pa.list_(pa.float32())),
        pa.field("mass", pa.list_(pa.float32())),
        pa.field("weights", pa.list_(pa.float32())),
    ]
)
_MAX_BYTES = 256 * 2**20
"""Largest file that is read. A training writes far smaller ones."""


def save_inspection(inspection: Inspection, attempt_folder: AnyPath, *, replicate_id: str) -> None:
    """Write the inspection of a replicate atomically into the folder of its attempt."""
    buffer = pa.BufferOutputStream()
    table = to_table(inspection)
    table = table.replace_schema_metadata({**table.schema.metadata, "replicate_id": replicate_id})
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(attempt_folder / INSPECTION, buffer.getvalue().to_pybytes())


def to_table(inspection: Inspection) -> pa.Table:
    """Return one row per layer, and one for the receptive field; the metadata has the rest as JSON."""
    field = inspection.receptive_field
    rows = [*map(_layer_row, inspection.layers), *([_field_row(field)] if field else [])]
    about = {
        "num_images": inspection.num_images,
        "image_size": inspection.image_size,
        "seconds": inspection.seconds,
        "failures": inspection.failures,
    }
    return pa.Table.from_pylist(rows, schema=_SCHEMA).replace_schema_metadata({"inspection": json.dumps(about)})


def inspection_path(folder: SearchFolder, replicate: Record) -> AnyPath:
    """Return the path of the inspection of a replicate; there may be no file."""
    return folder.trial(replicate.trial_id).attempt(driver=replicate.driver, attempt=replicate.attempt) / INSPECTION


def read_inspection(folder: SearchFolder, replicate: Record) -> Inspection | None:
    """Return the inspection of a replicate; None if it has none: it has failed, or is of an earlier version.

    Raises:
        DamagedError: The file is damaged.
    """
    found = _read(folder, replicate)
    if isinstance(found, Finding):
        raise DamagedError(found)
    return found


def scan_inspections(folder: SearchFolder, replicates: Sequence[Record]) -> tuple[dict[str, Inspection], list[Finding]]:
    """Return the inspections by replicate id, and a finding per damaged file; replicates without one are left out."""
    inspections, findings = {}, []
    for record, found in _read_all(folder, replicates):
        if isinstance(found, Finding):
            findings.append(found)
        elif found is not None:
            inspections[record.trial_id] = found
    return inspections, findings


def _read_all(
    folder: SearchFolder, replicates: Sequence[Record]
) -> Iterator[tuple[Record, Inspection | Finding | None]]:
    with ThreadPoolExecutor(READ_THREADS) as pool:
        yield from zip(replicates, pool.map(lambda record: _read(folder, record), replicates), strict=True)


def _read(folder: SearchFolder, replicate: Record) -> Inspection | Finding | None:
    if replicate.test is None:
        return None
    path = inspection_path(folder, replicate)
    remedy = f"restore it. `lkca-search repair {folder.name}` sets it aside: the replicate keeps its test result"
    try:
        content = read_stored_bytes(path, remedy=remedy)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        return error.finding
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        return from_table(pq.ParquetFile(pa.BufferReader(content)).read())
    # A damaged Parquet file raises errors of all these kinds.
    except (pa.ArrowException, ArithmeticError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        damage = f"must be a Parquet file of an inspection, got one that cannot be read ({first_line(error)})"
        return Finding(place=str(path), damage=damage, remedy=remedy)


def from_table(table: pa.Table) -> Inspection:
    """Return the inspection in a table of `to_table`; errors of several kinds if it is damaged."""
    about = json.loads(table.schema.metadata[b"inspection"])
    rows = list(_rows(table))
    fields = [_to_field(row) for row in rows if row["kind"] == _FIELD]
    height, width = about["image_size"]
    return Inspection(
        layers=tuple(_to_layer(row) for row in rows if row["kind"] != _FIELD),
        receptive_field=fields[0] if fields else None,
        num_images=int(about["num_images"]),
        image_size=(int(height), int(width)),
        seconds=float(about["seconds"]),
        failures=tuple(map(str, about["failures"])),
    )


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows; lists are arrays, because kernels per channel have hundreds of thousands of numbers."""
    lists = [name for name in table.column_names if pa.types.is_list(table.schema.field(name).type)]
    plain = table.drop_columns(lists).to_pylist()
    for index, row in enumerate(plain):
        values = ((name, table[name][index].values) for name in lists)
        yield {**row, **{name: None if found is None else found.to_numpy(False) for name, found in values}}


def _layer_row(layer: LayerMaps) -> dict[str, Any]:
    return {
        "kind": layer.kind,
        "layer": layer.layer,
        "num_groups": layer.num_groups,
        **shared_columns(layer),
        "mass": layer.mass.ravel(),
        "weights": layer.weights.ravel(),
    }


def _field_row(field: ReceptiveField) -> dict[str, Any]:
    center_row, center_column = field.center
    return {"kind": _FIELD, **shared_columns(field), "center_row": center_row, "center_column": center_column} | {
        "cell": field.cell
    }


def shared_columns(item: LayerMaps | ReceptiveField) -> dict[str, Any]:
    """Return the columns that rows of layers and of receptive fields have in common."""
    (grid_height, grid_width), (height, width) = item.grid, item.energy.shape
    return {
        "name": item.name,
        "grid_height": grid_height,
        "grid_width": grid_width,
        "height": height,
        "width": width,
        "energy": item.energy.ravel(),
    }


def _to_layer(row: dict[str, Any]) -> LayerMaps:
    if row["kind"] not in ("kernel", "attention"):
        raise ValueError(f"unknown kind {row['kind']!r}")
    return LayerMaps(
        kind=row["kind"],
        layer=int(row["layer"]),
        name=row["name"],
        grid=(row["grid_height"], row["grid_width"]),
        num_groups=int(row["num_groups"]),
        weights=_maps(row["weights"], (-1, row["height"], row["width"])),
        energy=_maps(row["energy"], (row["height"], row["width"])),
        mass=_maps(row["mass"], (row["height"], row["width"])),
    )


def _to_field(row: dict[str, Any]) -> ReceptiveField:
    return ReceptiveField(
        name=row["name"],
        grid=(row["grid_height"], row["grid_width"]),
        energy=_maps(row["energy"], (row["height"], row["width"])),
        center=(float(row["center_row"]), float(row["center_column"])),
        cell=int(row["cell"]),
    )


def _maps(values: Any, shape: tuple[int, ...]) -> Maps:
    """Return the values of a row as an array; ValueError if they do not fit the shape or are not finite."""
    array: Maps = np.asarray(values, dtype=np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite")
    return array
