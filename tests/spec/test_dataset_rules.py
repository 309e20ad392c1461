"""A space file gives its dataset in one place: data.dataset, or the factor dataset."""

from pathlib import Path

import pytest

from lkca_search.errors import SpaceFileError
from lkca_search.spec.cells import cells, dataset_levels, spec_of_dataset, specs_by_dataset
from tests.support.search.two_datasets import CELLS, problems_of, read_space


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["data.dataset=digits"], "data.dataset must be left out if dataset is a factor, got digits (override"),
        (["~factors.dataset", "~data.sources"], "required key data.dataset is missing; give it, or the factor"),
        (
            ["~factors.dataset", "~data.sources", "parameters.dataset={choice: [digits, cifar10]}"],
            "dataset must be a factor, not a parameter",
        ),
        (["factors.dataset={levels: [digits, photos], when: {images_per_class: [2]}}"], "must have no `when`"),
        (["factors.dataset=[digits, 'folder:photos']"], "a level of dataset must be a name, got 'folder:photos'"),
        (["factors.dataset=[digits, photos, a/b]"], "a level of dataset must be a name, got 'a/b'"),
        (["factors.dataset=[digits, 7]"], "a level of dataset must be a name, got 7"),
        (["data.sources={bird: 'folder:x'}"], "data.sources must have only datasets of the search (digits, photos)"),
        (["data.augment=[flip]"], "augment must not have flip for digits"),
    ],
)
def test_a_broken_rule_is_named_with_its_value_and_place(tmp_path: Path, overrides: list[str], rule: str) -> None:
    with pytest.raises(SpaceFileError) as error:
        read_space(tmp_path, *overrides)
    assert rule in problems_of(error)


def test_a_condition_may_name_datasets(tmp_path: Path) -> None:
    with pytest.raises(SpaceFileError) as error:
        read_space(tmp_path, "parameters.patch_size={value: 4, when: {dataset: [cifar10]}}")
    assert "'cifar10' is not a level of factor `dataset`" in problems_of(error)


def test_the_part_of_one_dataset_has_its_cells_and_its_place(tmp_path: Path) -> None:
    spec = read_space(tmp_path).spec
    assert [cell.key for cell in cells(spec)] == CELLS
    assert dataset_levels(spec) == ("digits", "photos")
    parts = specs_by_dataset(spec)
    assert [cell.key for part in parts.values() for cell in cells(part)] == CELLS
    assert [part.data.dataset for part in parts.values()] == ["digits", "folder:photos"]


def test_a_search_without_the_factor_has_one_part_with_the_level_none(tmp_path: Path) -> None:
    overrides = ("~factors.dataset", "data.sources={}", "data.dataset=digits", "parameters.patch_size={value: 2}")
    spec = read_space(tmp_path, *overrides).spec
    assert dataset_levels(spec) == (None,)
    assert spec_of_dataset(spec, None) == spec


def test_the_dataset_is_crossed_in_a_one_at_a_time_design(tmp_path: Path) -> None:
    overrides = ("design=one_at_a_time", "factors.label_smoothing=[0.1, 0.0]")
    spec = read_space(tmp_path, *overrides).spec
    assert len(cells(spec)) == 2 * 2 * 2
    with pytest.raises(SpaceFileError) as error:
        read_space(tmp_path, *overrides, "base={dataset: digits}")
    assert "base must not name dataset" in problems_of(error)
