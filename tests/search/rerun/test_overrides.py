"""Overrides of a training: any value by its key, with one length and one size, and errors that state the rule."""

import re

import pytest

from lkca_search.errors import UserError
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.overrides import apply_overrides
from lkca_search.spec.base import find_differences
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection

PLAIN = TrialSpec(
    data=DataSection(dataset="digits", augment=("crop",)),
    training=TrainingSection(epochs=4, batch_size=64),
    resources=TrialResources(),
    configuration=Configuration(width=16, data_fraction=0.5),
    seed=1,
    split_seed=2,
)
LEVELS = PLAIN.model_copy(
    update={
        "data": DataSection(dataset="digits", augment=("crop",)),
        "training": TrainingSection(epochs=4, batch_size=16),
        "configuration": Configuration(width=16, batch_size=16, epochs=4, augment="crop"),
    }
)


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ([], {}),
        (["learning_rate=0.5"], {"configuration.learning_rate": 0.5}),
        (["configuration.learning_rate=1"], {"configuration.learning_rate": 1.0}),
        (["seed=7", "split_seed=8"], {"seed": 7, "split_seed": 8}),
        (["resources.cpu=2"], {"resources.cpu": 2}),
        (["cpu=2"], {"resources.cpu": 2}),
        (["epochs=9"], {"training.epochs": 9}),
        (["training.epochs=9"], {"training.epochs": 9}),
        (["steps=9"], {"training.epochs": None, "training.steps": 9}),
        (["batch_size=8"], {"training.batch_size": 8}),
        (["augment=none"], {"data.augment": ()}),
        (["patience=3"], {"training.patience": 3}),
        (["validation=0.2"], {"data.validation": 0.2}),
        (["images_per_class=5"], {"configuration.data_fraction": None, "configuration.images_per_class": 5}),
        (["compile=off"], {"configuration.compile": "off"}),
        (["~width"], {"configuration.width": None}),
        (["dataset=cifar10"], {"data.dataset": "cifar10"}),
        (["data.dataset=folder:/x"], {"data.dataset": "folder:/x"}),
        (["seed=7", "seed=8"], {"seed": 8}),
    ],
)
def test_an_override_changes_its_value_and_no_other(overrides: list[str], changed: dict[str, object]) -> None:
    found = {name: new for name, _, new in find_differences(PLAIN, apply_overrides(PLAIN, overrides))}
    assert found == changed


@pytest.mark.parametrize("key", ["batch_size", "training.batch_size", "configuration.batch_size"])
def test_a_value_of_section_and_configuration_is_changed_in_both(key: str) -> None:
    found = {name: new for name, _, new in find_differences(LEVELS, apply_overrides(LEVELS, [f"{key}=8"]))}
    assert found == {"configuration.batch_size": 8, "training.batch_size": 8}


def test_an_override_may_have_a_number_with_an_exponent() -> None:
    assert apply_overrides(PLAIN, ["learning_rate=1e-3"]).configuration.learning_rate == 0.001


def test_a_length_in_another_unit_replaces_that_of_the_configuration_too() -> None:
    trial = apply_overrides(LEVELS, ["steps=7"])
    assert (trial.training.epochs, trial.training.steps) == (None, 7)
    assert (trial.configuration.epochs, trial.configuration.steps) == (None, 7)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "a training has no 'learning_rat'; did you mean learning_rate?"),
        ("trainin.epochs=1", "a section must be one of data, training, resources, configuration, got 'trainin'"),
        ("training.epoch=1", "a training has no 'training.epoch'; did you mean epochs?"),
        ("epochs=0", "training.epochs: Input should be greater than or equal to 1"),
        ("width", "an override must be key=value, or ~key for the default"),
        ("~width=1", "an override must be key=value, or ~key for the default"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("width=100000", "must be at most 65,536"),
    ],
)
def test_an_override_that_breaks_a_rule_is_an_error_with_the_rule(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        apply_overrides(PLAIN, [override])
