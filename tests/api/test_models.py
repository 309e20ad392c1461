"""Kept models by the library: found by place, cell, draw and seed; they predict what their tests predicted."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lkca_search import SearchError, TrainedModel, UserError, load_model, load_search, predict
from lkca_search.layout import MODEL, WEIGHTS, Home
from lkca_search.paths import parse_path, write_atomically
from lkca_search.records.predictions import read_predictions
from lkca_search.spec.sections import DataSection
from lkca_search.training.images import DataDirs
from lkca_search.training.testing import open_test_images
from tests.support.kept_search import REPLICATE, make_kept_search
from tests.support.object_store import running_object_store
from tests.support.records import CELL, make_replicate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with the search `made`, which has one tested replicate with its model."""
    home = tmp_path_factory.mktemp("kept") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LKCA_SEARCH_HOME", str(home))
        make_kept_search("made")
    return home


@pytest.fixture
def kept(trained: Path) -> Path:
    """Return the folder of the model, in a home of its own."""
    shutil.copytree(trained, str(Home.from_environment().root))
    (model,) = Path(str(Home.from_environment().search("made").root)).rglob(MODEL)
    return model.parent


@pytest.fixture
def digits(kept: Path) -> NDArray[np.uint8]:
    data_dirs = DataDirs(cache=Home.from_environment().datasets, data_dir=None)
    return np.array(open_test_images(DataSection(dataset="digits"), data_dirs).pixels)


def places(kept: Path) -> dict[str, str | Path]:
    return {
        "folder": kept,
        "text": str(kept),
        "file": kept / WEIGHTS,
        "file URL": f"file://{kept}",
        "search": "made",
        "cell": f"made/{CELL}",
        "replicate": f"made/{REPLICATE}",
    }


def test_a_model_is_loaded_from_each_kind_of_place(kept: Path, digits: NDArray[np.uint8]) -> None:
    search = load_search("made")
    stored = read_predictions(search.folder, search.replicate_records[0])
    assert stored is not None
    models = [load_model(place) for place in places(kept).values()]
    models += [search.model(CELL), search.model(CELL, 1, 0), search.model(CELL, draw=1, number=0)]
    for model in models:
        assert isinstance(model, TrainedModel)
        assert np.array_equal(model.predict_probabilities(digits).astype(np.float16), stored.probabilities)


def test_a_model_is_loaded_from_an_object_store(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_object_store(monkeypatch) as bucket:
        folder = parse_path(bucket.replace("?", "/models/best?"))
        for name in (MODEL, WEIGHTS):
            write_atomically(folder / name, (kept / name).read_bytes())
        assert load_model(str(folder)).description == load_model(kept).description


def test_loading_and_predicting_change_no_setting_of_torch(kept: Path, digits: NDArray[np.uint8]) -> None:
    def settings() -> tuple[object, ...]:
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.initial_seed()

    before, state = settings(), torch.get_rng_state()
    predict(load_model(kept), digits[:3])
    assert settings() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_predictions_are_those_of_the_search(kept: Path, digits: NDArray[np.uint8]) -> None:
    frame, stored = predict(load_model(kept), digits), load_search("made").predictions
    assert frame["predicted"].tolist() == stored["predicted"].tolist()
    assert np.array_equal(np.stack(frame["probabilities"]).astype(np.float16), np.stack(stored["probabilities"]))
    assert frame["name"].tolist() == frame["predicted"].astype(str).tolist()
    assert np.allclose(frame["probability"], [row.max() for row in frame["probabilities"]])
    assert frame["image"].tolist()[:2] == ["image 0", "image 1"]


def test_files_arrays_and_images_of_pillow_have_equal_predictions(
    kept: Path, digits: NDArray[np.uint8], tmp_path: Path
) -> None:
    model, few = load_model(kept), digits[:3]
    folder = tmp_path / "images"
    folder.mkdir()
    images = [Image.fromarray(pixels[..., 0]) for pixels in few]
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    expected = np.stack(predict(model, few)["probabilities"])
    named = [str(folder), [folder / f"{number}.png" for number in range(3)]]
    for given in (
        *named,
        images,
        list(few),
        [pixels[..., 0] for pixels in few],
        [image.convert("RGB") for image in images],
    ):
        frame = predict(model, given)
        assert np.array_equal(np.stack(frame["probabilities"]), expected)
    assert predict(model, str(folder))["image"].tolist() == [str(folder / f"{number}.png") for number in range(3)]
    assert len(predict(model, few[0])) == len(predict(model, images[0])) == len(predict(model, folder / "0.png")) == 1


def test_larger_images_are_sized_alike_in_memory_and_as_files(
    kept: Path, digits: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = load_model(kept)
    large = np.kron(digits[:2, ..., 0], np.ones((1, 5, 5), dtype=np.uint8)).astype(np.uint8)
    for number, pixels in enumerate(large):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    frames = [
        predict(model, given) for given in (large[..., None], list(large), [tmp_path / "0.png", tmp_path / "1.png"])
    ]
    first, *others = (np.stack(frame["probabilities"]) for frame in frames)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(
    ("images", "rule"),
    [
        ([], "images must have at least one image, got none"),
        (np.zeros((8, 8), dtype=np.float32), r"an array must be uint8 .* got float32 of shape \(8, 8\) \(image 0\)"),
        (np.zeros((1, 8, 8, 4), dtype=np.uint8), r"an array must be uint8 .* got uint8 of shape \(8, 8, 4\)"),
        ([7], "an image must be a path, an image of Pillow or a uint8 array .* got int"),
        (Image.new("CMYK", (8, 8)), "an image of Pillow must have one of the modes .* got CMYK: convert it first"),
        (Image.new("RGB", (8, 8), "red"), r"an image must be gray .* \(image 0\)"),
        ("nowhere.png", "nowhere.png, which does not exist"),
    ],
)
def test_images_that_cannot_be_classified_are_refused(kept: Path, images: object, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        predict(load_model(kept), images)


def test_a_missing_model_is_an_error_that_names_those_there(kept: Path, tmp_path: Path) -> None:
    search = load_search("made")
    with pytest.raises(SearchError, match=f"has no finished replicate with draw 2; finished: {REPLICATE}"):
        search.model(CELL, draw=2)
    with pytest.raises(SearchError, match="has no cell 'lkca'; its cells: family=lkca"):
        search.model("lkca")
    with pytest.raises(UserError, match="has no kept model"):
        search.model(CELL.replace("lkca", "vit"))
    with pytest.raises(UserError, match=f"there is no .*{MODEL}|in which there is no {MODEL}|a folder without"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="must be a model that MLflow can give"):
        load_model("models:/nothing@champion")
    with pytest.raises(UserError, match="model must be a loaded model, got str"):
        predict("made", [])  # type: ignore[arg-type]
    (kept / WEIGHTS).write_bytes((kept / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(SearchError, match="is damaged: must have"):
        search.model(CELL)
    assert make_replicate(0).trial_id == REPLICATE
