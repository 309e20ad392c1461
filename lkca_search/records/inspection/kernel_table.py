"""Table of all inspections of a search: `kernels.parquet`, one row per replicate and layer or receptive field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.finding import Finding
from lkca_search.records.inspection.inspection import Inspection
from lkca_search.records.inspection.inspection_file import scan_inspections, shared_columns
from lkca_search.records.inspection.measures import field_columns, layer_columns
from lkca_search.records.record import Record

KERNELS = "kernels.parquet"
"""Name of the table with the inspections of all replicates of a search."""
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("replicate_id", "search", "cell", "family")),
        *(pa.field(name, pa.int64()) for name in ("num_train_images", "draw", "seed_number")),
        pa.field("kind", pa.string()),
        pa.field("layer", pa.int64()),
        pa.field("name", pa.string()),
        *(pa.field(name, pa.int64()) for name in ("num_groups", "grid_height", "grid_width", "height", "width")),
        pa.field("unit", pa.string()),
        *(
            pa.field(name, pa.float64())
            for name in ("radius_90", "radius_90_of_grid", "mass_radius_90", "flat_radius_90")
        ),
        pa.field("profile", pa.list_(pa.float64())),
        pa.field("energy", pa.list_(pa.float32())),
        pa.field("weights", pa.list_(pa.float32())),
    ]
)


def write_kernels(
    folder: SearchFolder, replicates: Sequence[Record], to: AnyPath, *, damaged: list[Finding] | None = None
) -> list[AnyPath]:
    """Write `kernels.parquet` into `to` from the files of the replicates; return its path.

    Without inspections, there is no file and no path. Damaged files are left out, and added to `damaged`.
    """
    inspections, findings = scan_inspections(folder, replicates)
    if damaged is not None:
        damaged += findings
    return save_kernels(inspections, replicates, to)


def save_kernels(inspections: Mapping[str, Inspection], replicates: Sequence[Record], to: AnyPath) -> list[AnyPath]:
    """Write `kernels.parquet` from inspections by replicate id; return its path, or nothing if there are none."""
    if not inspections:
        return []
    buffer = pa.BufferOutputStream()
    pq.write_table(kernels_table(inspections, replicates), buffer, compression="zstd")
    write_atomically(to / KERNELS, buffer.getvalue().to_pybytes())
    return [to / KERNELS]


def kernels_table(inspections: Mapping[str, Inspection], replicates: Sequence[Record]) -> pa.Table:
    """Return one row per replicate and layer, and one per receptive field.

    Radii are in tokens for layers and in pixels for receptive fields. `profile` is the share of the energy within 0, 1,
    2, ... of them. `energy` is (height, width) and `weights` (groups, height, width), row by row.
    """
    rows = [
        {**_identity(record), **row}
        for record in replicates
        if record.trial_id in inspections
        for row in _rows(inspections[record.trial_id])
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _identity(record: Record) -> dict[str, Any]:
    return {
        "replicate_id": record.trial_id,
        "search": record.search,
        "cell": record.cell,
        "family": record.spec.configuration.family,
        "num_train_images": record.facts.num_train_images if record.facts else None,
        "draw": record.replicate.draw if record.replicate else None,
        "seed_number": record.replicate.seed if record.replicate else None,
    }


def _rows(inspection: Inspection) -> Iterator[dict[str, Any]]:
    for layer in inspection.layers:
        yield {**shared_columns(layer), **layer_columns(layer)}
    if (field := inspection.receptive_field) is not None:
        yield {**shared_columns(field), **field_columns(field, min(inspection.image_size))}
