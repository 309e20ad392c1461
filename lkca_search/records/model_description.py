"""Description of a kept model, as JSON beside its weights: origin, preprocessing, results and versions.

Both files may come from elsewhere. Reading them executes nothing: sizes, names and hashes are checked first, and no
path in them is used.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lkca_search.layout import MODEL, WEIGHTS, SearchFolder, check_name
from lkca_search.paths import AnyPath, list_paths, parse_path, set_aside
from lkca_search.records.finding import DamagedError, Finding, parse_stored, read_bounded_bytes
from lkca_search.records.provenance import LayerBackend, Provenance
from lkca_search.records.record import Record
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration, ImageShape, UsedPrecision
from lkca_search.spec.reading.limits import Limits

REMEDY = "restore both files of the model from a backup, or train it again by `lkca-search rerun`"
"""Remedy of a damaged model. It decides no result, so its replicate keeps its record."""
MAX_DESCRIPTION_BYTES = 16 << 20
"""Largest description that is read."""
_MAX_ID = 1_000
_MAX_SIDE = 1 << 14


def _check_id(text: str) -> str:
    """Return an id; it may be used as a path below a folder, so it must not lead out of it."""
    parts = text.split("/")
    if len(text) > _MAX_ID or not text.isprintable() or {"", ".", ".."}.intersection(parts):
        raise ValueError(f"an id must be a path of names, at most {_MAX_ID:,} characters, got {text[:_MAX_ID]!r}")
    return text


def _check_search(name: str) -> str:
    check_name(name)
    return name


_Id = Annotated[str, AfterValidator(_check_id)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ModelOrigin(FrozenModel):
    """Trial or replicate whose training gave a model."""

    search: Annotated[str, AfterValidator(_check_search)]
    """Name of the search."""
    uid: str | None
    """Unique id of the search; None if it is lost."""
    cell: _Id
    """Key of the cell."""
    trial_id: _Id
    """Id of the trial, CELL/NUMBER, or of the replicate, CELL/NUMBER/draw=D,seed=S."""
    round: int | None = None
    """Number of the round of confirmation; None for a trial."""
    draw: int = 0
    """Number of the subset draw."""
    seed: int | None = None
    """Number of the seed within the draw; None for a trial."""


class Normalization(FrozenModel):
    """Statistics of the training images by which every image is normalized: (pixel / 255 - mean) / std."""

    mean: tuple[float, ...]
    """Mean per channel, on the scale 0 to 1."""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    """Standard deviation per channel, on the same scale."""


class ModelDescription(ModelOrigin):
    """Everything about a kept model besides its weights: enough to build it, to classify images and to trace it."""

    version: Literal[1] = 1
    """Version of this format."""
    configuration: Configuration
    """Complete configuration: defaults of the family, a matched width, and the values of the sections."""
    dataset: str
    """Dataset as in the space file: a name in the catalog, or a path."""
    image_shape: ImageShape
    """Height and width of the images in pixels, and channels."""
    image_size: int | None = None
    """Side to which images were resized and center-cropped; None if they had their size already."""
    num_classes: Annotated[int, Field(ge=2)]
    """Number of classes."""
    class_names: tuple[str, ...]
    """Name of each class, in the order of the outputs."""
    normalization: Normalization
    """Mean and standard deviation of the channels of the training images."""
    num_train_images: int
    """Number of training images."""
    num_parameters: int
    """Learnable parameters."""
    data_hash: str
    """SHA-256 of the training split's pixels and labels."""
    subset_hash: str
    """SHA-256 of the indices of the training images; the manifest of this hash lists them."""
    test_hash: str | None = None
    """SHA-256 of the test split's pixels and labels; None for a trial, which is never tested."""
    metrics: Mapping[str, float]
    """Values after the last step by name: `val_accuracy`, and `test_accuracy` of a replicate."""
    precision: UsedPrecision
    """Type of matrix products and convolutions in the training and the test."""
    compiled: bool = False
    """True if torch.compile had compiled the model. A loaded model is not compiled: its numbers differ by rounding."""
    channels_last: bool = False
    """True if images and convolutions had their channels last in memory."""
    backends: tuple[LayerBackend, ...] = ()
    """Backend of each shape of LKCA layers."""
    provenance: Provenance
    """Code, versions and machine of the training."""
    packages: Mapping[str, str]
    """Versions of the packages that compute the model."""
    own_code: Mapping[str, str] = {}
    """Hash of each module of your own code that the training used."""
    weights_sha256: _Sha256 = "0" * 64
    """SHA-256 of the file of weights; zeros until it is written."""
    weights_bytes: Annotated[int, Field(ge=0)] = 0
    """Size of the file of weights; 0 until it is written."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        height, width, channels = self.image_shape
        if not (1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE and channels in (1, 3)):
            raise ValueError(f"image_shape must be height, width and 1 or 3 channels, got {tuple(self.image_shape)}")
        for name, values in self.normalization:
            if len(values) != channels:
                rule = f"normalization.{name} must have a value per channel, {channels}"
                raise ValueError(f"{rule}, got {len(values)}")
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names must have {self.num_classes} names, got {len(self.class_names)}")
        return self


def model_folder(folder: SearchFolder, record: Record) -> AnyPath:
    """Return the folder in which the model of a finished trial or replicate is kept, if it is."""
    return folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt)


def read_description(folder: AnyPath) -> ModelDescription:
    """Return the description of the model in a folder, within the limits of space files.

    Raises:
        DamagedError: The file is no description, or breaks a rule.
        FileNotFoundError: There is no description.
    """
    path = folder / MODEL
    content = read_bounded_bytes(path, sizes=range(1, MAX_DESCRIPTION_BYTES + 1), remedy=REMEDY)
    return parse_stored(content, path, ModelDescription, remedy=REMEDY, limits=Limits.from_environment())


def read_weights(folder: AnyPath, description: ModelDescription) -> bytes:
    """Return the content of the file of weights in a folder, which must be the described one.

    Raises:
        DamagedError: Its size or hash differs, or there is no such file.
    """
    path, size = folder / WEIGHTS, description.weights_bytes
    try:
        content = read_bounded_bytes(path, sizes=range(size, size + 1), remedy=REMEDY)
    except FileNotFoundError as error:
        damage = f"must be beside {MODEL}, got no such file"
        raise DamagedError(Finding(place=str(path), damage=damage, remedy=REMEDY)) from error
    if (found := hash_weights(content)) != description.weights_sha256:
        damage = f"must have the SHA-256 {description.weights_sha256} that {MODEL} states, got {found}"
        raise DamagedError(Finding(place=str(path), damage=damage, remedy=REMEDY))
    return content


def hash_weights(content: bytes) -> str:
    """Return the SHA-256 of a file of weights: equal weights have equal files."""
    return hashlib.sha256(content).hexdigest()


def list_models(folder: SearchFolder) -> list[AnyPath]:
    """Return the folders with a description of a model, of trials and of replicates. It takes two listings."""
    patterns = (f"*/*/attempt-*/{MODEL}", f"*/*/draw=*,seed=*/attempt-*/{MODEL}")
    return [path.parent for pattern in patterns for path in list_paths(folder.trials, pattern)]


def scan_models(folder: SearchFolder) -> list[Finding]:
    """Return a finding per damaged model of a search. Every file of weights is read."""
    findings = []
    for kept in list_models(folder):
        try:
            read_weights(kept, read_description(kept))
        except FileNotFoundError:
            continue  # a driver has removed it
        except DamagedError as error:
            findings.append(error.finding)
    return findings


def set_aside_model(finding: Finding) -> list[AnyPath]:
    """Rename both files of a damaged model, or the one that exists; return their new paths."""
    folder = parse_path(finding.place).parent
    return [set_aside(folder / name) for name in (MODEL, WEIGHTS) if (folder / name).exists()]
