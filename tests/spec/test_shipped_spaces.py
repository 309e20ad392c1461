"""Shipped space files: headers are true, and every configuration is valid."""

import re
from pathlib import Path

import numpy as np
import pytest

from lkca_search.data.catalog import CATALOG
from lkca_search.search.studies.space_check import find_space_problems, find_subset_problems
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import read_space_file

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "search_spaces").glob("*.yaml"))
NO_COLOUR = ("digits", "fashion_mnist")


def spec_of(path: str, *overrides: str) -> SearchSpec:
    return read_space_file(ROOT / path, overrides).spec


def header(path: str) -> dict[str, str]:
    """Return the entries of the opening comment by their keys."""
    lines = (ROOT / path).read_text().split("\ndata:")[0].splitlines()
    assert all(line.startswith("# ") for line in lines)
    text = "\n".join(line.removeprefix("# ") for line in lines)
    return {key: re.sub(r"\s+", " ", value) for key, value in re.findall(r"^(\w+): ([\s\S]+?)(?=\n\w|\Z)", text, re.M)}


def test_there_is_a_space_file_per_question() -> None:
    assert {Path(path).stem for path in FILES} >= {
        "quickstart",
        "scarcity_cifar10",
        "scarcity_tiny_imagenet",
        "kernel_ablation",
        "component_ablation",
        "fraction_search",
    }


@pytest.mark.parametrize("path", FILES)
def test_a_header_has_a_question_a_command_and_the_true_cost(path: str) -> None:
    entries, spec = header(path), spec_of(path)
    assert "?" in entries["Question"]
    assert entries["Command"].strip() == f"lkca-search run {path}"
    num_cells, num_trials = len(cells(spec)), spec.search.trials_per_cell
    cost = re.match(r" *(\d+) cells?(?: \([^)]*\))? x (\d+) trials(?: = (\d+))?", entries["Cost"])
    assert cost is not None
    assert (int(cost[1]), int(cost[2])) == (num_cells, num_trials)
    assert cost[3] is None or int(cost[3]) == num_cells * num_trials
    assert spec.data.dataset == "digits" or "Data" in entries


@pytest.mark.parametrize("path", FILES)
def test_every_configuration_of_a_shipped_space_is_valid(path: str) -> None:
    spec = spec_of(path)
    entry = CATALOG[spec.data.dataset]
    shape = ImageShape(entry.image_size, entry.image_size, 1 if spec.data.dataset in NO_COLOUR else 3)
    assert list(find_space_problems(spec, shape, entry.num_classes)) == []
    assert list(find_subset_problems(spec, np.arange(entry.num_train) % entry.num_classes)) == []


@pytest.mark.parametrize("path", [path for path in FILES if "Small" in header(path)])
def test_the_small_version_of_a_shipped_space_is_valid(path: str) -> None:
    overrides = [word for word in header(path)["Small"].split() if "=" in word]
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
