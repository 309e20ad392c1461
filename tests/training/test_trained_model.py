"""Kept models: they give the predictions of their test back, and a hostile file is refused with nothing executed."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from lkca_search.data.store import Images
from lkca_search.errors import UserError
from lkca_search.layout import MODEL, WEIGHTS
from lkca_search.own_code import import_from
from lkca_search.paths import parse_path
from lkca_search.records.finding import DamagedError
from lkca_search.records.model_description import hash_weights, read_description
from lkca_search.training.images import DataDirs
from lkca_search.training.testing import open_test_images
from lkca_search.training.trained_model import load_trained, save_model, to_safetensors
from tests.support.models import DATA, train_model
from tests.support.object_store import running_object_store
from tests.support.own_code import write_broken

Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def images(data_dirs: DataDirs) -> Images:
    return open_test_images(DATA, data_dirs)


@pytest.fixture(scope="module")
def trained(data_dirs: DataDirs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a kept model."""
    folder = tmp_path_factory.mktemp("kept")
    train_model(folder, data_dirs)
    return folder


@pytest.fixture
def kept(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the kept model that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


def edit_description(folder: Path, **values: Any) -> None:
    content = json.loads((folder / MODEL).read_text())
    (folder / MODEL).write_text(json.dumps({**content, **values}))


def replace_weights(folder: Path, content: bytes) -> None:
    """Replace the weights, with a description that states their size and hash."""
    (folder / WEIGHTS).write_bytes(content)
    edit_description(folder, weights_sha256=hash_weights(content), weights_bytes=len(content))


# Round trip


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"ema_decay": 0.9},
        {"family": "resnet", "patch_size": None, "width": 8},
        {"family": "vit", "precision": "bfloat16"},
        {"match_parameters": 3000, "width": None},
    ],
    ids=["lkca", "average", "batch norm", "bfloat16", "matched width"],
)
def test_a_kept_model_gives_the_predictions_of_its_test_back(
    configuration: dict[str, Any], data_dirs: DataDirs, images: Images, tmp_path: Path
) -> None:
    description, test, predictions = train_model(tmp_path, data_dirs, **configuration)
    model = load_trained(tmp_path)
    assert model.description == description
    probabilities = model.predict_probabilities(images.pixels)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities.astype(np.float16), predictions.probabilities)
    np.testing.assert_array_equal(probabilities.argmax(1), predictions.predicted)
    assert (probabilities.argmax(1) == images.labels).mean() == test.accuracy == description.metrics["test_accuracy"]
    assert not model.module.training


def test_the_description_states_everything_that_classifies_an_image(trained: Path, images: Images) -> None:
    description = read_description(trained)
    assert description.class_names == images.class_names
    assert tuple(description.image_shape) == (8, 8, 1)
    assert len(description.normalization.mean) == len(description.normalization.std) == 1
    assert description.test_hash == images.content_hash
    assert description.configuration.kernel_size is not None, "defaults of the family are filled in"
    assert description.configuration.batch_size == 128
    assert description.configuration.dataset == description.dataset == "digits"
    assert (description.search, description.round, description.draw, description.seed) == ("made", 1, 1, 0)
    assert description.packages["torch"].startswith("2.")
    assert (trained / WEIGHTS).stat().st_size == description.weights_bytes


def test_equal_weights_have_equal_files(data_dirs: DataDirs, trained: Path, tmp_path: Path) -> None:
    again, *_ = train_model(tmp_path, data_dirs)
    assert again.weights_sha256 == read_description(trained).weights_sha256
    assert (tmp_path / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


def test_other_tools_read_the_weights(trained: Path) -> None:
    state = safetensors.torch.load_file(trained / WEIGHTS)
    assert state.keys() == load_trained(trained).module.state_dict().keys()


def test_a_model_is_found_by_its_folder_and_by_either_file(trained: Path) -> None:
    for path in (trained, trained / MODEL, trained / WEIGHTS, str(trained), f"file://{trained}"):
        assert load_trained(path).description == read_description(trained)


def test_loading_leaves_the_generators_alone(trained: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_trained(trained)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (np.zeros((2, 9, 8, 1), np.uint8), "got uint8 of shape (2, 9, 8, 1)"),
        (np.zeros((2, 8, 8, 1), np.float32), "got float32 of shape"),
        (np.zeros((8, 8, 1), np.uint8), "got uint8 of shape (8, 8, 1)"),
    ],
)
def test_images_of_another_shape_or_type_are_refused(trained: Path, wrong: Any, got: str) -> None:
    with pytest.raises(UserError, match=r"images must be uint8 of shape \(N, 8, 8, 1\)") as caught:
        load_trained(trained).predict_probabilities(wrong)
    assert got in str(caught.value)


def test_no_image_has_no_probabilities(trained: Path) -> None:
    assert load_trained(trained).predict_probabilities(np.zeros((0, 8, 8, 1), np.uint8)).shape == (0, 10)


def test_a_model_in_an_object_store_is_the_same(trained: Path, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    here = load_trained(trained)
    with running_object_store(monkeypatch) as url:
        folder = parse_path(url) / "attempt"
        assert save_model(folder, here.module, here.description) == here.description
        there = load_trained(folder)
        replace = bytearray((trained / WEIGHTS).read_bytes())
        replace[-1] ^= 1
        (folder / WEIGHTS).write_bytes(bytes(replace))
        with pytest.raises(DamagedError, match="SHA-256"):
            load_trained(str(folder))
    np.testing.assert_array_equal(there.predict_probabilities(images.pixels), here.predict_probabilities(images.pixels))


class Tied(nn.Module):
    """Model whose layers share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.other = nn.Linear(3, 3)
        self.other.weight = self.one.weight


def test_shared_tensors_are_stored_by_each_of_their_names() -> None:
    state = safetensors.torch.load(to_safetensors(Tied()))
    assert torch.equal(state["one.weight"], state["other.weight"])
    other = Tied()
    other.load_state_dict(state)
    assert torch.equal(other.other.weight, state["one.weight"])


class ExtraState(nn.Linear):
    """Model with a Python object in its state."""

    def get_extra_state(self) -> object:
        return {"steps": 3}


def test_a_state_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(UserError, match="got dict as _extra_state: keep it in a buffer"):
        to_safetensors(ExtraState(2, 2))
    with pytest.raises(UserError, match=r"types that safetensors has, got torch\.complex128"):
        to_safetensors(nn.ParameterList([torch.zeros(2, dtype=torch.complex128)]))


# Hostile and damaged files


class Executed:
    """Object whose pickle runs code when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def as_pickle(kept: Path) -> None:
    replace_weights(kept, pickle.dumps(Executed(kept.parent / "executed")))


def as_torch_file(kept: Path) -> None:
    torch.save(Executed(kept.parent / "executed"), kept / WEIGHTS)
    replace_weights(kept, (kept / WEIGHTS).read_bytes())


def truncate(kept: Path) -> None:
    content = (kept / WEIGHTS).read_bytes()
    (kept / WEIGHTS).write_bytes(content[: len(content) // 2])


def truncate_both(kept: Path) -> None:
    content = (kept / WEIGHTS).read_bytes()
    replace_weights(kept, content[: len(content) // 2])


def flip(kept: Path) -> None:
    content = bytearray((kept / WEIGHTS).read_bytes())
    content[-5] ^= 1
    (kept / WEIGHTS).write_bytes(bytes(content))


def header_beyond_the_file(kept: Path) -> None:
    replace_weights(kept, (2**62).to_bytes(8, "little") + b"{}")


def absurd_shapes(kept: Path) -> None:
    header = json.dumps({"head.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
    replace_weights(kept, len(header).to_bytes(8, "little") + header + b"0000")


def negative_offsets(kept: Path) -> None:
    header = json.dumps({"head.weight": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}).encode()
    replace_weights(kept, len(header).to_bytes(8, "little") + header + b"0000")


def other_names(kept: Path) -> None:
    state = safetensors.torch.load_file(kept / WEIGHTS)
    replace_weights(kept, safetensors.torch.save({f"../{name}": tensor for name, tensor in state.items()}))


def other_shapes(kept: Path) -> None:
    state = safetensors.torch.load_file(kept / WEIGHTS)
    replace_weights(kept, safetensors.torch.save({name: tensor[None] for name, tensor in state.items()}))


def other_types(kept: Path) -> None:
    state = safetensors.torch.load_file(kept / WEIGHTS)
    replace_weights(kept, safetensors.torch.save({name: tensor.double() for name, tensor in state.items()}))


def much_larger(kept: Path) -> None:
    edit_description(kept, weights_bytes=2**50)


def much_larger_with_a_file(kept: Path) -> None:
    with (kept / WEIGHTS).open("r+b") as file:
        file.truncate(1 << 40)  # a sparse file: it must not be read
    edit_description(kept, weights_bytes=1 << 40)


def large_description(kept: Path) -> None:
    with (kept / MODEL).open("r+b") as file:
        file.truncate(1 << 40)


def pipe_of_weights(kept: Path) -> None:
    (kept / WEIGHTS).unlink()
    os.mkfifo(kept / WEIGHTS)


def pipe_of_description(kept: Path) -> None:
    (kept / MODEL).unlink()
    os.mkfifo(kept / MODEL)


def folder_of_weights(kept: Path) -> None:
    (kept / WEIGHTS).unlink()
    (kept / WEIGHTS).mkdir()


def no_weights(kept: Path) -> None:
    (kept / WEIGHTS).unlink()


def no_json(kept: Path) -> None:
    (kept / MODEL).write_bytes(b"\x80\x04\x95")


def deep_json(kept: Path) -> None:
    (kept / MODEL).write_text("[" * 100_000)


def edit(**values: Any) -> Edit:
    return lambda kept: edit_description(kept, **values)


def edit_configuration(**values: Any) -> Edit:
    def apply(kept: Path) -> None:
        content = json.loads((kept / MODEL).read_text())
        edit_description(kept, configuration={**content["configuration"], **values})

    return apply


HOSTILE: dict[str, tuple[Edit, str]] = {
    "pickle": (as_pickle, "must have the tensors of the model"),
    "torch file": (as_torch_file, "must have the tensors of the model"),
    "truncated": (truncate, "model.safetensors is damaged: must have .* bytes, got"),
    "truncated with its description": (truncate_both, "must have the tensors of the model"),
    "flipped bit": (flip, "must have the SHA-256"),
    "header beyond the file": (header_beyond_the_file, "must have the tensors of the model"),
    "absurd shapes": (absurd_shapes, "must have the tensors of the model"),
    "negative offsets": (negative_offsets, "must have the tensors of the model"),
    "other names": (other_names, "tensors of the model are missing"),
    "other shapes": (other_shapes, "is .* torch.float32, not"),
    "other types": (other_types, "torch.float64, not"),
    "large size in the description": (much_larger, "weights_bytes must be at most"),
    "large files": (much_larger_with_a_file, "weights_bytes must be at most"),
    "large description": (large_description, "model.json is damaged: must have 1 to 16,777,216 bytes"),
    "pipe of weights": (pipe_of_weights, "must be a file, got a pipe"),
    "pipe of description": (pipe_of_description, "must be a file, got a pipe"),
    "folder of weights": (folder_of_weights, "must be a file, got a folder"),
    "no weights": (no_weights, "must be beside model.json, got no such file"),
    "no JSON": (no_json, "must be the JSON of a ModelDescription"),
    "deep JSON": (deep_json, "must be the JSON of a ModelDescription"),
    "search outside": (edit(search="../../outside"), "search: Value error, the name of a search must start with"),
    "trial outside": (edit(trial_id="../../outside"), "trial_id: Value error, an id must be a path of names"),
    "absolute trial": (edit(trial_id="/etc/passwd"), "trial_id: Value error, an id must be a path of names"),
    "cell outside": (edit(cell=".."), "cell: Value error, an id must be a path of names"),
    "unknown key": (edit(code="import os"), "code: Extra inputs are not permitted"),
    "other version": (edit(version=2), "version: Input should be 1"),
    "too few classes": (edit(num_classes=9), "class_names must have 9 names, got 10"),
    "many classes": (edit(num_classes=10**12), "class_names must have"),
    "huge images": (edit(image_shape=[10**9, 10**9, 1]), "image_shape must be height, width and 1 or 3 channels"),
    "no deviation": (edit(normalization={"mean": [0.5], "std": [0.0]}), "normalization.std"),
    "not a number": (edit(normalization={"mean": [float("nan")], "std": [0.5]}), "must be the JSON of"),
    "other channels": (edit(normalization={"mean": [0.5] * 3, "std": [0.5] * 3}), "must have a value per channel, 1"),
    "no hash": (edit(weights_sha256="../x"), "weights_sha256"),
    "negative size": (edit(weights_bytes=-1), "weights_bytes"),
    "huge width": (edit_configuration(width=10**12), "configuration.width"),
    "huge depth": (edit_configuration(depth=10**9), "configuration.depth"),
    "other width": (edit_configuration(width=24), "weights_bytes|is .* torch.float32, not"),
    "unknown family": (edit_configuration(family="nothing"), "cannot be built: unknown family 'nothing'"),
    "download": (edit_configuration(family="timm:hf-hub:evil/model"), "cannot be built: "),
    "broken rule": (edit_configuration(patch_size=3), "cannot be built: "),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_or_damaged_model_is_a_clear_error_and_executes_nothing(case: str, kept: Path) -> None:
    change, message = HOSTILE[case]
    change(kept)
    before = sorted(path.relative_to(kept.parent) for path in kept.parent.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        load_trained(kept)
    assert str(kept) in str(caught.value)
    assert sorted(path.relative_to(kept.parent) for path in kept.parent.rglob("*")) == before


def test_the_planted_pickle_would_execute(kept: Path) -> None:
    as_pickle(kept)
    pickle.loads((kept / WEIGHTS).read_bytes())
    assert (kept.parent / "executed").is_dir()


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / WEIGHTS):
        with pytest.raises(UserError, match=r"a model must be a folder with model\.json and model\.safetensors, got"):
            load_trained(path)


# Your own code


@pytest.fixture
def own(tmp_path: Path, data_dirs: DataDirs) -> Iterator[Path]:
    """Return the folder of a model of a family of your own, whose module is not imported any more."""
    code = tmp_path / "study"
    code.mkdir()
    write_broken(code)
    path = list(sys.path)
    import_from(code)
    folder = tmp_path / "model"
    train_model(folder, data_dirs, family="brokenlab.models.Good", patch_size=None, depth=None, width=8, ratio=0.25)
    forget()
    yield folder
    sys.path[:] = path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "brokenlab"]:
        del sys.modules[name]


def test_own_code_is_imported_only_if_the_caller_allows_it(own: Path) -> None:
    with pytest.raises(UserError, match=r"imports the module brokenlab\.models .* trust_own_code=True"):
        load_trained(own)
    assert "brokenlab" not in sys.modules
    model = load_trained(own, trust_own_code=True)
    assert model.predict_probabilities(np.zeros((1, 8, 8, 1), np.uint8)).shape == (1, 10)


def test_own_code_that_has_changed_is_refused(own: Path) -> None:
    edit_description(own, own_code={"brokenlab": "0" * 16})
    with pytest.raises(UserError, match="has another version of the module brokenlab") as caught:
        load_trained(own, trust_own_code=True)
    text = str(caught.value)
    assert "not 0000000000000000 as in its training. Restore that version of the module, or train" in text
    assert " --allow own-code --save FOLDER`" in text
    assert "driver" not in text


def test_no_object_of_a_library_stands_for_a_family(kept: Path) -> None:
    edit_configuration(family="os.mkdir")(kept)
    with pytest.raises(UserError, match="trust_own_code"):
        load_trained(kept)
    with pytest.raises(UserError, match=r"family os\.mkdir must take image_shape and num_classes"):
        load_trained(kept, trust_own_code=True)
