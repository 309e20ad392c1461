"""What a space file says of cells, of configurations that cannot be trained, and of what a continuation may change."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lkca_search.errors import Problem, SearchError
from lkca_search.layout import SearchFolder
from lkca_search.search.state.resume import commit_space_file, read_spec
from lkca_search.search.studies.space_check import find_space_problems, find_subset_problems
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.domains import Choice, Fixed, holds
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile, read_space_file

SPACE = """\
data: {dataset: digits}
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1]
parameters:
  kernel_size: {choice: [3, 5, 7], when: {family: [lkca]}}
  patch_size: {value: 2}
  depth: {int: [2, 4]}
  width: {choice: [32, 64]}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {steps: 100}
search: {trials_per_cell: 4}
"""
DIGITS = ImageShape(8, 8, 1)

Space = Callable[..., SpaceFile]


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    """The space file above with overrides."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    return lambda *overrides: read_space_file(Path("space.yaml"), overrides)


def keys(spec: SearchSpec) -> list[str]:
    return [cell.key for cell in cells(spec)]


# Cells


def test_every_combination_of_levels_is_a_cell_in_the_order_of_the_file(space: Space) -> None:
    assert keys(space().spec) == [
        "family=lkca,data_fraction=0.1",
        "family=lkca,data_fraction=1.0",
        "family=vit,data_fraction=0.1",
        "family=vit,data_fraction=1.0",
    ]
    assert cells(space().spec)[1] == Cell(levels={"family": "lkca", "data_fraction": 1.0})


def test_a_search_without_factors_has_one_cell(space: Space) -> None:
    assert keys(space("factors={}", "~parameters.kernel_size").spec) == ["all"]


def test_the_number_of_cells_is_the_product_of_the_numbers_of_levels(space: Space) -> None:
    spec = space("factors.draw=[0, 1, 2]", "factors.pooling=[mean, class_token]").spec
    assert len(set(keys(spec))) == len(cells(spec)) == 2 * 2 * 3 * 2


@pytest.mark.parametrize(
    "factors",
    [
        "factors={data_fraction: [0.1, 1], family: [lkca, vit]}",
        "factors={data_fraction: [1.0, 0.1], family: [vit, lkca]}",
        "factors={family: [vit, lkca], data_fraction: [1, 1.0e-1]}",
    ],
)
def test_a_key_depends_neither_on_the_order_nor_on_the_spelling_of_levels(space: Space, factors: str) -> None:
    assert sorted(keys(space(factors).spec)) == sorted(keys(space().spec))


# Designs

MIXERS = """\
data: {dataset: digits}
design: one_at_a_time
base: {kernel_size: 7}
factors:
  family: [lkca, lkca_grouped, vit]
  kernel_size: {levels: [3, 7], when: {family: [lkca, lkca_grouped]}}
  position_embedding: [true, false]
  data_fraction: [0.1, 1]
parameters:
  patch_size: {value: 2}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {steps: 100}
search: {trials_per_cell: 4}
"""


@pytest.fixture
def mixers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    """The space file above with overrides."""
    monkeypatch.chdir(tmp_path)
    Path("mixers.yaml").write_text(MIXERS)
    return lambda *overrides: read_space_file(Path("mixers.yaml"), overrides)


def test_one_at_a_time_a_base_is_changed_in_one_factor_at_each_size_of_data(mixers: Space) -> None:
    whole = [key for key in keys(mixers().spec) if "data_fraction=1.0" in key]
    assert [key.replace(",data_fraction=1.0", "") for key in whole] == [
        "family=lkca,kernel_size=7,position_embedding=True",
        "family=lkca_grouped,kernel_size=7,position_embedding=True",
        "family=vit,position_embedding=True",
        "family=lkca,kernel_size=3,position_embedding=True",
        "family=lkca,kernel_size=7,position_embedding=False",
    ]
    assert len(keys(mixers().spec)) == 2 * len(whole)


def test_without_a_base_the_first_levels_are_the_base(mixers: Space) -> None:
    assert keys(mixers("~base").spec)[0] == "family=lkca,data_fraction=0.1,kernel_size=3,position_embedding=True"


def test_where_a_factor_does_not_apply_it_is_absent_and_makes_no_cells(mixers: Space) -> None:
    spec = mixers("design=crossed", "~base").spec
    found = keys(spec)
    assert len(set(found)) == len(found) == (2 * 2 + 1) * 2 * 2
    assert [key for key in found if "vit" in key] == [
        f"family=vit,data_fraction={fraction},position_embedding={position}"
        for position in (True, False)
        for fraction in (0.1, 1.0)
    ]
    assert list(find_space_problems(spec, DIGITS, 10)) == []


def test_a_factor_may_wait_for_one_that_waits(mixers: Space) -> None:
    spec = mixers(
        *("design=crossed", "~base", "~factors.position_embedding", "~factors.data_fraction"),
        "factors.kernel_init={levels: [zero, delta], when: {kernel_size: [7]}}",
    ).spec
    assert keys(spec) == [
        f"family={family},kernel_size={rest}"
        for family in ("lkca", "lkca_grouped")
        for rest in ("3", "7,kernel_init=zero", "7,kernel_init=delta")
    ] + ["family=vit"]


def test_what_is_excluded_is_no_cell(space: Space) -> None:
    spec = space("exclude=[{family: vit, data_fraction: [0.1]}]").spec
    assert keys(spec) == [key for key in keys(space().spec) if key != "family=vit,data_fraction=0.1"]
    assert len(cells(spec, with_excluded=True)) == 4


def test_counts_are_numbers_in_keys_and_in_conditions(space: Space) -> None:
    spec = space(
        *("~parameters.width", "factors.match_parameters=[250k, 0.5M]", "factors.family=[lkca]"),
        "parameters.kernel_size={choice: [3], when: {match_parameters: [250k]}}",
    ).spec
    assert keys(spec)[0] == "family=lkca,data_fraction=0.1,match_parameters=250000"
    assert [holds(spec.parameters["kernel_size"].when, cell.levels) for cell in cells(spec)] == [True, False] * 2


def test_what_is_excluded_is_not_held_against_a_design(space: Space) -> None:
    spec = space("factors.family=[lkca, cnn]").spec
    assert [problem.rule[:20] for problem in find_space_problems(spec, DIGITS, 10)] == ["unknown family 'cnn'"]
    spec = space("factors.family=[lkca, cnn]", "exclude=[{family: cnn}]").spec
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


# Configurations that cannot be trained


def test_a_design_that_can_be_trained_has_no_problems(space: Space) -> None:
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
    (["factors.family=[lkca, cnn]"], [(("factors", "family"), "unknown family 'cnn'; known families: lkca, ")]),
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
def test_each_rule_that_a_configuration_can_break_is_named_once_where_its_value_stands(
    space: Space, overrides: list[str], expected: list[tuple[tuple[str, ...], str]]
) -> None:
    found = list(find_space_problems(space(*overrides).spec, DIGITS, 10))
    assert [problem.location for problem in found] == [location for location, *_ in expected]
    for problem, (_, *words) in zip(found, expected, strict=True):
        assert all(word in problem.rule for word in words)


def test_a_rule_broken_by_a_value_that_is_not_written_is_shown_at_the_family(space: Space) -> None:
    file = space("factors.family=[pool]", "~parameters.kernel_size")
    problems = list(find_space_problems(file.spec, ImageShape(2, 2, 3), 10))
    rule = "kernel_size must be odd and at most 1 on a 1x1 grid, got 3"
    assert problems == [Problem(("factors", "family"), rule)]
    assert str(space().error(problems)).endswith("(space.yaml:3)")


def test_a_problem_is_shown_at_its_line(space: Space) -> None:
    problems = find_space_problems(space("parameters.width.choice=[37]").spec, DIGITS, 10)
    assert str(space().error(problems)).endswith("got 8 heads for width 37 (space.yaml:9)")


def test_a_design_with_countless_configurations_is_tried_in_part(space: Space) -> None:
    ranges = [f"parameters.{name}={{int: [1, 64]}}" for name in ("depth", "width", "patch_size")]
    rules = [problem.rule for problem in find_space_problems(space(*ranges).spec, DIGITS, 10)]
    assert any("got 3 on 8x8" in rule for rule in rules)
    assert len(set(rules)) == len(rules)


def test_widths_are_found_for_part_of_countless_configurations(space: Space) -> None:
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
def test_a_sampler_or_pruner_that_cannot_be_made_is_named_where_it_is_written(
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
def test_a_package_that_a_sampler_needs_and_that_is_not_there_is_named(
    space: Space, monkeypatch: pytest.MonkeyPatch, sampler: str, package: str
) -> None:
    monkeypatch.setattr("lkca_search.search.studies.registry.find_spec", lambda name: None)
    (problem,) = find_space_problems(space(f"search.sampler={sampler}").spec, DIGITS, 10)
    rule = f"sampler {sampler} needs the package {package}, which is not installed: pip install {package}"
    assert problem == Problem(("search", "sampler"), rule)


def test_a_grid_too_large_is_refused(space: Space) -> None:
    ranges = [f"parameters.{name}={{int: [1, 999]}}" for name in ("draw", "depth")]
    spec = space("search.sampler=grid", "parameters.learning_rate={value: 0.1}", *ranges).spec
    assert "at most 100000 points per cell" in next(iter(find_space_problems(spec, DIGITS, 10))).rule


# Cells that do not differ

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
def test_a_level_that_changes_nothing_is_named_once(
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
def test_levels_that_change_a_model_or_its_training_are_not_named(space: Space, overrides: list[str]) -> None:
    family = [] if any("factors.family=" in override for override in overrides) else ["factors.family=[lkca]"]
    assert list(find_space_problems(space(*BARE, *family, *overrides).spec, DIGITS, 10)) == []


# Data that cannot be drawn

LABELS = np.repeat(np.arange(10), 100)


def test_data_that_can_be_drawn_have_no_problems(space: Space) -> None:
    assert list(find_subset_problems(space().spec, LABELS)) == []
    assert list(find_subset_problems(space("~factors.data_fraction").spec, LABELS)) == []


def test_more_images_a_class_than_there_are_is_named_with_the_largest_that_works(space: Space) -> None:
    for section, values in (("factors", "[10, 91]"), ("parameters", "{choice: [10, 91]}")):
        (problem,) = find_subset_problems(
            space("~factors.data_fraction", f"{section}.images_per_class={values}").spec, LABELS
        )
        assert problem.location == (section, "images_per_class")
        assert problem.rule.endswith("91 of the 90 images of class 0 cannot be had; the largest that works is 90")
    assert (
        list(find_subset_problems(space("~factors.data_fraction", "factors.images_per_class=[90]").spec, LABELS)) == []
    )


def test_a_size_that_is_in_no_cell_is_not_held_against_a_design(space: Space) -> None:
    small = "factors.data_fraction=[0.002, 1]"
    assert (
        len(list(find_subset_problems(space(small, "exclude=[{data_fraction: 0.002, family: vit}]").spec, LABELS))) == 1
    )
    assert list(find_subset_problems(space(small, "exclude=[{data_fraction: 0.002}]").spec, LABELS)) == []


def test_a_cell_of_images_a_class_has_no_fraction(space: Space) -> None:
    spec = space("~factors.data_fraction", "factors.images_per_class=[10, 20]").spec
    assert keys(spec) == [
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
def test_a_fraction_too_small_is_named_with_the_smallest_that_works(
    space: Space, overrides: list[str], location: tuple[str, str]
) -> None:
    (problem,) = find_subset_problems(space(*overrides).spec, LABELS)
    assert problem.location == location
    assert "0.002 of the 90 images of class 0 is none" in problem.rule
    smallest = re.search(r"the smallest that works is ([0-9.]+)$", problem.rule)
    assert smallest is not None
    assert list(find_subset_problems(space(f"factors.data_fraction=[{smallest[1]}]").spec, LABELS)) == []


# Continuation


@pytest.fixture
def started(space: Space, tmp_path: Path) -> SearchFolder:
    """A search that was started with the space file above."""
    folder = SearchFolder(root=tmp_path / "searches" / "mine")
    commit_space_file(folder, space())
    return folder


def test_the_spec_of_a_started_search_is_read_as_it_was(space: Space, started: SearchFolder) -> None:
    assert read_spec(started) == space().spec
    assert started.space_file.read_text() == SPACE


@pytest.mark.parametrize(
    "override",
    [
        "search.seed=0",  # as it was
        "search.trials_per_cell=5",
        "search.max_retries=0",
        "search.checkpoint_seconds=0.5",
        "resources={custom: {a100: 0.25}, max_concurrent: 8}",
        "factors.data_fraction=[0.1, 1, 0.5]",
        "factors.data_fraction=[0.05, 0.1, 1.0]",
        "factors.family=[vit, lkca]",
        "factors={data_fraction: [0.1, 1], family: [lkca, vit, resnet]}",
        "parameters.num_heads={value: 4, when: {family: [lkca_grouped]}}; factors.family=[lkca, vit, lkca_grouped]",
        "parameters.kernel_size.when.family=[lkca, pool]; factors.family=[lkca, vit, pool]",
        "factors.num_heads={levels: [1, 2], when: {family: [cct]}}; factors.family=[lkca, vit, cct]",
        "exclude=[{family: vit, data_fraction: 1}]",  # of what has not started
    ],
)
def test_a_resumed_search_may_add_trials_and_levels_and_change_how_it_is_driven(
    space: Space, started: SearchFolder, override: str
) -> None:
    file = space(*override.split("; "))
    commit_space_file(started, file)
    assert read_spec(started) == file.spec
    assert set(keys(space().spec)) <= {cell.key for cell in cells(file.spec, with_excluded=True)}


def test_a_resumed_search_may_share_gpus_otherwise_and_not_leave_them(space: Space, tmp_path: Path) -> None:
    folder = SearchFolder(root=tmp_path / "searches" / "mine")
    for gpu in ("0.25", "0.5", "auto"):
        commit_space_file(folder, space(f"resources.gpu={gpu}"))
    commit_space_file(folder, space("resources={gpu: auto, gpu_memory: 24}"))
    with pytest.raises(SearchError, match=r"resources\.gpu: 'auto' -> 0.0$"):
        commit_space_file(folder, space())


def test_a_resumed_search_may_take_back_what_was_excluded_and_not_exclude_what_started(
    space: Space, started: SearchFolder
) -> None:
    exclude = "exclude=[{family: vit, data_fraction: 1}]"
    commit_space_file(started, space(exclude))
    commit_space_file(started, space())
    started.trial("family=vit,data_fraction=1.0/0").attempt(driver=1, attempt=1).mkdir(parents=True)
    with pytest.raises(SearchError, match=r"exclude: \(\) -> \({'family': \('vit',\), 'data_fraction': \(1,\)},\)$"):
        commit_space_file(started, space(exclude))


def test_a_resumed_search_keeps_the_design_and_its_base(mixers: Space, tmp_path: Path) -> None:
    folder = SearchFolder(root=tmp_path / "searches" / "mine")
    commit_space_file(folder, mixers())
    with pytest.raises(SearchError, match=r"\n  base\.kernel_size: 7 -> 3"):
        commit_space_file(folder, mixers("base.kernel_size=3"))
    with pytest.raises(SearchError, match=r"base\.kernel_size: 7 -> None\n  design: 'one_at_a_time' -> 'crossed'$"):
        commit_space_file(folder, mixers("design=crossed", "~base"))
    more = mixers("factors.position_embedding=[false, true]", "base.position_embedding=true")
    with pytest.raises(SearchError, match=r"base\.position_embedding: None -> True$"):
        commit_space_file(folder, more)
    file = mixers("factors.family=[lkca, lkca_grouped, lkca_depthwise, vit]")
    commit_space_file(folder, file)
    assert read_spec(folder) == file.spec


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("search.trials_per_cell=3", "search.trials_per_cell: 4 -> 3"),
        ("search.seed=1", "search.seed: 0 -> 1"),
        ("search.sampler=random", "search.sampler: 'tpe' -> 'random'"),
        (
            "search.sampler={name: tpe, n_startup_trials: 3}",
            "search.sampler: 'tpe' -> {'name': 'tpe', 'n_startup_trials': 3}",
        ),
        (
            "factors.draw={levels: [0], when: {family: [vit]}}",
            "factors.draw.levels: None -> (0,)\n  factors.draw.when.family: None -> ('vit',)",
        ),
        (
            "parameters.draw={value: 1, when: {family: [vit]}}",
            "parameters.draw.value: None -> 1\n  parameters.draw.when.family: None -> ('vit',)",
        ),
        ("data.validation=0.2", "data.validation: 0.1 -> 0.2"),
        ("data.dataset=cifar10", "data.dataset: 'digits' -> 'cifar10'"),
        ("training.steps=200", "training.steps: 100 -> 200"),
        ("training={epochs: 3}", "training.epochs: None -> 3\n  training.steps: 100 -> None"),
        ("resources.cpu=2", "resources.cpu: 1 -> 2"),
        ("resources.gpu=0.5", "resources.gpu: 0.0 -> 0.5"),
        ("resources.gpu=auto", "resources.gpu: 0.0 -> 'auto'"),
        ("factors.family=[lkca]", "factors.family: ('lkca', 'vit') -> ('lkca',)"),
        ("factors.data_fraction=[0.1, 0.5]", "factors.data_fraction: (0.1, 1) -> (0.1, 0.5)"),
        ("factors.draw=[0, 1]", "factors.draw: None -> (0, 1)"),
        ("~factors.data_fraction", "factors.data_fraction: (0.1, 1) -> None"),
        ("parameters.depth.int=[2, 5]", "parameters.depth.int: (2, 4) -> (2, 5)"),
        ("parameters.width.choice=[32, 64, 96]", "parameters.width.choice: (32, 64) -> (32, 64, 96)"),
        ("parameters.patch_size.value=1", "parameters.patch_size.value: 2 -> 1"),
        ("parameters.draw.value=1", "parameters.draw.value: None -> 1"),
        ("~parameters.width", "parameters.width.choice: (32, 64) -> None"),
        ("~parameters.kernel_size.when", "parameters.kernel_size.when.family: ('lkca',) -> None"),
        ("~parameters.learning_rate.log", "parameters.learning_rate.log: True -> False"),
    ],
)
def test_a_resumed_search_that_changes_the_question_is_refused_with_the_differences(
    space: Space, started: SearchFolder, override: str, difference: str
) -> None:
    with pytest.raises(SearchError) as caught:
        commit_space_file(started, space(override, "search.max_retries=9"))
    assert str(caught.value) == (
        "search 'mine' was started with another space file; undo these changes to resume it, "
        f"or start a new search with another --name:\n  {difference}"
    )
    assert read_spec(started) == space().spec


def test_all_differences_are_named_at_once(space: Space, started: SearchFolder) -> None:
    with pytest.raises(SearchError, match=r"search\.seed: 0 -> 1\n  training\.steps: 100 -> 200$"):
        commit_space_file(started, space("training.steps=200", "search.seed=1"))
