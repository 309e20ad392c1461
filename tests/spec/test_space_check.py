"""Check of a search space before training: models, samplers, cells and subsets."""

import re

import numpy as np
import pytest

from lkca_search.errors import Problem
from lkca_search.search.studies.space_check import (
    find_batch_problems,
    find_determinism_problems,
    find_space_problems,
    find_subset_problems,
)
from lkca_search.spec.configuration import ImageShape
from tests.support.space_files import Space, cell_keys

DIGITS = ImageShape(8, 8, 1)


def test_a_valid_design_has_no_problems(space: Space) -> None:
    assert list(find_space_problems(space().spec, DIGITS, 10)) == []


DESIGNS = [
    (
        ["parameters.kernel_size.choice=[3, 9]"],
        [(("parameters", "kernel_size"), "odd and at most 7 on a 4x4 grid, got 9")],
    ),
    (["parameters.kernel_size.choice=[3, 4]"], [(("parameters", "kernel_size"), "must be odd", "got 4")]),
    (
        ["~parameters.kernel_size", "factors.kernel_size=[3, 9]", "factors.family=[lkca]"],
        [(("factors", "kernel_size"), "at most 7", "got 9")],
    ),
    (
        ["~parameters.kernel_size.when"],
        [(("parameters", "kernel_size"), "does not apply to family vit", "give it when: {family: [lkca, ")],
    ),
    (
        ["parameters.num_heads={value: 4}"],
        [(("parameters", "num_heads"), "does not apply to family lkca;", "when: {family: [lkca_grouped, vit, ")],
    ),
    (
        ["parameters.num_heads={choice: [4, 5], when: {family: [vit]}}"],
        [
            (("parameters", "num_heads"), "must divide the width", "got 5 heads for width 32"),
            (("parameters", "num_heads"), "must divide the width", "got 5 heads for width 64"),
        ],
    ),
    (["parameters.width.choice=[32, 37]"], [(("parameters", "width"), "got 8 heads for width 37")]),
    (
        ["parameters.patch_size.value=3"],
        [(("parameters", "patch_size"), "must divide height and width of the image, got 3 on 8x8")],
    ),
    (
        ["parameters.patch_size={int: [1, 4]}", "parameters.kernel_size.choice=[3]"],
        [(("parameters", "patch_size"), "got 3 on 8x8")],
    ),
    (
        ["~parameters.patch_size", "parameters.kernel_size.choice=[17]"],
        [(("parameters", "kernel_size"), "at most 15 on an 8x8 grid", "got 17")],
    ),
    (
        ["parameters.mlp_ratio={choice: [2.0, 0.001]}"],
        [
            (("parameters", "mlp_ratio"), "at least one hidden unit", "got 0.001 of width 32"),
            (("parameters", "mlp_ratio"), "at least one hidden unit", "got 0.001 of width 64"),
        ],
    ),
    (
        [
            "parameters.weight_decay={choice: [0.0, 0.5]}",
            "parameters.kernel_size={value: 4, when: {family: [lkca], weight_decay: [0.5]}}",
        ],
        [(("parameters", "kernel_size"), "must be odd", "got 4")],
    ),
    (
        ["parameters.draw={int: [0, 60]}", "parameters.width={choice: [32, 37]}"],
        [(("parameters", "width"), "got 8 heads for width 37")],
    ),
]


@pytest.mark.parametrize(("overrides", "expected"), DESIGNS, ids=lambda value: " ".join(map(str, value)))
def test_each_broken_rule_is_reported_once_at_the_location_of_its_value(
    space: Space, overrides: list[str], expected: list[tuple[tuple[str, ...], str]]
) -> None:
    found = list(find_space_problems(space(*overrides).spec, DIGITS, 10))
    assert [problem.location for problem in found] == [location for location, *_ in expected]
    for problem, (_, *words) in zip(found, expected, strict=True):
        assert all(word in problem.rule for word in words)


def test_a_rule_broken_by_a_default_value_is_reported_at_the_family(space: Space) -> None:
    file = space("factors.family=[pool]", "~parameters.kernel_size")
    problems = list(find_space_problems(file.spec, ImageShape(2, 2, 3), 10))
    rule = "kernel_size must be odd and at most 1 on a 1x1 grid, got 3"
    assert problems == [Problem(("factors", "family"), rule)]
    assert str(space().error(problems)).endswith("(space.yaml:3)")


def test_a_family_that_cannot_train_on_single_images_is_reported_at_the_batch_size(space: Space) -> None:
    family = "timm:mobilenetv3_small_050"
    alone = ["parameters={learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}"]
    file = space(*alone, f"factors.family=[vit, resnet, '{family}']", "training.batch_size=1")
    (problem,) = find_batch_problems(file.spec, DIGITS, 10)
    assert problem.location == ("training", "batch_size")
    assert problem.rule.startswith(f"batch_size must be at least 2 for family {family}, got 1 (Expected more than 1")
    two = space(*alone, f"factors.family=[vit, '{family}']", "training.batch_size=2").spec
    assert list(find_batch_problems(two, DIGITS, 10)) == []


@pytest.mark.parametrize(
    ("overrides", "count"), [(["resources.gpu=1"], 1), ([], 0), (["resources.gpu=1", "training.deterministic=warn"], 0)]
)
def test_a_family_without_deterministic_operations_is_reported_only_where_it_fails(
    space: Space, overrides: list[str], count: int
) -> None:
    family = "timm:pvt_v2_b2_li"
    alone = ["parameters={learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}", f"factors.family=[vit, '{family}']"]
    problems = list(find_determinism_problems(space(*alone, *overrides).spec, ImageShape(32, 32, 3), 10))
    expected = (
        f"deterministic must be warn for family {family} on a GPU, got strict (without a deterministic implementation "
        "on CUDA: backward of AdaptiveAvgPool2d, except to 1x1)"
    )
    assert problems == [Problem(("training", "deterministic"), expected)] * count


def test_a_problem_is_reported_with_its_line(space: Space) -> None:
    problems = find_space_problems(space("parameters.width.choice=[37]").spec, DIGITS, 10)
    assert str(space().error(problems)).endswith("got 8 heads for width 37 (space.yaml:9)")


def test_a_huge_design_is_checked_in_part(space: Space) -> None:
    ranges = [f"parameters.{name}={{int: [1, 64]}}" for name in ("depth", "width", "patch_size")]
    rules = [problem.rule for problem in find_space_problems(space(*ranges).spec, DIGITS, 10)]
    assert any("got 3 on 8x8" in rule for rule in rules)
    assert len(set(rules)) == len(rules)


@pytest.mark.timeout(60)
def test_cells_that_differ_in_their_images_alone_are_checked_once(space: Space) -> None:
    """Each cell has 4,000 combinations to check: 1,000 cells took a minute."""
    repeated = [
        f"factors.draw={list(range(250))}",
        "parameters.depth={int: [1, 20]}",
        "parameters.width={int: [8, 71]}",
    ]
    spec = space(*repeated).spec
    rules = {problem.rule for problem in find_space_problems(spec, DIGITS, 10)}
    assert rules == {problem.rule for problem in find_space_problems(space(*repeated[1:]).spec, DIGITS, 10)}
    assert any("must divide the width" in rule for rule in rules)


def test_widths_are_matched_for_a_part_of_a_huge_design(space: Space) -> None:
    ranges = ["parameters.depth={int: [1, 32]}", "parameters.mlp_ratio={choice: [1.0, 2.0, 3.0]}"]
    spec = space("~parameters.width", "factors.match_parameters=[2.0M]", "factors.family=[lkca]", *ranges).spec
    assert list(find_space_problems(spec, DIGITS, 10)) == []
    spec = space("~parameters.width", "parameters.match_parameters={value: 300}").spec
    locations = {problem.location for problem in find_space_problems(spec, DIGITS, 10)}
    assert locations == {("parameters", "match_parameters")}


@pytest.mark.parametrize(
    ("override", "location", "words"),
    [
        ("search.sampler={name: tpe, n_startup: 3}", ("sampler", "n_startup"), "did you mean n_startup_trials?"),
        (
            "search.sampler={name: tpe, n_startup_trials: ten}",
            ("sampler", "n_startup_trials"),
            "must be int, got 'ten'",
        ),
        (
            "search.sampler={name: tpe, n_startup_trials: true}",
            ("sampler", "n_startup_trials"),
            "must be int, got True",
        ),
        ("search.sampler={name: tpe, gamma: 3}", ("sampler", "gamma"), "must be Callable"),
        ("search.sampler={name: tpe, seed: 3}", ("sampler", "seed"), "is set by the search, got 3"),
        ("search.sampler={name: tpe, multivariate: false}", ("sampler",), "built from multivariate=False: ``group``"),
        ("search.sampler={name: random, bias: 3}", ("sampler", "bias"), "got 3; its arguments: none"),
        ("search.sampler={name: nsga2, population_size: 1}", ("sampler",), "greater than or equal to 2"),
        ("search.sampler=no.such.Sampler", ("sampler",), "cannot be loaded: ModuleNotFoundError: No module named 'no'"),
        ("search.sampler=json.Nothing", ("sampler",), "cannot be loaded: AttributeError"),
        ("search.sampler=json.JSONDecoder", ("sampler",), "must be a subclass of optuna.samplers.BaseSampler"),
        ("search.sampler=optuna.samplers.BruteForceSampler", ("sampler",), "cannot suggest: ValueError: FloatDist"),
        ("search.pruner=percentile", ("pruner",), "pruner percentile needs the argument percentile"),
        ("search.pruner=threshold", ("pruner",), "Either lower or upper must be specified"),
        ("search.pruner={name: median, n_startup_trials: '3'}", ("pruner", "n_startup_trials"), "must be int, got '3'"),
        ("search.pruner={name: patient, wraps: median}", ("pruner",), "needs the argument patience"),
        ("search.pruner={name: patient, patience: 1, wraps: medium}", ("pruner", "wraps"), "got 'medium'"),
        ("search.pruner={name: patient, patience: 1, wraps: 3}", ("pruner", "wraps"), "a pruner's name, or a mapping"),
        (
            "search.pruner={name: patient, patience: 1, wraps: {name: median, x: 1}}",
            ("pruner", "wraps", "x"),
            "has no argument x, got 1",
        ),
    ],
)
def test_an_invalid_sampler_or_pruner_is_reported_at_its_location(
    space: Space, override: str, location: tuple[str, ...], words: str
) -> None:
    file = space(override)
    (problem,) = find_space_problems(file.spec, DIGITS, 10)
    assert problem.location == ("search", *location)
    assert words in problem.rule
    assert str(file.error([problem])).endswith(f"(override {override!r})")


@pytest.mark.parametrize(
    ("sampler", "package"), [("cmaes", "cmaes"), ("gp", "scipy"), ("optunahub:samplers/auto_sampler", "optunahub")]
)
def test_the_missing_package_of_a_sampler_is_reported(
    space: Space, monkeypatch: pytest.MonkeyPatch, sampler: str, package: str
) -> None:
    monkeypatch.setattr("lkca_search.search.studies.registry.find_spec", lambda name: None)
    (problem,) = find_space_problems(space(f"search.sampler={sampler}").spec, DIGITS, 10)
    rule = f"sampler {sampler} needs the package {package}, which is not installed: pip install {package}"
    assert problem == Problem(("search", "sampler"), rule)


def test_a_grid_that_is_too_large_is_refused(space: Space) -> None:
    ranges = [f"parameters.{name}={{int: [1, 999]}}" for name in ("draw", "depth")]
    spec = space("search.sampler=grid", "parameters.learning_rate={value: 0.1}", *ranges).spec
    assert "at most 100000 points per cell" in next(iter(find_space_problems(spec, DIGITS, 10))).rule


BARE = [f"~parameters.{name}" for name in ("kernel_size", "patch_size", "width")]
SAME = [
    (["factors.family=[lkca, LKCA-T]", "parameters.depth={value: 9}"], "family", "family=LKCA-T and family=lkca"),
    (
        ["factors.family=[lkca, lkca_grouped]", "parameters.num_heads={value: 1, when: {family: [lkca_grouped]}}"],
        "family",
        "family=lkca_grouped,num_heads=1 and family=lkca",
    ),
    (["factors.mlp_ratio=[2.0, 2.001]"], "mlp_ratio", "mlp_ratio=2.001 and mlp_ratio=2.0"),
    (
        ["factors.match_parameters=[1.0M, 1.001M]", "parameters.depth={value: 9}"],
        "match_parameters",
        "match_parameters=1001000 and match_parameters=1000000",
    ),
    (
        ["factors.kernel_size=[15, 13, 1]", "factors.kernel_init=[zero]", "factors.mlp_ratio=[2, 2.001]"],
        "mlp_ratio",
        "",
    ),
]
OTHER = [
    ["factors.family=[lkca, lkca_grouped, lkca_depthwise, vit, pool, identity]"],
    ["factors.family=[lkca, lkca_grouped]", "parameters.num_heads={choice: [1, 8], when: {family: [lkca_grouped]}}"],
    [
        "factors.family=[lkca, lkca_grouped]",
        "parameters.num_heads={choice: [1, 8], when: {family: [lkca_grouped]}}",
        "parameters.kernel_size={choice: [3, 5], when: {family: [lkca]}}",
    ],
    ["factors.mlp_ratio=[2.0, 2.001]", "parameters.width={choice: [136, 1360]}", "parameters.depth={value: 1}"],
    ["factors.kernel_init=[zero, delta, normal]", "factors.position_embedding=[true, false]"],
    ["factors.family=[vit]", "factors.num_heads=[4, 8]", "factors.pooling=[mean, class_token]"],
    ["factors.drop_path_rate=[0.0, 0.1]", "factors.weight_decay=[0.0, 0.1]"],
    ["factors.match_parameters=[250k, 500k]", "factors.family=[lkca, vit]"],
]


@pytest.mark.parametrize(
    ("overrides", "factor", "words"), SAME, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_level_that_does_not_change_the_model_is_reported_once(
    space: Space, overrides: list[str], factor: str, words: str
) -> None:
    family = [] if any("family=" in override for override in overrides) else ["factors.family=[lkca]"]
    problems = list(find_space_problems(space(*BARE, *family, *overrides).spec, DIGITS, 10))
    assert {problem.location for problem in problems} == {("factors", factor)}
    rules = [problem.rule for problem in problems]
    assert len(set(rules)) == len(rules)
    if words:
        assert rules == [f"a factor level must change the model, got equal models for {words}"]


@pytest.mark.parametrize("overrides", OTHER, ids=" ".join)
def test_levels_that_change_the_model_or_its_training_are_not_reported(space: Space, overrides: list[str]) -> None:
    family = [] if any("factors.family=" in override for override in overrides) else ["factors.family=[lkca]"]
    assert list(find_space_problems(space(*BARE, *family, *overrides).spec, DIGITS, 10)) == []


LABELS = np.repeat(np.arange(10), 100)


def test_valid_subset_sizes_have_no_problems(space: Space) -> None:
    assert list(find_subset_problems(space().spec, LABELS)) == []
    assert list(find_subset_problems(space("~factors.data_fraction").spec, LABELS)) == []


def test_a_class_with_one_image_is_a_problem_of_the_dataset(space: Space) -> None:
    rule = "every class must have 2 images, one to train and one to validate, got 1 of class rare"
    names = [*"abcdefghij", "rare"]
    found = find_subset_problems(space().spec, np.append(LABELS, 10), class_names=names)
    assert list(found) == [Problem(("data", "dataset"), rule)]


def test_too_many_images_per_class_are_reported_with_the_largest_valid_number(space: Space) -> None:
    for section, values in (("factors", "[10, 91]"), ("parameters", "{choice: [10, 91]}")):
        (problem,) = find_subset_problems(
            space("~factors.data_fraction", f"{section}.images_per_class={values}").spec, LABELS
        )
        assert problem.location == (section, "images_per_class")
        assert (
            problem.rule
            == "images_per_class must be at most 90, the training images of class 0 left after validation, got 91"
        )
    assert (
        list(find_subset_problems(space("~factors.data_fraction", "factors.images_per_class=[90]").spec, LABELS)) == []
    )


def test_subset_sizes_of_excluded_cells_are_not_checked(space: Space) -> None:
    small = "factors.data_fraction=[0.002, 1]"
    assert (
        len(list(find_subset_problems(space(small, "exclude=[{data_fraction: 0.002, family: vit}]").spec, LABELS))) == 1
    )
    assert list(find_subset_problems(space(small, "exclude=[{data_fraction: 0.002}]").spec, LABELS)) == []


def test_a_cell_with_images_per_class_has_no_fraction(space: Space) -> None:
    spec = space("~factors.data_fraction", "factors.images_per_class=[10, 20]").spec
    assert cell_keys(spec) == [
        f"family={family},images_per_class={count}" for family in ("lkca", "vit") for count in (10, 20)
    ]
    assert list(find_space_problems(spec, DIGITS, 10)) == []


@pytest.mark.parametrize(
    ("overrides", "location"),
    [
        (["factors.data_fraction=[0.002, 1]"], ("factors", "data_fraction")),
        (
            ["~factors.data_fraction", "parameters.data_fraction={float: [0.002, 1]}"],
            ("parameters", "data_fraction"),
        ),
        (
            ["~factors.data_fraction", "parameters.data_fraction={choice: [1, 0.002]}"],
            ("parameters", "data_fraction"),
        ),
    ],
)
def test_a_fraction_that_is_too_small_is_reported_with_the_smallest_valid_one(
    space: Space, overrides: list[str], location: tuple[str, str]
) -> None:
    (problem,) = find_subset_problems(space(*overrides).spec, LABELS)
    assert problem.location == location
    assert "0.002 of the 90 images of class 0" in problem.rule
    smallest = re.search(r"the smallest fraction is ([0-9.]+)$", problem.rule)
    assert smallest is not None
    assert list(find_subset_problems(space(f"factors.data_fraction=[{smallest[1]}]").spec, LABELS)) == []


@pytest.mark.parametrize(
    ("overrides", "section"),
    [
        (["factors.data_fraction=[0.006, 0.5, 0.009]"], "factors"),
        (["~factors.data_fraction", "parameters.data_fraction={choice: [0.006, 0.009]}"], "parameters"),
        (["~factors.data_fraction", "parameters.data_fraction={float: [0.006, 0.009]}"], "parameters"),
    ],
)
def test_sizes_with_equal_numbers_of_training_images_are_reported(
    space: Space, overrides: list[str], section: str
) -> None:
    (problem,) = find_subset_problems(space(*overrides).spec, LABELS)
    assert problem.location[:2] == (section, "data_fraction")
    assert section == "parameters" or problem.location[2:] == ("levels", 2)
    assert problem.rule == (
        "values of data_fraction must give different numbers of training images, got 10 for 0.006 and for 0.009; "
        "remove one of them"
    )


def test_a_search_that_an_earlier_version_started_with_equal_sizes_can_be_resumed_but_not_with_another_equal_size(
    space: Space,
) -> None:
    started = space("factors.data_fraction=[0.006, 0.009]").spec
    assert list(find_subset_problems(started, LABELS, started=started)) == []
    more = space("factors.data_fraction=[0.006, 0.009, 0.01, 0.02]").spec
    (problem,) = find_subset_problems(more, LABELS, started=started)
    assert "got 10 for 0.006 and for 0.01;" in problem.rule
