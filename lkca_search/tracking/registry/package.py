"""Files of a kept model as MLflow loads and serves them: weights, description and test predictions, and its `MLmodel`.

Nothing is pickled: MLflow's loader imports `LOADER`, which reads the weights and their description.
"""

import json
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlflow.models import Model, ModelSignature

from lkca_search.layout import MODEL, PREDICTIONS, WEIGHTS
from lkca_search.records.model_description import ModelDescription, read_weights
from lkca_search.tracking.registry.confirmed_models import ConfirmedModel

LOADER = "lkca_search.inference.served_model"
"""Module with the function `_load_pyfunc`, which MLflow calls with the path of the artifacts."""
_FLAVOR = "lkca_search"
_PACKAGE = "lkca-search"
_EXAMPLE = "input_example.json"
_SERVED_EXAMPLE = "serving_input_example.json"
_REQUIREMENTS = "requirements.txt"
_ENVIRONMENT = "python_env.yaml"


def write_package(model: ConfirmedModel, folder: Path, *, model_id: str, run_id: str, links: bool = False) -> None:
    """Write the artifacts of a model into a folder. A folder that an interrupted call has left may be used again.

    With `links`, the weights are a hard link to the kept file if the disk has them, so they take no space.

    Raises:
        DamagedError: The weights are not those of their description.
    """
    description = model.description
    _write_weights(model, folder / WEIGHTS, links=links)
    (folder / MODEL).write_bytes((model.folder / MODEL).read_bytes())
    with suppress(FileNotFoundError):
        (folder / PREDICTIONS).write_bytes((model.folder / PREDICTIONS).read_bytes())
    example = [example_image(*description.image_shape)]
    (folder / _EXAMPLE).write_text(json.dumps(example))
    (folder / _SERVED_EXAMPLE).write_text(json.dumps({"inputs": example}))
    (folder / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in _requirements(description)))
    # JSON is YAML.
    environment = {"python": platform.python_version(), "dependencies": [f"-r {_REQUIREMENTS}"]}
    (folder / _ENVIRONMENT).write_text(json.dumps(environment, indent=1) + "\n")
    described = Model(run_id=run_id, model_id=model_id, signature=signature_of(description))
    described.saved_input_example_info = {
        "artifact_path": _EXAMPLE,
        "serving_input_path": _SERVED_EXAMPLE,
        "type": "ndarray",
    }
    described.model_size_bytes = description.weights_bytes
    described.metadata = {"classes": list(description.class_names), "replicate": description.trial_id}
    # As by `mlflow.pyfunc.add_to_model`, whose import takes a second and prints a warning.
    described.add_flavor(
        "python_function",
        loader_module=LOADER,
        python_version=platform.python_version(),
        env={"virtualenv": _ENVIRONMENT},
    )
    described.add_flavor(_FLAVOR, weights=WEIGHTS, description=MODEL)
    described.save(str(folder / "MLmodel"))


def _write_weights(model: ConfirmedModel, target: Path, *, links: bool) -> None:
    content = read_weights(model.folder, model.description)
    target.unlink(missing_ok=True)
    kept = model.folder / WEIGHTS
    if links and isinstance(kept, Path):
        with suppress(OSError):  # another disk, or one without links
            os.link(kept, target)
            return
    target.write_bytes(content)


def signature_of(description: ModelDescription) -> ModelSignature:
    """Return the signature: images (N, H, W, C) as uint8, and probabilities (N, classes) as float32."""

    def tensor(dtype: str, *shape: int) -> str:
        return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}])

    return ModelSignature.from_dict(
        {"inputs": tensor("uint8", *description.image_shape), "outputs": tensor("float32", description.num_classes)}
    )


def example_image(height: int, width: int, channels: int) -> list[Any]:
    """Return an image (H, W, C) that gets brighter from corner to corner.

    It is of no dataset, whose license may forbid that its images are copied.
    """
    last = max(height + width - 2, 1)
    return [[[255 * (row + column) // last] * channels for column in range(width)] for row in range(height)]


def _requirements(description: ModelDescription) -> list[str]:
    """Return the packages that the loader imports, in the versions that trained the model."""
    try:
        own = [f"{_PACKAGE}=={version(_PACKAGE)}"]
    except PackageNotFoundError:  # the code is found by PYTHONPATH
        own = []
    return [*own, *(f"{name}=={found}" for name, found in description.packages.items())]
