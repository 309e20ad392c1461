"""A search with every kind of file that a driver writes, made without training."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import text

from lkca_search.data.store import Images
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.predictions import save_predictions
from lkca_search.records.record import Record, RecordReader, TestResult
from lkca_search.records.search.dataset import SearchDataset, write_search_datasets
from lkca_search.records.search.looks import register_looks
from lkca_search.records.stored_spec import read_spec
from lkca_search.records.tables import write_tables
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.driver.trial_files import restore_studies
from lkca_search.search.housekeeping.files import list_files
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.manifests import split_seed, write_manifests
from lkca_search.search.state.resume import commit_space_file
from lkca_search.search.studies.study import open_storage
from lkca_search.seeds import derive_seed
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.spec.space_file import SpaceFile, read_space_file
from tests.support.records import SPACE, make_predictions, make_record

TEST_HASH = "t" * 64
DATA_HASH = "d" * 64


def make_stored_search(name: str, *overrides: str) -> SearchFolder:
    """Make a confirmed search of two cells in the home of the environment, with one interrupted trial."""
    home = Home.from_environment()
    parsed = _read(["factors.family=[lkca]", "search.trials_per_cell=2", *overrides])
    folder = home.search(name).with_storage(parsed.spec.storage)
    with hold_lease(folder):
        commit_space_file(folder, parsed)
    spec = read_spec(folder)
    records = [_with_seeds(make_record(0, data_fraction=part, search=name), spec) for part in (0.1, 1.0)]
    for record in records:
        _write(folder, record)
    write_manifests(spec, {None: _images()}, folder)
    write_search_datasets(folder, {None: SearchDataset(dataset="digits", data_hash=DATA_HASH, num_images=100)})
    _confirm(folder, spec, records, home)
    interrupted = folder.trial(f"{records[0].cell}/1").attempt(driver=1, attempt=1)
    write_atomically(interrupted / "checkpoint-00000010.pt", b"x" * 5000)
    write_atomically(folder.exhausted / records[1].cell, b"")
    reader = RecordReader(folder)
    write_tables(reader.trials(), reader.replicates(), folder.root)
    with hold_lease(folder):
        storage = open_storage(find_database(folder))
        restore_studies(folder, spec, storage, reader)
        storage.remove_session()
        storage.engine.dispose()
    return folder


def _confirm(folder: SearchFolder, spec: SearchSpec, records: list[Record], home: Home) -> None:
    sealed = open_round(
        folder, spec, ConfirmSection(draws=1, seeds=1), records, test_hashes={None: TEST_HASH}, num_trials_left=2
    )
    register_looks(folder, home)
    for pick, replication in sealed.replications():
        score = TestResult(num_images=50, data_hash=TEST_HASH, loss=1.0, accuracy=0.5)
        values = {"trial_id": replication.replicate_id, "replicate": replication, "test": score}
        record = make_record(0, data_fraction=pick.configuration.data_fraction or 0, **values, search=folder.name)
        attempt = folder.trial(record.trial_id).attempt(driver=1, attempt=1)
        save_predictions(make_predictions(0), attempt, replicate_id=record.trial_id)
        _write(folder, record)


def _read(overrides: list[str]) -> SpaceFile:
    with TemporaryDirectory() as folder:
        space = Path(folder) / "made.yaml"
        space.write_text(SPACE)
        return read_space_file(space, overrides)


def contents(folder: AnyPath) -> dict[str, bytes]:
    """Return the content of each file below a folder."""
    return {file.name: (folder / file.name).read_bytes() for file in list_files(folder)}


def trained(folder: SearchFolder) -> dict[str, bytes]:
    """Return the content of each file of a search that training and confirmation have written.

    A process that is killed while it writes a file leaves a hidden one, which nothing reads.
    """
    kept = ("predictions.parquet", "rounds/", "subsets/", "exhausted/", ".json", "uid")
    folders = [folder.root, *([folder.storage] if folder.storage else [])]
    return {
        f"{i}/{name}": content
        for i, each in enumerate(folders)
        for name, content in contents(each).items()
        if any(part in name for part in kept) and not name.startswith(".")
    }


def num_studies(folder: SearchFolder) -> int:
    """Return the number of Optuna studies in a search's ledger."""
    engine = find_database(folder).engine()
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM studies")).scalar_one())
    finally:
        engine.dispose()


def _write(folder: SearchFolder, record: Record) -> None:
    path = folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt) / "record.json"
    write_atomically(path, record.model_dump_json().encode())


def _with_seeds(record: Record, spec: SearchSpec) -> Record:
    seeds = {"seed": derive_seed(spec.search.seed, "trial", record.number), "split_seed": split_seed(spec)}
    return record.model_copy(update={"spec": record.spec.model_copy(update=seeds)})


def _images() -> Images:
    pixels, labels = np.zeros((200, 8, 8, 1), np.uint8), np.arange(200) % 4
    return Images(name="digits", pixels=pixels, labels=labels, class_names=tuple("abcd"), content_hash=DATA_HASH)
