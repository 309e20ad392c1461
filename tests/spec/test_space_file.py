"""Reader of space files: values, overrides, and errors on the command line."""

from pathlib import Path

import pytest

from lkca_search.spec.components import ComponentConfig
from lkca_search.spec.domains import Choice, Fixed, FloatRange, IntRange
from lkca_search.spec.factors import Factor
from lkca_search.spec.resources import ResourcesSection
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection, SearchSection, TrainingSection
from tests.support.space_files import DESIGNED, VALID, Read, Run


def test_a_space_file_is_read_as_written(read: Read) -> None:
    file = read(VALID)
    assert file.text == VALID
    assert file.overrides == ()
    assert file.spec == SearchSpec(
        data=DataSection(dataset="cifar10", validation=0.2, augment=("crop", "flip")),
        factors={"family": Factor(levels=("lkca", "vit")), "data_fraction": Factor(levels=(0.1, 1))},
        parameters={
            "kernel_size": Choice(choice=(3, 5), when={"family": ("lkca",)}),
            "depth": IntRange(bounds=(2, 8), step=2),
            "width": Fixed(value=64),
            "learning_rate": FloatRange(bounds=(1e-4, 1e-2), log=True),
        },
        training=TrainingSection(steps=100, batch_size=32),
        search=SearchSection(trials_per_cell=6, seed=7),
        resources=ResourcesSection(gpu=0.25),
    )


def test_a_design_is_read_as_written_and_counts_become_numbers(read: Read) -> None:
    spec = read(DESIGNED).spec
    assert spec.design == "one_at_a_time"
    assert spec.base == {"kernel_size": 5}
    assert spec.exclude == ({"family": ("vit",), "data_fraction": (0.1,)}, {"kernel_size": (3, 7)})
    assert spec.factors["kernel_size"] == Factor(levels=(3, 5, 7), when={"family": ("lkca",)})
    assert spec.factors["match_parameters"] == Factor(levels=(250_000, 1_000_000))
    assert spec.search.sampler == ComponentConfig.model_validate({"name": "tpe", "n_startup_trials": 20})
    assert spec.search.sampler.arguments == {"n_startup_trials": 20}
    assert spec.search.pruner.arguments == {"patience": 2, "wraps": {"name": "median", "n_warmup_steps": 3}}


def test_short_and_long_forms_of_a_factor_and_a_sampler_are_equal(read: Read) -> None:
    long = read(VALID, "factors.family={levels: [lkca, vit]}", "search.sampler={name: tpe}")
    assert long.spec == read(VALID).spec
    assert long.spec.model_dump_json(by_alias=True) == read(VALID).spec.model_dump_json(by_alias=True)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["search.seed=3"], {"search": {"seed": 3}}),
        (["search.seed=3", "search.seed=4"], {"search": {"seed": 4}}),
        (["data.augment=[flip]"], {"data": {"augment": ["flip"]}}),
        (["training={epochs: 2}"], {"training": {"epochs": 2, "steps": None}}),
        (["~resources"], {"resources": {"gpu": 0.0}}),
        (["~resources.gpu", "resources.cpu=2"], {"resources": {"gpu": 0.0, "cpu": 2}}),
        (["~resources", "resources.gpu=0.5"], {"resources": {"gpu": 0.5}}),
        (["resources=", "~resources"], {"resources": {"gpu": 0.0}}),
        (["~training.steps", "training.samples=5"], {"training": {"steps": None, "samples": 5}}),
        (["parameters.width={choice: [8, 16]}"], {"parameters": {"width": {"choice": [8, 16]}}}),
        (["parameters.depth.int=[1, 3]"], {"parameters": {"depth": {"int": [1, 3], "step": 2}}}),
        (["parameters.weight_decay.value=0.5"], {"parameters": {"weight_decay": {"value": 0.5}}}),
        (["parameters.pooling.value=mean"], {"parameters": {"pooling": {"value": "mean"}}}),
        (['data.dataset="1e-4"'], {"data": {"dataset": "1e-4"}}),
        (["training.steps=1e3"], {"training": {"steps": 1000}}),
        (["parameters.learning_rate.float=[1e-4, 1E-1]"], {"parameters": {"learning_rate": {"float": [1e-4, 0.1]}}}),
        (
            ["~data.dataset", "factors.dataset=[a.b]", 'data.sources."a.b"=folder:/a'],
            {"data": {"sources": {"a.b": "folder:/a"}}},
        ),
        (
            [
                "~data.dataset",
                "factors.dataset=[a.b]",
                "data.sources={a.b: folder:/a, c: folder:/c}",
                "~data.sources.'c'",
            ],
            {"data": {"sources": {"a.b": "folder:/a"}}},
        ),
        (["data.dataset=parquet:/a=b"], {"data": {"dataset": "parquet:/a=b"}}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_override_sets_adds_or_removes_a_value_and_the_last_one_wins(
    read: Read, overrides: list[str], expected: dict[str, dict[str, object]]
) -> None:
    file = read(VALID, *overrides)
    spec = file.spec.model_dump(mode="json", by_alias=True)
    for section, values in expected.items():
        for name, value in values.items():
            found = spec[section][name]
            assert {key: found[key] for key in value} == value if isinstance(value, dict) else found == value
    assert file.text == VALID
    assert file.overrides == tuple(overrides)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1.0e-4,", "[1e4,", "the first bound must be below the second, got [10000.0, 0.01] (space.yaml:13)"),
        ("training:", "design: cross\ntraining:", "got 'cross'; did you mean crossed? (space.yaml:14)"),
        (
            "training:",
            "exclude: [{family: cnn}]\ntraining:",
            "exclude must list levels of factor `family`, got ['cnn'] (space.yaml:14)",
        ),
        ("[lkca, vit]", "{levels: [lkca, vit], when: {depth: [2]}}", "got 'depth' (space.yaml:7)"),
        ("  seed: 7", "  sampler: grit", "got 'grit'; did you mean grid? (space.yaml:19)"),
    ],
)
def test_the_command_line_exits_with_code_2_and_the_position(run: Run, old: str, new: str, message: str) -> None:
    assert run(VALID.replace(old, new)).endswith(message)


def test_an_unknown_sampler_argument_is_refused_before_a_search_starts(run: Run) -> None:
    on_digits = ["data={dataset: digits}", "parameters.patch_size={value: 2}"]
    error = run(VALID, *on_digits, "search.sampler={name: tpe, n_startup: 3}")
    assert error == (
        "error: sampler tpe has no argument n_startup, got 3; did you mean n_startup_trials? "
        "(override 'search.sampler={name: tpe, n_startup: 3}')"
    )
    assert not list(Path("home").glob("searches/*"))
