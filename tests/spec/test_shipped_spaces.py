"""Shipped space files: headers are true, and every configuration is valid."""

import re
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lkca_search.data.catalog import CATALOG
from lkca_search.data.subsets import Holdout, assign_images
from lkca_search.models.matching import TOLERANCE
from lkca_search.models.registry import FAMILIES, PRESETS, model_cost, resolve
from lkca_search.recipe import FEW_EPOCHS
from lkca_search.search.planning.space_size import extreme_configurations
from lkca_search.search.state.manifests import split_seed
from lkca_search.search.studies.space_check import find_space_problems, find_subset_problems
from lkca_search.spec.cells import cells, specs_by_dataset
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import read_space_file
from lkca_search.training.recipe.schedule import planned_steps

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "search_spaces").glob("*.yaml"))
STUDIES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "studies").glob("*/*.yaml"))
NO_COLOUR = ("digits", "fashion_mnist")
NUM_PRESENT = {
    "search_spaces/paper_small.yaml": {"cifar10": 20_000, "cifar100": 15_000, "tiny_imagenet": 20_000},
    **{path: {"cifar10": 20_000} for path in STUDIES},
}
"""Training images per dataset of a space whose cost is that of parts of the official datasets."""


def spec_of(path: str, *overrides: str) -> SearchSpec:
    return read_space_file(ROOT / path, overrides).spec


def shape_of(dataset: str) -> ImageShape:
    entry = CATALOG[dataset]
    return ImageShape(entry.image_size, entry.image_size, 1 if dataset in NO_COLOUR else 3)


def datasets_of(spec: SearchSpec) -> dict[str, SearchSpec]:
    """Return the part of a space on each of its datasets, by the name of the dataset."""
    return {str(part.data.dataset): part for part in specs_by_dataset(spec).values()}


def labels_of(path: str, dataset: str) -> NDArray[np.int64]:
    entry = CATALOG[dataset]
    num_images = NUM_PRESENT.get(path, {}).get(dataset, entry.num_train)
    return np.arange(num_images) % entry.num_classes


@cache
def holdouts_of(path: str) -> tuple[Holdout, ...]:
    """Return the images of each subset size of a space, for datasets with classes of equal size."""
    names = ("data_fraction", "images_per_class")
    result = []
    for dataset, spec in datasets_of(spec_of(path)).items():
        found = {
            tuple(getattr(configuration, name) for name in names): configuration
            for cell in cells(spec)
            for configuration in extreme_configurations(spec, cell)
        }
        for each in found.values():
            holdout = assign_images(labels_of(path, dataset), spec.data, each, split_seed=split_seed(spec))
            result.append(holdout)
    return tuple(result)


def header(path: str) -> dict[str, str]:
    """Return the entries of the opening comment by their keys."""
    lines = (ROOT / path).read_text().split("\ndata:")[0].splitlines()
    assert all(line.startswith("# ") for line in lines)
    text = "\n".join(line.removeprefix("# ") for line in lines)
    entries = re.findall(r"^(\w+): ([\s\S]+?)(?=\n\w|\Z)", text, re.M)
    return {key: re.sub(r"\s+", " ", value).strip() for key, value in entries}


def test_there_is_a_space_file_per_question() -> None:
    assert {Path(path).stem for path in FILES} >= {
        "quickstart",
        "scarcity_cifar10",
        "scarcity_tiny_imagenet",
        "kernel_ablation",
        "component_ablation",
        "fraction_search",
        "paper",
        "paper_small",
    }


@pytest.mark.parametrize("path", [*FILES, *STUDIES])
def test_a_header_has_a_question_a_command_and_the_true_cost(path: str) -> None:
    entries, spec = header(path), spec_of(path)
    assert "?" in entries["Question"]
    assert entries["Command"].strip() == f"lkca-search run {path}"
    num_cells, num_trials = len(cells(spec)), spec.search.trials_per_cell
    cost = re.match(r" *(\d+) cells?(?: \([^)]*\))? x (\d+) trials(?: = (\d+))?", entries["Cost"])
    assert cost is not None
    assert (int(cost[1]), int(cost[2])) == (num_cells, num_trials)
    assert cost[3] is None or int(cost[3]) == num_cells * num_trials
    assert list(datasets_of(spec)) == ["digits"] or "Data" in entries


@pytest.mark.parametrize("path", [*FILES, *STUDIES])
def test_every_configuration_of_a_shipped_space_is_valid(path: str) -> None:
    for dataset, spec in datasets_of(spec_of(path)).items():
        assert list(find_space_problems(spec, shape_of(dataset), CATALOG[dataset].num_classes)) == []
        assert list(find_subset_problems(spec, labels_of(path, dataset))) == []


@pytest.mark.parametrize("path", [*FILES, *STUDIES])
def test_a_header_has_the_true_steps_epochs_and_replicates(path: str) -> None:
    spec, text = spec_of(path), header(path)["Cost"]
    sizes = [len(holdout.train) for holdout in holdouts_of(path)]
    steps = [planned_steps(spec.training, num_images=size) for size in sizes]
    epochs = [count / -(-size // spec.training.batch_size) for count, size in zip(steps, sizes, strict=True)]
    assert f"of {min(steps):,} to {max(steps):,} steps ({min(epochs):.0f} to {max(epochs):.0f} epochs)" in text
    if spec.confirm is not None:
        assert f"plus {len(cells(spec)) * spec.confirm.draws * spec.confirm.seeds} to confirm" in text


@pytest.mark.parametrize("path", FILES)
def test_a_shipped_length_has_a_floor_and_a_cap_and_trains_the_largest_subset_long_enough(path: str) -> None:
    spec = spec_of(path)
    training = spec.training
    assert training.epochs is not None
    assert training.min_steps is not None
    assert training.max_steps is not None
    assert training.min_steps >= 400
    assert training.reports is not None
    assert 10 <= training.reports <= training.min_steps
    largest = max(len(holdout.train) for holdout in holdouts_of(path))
    num_steps = planned_steps(training, num_images=largest)
    assert num_steps >= FEW_EPOCHS * -(-largest // training.batch_size)


@pytest.mark.parametrize("path", FILES)
def test_validation_images_outnumber_training_images_only_for_a_stated_reason(path: str) -> None:
    outnumbered = [holdout for holdout in holdouts_of(path) if len(holdout.validation) > len(holdout.train)]
    assert bool(outnumbered) is ("Validation" in header(path))


@pytest.mark.parametrize("path", FILES)
def test_variants_that_are_compared_have_equal_numbers_of_parameters(path: str) -> None:
    for dataset, spec in datasets_of(spec_of(path)).items():
        if len(cells(spec)) == 1:
            continue
        sizes = {
            model_cost(each, shape_of(dataset), CATALOG[dataset].num_classes, batch_size=1).num_parameters
            for cell in cells(spec)
            for each in extreme_configurations(spec, cell)
        }
        target = spec.parameters.get("match_parameters")
        has_preset = any(cell.levels["family"] in PRESETS for cell in cells(spec))
        middle = target.edges()[0] if target and not has_preset else (min(sizes) + max(sizes)) / 2
        assert isinstance(middle, int | float)
        assert all(abs(size - middle) <= TOLERANCE * middle for size in sizes)


@pytest.mark.parametrize("path", [path for path in FILES if "convmixer" in (ROOT / path).read_text()])
def test_convmixer_has_the_patch_of_its_own_default(path: str) -> None:
    for dataset, spec in datasets_of(spec_of(path)).items():
        default = FAMILIES["convmixer"].fill(Configuration(family="convmixer"), shape_of(dataset)).patch_size
        found = {
            resolve(each, shape_of(dataset), CATALOG[dataset].num_classes).patch_size
            for cell in cells(spec)
            if cell.levels["family"] == "convmixer"
            for each in extreme_configurations(spec, cell)
        }
        assert found == {default}


@pytest.mark.parametrize("path", FILES)
def test_a_header_says_which_parameters_decay_and_why(path: str) -> None:
    domain = spec_of(path).parameters.get("weight_decay_on")
    chosen = set(domain.edges()) if domain is not None else {Configuration().weight_decay_on}
    text = header(path)["Decay"].strip()
    assert text.startswith(f"weight_decay_on: {' or '.join(sorted(map(str, chosen)))}")
    assert ": " in text.partition(": ")[2]  # the reason


@pytest.mark.parametrize("path", [path for path in FILES if "Small" in header(path)])
def test_the_small_version_of_a_shipped_space_is_valid(path: str) -> None:
    overrides = [word for word in shlex.split(header(path)["Small"]) if "=" in word]
    assert overrides
    assert len(cells(spec_of(path, *overrides))) <= len(cells(spec_of(path)))


def test_components_are_ablated_at_each_training_set_size() -> None:
    spec = spec_of("search_spaces/component_ablation.yaml")
    found = [cell for cell in cells(spec) if cell.levels["data_fraction"] == 0.25]
    base = found[0].levels
    assert base["family"] == "lkca"
    for cell in found[1:]:
        both = cell.levels.keys() & base.keys()
        assert len([name for name in both if cell.levels[name] != base[name]]) == 1
