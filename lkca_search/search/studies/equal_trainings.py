"""Cells whose batch sizes, augmentations or lengths differ by name, and that train the same way."""

from collections.abc import Hashable, Iterator, Mapping

from lkca_search.augmentations import AUGMENTATIONS
from lkca_search.data.subsets import Indices, assign_images
from lkca_search.errors import DataError, Problem
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import LENGTH_NAMES, SECTIONS, Scalar, without_own_names
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.schedule import Schedule

_SIZE_NAMES = ("data_fraction", "images_per_class")


def find_equal_trainings(spec: SearchSpec, labels: Indices) -> Iterator[Problem]:
    """Yield a problem per cell that trains as an earlier one, in which only levels of SECTIONS differ; each rule once.

    A set of augmentations equals the list of its names. On 100 images, batch sizes of 128 and 256 are one batch of
    100, and a floor or a cap makes lengths in epochs equal.
    """
    in_conditions = {name for domain in spec.parameters.values() for name in domain.when}
    varied = [name for name in SECTIONS if name in spec.factors and name not in in_conditions]
    counts: dict[Hashable, int | None] = {}
    first_of: dict[Hashable, Cell] = {}
    seen: set[str] = set()
    for cell in cells(spec) if varied else ():
        others = tuple(pair for pair in cell.levels.items() if pair[0] not in varied)
        size = {name: cell.levels[name] for name in _SIZE_NAMES if name in cell.levels}
        if (key := tuple(size.items())) not in counts:
            counts[key] = _count_images(spec, labels, size)
        num_images = counts[key]
        first = first_of.setdefault((others, _training_key(spec, cell, num_images)), cell)
        if first is cell:
            continue
        names = [name for name in varied if first.levels.get(name) != cell.levels.get(name)]
        sides = (",".join(f"{name}={side.levels.get(name)}" for name in names) for side in (first, cell))
        on_images = "" if names == ["augment"] or num_images is None else f" on {num_images:,} images"
        rule = f"a factor level must change the training, got equal trainings for {' and '.join(sides)}{on_images}"
        if rule not in seen:
            seen.add(rule)
            yield Problem(("factors", names[0]), f"{rule}; remove or `exclude` one of them")


def _training_key(spec: SearchSpec, cell: Cell, num_images: int | None) -> Hashable:
    """Return a value that is equal for cells with equal batches, augmentations, steps and reports."""
    configuration = without_own_names(cell.levels)
    training, augment = spec.training.of(configuration), spec.data.of(configuration).augment
    names = frozenset(augment) & frozenset(AUGMENTATIONS), tuple(name for name in augment if name not in AUGMENTATIONS)
    if num_images is None or any(name in spec.parameters for name in ("batch_size", *LENGTH_NAMES)):
        return names, training
    schedule = Schedule.plan(training, configuration, num_images=num_images)
    return names, min(training.batch_size, num_images), schedule.steps, schedule.reports


def _count_images(spec: SearchSpec, labels: Indices, levels: Mapping[str, Scalar]) -> int | None:
    """Return the number of training images with the levels of a subset size; None if it is searched or not valid."""
    if any(name in spec.parameters for name in _SIZE_NAMES):
        return None
    try:
        # The seed does not matter: only the number of images is used.
        return len(assign_images(labels, spec.data, without_own_names(levels), split_seed=0).train)
    except DataError:
        return None
