"""Comparison of models: configurations that train the same function are equal."""

from typing import Any

import pytest
import torch

from lkca_search.models.difference import ARCHITECTURE_NAMES, trains_same_model
from lkca_search.models.registry import FAMILIES
from lkca_search.spec.configuration import NAMES, OPTIMIZER_NAMES, RECIPE_NAMES, SUBSET_NAMES, Configuration, ImageShape

SHAPE = ImageShape(16, 16, 3)
SMALL = {"patch_size": 4, "width": 24, "depth": 2}

SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"family": "lkca", "width": 136, "depth": 9}, {"family": "LKCA-T"}),
    ({"family": "lkca"}, {"family": "lkca", "kernel_size": 7, "kernel_init": "zero", "mlp_ratio": 2.0}),
    ({"family": "lkca"}, {"family": "lkca_grouped", "num_heads": 1}),
    ({"family": "lkca_depthwise"}, {"family": "lkca_grouped", "num_heads": 24}),
    ({"family": "lkca", "kernel_init": "delta"}, {"family": "lkca_grouped", "num_heads": 1, "kernel_init": "delta"}),
    ({"family": "vit", "mlp_ratio": 2.0}, {"family": "vit", "mlp_ratio": 2.01}),
    ({"family": "lkca", "width": None, "match_parameters": 100_000}, {"width": None, "match_parameters": 100_100}),
]
OTHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"family": "lkca"}, {"family": "lkca_grouped", "num_heads": 2}),
    ({"family": "lkca"}, {"family": "lkca", "kernel_size": 5}),
    ({"family": "lkca"}, {"family": "lkca", "kernel_init": "normal"}),
    ({"family": "lkca"}, {"family": "lkca", "kernel_init": "delta"}),
    ({"family": "lkca"}, {"family": "lkca", "position_embedding": False}),
    ({"family": "lkca"}, {"family": "lkca", "mlp_ratio": 2.1}),
    ({"family": "lkca"}, {"family": "lkca", "drop_path_rate": 0.2}),
    ({"family": "lkca"}, {"family": "lkca", "learning_rate": 0.1}),
    ({"family": "lkca"}, {"family": "lkca", "draw": 1}),
    ({"family": "pool"}, {"family": "pool", "kernel_size": 5}),
    ({"family": "pool"}, {"family": "identity"}),
    ({"family": "vit", "num_heads": 4}, {"family": "vit", "num_heads": 8}),
    ({"family": "vit"}, {"family": "vit", "pooling": "class_token"}),
]


def configuration(values: dict[str, Any]) -> Configuration:
    small = {} if values.get("family", "lkca") not in FAMILIES else SMALL
    return Configuration.model_validate({**small, "patch_size": 4, **values})


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_model_by_two_names_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert trains_same_model(configuration(one), configuration(other), SHAPE, 10)
    assert trains_same_model(configuration(other), configuration(one), SHAPE, 10)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_models_or_trainings_that_differ_are_not_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not trains_same_model(configuration(one), configuration(other), SHAPE, 10)
    assert not trains_same_model(configuration(other), configuration(one), SHAPE, 10)


@pytest.mark.timeout(60)
def test_models_too_large_for_this_machine_are_not_built() -> None:
    huge = {"family": "lkca", "patch_size": 4, "width": 65_536, "depth": 4}  # over 100 GB
    one, other = (Configuration.model_validate({**huge, "kernel_init": init}) for init in ("zero", "delta"))
    assert trains_same_model(one, one.model_copy(), SHAPE, 10)
    assert not trains_same_model(one, other, SHAPE, 10)


def test_no_two_families_are_the_same() -> None:
    shape = ImageShape(32, 32, 3)
    for one in FAMILIES:
        alike = [
            other
            for other in FAMILIES
            if trains_same_model(*(Configuration(family=f) for f in (one, other)), shape, 10)
        ]
        assert alike == [one]


def test_a_comparison_changes_neither_the_generator_nor_the_number_of_threads() -> None:
    torch.manual_seed(5)
    before, num_threads = torch.get_rng_state(), torch.get_num_threads()
    small = {"family": "pool", **SMALL, "depth": 3}
    assert not trains_same_model(configuration(small), configuration({**small, "kernel_size": 5}), SHAPE, 10)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == num_threads


def test_architecture_names_are_all_names_except_those_of_data_and_training() -> None:
    training = {"dataset", *SUBSET_NAMES, "drop_path_rate", "dropout", *OPTIMIZER_NAMES, *RECIPE_NAMES}
    assert set(NAMES) - set(ARCHITECTURE_NAMES) == training | {"precision", "compile"}
