"""Exported models compute what the kept one computes, for any number of images, with the preprocessing inside."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lkca_search.errors import UserError
from lkca_search.inference import export
from lkca_search.inference.export import FORMATS, INPUT, ExportFormat, default_file, export_model
from lkca_search.inference.parity import BATCH_SIZES, check_parity, export_checked
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.registry import FAMILIES, build_model
from lkca_search.records.model_description import ModelDescription, Normalization
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.training.recipe.precision import Numerics
from lkca_search.training.trained_model import TrainedModel
from tests.support.models import ORIGIN
from tests.support.records import PROVENANCE

SHAPE = ImageShape(8, 8, 3)
CLASSES = tuple("abcde")
every_format = pytest.mark.parametrize("to", FORMATS)


def random_model(family: str, *, backend: str = "auto", **values: Any) -> TrainedModel:
    """Return a small model with random weights, also in kernels and norms, which start as constants."""
    configuration = Configuration.model_validate({"family": family, "width": 32, "depth": 1, **values})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build_model(configuration, SHAPE, len(CLASSES)).eval()
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.2)
    for layer in module.modules():
        if isinstance(layer, LKCA):
            layer.backend = backend  # type: ignore[assignment]
    description = ModelDescription(
        **ORIGIN.model_dump(),
        configuration=configuration,
        dataset="made",
        image_shape=SHAPE,
        num_classes=len(CLASSES),
        class_names=CLASSES,
        normalization=Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
        num_train_images=1,
        num_parameters=1,
        data_hash="d" * 64,
        subset_hash="s" * 64,
        metrics={},
        precision="float32",
        provenance=PROVENANCE,
        packages={},
    )
    return TrainedModel(module=module, description=description, numerics=Numerics(), device=torch.device("cpu"))


def images(count: int) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


@every_format
@pytest.mark.parametrize(
    ("family", "backend"),
    [("lkca", "conv"), ("lkca", "attention"), ("lkca_grouped", "fft"), ("vit", ""), ("resnet", "")],
)
def test_an_exported_model_equals_the_model_for_every_number_of_images(
    to: ExportFormat, family: str, backend: str
) -> None:
    model = random_model(family, backend=backend)
    exported = export_model(model, to)
    parity = check_parity(model, exported, images(40), origin="random")
    assert set(parity.probabilities) == set(BATCH_SIZES)
    assert parity.is_close, parity
    assert max(parity.probabilities.values()) < 1e-5
    for count in (3, 40):  # neither is a number of the check
        _, probabilities = exported.run(images(count))
        np.testing.assert_allclose(probabilities, model.predict_probabilities(images(count)), atol=1e-5)
    assert [layer.backend for layer in model.module.modules() if isinstance(layer, LKCA)] == [backend] * bool(backend)
    assert bool(exported.notes) == (backend == "fft")


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "timm:resnet18"])
def test_every_family_can_be_exported_to_onnx(family: str) -> None:
    """An ONNX file is made from the program of `torch_export`."""
    model = random_model(family) if family in FAMILIES else random_model(family, width=None, depth=None)
    parity = check_parity(model, export_model(model, "onnx"), images(32), origin="random")
    assert parity.is_close, parity


def test_an_onnx_file_has_plain_names_and_the_description(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = random_model("lkca", backend="attention")
    result = export_checked(model, "onnx", tmp_path / "model.onnx", None, name="made")
    assert result.parity.images == "random"
    assert result.num_bytes == (tmp_path / "model.onnx").stat().st_size
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == (INPUT, "tensor(uint8)", [8, 8, 3])
    assert isinstance(taken.shape[0], str)
    assert [output.name for output in session.get_outputs()] == ["logits", "probabilities"]
    details = session.get_modelmeta().custom_metadata_map
    assert json.loads(details["class_names"]) == list(CLASSES)
    assert ModelDescription.model_validate_json(details["model.json"]) == model.description


def test_a_torch_export_file_has_the_description_beside_the_program() -> None:
    model = random_model("lkca", backend="attention")
    files = {"model.json": "", "class_names": ""}
    torch.export.load(io.BytesIO(export_model(model, "torch_export").content), extra_files=files)
    assert ModelDescription.model_validate_json(files["model.json"]) == model.description


def test_a_model_that_differs_after_its_export_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = random_model("lkca", backend="conv"), random_model("lkca", backend="conv", kernel_size=3)
    exported = export_model(other, "torch_export")
    monkeypatch.setattr("lkca_search.inference.parity.export_model", lambda model, to: exported)
    result = export_checked(model, "torch_export", tmp_path / "model.pt2", None, name="made")
    assert not result.parity.is_close
    assert list(tmp_path.iterdir()) == []


class Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :5] * (1 if float(x.sum()) > 0 else 2)


@every_format
def test_a_model_that_cannot_be_traced_is_an_error_with_the_reason(to: ExportFormat) -> None:
    model = random_model("lkca")
    broken = TrainedModel(
        module=Untraceable(), description=model.description, numerics=model.numerics, device=model.device
    )
    with pytest.raises(UserError, match=r"family lkca must be a model that torch\.export can trace, got "):
        export_model(broken, to)


def test_missing_packages_are_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(UserError, match=r"needs the packages onnxscript: pip install onnxscript"):
        export.check_packages("onnx")
    export.check_packages("torch_export")


@pytest.mark.parametrize(
    ("trial_id", "name"),
    [
        ("family=lkca,data_fraction=0.1/3/draw=1,seed=0", "made-lkca-0.1-3-draw-1-seed-0"),
        ("family=lkca,data_fraction=0.1/12", "made-lkca-0.1-12"),
        ("all/3/draw=1,seed=0", "made-all-3-draw-1-seed-0"),
        ("dataset=folder:photos,family=vit/0", "made-folder_photos-vit-f4698ce4-0"),
        ("family=LKCA/0", "made-LKCA-d95b13a7-0"),
    ],
)
def test_the_default_file_of_a_model_names_its_cell_trial_draw_and_seed(trial_id: str, name: str) -> None:
    description = random_model("vit").description
    origin = {"search": "made", "cell": trial_id.partition("/")[0], "trial_id": trial_id}
    assert default_file(description.model_copy(update=origin), "onnx") == Path(f"{name}.onnx")


def test_default_files_are_legal_and_short_and_differ_between_models() -> None:
    description = random_model("vit").description
    cells = ["a=b-c,d=e", "a=b,d=c-e", "family=lkca", "family=LKCA", "k=<>:|?*", "k=\u00e9", f"k={'x' * 180}"]
    ids = [f"{cell}/{rest}" for cell in cells for rest in ("0", "1", "0/draw=1,seed=0", "0/draw=1,seed=1")]
    files = [default_file(description.model_copy(update={"trial_id": each}), "torch_export").name for each in ids]
    assert len({file.lower() for file in files}) == len(ids), "some file systems ignore upper and lower case"
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,160}\.pt2", file) for file in files)
