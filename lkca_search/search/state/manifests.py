"""Manifests of a search: the images that its trials train on, with the hashes that identify them in records."""

import hashlib
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, list_paths, set_aside, write_atomically
from lkca_search.records.finding import DamagedError, Finding, read_stored, read_stored_bytes
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import SUBSET_NAMES, Configuration, Scalar
from lkca_search.spec.domains import may_hold
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection

if TYPE_CHECKING:
    from lkca_search.data.store import Images
    from lkca_search.data.subsets import Indices

Size = tuple[str | None, float | None, int | None, int]
"""dataset, data_fraction, images_per_class and draw. They determine the images that a trial trains on."""


class ImageSubset(FrozenModel):
    """Subset of the images of a training split."""

    num_images: int
    hash: str
    """SHA-256 of the indices: `subset_hash` or `validation_hash` in a trial's record."""
    class_counts: tuple[int, ...]
    """Number of images per class, in order of labels."""
    indices: tuple[int, ...]
    """Positions in the training split, in ascending order."""


class Manifest(FrozenModel):
    """Images of all trials with the same subset size and the same draw."""

    dataset: str
    """Dataset in the catalog, or its path."""
    level: str | None = None
    """Level of the factor `dataset`; None in a search without this factor."""
    data_hash: str
    """SHA-256 of the pixels and labels of the training split."""
    data_fraction: float | None
    """Fraction of the images that are not in validation; None if the size is given as images per class."""
    images_per_class: int | None
    draw: int
    train: ImageSubset
    """Images to train on."""
    validation: ImageSubset
    """Images held out for validation; none of them is in `train`."""

    @property
    def size(self) -> Size:
        """Values that determine the images."""
        return self.level, self.data_fraction, self.images_per_class, self.draw


def make_manifest(images: "Images", data: DataSection, configuration: Configuration, *, split_seed: int) -> Manifest:
    """Return the manifest of the images that a trial with this configuration trains on.

    Raises:
        DataError: The subset cannot be drawn.
    """
    from lkca_search.data.subsets import assign_images

    assigned = assign_images(images.labels, data, configuration, split_seed=split_seed)
    return Manifest(
        dataset=data.place_of(configuration.dataset),
        level=configuration.dataset,
        data_hash=images.content_hash,
        data_fraction=configuration.data_fraction,
        images_per_class=configuration.images_per_class,
        draw=configuration.draw,
        train=_image_subset(images, assigned.train),
        validation=_image_subset(images, assigned.validation),
    )


def write_manifests(
    spec: SearchSpec, images: "Mapping[str | None, Images]", folder: SearchFolder
) -> tuple[Manifest, ...]:
    """Save a manifest for each subset size and draw of a search, and return all in order.

    The file is `subsets/HASH.json`, or `subsets/LEVEL-HASH.json` for a level of the factor `dataset`.

    For a parameter that is a range, only its edges are saved (see `Domain`); `make_manifest` computes the manifest of
    any other value. Two sizes with the same images share the file of the first.
    """
    return tuple(save_manifests(_subset_configurations(spec), spec, images, folder))


def save_manifests(
    configurations: Iterable[Configuration],
    spec: SearchSpec,
    images: "Mapping[str | None, Images]",
    folder: SearchFolder,
) -> list[Manifest]:
    """Save a manifest for each distinct subset size and draw of the configurations, and return all in order.

    A damaged manifest is set aside and written again.
    """
    by_size = {subset_size(configuration): configuration for configuration in configurations}
    manifests = [
        make_manifest(images[configuration.dataset], spec.data, configuration, split_seed=split_seed(spec))
        for configuration in by_size.values()
    ]
    for manifest in manifests:
        path = folder.root / _manifest_file(manifest.train.hash, manifest.level)
        content = manifest.model_dump_json().encode()
        if path.exists() and not _is_intact(folder, path, content):
            set_aside(path)
        if not path.exists():
            write_atomically(path, content)
    return manifests


def scan_manifests(folder: SearchFolder) -> tuple[list[Manifest], list[Finding]]:
    """Return the intact manifests of a search, and a finding per damaged one."""
    manifests, findings = [], []
    for path in list_paths(folder.root, "subsets/*.json"):
        try:
            manifests.append(_read(folder, path))
        except DamagedError as error:
            findings.append(error.finding)
    return manifests, findings


def subset_sizes(manifests: Iterable[Manifest]) -> dict[Size, int]:
    """Return the number of training images per subset size and draw."""
    return {manifest.size: manifest.train.num_images for manifest in manifests}


def _read(folder: SearchFolder, path: AnyPath) -> Manifest:
    remedy = f"restore the file, or run the search {folder.name!r} again, which writes it again"
    manifest = read_stored(path, Manifest, remedy=remedy)
    for part in (manifest.train, manifest.validation):
        if _hash(part.indices) != part.hash or part.num_images != len(part.indices):
            damage = "a manifest must match its hash, got other indices"
            raise DamagedError(Finding(place=str(path), damage=damage, remedy=remedy))
    if path.name != _manifest_file(manifest.train.hash, manifest.level).rpartition("/")[2]:
        damage = f"a manifest's file must be named by its hash, got {manifest.train.hash}"
        raise DamagedError(Finding(place=str(path), damage=damage, remedy=remedy))
    return manifest


def _hash(indices: Sequence[int]) -> str:
    """Return the same as `indices_hash`, without numpy, whose import takes a tenth of a second."""
    numbers = array("q", indices)
    if sys.byteorder == "big":
        numbers.byteswap()
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def _is_intact(folder: SearchFolder, path: AnyPath, expected: bytes) -> bool:
    """Return True if a manifest has the expected content, or is one that another version wrote."""
    try:
        return read_stored_bytes(path, remedy="") == expected or bool(_read(folder, path))
    except DamagedError:
        return False


def _manifest_file(subset_hash: str, level: str | None) -> str:
    """Return the path of a manifest in the folder of its search. Two datasets may have subsets with equal indices."""
    return f"subsets/{subset_hash}.json" if level is None else f"subsets/{level}-{subset_hash}.json"


def subset_size(configuration: Configuration) -> Size:
    """Return the values of a configuration that determine its images."""
    return configuration.dataset, configuration.data_fraction, configuration.images_per_class, configuration.draw


def split_seed(spec: SearchSpec) -> int:
    """Return the seed of the validation images and of all draws of a search."""
    return derive_seed(spec.search.seed, "split")


def _subset_configurations(spec: SearchSpec) -> Iterator[Configuration]:
    """Yield each distinct subset size and draw that the search can suggest; for a range, its edges."""
    seen: set[Configuration] = set()
    for cell in cells(spec):
        for values in product(*(_values(spec, cell, name) for name in SUBSET_NAMES)):
            present = {name: value for name, value in zip(SUBSET_NAMES, values, strict=True) if value is not None}
            configuration = Configuration.model_validate(present)
            if configuration not in seen:
                seen.add(configuration)
                yield configuration


def _values(spec: SearchSpec, cell: Cell, name: str) -> tuple[Scalar | None, ...]:
    """Return the values that a parameter can have in a cell, with None if it can be absent."""
    if name in cell.levels:
        return (cell.levels[name],)
    if name not in spec.parameters:
        return (None,)
    domain = spec.parameters[name]
    if not may_hold(domain.when, cell.levels, spec.factors):
        return (None,)
    return (*domain.edges(), None) if domain.when else domain.edges()


def _image_subset(images: "Images", indices: "Indices") -> ImageSubset:
    from lkca_search.data.subsets import indices_hash

    counts = Counter(images.labels[indices].tolist())
    return ImageSubset(
        num_images=len(indices),
        hash=indices_hash(indices),
        class_counts=tuple(counts[label] for label in range(len(images.class_names))),
        indices=tuple(indices.tolist()),
    )
