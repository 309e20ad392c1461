"""Cells of crossed and one-at-a-time designs."""

import pytest
import timm

from lkca_search.models.registry import FAMILIES, PRESETS
from lkca_search.search.studies.space_check import find_space_problems
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.domains import Choice, Fixed, holds
from tests.support.space_files import Space, cell_keys

DIGITS = ImageShape(8, 8, 1)


def test_every_combination_of_levels_is_a_cell_in_the_order_of_the_file(space: Space) -> None:
    assert cell_keys(space().spec) == [
        "family=lkca,data_fraction=0.1",
        "family=lkca,data_fraction=1.0",
        "family=vit,data_fraction=0.1",
        "family=vit,data_fraction=1.0",
    ]
    assert cells(space().spec)[1] == Cell(levels={"family": "lkca", "data_fraction": 1.0})


def test_a_search_without_factors_has_one_cell(space: Space) -> None:
    assert cell_keys(space("factors={}", "~parameters.kernel_size").spec) == ["all"]


def test_the_number_of_cells_is_the_product_of_the_numbers_of_levels(space: Space) -> None:
    spec = space("factors.draw=[0, 1, 2]", "factors.pooling=[mean, class_token]").spec
    assert len(set(cell_keys(spec))) == len(cells(spec)) == 2 * 2 * 3 * 2


@pytest.mark.parametrize(
    "factors",
    [
        "factors={data_fraction: [0.1, 1], family: [lkca, vit]}",
        "factors={data_fraction: [1.0, 0.1], family: [vit, lkca]}",
        "factors={family: [vit, lkca], data_fraction: [1, 1.0e-1]}",
    ],
)
def test_a_cell_key_does_not_depend_on_the_order_or_spelling_of_levels(space: Space, factors: str) -> None:
    assert sorted(cell_keys(space(factors).spec)) == sorted(cell_keys(space().spec))


def test_one_at_a_time_changes_one_factor_of_the_base_per_training_set_size(mixers: Space) -> None:
    whole = [key for key in cell_keys(mixers().spec) if "data_fraction=1.0" in key]
    assert [key.replace(",data_fraction=1.0", "") for key in whole] == [
        "family=lkca,kernel_size=7,position_embedding=True",
        "family=lkca_grouped,kernel_size=7,position_embedding=True",
        "family=vit,position_embedding=True",
        "family=lkca,kernel_size=3,position_embedding=True",
        "family=lkca,kernel_size=7,position_embedding=False",
    ]
    assert len(cell_keys(mixers().spec)) == 2 * len(whole)


def test_without_a_base_the_first_levels_are_the_base(mixers: Space) -> None:
    assert cell_keys(mixers("~base").spec)[0] == "family=lkca,data_fraction=0.1,kernel_size=3,position_embedding=True"


def test_a_factor_that_does_not_apply_is_absent_and_makes_no_cells(mixers: Space) -> None:
    spec = mixers("design=crossed", "~base").spec
    found = cell_keys(spec)
    assert len(set(found)) == len(found) == (2 * 2 + 1) * 2 * 2
    assert [key for key in found if "vit" in key] == [
        f"family=vit,data_fraction={fraction},position_embedding={position}"
        for position in (True, False)
        for fraction in (0.1, 1.0)
    ]
    assert list(find_space_problems(spec, DIGITS, 10)) == []


def test_a_factor_may_depend_on_a_conditional_factor(mixers: Space) -> None:
    spec = mixers(
        *("design=crossed", "~base", "~factors.position_embedding", "~factors.data_fraction"),
        "factors.kernel_init={levels: [zero, delta], when: {kernel_size: [7]}}",
    ).spec
    assert cell_keys(spec) == [
        f"family={family},kernel_size={rest}"
        for family in ("lkca", "lkca_grouped")
        for rest in ("3", "7,kernel_init=zero", "7,kernel_init=delta")
    ] + ["family=vit"]


def test_excluded_combinations_are_no_cells(space: Space) -> None:
    spec = space("exclude=[{family: vit, data_fraction: [0.1]}]").spec
    assert cell_keys(spec) == [key for key in cell_keys(space().spec) if key != "family=vit,data_fraction=0.1"]
    assert len(cells(spec, with_excluded=True)) == 4


def test_parameter_counts_are_numbers_in_keys_and_conditions(space: Space) -> None:
    spec = space(
        *("~parameters.width", "factors.match_parameters=[250k, 0.5M]", "factors.family=[lkca]"),
        "parameters.kernel_size={choice: [3], when: {match_parameters: [250k]}}",
    ).spec
    assert cell_keys(spec)[0] == "family=lkca,data_fraction=0.1,match_parameters=250000"
    assert [holds(spec.parameters["kernel_size"].when, cell.levels) for cell in cells(spec)] == [True, False] * 2


def test_excluded_cells_are_not_checked(space: Space) -> None:
    spec = space("factors.family=[lkca, resnet]").spec
    assert [problem.rule.partition(";")[0] for problem in find_space_problems(spec, DIGITS, 10)] == [
        "patch_size does not apply to family resnet"
    ]
    spec = space("factors.family=[lkca, resnet]", "exclude=[{family: resnet}]").spec
    assert list(find_space_problems(spec, DIGITS, 10)) == []


def test_a_condition_holds_if_every_name_has_one_of_its_listed_values() -> None:
    anywhere = Fixed(value=1)
    picky = Choice(choice=(3, 5), when={"family": ("lkca", "resnet"), "depth": (2,)})
    assert holds(anywhere.when, {})
    assert holds(picky.when, {"family": "lkca", "depth": 2})
    assert holds(picky.when, {"family": "resnet", "depth": 2, "width": 3})
    assert not holds(picky.when, {"family": "vit", "depth": 2})
    assert not holds(picky.when, {"family": "lkca", "depth": 3})
    assert not holds(picky.when, {"family": "lkca"})


MANY = {
    "family": "lkca_grouped", "data_fraction": 0.1, "draw": 0, "patch_size": 2, "depth": 12,
    "match_parameters": 250_000, "mlp_ratio": 4.0, "kernel_size": 7, "kernel_init": "normal", "num_heads": 4,
    "pooling": "class_token", "position_embedding": True, "drop_path_rate": 0.1, "learning_rate": 0.001,
    "weight_decay": 0.05, "label_smoothing": 0.1, "warmup_fraction": 0.1,
}  # fmt: skip


def test_a_key_too_long_for_a_folder_keeps_its_first_levels_and_gets_a_hash() -> None:
    key = Cell(levels=MANY).key
    front, _, rest = key.partition(",more=")
    assert len(key.encode()) <= 255 < len(",".join(f"{name}={level}" for name, level in MANY.items()))
    assert front == ",".join(f"{name}={MANY[name]}" for name in list(MANY)[: front.count(",") + 1])
    assert rest == "0bc4da4dfc633f43"
    assert Cell(levels=MANY | {"warmup_fraction": 0.2}).key not in (key, front)


def test_a_key_of_255_bytes_is_complete_and_one_of_256_is_not() -> None:
    rest = ",data_fraction=0.1"
    for length, is_complete in ((255, True), (256, False)):
        family = "x" * (length - len("family=") - len(rest))
        assert (Cell(levels={"family": family, "data_fraction": 0.1}).key.endswith(rest)) == is_complete


def test_no_two_families_differ_only_by_case() -> None:
    """On some disks, cells of such families would share a folder."""
    names = [name.casefold() for name in (*FAMILIES, *PRESETS, *timm.list_models())]
    assert len(set(names)) == len(names)
