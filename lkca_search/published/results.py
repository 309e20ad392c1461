"""Folder of published results: everything that a report and a comparison read, as four Parquet files.

A search's folder has one file per trial, all probabilities of each replicate, and its weights. Published results have
what `SearchResults` has, with fewer than 2 bytes per replicate and test image of 10 classes. A report that is made from
them equals the report of the search, except that it has no pictures of test images: others own them.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lkca_search.analysis.search_results import SearchResults, read_search_results
from lkca_search.errors import SearchError
from lkca_search.faults import first_line
from lkca_search.layout import PUBLISHED, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.published.tables import (
    inspections_table,
    predictions_table,
    read_inspections,
    read_predictions_table,
    read_records,
    records_table,
    splits_table,
)
from lkca_search.records.finding import DamagedError
from lkca_search.records.rounds import Round
from lkca_search.records.search.dataset import SearchDataset
from lkca_search.records.search.looks import Look, LookHistory, read_looks
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.search_spec import SearchSpec

PREDICTIONS = "predictions.parquet"
TEST_IMAGES = "test_images.parquet"
INSPECTIONS = "inspections.parquet"
"""Files after a confirmation, beside that of the records."""
_ABOUT = b"lkca.published"
"""Key in the metadata of the records."""


class _About(FrozenModel):
    """Everything besides records and predictions, in the metadata of `records.parquet`."""

    name: str
    uid: str
    spec: SearchSpec
    rounds: tuple[Round, ...]
    datasets: Mapping[str, SearchDataset]
    """Training images per level of the factor `dataset`; the level is empty in a search without this factor."""
    looks: tuple[Look, ...]
    """Looks at the same test images in the home of the search, when it was published."""
    present: tuple[str, ...]
    unreadable: tuple[str, ...]
    is_scored_by_class: bool
    """True if the leading metric is the mean of right predictions."""
    num_predictions: int
    """Replicates with predictions: rows of `predictions.parquet`."""
    num_inspections: int
    """Replicates with an inspection: rows of `inspections.parquet`."""


def publish_search(folder: SearchFolder, to: Path) -> list[Path]:
    """Write the results of a search into an existing folder; return the paths.

    Raises:
        DamagedError: A file of the search is damaged. Published results have no gaps that only their author can see.
    """
    results = read_search_results(folder)
    if results.findings:
        raise DamagedError(results.findings[0])
    hashes = results.rounds[-1].hash_by_dataset.values() if results.rounds else ()
    return write_published(results, read_looks(folder.home, *hashes), to)


def write_published(results: SearchResults, history: LookHistory, to: Path) -> list[Path]:
    """Write results, and all looks at their test images, into an existing folder, each file atomically."""
    about = _about(results, history).model_dump_json(by_alias=True)
    records = records_table([*results.trials, *results.replicates])
    tables = {PUBLISHED: records.replace_schema_metadata({_ABOUT: about})}
    if results.predictions:
        images = {each.images.data_hash: each.images for each in results.predictions.values()}
        found = predictions_table(results.predictions, with_scores=results.image_scores is not None)
        tables |= {PREDICTIONS: found, TEST_IMAGES: splits_table(images)}
    if results.inspections:
        tables[INSPECTIONS] = inspections_table(results.inspections)
    for name, table in tables.items():
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd", compression_level=15)
        write_atomically(to / name, buffer.getvalue().to_pybytes())
    for name in {PREDICTIONS, TEST_IMAGES, INSPECTIONS} - tables.keys():  # of an earlier state of the search
        (to / name).unlink(missing_ok=True)
    return [to / name for name in tables]


def read_published(folder: Path) -> tuple[SearchResults, LookHistory]:
    """Return published results, and the looks at their test images.

    Raises:
        SearchError: A file is damaged or missing, or a later version wrote it.
    """
    try:
        return _read(folder)
    except (pa.ArrowException, ArithmeticError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        if isinstance(error, SearchError):
            raise
        reason = f"{error.error_count()} fields" if isinstance(error, ValidationError) else first_line(error)
        raise SearchError(
            f"published results must be the Parquet files that `lkca-search publish` writes, got {folder}, which cannot"
            f" be read ({reason}); publish the search again, or restore the files"
        ) from error


def _about(results: SearchResults, history: LookHistory) -> _About:
    return _About(
        name=results.name,
        uid=results.uid,
        spec=results.spec,
        rounds=tuple(results.rounds),
        datasets={level or "": dataset for level, dataset in results.datasets.items()},
        looks=tuple(history.looks),
        present=tuple(sorted(history.present)),
        unreadable=tuple(history.unreadable),
        is_scored_by_class=results.image_scores is None,
        num_predictions=len(results.predictions),
        num_inspections=len(results.inspections),
    )


def _read(folder: Path) -> tuple[SearchResults, LookHistory]:
    table = pq.read_table(folder / PUBLISHED)
    about = _About.model_validate_json((table.schema.metadata or {})[_ABOUT])
    trials, replicates = read_records(table)
    predictions, inspections = {}, {}
    if about.num_predictions:
        found, images = _read_table(folder / PREDICTIONS, about.num_predictions), pq.read_table(folder / TEST_IMAGES)
        predictions = read_predictions_table(found, images, scored_by_class=about.is_scored_by_class)
    if about.num_inspections:
        inspections = read_inspections(_read_table(folder / INSPECTIONS, about.num_inspections))
    scores = {replicate: each.scores for replicate, each in predictions.items() if each.scores is not None}
    results = SearchResults(
        name=about.name,
        spec=about.spec,
        trials=trials,
        replicates=replicates,
        rounds=about.rounds,
        correct={replicate: each.correct for replicate, each in predictions.items()},
        image_scores=None if about.is_scored_by_class else scores,
        predictions=predictions,
        inspections=inspections,
        uid=about.uid,
        datasets={level or None: dataset for level, dataset in about.datasets.items()},
    )
    history = LookHistory(looks=about.looks, present=frozenset(about.present), unreadable=about.unreadable)
    return results, history


def _read_table(path: Path, num_rows: int) -> pa.Table:
    table = pq.read_table(path)
    if len(table) != num_rows:
        raise ValueError(f"{path.name} must have {num_rows} rows, got {len(table)}")
    return table
