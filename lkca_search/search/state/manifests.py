"""Manifests: which images the trials of a search train on, saved with it, so that a hash can be held against them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product

from lkca_search.data.store import Images
from lkca_search.data.subsets import Indices, assign_images, indices_hash
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import SUBSET_NAMES, Configuration, Scalar
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection

Size = tuple[float | None, int | None, int]
"""data_fraction, images_per_class, draw: what decides how many images a trial trains on, and which."""


class Part(FrozenModel):
    """Some images of a training split."""

    num_images: int
    hash: str
    """SHA-256 of the indices: `subset_hash` or `validation_hash` of a trial's facts."""
    class_counts: tuple[int, ...]
    """Images of each class, by label."""
    indices: tuple[int, ...]
    """Positions in the training split, ascending."""


class Manifest(FrozenModel):
    """The images of every trial with one size of subset and one draw, whatever its family."""

    dataset: str
    data_hash: str
    """SHA-256 of the training split's pixels and labels."""
    data_fraction: float | None
    """Fraction of the images left after validation; None where the size is given in images a class."""
    images_per_class: int | None
    draw: int
    train: Part
    """Images trained on."""
    validation: Part
    """Images held out and validated on; none of them is in `train`."""

    @property
    def size(self) -> Size:
        """What decides the images."""
        return self.data_fraction, self.images_per_class, self.draw


def make_manifest(images: Images, data: DataSection, configuration: Configuration, *, split_seed: int) -> Manifest:
    """The manifest of what a trial with this configuration trains on; DataError if it cannot be drawn."""
    assigned = assign_images(images.labels, data, configuration, split_seed=split_seed)
    return Manifest(
        dataset=data.dataset,
        data_hash=images.content_hash,
        data_fraction=configuration.data_fraction,
        images_per_class=configuration.images_per_class,
        draw=configuration.draw,
        train=_part(images, assigned.train),
        validation=_part(images, assigned.validation),
    )


def write_manifests(spec: SearchSpec, images: Images, folder: SearchFolder) -> tuple[Manifest, ...]:
    """Save a manifest for every size and draw of a search as `subsets/HASH.json`, and return them in their order.

    Of a parameter that is a range, these are its edges (see `Domain`); any other value can be made again from the
    record of its trial by `make_manifest`. Two sizes with the same images share the file of the first.
    """
    return tuple(save_manifests(_subset_configurations(spec), spec, images, folder))


def save_manifests(
    configurations: Iterable[Configuration], spec: SearchSpec, images: Images, folder: SearchFolder
) -> list[Manifest]:
    """Save a manifest for each distinct size and draw of some configurations, and return them in their order."""
    by_size = {size_of(configuration): configuration for configuration in configurations}
    manifests = [
        make_manifest(images, spec.data, configuration, split_seed=split_seed(spec))
        for configuration in by_size.values()
    ]
    for manifest in manifests:
        path = folder.root / "subsets" / f"{manifest.train.hash}.json"
        if not path.exists():
            write_atomically(path, manifest.model_dump_json().encode())
    return manifests


def read_manifest(folder: SearchFolder, subset_hash: str) -> Manifest:
    """The manifest of a trial's `subset_hash`; SearchError if there is none, or if it is not what its hash says."""
    path = folder.root / "subsets" / f"{subset_hash}.json"
    if not path.exists():
        raise SearchError(f"search {folder.name!r} has no manifest of the subset {subset_hash} ({path})")
    manifest = Manifest.model_validate_json(path.read_bytes())
    for part in (manifest.train, manifest.validation):
        if indices_hash(part.indices) != part.hash or part.num_images != len(part.indices):
            raise SearchError(f"a manifest must hold the indices that its hash was taken of; this was changed ({path})")
    if manifest.train.hash != subset_hash:
        raise SearchError(f"a manifest must bear the name of its hash, got {manifest.train.hash} ({path})")
    return manifest


def subset_sizes(folder: SearchFolder) -> dict[Size, int]:
    """Training images of each size and draw that a search has a manifest of."""
    manifests = (Manifest.model_validate_json(path.read_bytes()) for path in folder.root.glob("subsets/*.json"))
    return {found.size: found.train.num_images for found in manifests}


def size_of(configuration: Configuration) -> Size:
    """What decides the images of a trial with this configuration."""
    return configuration.data_fraction, configuration.images_per_class, configuration.draw


def split_seed(spec: SearchSpec) -> int:
    """The number from which the validation images and every draw of a search are derived."""
    return derive_seed(spec.search.seed, "split")


def _subset_configurations(spec: SearchSpec) -> Iterator[Configuration]:
    """Every distinct size and draw that the search can ask for; of a range its edges."""
    seen: set[Configuration] = set()
    for cell in cells(spec):
        for values in product(*(_values(spec, cell, name) for name in SUBSET_NAMES)):
            given = {name: value for name, value in zip(SUBSET_NAMES, values, strict=True) if value is not None}
            configuration = Configuration.model_validate(given)
            if configuration not in seen:
                seen.add(configuration)
                yield configuration


def _values(spec: SearchSpec, cell: Cell, name: str) -> tuple[Scalar | None, ...]:
    """What a name can be in a cell, None for where it is not given."""
    if name in cell.levels:
        return (cell.levels[name],)
    if name not in spec.parameters:
        return (None,)
    domain = spec.parameters[name]
    return (*domain.edges(), None) if domain.when else domain.edges()


def _part(images: Images, indices: Indices) -> Part:
    counts = Counter(images.labels[indices].tolist())
    return Part(
        num_images=len(indices),
        hash=indices_hash(indices),
        class_counts=tuple(counts[label] for label in range(len(images.class_names))),
        indices=tuple(indices.tolist()),
    )
