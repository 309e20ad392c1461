"""Size of a cell's space: the number of its configurations, the extreme ones, and an even sample."""

from collections import Counter
from itertools import product
from typing import Any

import pytest
from scipy.stats import qmc

from lkca_search.data.store import Images
from lkca_search.search.planning.space_size import (
    count_configurations,
    extreme_configurations,
    latin_hypercube,
    sampled_configurations,
)
from lkca_search.search.planning.workload import Workload, WorkloadFactory
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec

CONDITIONAL = {
    "family": {"choice": ("lkca", "vit", "convmixer")},
    "kernel_size": {"choice": (3, 5), "when": {"family": ("lkca", "convmixer")}},
    "depth": {"int": (1, 9), "step": 2},
    "mlp_ratio": {"choice": (1.0, 2.0, 4.0), "when": {"family": ("lkca", "vit"), "depth": (1, 3)}},
    "width": {"value": 64},
}


def conditional(**more: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"data_fraction": (1.0,)},
            "parameters": {**CONDITIONAL, **more},
            "training": {"steps": 20},
            "search": {"trials_per_cell": 3},
        }
    )


def test_the_number_of_distinct_configurations_equals_that_of_their_list() -> None:
    spec = conditional()
    listed = set()
    for family, kernel, depth, ratio in product(("lkca", "vit", "convmixer"), (3, 5), (1, 3, 5, 7, 9), (1, 2, 4)):
        listed.add(
            (
                family,
                kernel if family != "vit" else None,
                depth,
                ratio if family != "convmixer" and depth <= 3 else None,
            )
        )
    (cell,) = cells(spec)
    assert count_configurations(spec, cell) == len(listed)


def test_a_range_of_floats_has_infinitely_many_configurations() -> None:
    spec = conditional(weight_decay={"float": (0.1, 0.2), "when": {"family": ("vit",)}})
    (cell,) = cells(spec)
    assert count_configurations(spec, cell) is None
    assert count_configurations(conditional(), cell) is not None
    wide = conditional(depth={"int": (1, 10**9)})
    assert count_configurations(wide, cell) == 5 * (10**9 - 2) + 2 * (2 * 3 + 3 + 2)


def test_extreme_configurations_include_the_smallest_and_the_largest_model(read: Any, images: Images) -> None:
    spec = read("parameters.depth={int: [1, 3]}", "parameters.width={choice: [48, 16, 32]}").spec
    workloads = WorkloadFactory(spec, images)
    for cell in cells(spec)[::2]:
        extremes = [workloads.make(configuration) for configuration in extreme_configurations(spec, cell)]
        kernels = (3, 5, 7) if cell.levels["family"] == "lkca" else (None,)
        all_workloads = [
            workloads.make(
                Configuration(
                    **cell.levels, kernel_size=kernel, depth=depth, width=width, patch_size=2, drop_path_rate=0.0
                )  # type: ignore[arg-type]
            )
            for kernel, depth, width in product(kernels, (1, 2, 3), (16, 32, 48))
        ]
        for size in (num_parameters, flops, memory):
            assert (min(map(size, extremes)), max(map(size, extremes))) == (
                min(map(size, all_workloads)),
                max(map(size, all_workloads)),
            )


def num_parameters(workload: Workload) -> int:
    return workload.cost.num_parameters


def flops(workload: Workload) -> int:
    return workload.cost.flops


def memory(workload: Workload) -> int:
    return workload.memory_bytes


@pytest.mark.parametrize(("num_points", "num_dimensions"), [(1, 1), (6, 7), (16, 3), (48, 0)])
def test_the_latin_hypercube_is_that_of_scipy(num_points: int, num_dimensions: int) -> None:
    expected = qmc.LatinHypercube(d=num_dimensions, scramble=False, rng=0).random(num_points).tolist()
    assert latin_hypercube(num_points, num_dimensions) == expected


def test_sampled_configurations_are_even_over_every_domain_and_satisfy_conditions() -> None:
    spec = conditional(learning_rate={"float": (1e-4, 1e-2), "log": True}, num_heads={"int": (1, 16), "log": True})
    draws = sampled_configurations(spec, Cell(levels={"data_fraction": 1.0}), 30)
    assert Counter(draw.family for draw in draws) == dict.fromkeys(("lkca", "vit", "convmixer"), 10)
    assert Counter(draw.depth for draw in draws) == dict.fromkeys((1, 3, 5, 7, 9), 6)
    assert sum(draw.learning_rate < 1e-3 for draw in draws) == 15
    assert sum((draw.num_heads or 0) <= 3 for draw in draws) in range(14, 18)
    for draw in draws:
        assert (draw.kernel_size is None) == (draw.family == "vit")
        assert (draw.mlp_ratio is not None) == (draw.family != "convmixer" and (draw.depth or 0) <= 3)
    assert draws == sampled_configurations(spec, Cell(levels={"data_fraction": 1.0}), 30)
