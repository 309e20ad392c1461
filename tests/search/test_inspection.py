"""Inspection of replicates afterwards, from their kept models."""

from pathlib import Path

import numpy as np
import pytest

from lkca_search.layout import SearchFolder
from lkca_search.records.inspection.inspection_file import inspection_path, read_inspection
from lkca_search.records.model_description import model_folder
from lkca_search.records.record import Record
from lkca_search.search.inspection import inspect_search
from lkca_search.training.images import DataDirs
from lkca_search.training.trained_model import load_trained
from tests.support.models import train_model
from tests.support.records import make_replicate, make_search


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory: pytest.TempPathFactory) -> DataDirs:
    return DataDirs(cache=tmp_path_factory.mktemp("datasets"), data_dir=None)


@pytest.fixture
def kept(tmp_path: Path, data_dirs: DataDirs, monkeypatch: pytest.MonkeyPatch) -> tuple[SearchFolder, Record]:
    """Return a search with three replicates: with a model, with a model of other images, without a model."""
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path))
    replicates = [make_replicate(seed) for seed in range(3)]
    folder = make_search("made")
    trained = model_folder(folder, replicates[0])
    assert isinstance(trained, Path)
    _, test, _ = train_model(trained, data_dirs, kernel_size=5, kernel_init="normal")
    replicates[0] = replicates[0].model_copy(update={"test": test})
    other = model_folder(folder, replicates[1])
    assert isinstance(other, Path)
    other.mkdir(parents=True)
    for file in trained.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    for record in replicates:
        path = inspection_path(folder, record).parent / "record.json"
        assert isinstance(path, Path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json())
    return folder, replicates[0]


def test_kept_models_are_inspected_once_and_others_have_their_reason(
    kept: tuple[SearchFolder, Record], data_dirs: DataDirs
) -> None:
    folder, record = kept
    before = {path: path.read_bytes() for path in Path(str(folder.trials)).rglob("record.json")}
    outcome = inspect_search(folder, data_dirs)
    assert (outcome.num_inspected, outcome.num_present) == (1, 0)
    images, model = outcome.problems
    assert "the images must be those of the test, with hash tttttttttttt" in images
    assert "a model must be a folder with model.json and model.safetensors" in model
    inspection = read_inspection(folder, record)
    assert inspection is not None
    kernel = load_trained(model_folder(folder, record)).module.state_dict()["blocks.0.mixer.kernel"]
    np.testing.assert_array_equal(inspection.layers[0].weights, kernel.numpy())
    assert inspection.receptive_field is not None
    again = inspect_search(folder, data_dirs)
    assert (again.num_inspected, again.num_present, len(again.problems)) == (0, 1, 2)
    assert {path: path.read_bytes() for path in Path(str(folder.trials)).rglob("record.json")} == before
