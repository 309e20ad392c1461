"""Artifacts of a home that was moved or copied: MLflow stores absolute locations, which then are out of date."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lkca_search.layout import Home
from lkca_search.paths import file_url
from lkca_search.tracking.connection import experiment_name
from lkca_search.tracking.database import connect, transaction

_OWN_EXPERIMENTS = """
SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE 'file:///%' AND (name = ? OR EXISTS (
    SELECT 1 FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
    WHERE runs.experiment_id = experiments.experiment_id AND tags.key = 'lkca.search_uid'))
"""

_MODEL_LOCATIONS = (
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Table and column with the absolute location of a model."""


def relocate_artifacts(home: Home) -> list[Path]:
    """Point the default store of a home at the artifacts in this home; return the former folders, if any.

    Experiments of searches get the present folder. A run whose artifacts are only in a former folder, which still
    exists, keeps its location. Other experiments are not changed.
    """
    present = home.mlflow_artifacts
    with closing(connect(home.mlflow_database)) as database:
        locations = [row[0] for row in database.execute(_OWN_EXPERIMENTS, [experiment_name()])]
        former = {location: Path(unquote(urlsplit(location).path)) for location in locations}
        moved = {
            location: folder
            for location, folder in former.items()
            if folder.name == present.name and folder != present and not _is_same_folder(folder, present)
        }
        for location, folder in moved.items():
            prefix = f"{location}/"
            with transaction(database):
                rows = database.execute(
                    "SELECT run_uuid, artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ?",
                    [len(prefix), prefix],
                ).fetchall()
                below = [(uri.removeprefix(prefix), run_id) for run_id, uri in rows]
                runs = [
                    (f"{file_url(present)}/{path}", run_id)
                    for path, run_id in below
                    if (present / unquote(path)).exists() or not (folder / unquote(path)).exists()
                ]
                database.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", runs)
                for table, column in _MODEL_LOCATIONS:
                    _relocate(database, table, column, prefix, folder, present)
                database.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
                    [file_url(present), location],
                )
    return list(moved.values())


def _relocate(database: sqlite3.Connection, table: str, column: str, prefix: str, former: Path, present: Path) -> None:
    """Replace the former folder in the locations of models whose artifacts are in the present folder."""
    rows = database.execute(
        f"SELECT DISTINCT {column} FROM {table} WHERE substr({column}, 1, ?) = ?", [len(prefix), prefix]
    ).fetchall()
    below = [uri.removeprefix(prefix) for (uri,) in rows]
    moved = [
        (f"{file_url(present)}/{path}", f"{prefix}{path}")
        for path in below
        if (present / unquote(path)).exists() or not (former / unquote(path)).exists()
    ]
    database.executemany(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", moved)


def _is_same_folder(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
