"""Batch size, augmentations and training length as factors and parameters: levels, cells, and rules."""

from typing import Any

import pytest

from lkca_search.augmentations import AUGMENTATION_SETS, AUGMENTATIONS, augment_rule, join_augment
from lkca_search.errors import SpaceFileError
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.cells import cells, num_reports
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection, TrainingSection
from tests.support.space_files import Space, cell_keys

ONE_SIZE = ["factors.family=[lkca]", "~factors.data_fraction"]
FREE = ["~training.steps", *ONE_SIZE]


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("none", "none"),
        ("standard", "standard"),
        (["flip", "crop"], "crop+flip"),
        ("flip + crop", "crop+flip"),
        (["crop"], "crop"),
        ([], "none"),
        (["standard", "erase"], "crop+flip+erase"),
        (["mylab.Blur", "cutmix", "crop"], "crop+cutmix+mylab.Blur"),
    ],
)
def test_a_list_is_one_level_and_lists_that_mean_the_same_are_the_same_level(level: Any, text: str) -> None:
    assert join_augment(level) == join_augment(text) == text
    assert Configuration(augment=level).augment == text


def test_a_named_set_never_changes() -> None:
    """Records have the name of a set."""
    assert AUGMENTATION_SETS == {
        "none": (),
        "light": ("crop",),
        "standard": ("crop", "flip"),
        "strong": ("crop", "flip", "rand_augment", "erase", "cutmix", "mixup"),
    }
    assert all(augment_rule(names) is None for names in AUGMENTATION_SETS.values())
    assert not set(AUGMENTATION_SETS) & set(AUGMENTATIONS)


def test_levels_of_augment_are_cells_wherever_a_space_file_lists_them(space: Space) -> None:
    levels = "factors.augment=[none, light, [erase, crop]]"
    spec = space(*ONE_SIZE, levels, "exclude=[{augment: [[crop, erase]]}]").spec
    assert cell_keys(spec) == ["family=lkca,augment=none", "family=lkca,augment=light"]
    spec = space(*ONE_SIZE, "design=one_at_a_time", "base={augment: [crop, erase]}", levels).spec
    assert cell_keys(spec)[0] == "family=lkca,augment=crop+erase"
    when = "parameters.mlp_ratio={value: 2.0, when: {augment: [[erase, crop]]}}"
    assert space(*ONE_SIZE, levels, when).spec.parameters["mlp_ratio"].when == {"augment": ("crop+erase",)}
    spec = space(*ONE_SIZE, "parameters.augment={choice: [none, [cutmix, crop]]}").spec
    assert spec.parameters["augment"].values() == ("none", "crop+cutmix")
    assert SearchSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


@pytest.mark.parametrize("written", ["light", "[light]", "[crop]", "crop"])
def test_the_section_takes_a_set_too(space: Space, written: str) -> None:
    assert space(f"data.augment={written}").spec.data.augment == ("crop",)


REFUSED = [
    (["factors.augment=[none, [crop, flp]]"], "got 'flp'; did you mean flip?", "factors.augment"),
    (["factors.augment=[none, standart]"], "got 'standart'; did you mean standard?", "factors.augment"),
    (["parameters.augment={choice: [none, crp]}"], "got 'crp'; did you mean crop?", "parameters.augment"),
    (["data.augment=ligt"], "got 'ligt'; did you mean light?", "data.augment"),
    (["factors.augment=[[crop, crop_reflect], none]"], "at most one of crop and crop_reflect", "factors.augment"),
    (["factors.augment=[[crop, crop], none]"], "name each augmentation once", "factors.augment"),
    (["factors.augment=[3, none]"], "augment: input should be a valid string, got 3", "factors.augment"),
    (["factors.augment=[standard, none]"], "augment standard must not have flip for digits", "factors.augment"),
    (["parameters.augment={choice: [flip, none]}"], "augment flip must not have flip for digits", "parameters.augment"),
    (["factors.batchsize=[8, 16]"], "unknown name 'batchsize'; did you mean batch_size?", "factors.batchsize"),
    (["factors.batch-size=[8, 16]"], "unknown name 'batch-size'; did you mean batch_size?", "factors.batch-size"),
    (["parameters.augmnt={value: none}"], "unknown name 'augmnt'; did you mean augment?", "parameters.augmnt"),
    (["~training.steps", "factors.epoch=[8, 16]"], "unknown name 'epoch'; did you mean epochs?", "factors.epoch"),
    (["training.batchsize=8"], "unknown key training.batchsize; did you mean batch_size?", "training.batchsize"),
    (["data.batch_size=8"], "unknown key data.batch_size; write it as training.batch_size", "data.batch_size"),
    (["batch_size=8"], "unknown key batch_size; write it below", "batch_size"),
    (["factors.batch_size=[0, 8]"], "batch_size: input should be greater than or equal to 1, got 0", "factors."),
    (["factors.batch_size=[8, 100000]"], "batch_size must be at most 65,536, got 100000", "factors.batch_size"),
    (["factors.batch_size=[8.5]"], "batch_size: input should be a valid integer", "factors.batch_size"),
    (["~training.steps"], "training must have exactly one of epochs, steps, samples, got none", "(space.yaml:11)"),
    (
        ["~training.steps", "factors.epochs={levels: [3, 9], when: {family: [vit]}}"],
        "training must have exactly one of epochs, steps, samples, got none",
        "(space.yaml:11)",
    ),
    (
        ["~training.steps", "factors.epochs=[3, 9]", "factors.steps=[30, 90]"],
        "every training must have its length in one unit, got epochs and steps; give each a `when`",
        "factors.steps",
    ),
    (
        ["~training.steps", "factors.epochs=[3, 9]", "parameters.samples={int: [30, 90]}"],
        "every training must have its length in one unit, got epochs and samples; give each a `when`",
        "parameters.samples",
    ),
    (
        ["training.batch_size=64", "factors.batch_size=[8, 16]"],
        "training.batch_size must be left out if factor batch_size gives every cell its own, got 64: remove it, or "
        "give factor batch_size a `when`",
        "training.batch_size",
    ),
    (
        ["training.batch_size=64", "parameters.batch_size={int: [8, 16]}"],
        "training.batch_size must be left out if parameter batch_size gives every cell its own, got 64",
        "training.batch_size",
    ),
    (["factors.epochs=[3, 9]"], "training.steps must be left out if factor epochs gives every cell its own", "yaml:11"),
    (["data.augment=[crop]", "factors.augment=[none, light]"], "data.augment must be left out if factor", "data."),
    (
        ["~training.steps", "factors.steps=[10, 90]", "training.reports=20"],
        "training.reports must be at most 10, got 20: a report follows a step, and steps is 10",
        "factors.steps",
    ),
    (
        ["~training.steps", "factors.epochs=[10, 20000]"],
        "epochs without reports must be at most 10,000, got 20,000",
        "factors.epochs",
    ),
    (
        ["~training.steps", "factors.steps=[100, 200]", "training.min_steps=50"],
        "min_steps must be given with epochs, whose steps it bounds, got 50 without epochs",
        "training.min_steps",
    ),
]


@pytest.mark.parametrize(("overrides", "rule", "place"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_wrong_name_or_level_is_refused_with_its_place(
    space: Space, overrides: list[str], rule: str, place: str
) -> None:
    with pytest.raises(SpaceFileError) as caught:
        space(*overrides)
    (line,) = [line for line in caught.value.lines if rule in line]
    assert place in line.rpartition(" (")[2] or place in line


ACCEPTED = [
    ["training.batch_size=64", "factors.batch_size={levels: [8, 16], when: {family: [vit]}}"],
    ["factors.steps={levels: [30, 90], when: {family: [vit]}}"],
    ["~training.steps", "training.min_steps=50", "factors.epochs=[3, 9]"],
    [
        "~training.steps",
        "factors.epochs={levels: [3], when: {family: [vit]}}",
        "factors.steps={levels: [30], when: {family: [lkca]}}",
    ],
    ["~training.steps", "parameters.epochs={int: [3, 9]}", "training.reports=3"],
]


@pytest.mark.parametrize("overrides", ACCEPTED, ids=lambda value: value[-1])
def test_every_cell_has_one_length_from_its_levels_or_from_the_section(space: Space, overrides: list[str]) -> None:
    spec = space(*overrides).spec
    for cell in cells(spec):
        recipes = list(spec.recipes.recipes_of(cell.levels))
        assert recipes
        for recipe in recipes:
            training = spec.training.of(Configuration.model_validate({**cell.levels, **recipe}))
            assert training.unit is not None
            assert TrainingSection.model_validate(training.model_dump()) == training
    assert SearchSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_a_cell_has_the_reports_of_its_own_epochs(space: Space) -> None:
    spec = space(*FREE, "factors.epochs=[3, 9]").spec
    assert [num_reports(spec, cell) for cell in cells(spec)] == [3, 9]
    spec = space(*FREE, "factors.epochs=[3, 9]", "training.min_steps=40").spec
    assert [num_reports(spec, cell) for cell in cells(spec)] == [20, 20]
    spec = space(*FREE, "parameters.epochs={int: [3, 9]}").spec
    assert [num_reports(spec, cell) for cell in cells(spec)] == [9]


def test_a_trial_has_the_values_of_its_configuration_and_else_those_of_the_sections() -> None:
    def trial(**configuration: Any) -> TrialSpec:
        return TrialSpec(
            data=DataSection(dataset="digits", augment=("crop", "erase")),
            training=TrainingSection(epochs=4, min_steps=10, max_steps=99, batch_size=32),
            resources=TrialResources(),
            configuration=Configuration(**configuration),
            seed=0,
            split_seed=0,
        )

    plain, other = trial(), trial(batch_size=8, augment="light", steps=50)
    assert plain.training == TrainingSection(epochs=4, min_steps=10, max_steps=99, batch_size=32)
    assert other.training == TrainingSection(steps=50, batch_size=8)
    assert (plain.data.augment, other.data.augment) == (("crop", "erase"), ("crop",))
    assert trial(epochs=9).training == TrainingSection(epochs=9, min_steps=10, max_steps=99, batch_size=32)
    complete = [(each.complete_configuration.augment, each.complete_configuration.steps) for each in (plain, other)]
    assert complete == [("crop+erase", None), ("light", 50)]
    for each in (plain, other):
        assert TrialSpec.model_validate_json(each.model_dump_json()) == each


def test_a_training_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="training must have exactly one of epochs, steps, samples, got none"):
        TrialSpec(
            data=DataSection(dataset="digits"),
            training=TrainingSection(),
            resources=TrialResources(),
            configuration=Configuration(),
            seed=0,
            split_seed=0,
        )
