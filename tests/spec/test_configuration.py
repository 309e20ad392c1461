"""Configurations, and the domains of their names."""

import math

import pytest
from pydantic import ValidationError

from lkca_search.spec.configuration import NAMES, Configuration, value_rule
from lkca_search.spec.domains import Choice, Fixed, FloatRange, IntRange

VALID_AND_INVALID: dict[str, tuple[object, object, str]] = {
    "family": ("vit", 1, "valid string, got 1"),
    "dataset": ("digits", "", "at least 1 character"),
    "data_fraction": (1, 0.0, "greater than 0"),
    "images_per_class": (5, 0, "greater than or equal to 1"),
    "draw": (0, -1, "greater than or equal to 0"),
    "patch_size": (1, 0, "greater than or equal to 1"),
    "shifted_patches": (True, "yes", "valid boolean"),
    "depth": (1, 2.0, "valid integer"),
    "width": (1, "64", "valid integer"),
    "match_parameters": ("1.0M", "1.0 M", "valid integer"),
    "mlp_ratio": (0.5, 0, "greater than 0"),
    "kernel_size": (None, 0, "greater than or equal to 1"),
    "kernel_init": ("delta", "ones", "'zero', 'delta' or 'normal'"),
    "attention_init": ("mimetic", "mimic", "'default', 'mimetic'"),
    "locality_attention": (False, 1, "valid boolean"),
    "num_heads": (8, True, "valid integer"),
    "pooling": ("class_token", "max", "'mean' or 'class_token'"),
    "position_embedding": (False, 0, "valid boolean"),
    "drop_path_rate": (0.0, 1.0, "less than 1"),
    "dropout": (0.0, 1, "less than 1"),
    "learning_rate": (1e-9, math.inf, "finite number"),
    "weight_decay": (0, -0.1, "greater than or equal to 0"),
    "label_smoothing": (0.99, math.nan, "finite number"),
    "warmup_fraction": (0.0, 1, "less than 1"),
    "optimizer": ("torch.optim.NAdam", "adamW", "did you mean adamw"),
    "momentum": (0.9, 1, "less than 1"),
    "beta2": (0.99, 1, "less than 1"),
    "schedule": ("linear", "cosin", "'cosine', 'linear'"),
    "final_lr_fraction": (0, 1.1, "less than or equal to 1"),
    "weight_decay_on": ("weights", "weight", "'all' or 'weights'"),
    "gradient_clip": (0, -1, "greater than or equal to 0"),
    "ema_decay": (0.999, 1, "less than 1"),
    "class_weights": ("balanced", "balance", "'none' or 'balanced'"),
    "precision": ("bfloat16", "bf16", "'auto', 'float32'"),
    "compile": ("on", "yes", "'auto', 'on'"),
    "batch_size": (1, 0, "greater than or equal to 1"),
    "augment": ("none", "", "names among crop, crop_reflect"),
    "epochs": (1, 0, "greater than or equal to 1"),
    "steps": (1, 1.5, "valid integer"),
    "samples": (1, 0, "greater than or equal to 1"),
}


def test_the_table_of_valid_values_has_every_name() -> None:
    assert tuple(VALID_AND_INVALID) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_rule_has_the_name_and_the_rule_and_a_valid_value_breaks_none(name: str) -> None:
    legal, broken, words = VALID_AND_INVALID[name]
    assert value_rule(name, legal) is None
    rule = value_rule(name, broken)
    assert rule is not None
    assert rule.startswith(f"{name}: ")
    assert words.partition(", got")[0] in rule


@pytest.mark.parametrize(
    ("written", "count"),
    [("1.0M", 1_000_000), ("250k", 250_000), ("1.073M", 1_073_000), ("0.5k", 500), (1234, 1234)],
)
def test_parameter_counts_may_have_a_suffix_k_or_M(written: str | int, count: int) -> None:
    configuration = Configuration.model_validate({"match_parameters": written})
    assert configuration.match_parameters == count
    assert Configuration.model_validate_json(configuration.model_dump_json()) == configuration


@pytest.mark.parametrize("written", ["1.0 M", "M", "1G", "-1k", "0k", "1e6", 1.0, 0])
def test_invalid_parameter_counts_are_refused(written: str | float) -> None:
    assert value_rule("match_parameters", written) is not None


def test_a_configuration_is_frozen_and_refuses_unknown_names() -> None:
    configuration = Configuration()
    with pytest.raises(ValidationError, match="frozen"):
        configuration.depth = 3
    with pytest.raises(ValidationError, match="unknown name 'deepth'; did you mean depth"):
        Configuration.model_validate({"deepth": 3})
    assert hash(configuration) == hash(Configuration(data_fraction=1))
    assert all(field.description for field in Configuration.model_fields.values())


@pytest.mark.parametrize("values", [{"data_fraction": 0.5, "images_per_class": 5}, {"data_fraction": None}])
def test_a_configuration_must_have_either_a_fraction_or_images_per_class(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="either data_fraction or images_per_class, got "):
        Configuration.model_validate(values)


def test_images_per_class_replace_the_fraction_also_in_json() -> None:
    configuration = Configuration(images_per_class=5)
    assert configuration.data_fraction is None
    for exclude_none in (False, True):
        text = configuration.model_dump_json(exclude_none=exclude_none)
        assert Configuration.model_validate_json(text) == configuration


@pytest.mark.parametrize(
    ("domain", "edges"),
    [
        (Choice(choice=(3, "a", 0.5)), (3, "a", 0.5)),
        (Fixed(value=4), (4,)),
        (FloatRange(bounds=(0.5, 2.0)), (0.5, 2.0)),
        (IntRange(bounds=(2, 5)), (2, 3, 4, 5)),
        (IntRange(bounds=(2, 7), step=2), (2, 4, 6)),
        (IntRange(bounds=(1, 64)), tuple(range(1, 65))),
        (IntRange(bounds=(1, 65)), (1, 65)),
        (IntRange(bounds=(0, 1000), step=3), (0, 999)),
        (IntRange(bounds=(1, 10**9), log=True), (1, 10**9)),
    ],
)
def test_edges_are_all_values_of_a_short_domain_and_the_bounds_of_a_long_one(
    domain: Choice | Fixed | FloatRange | IntRange, edges: tuple[object, ...]
) -> None:
    assert domain.edges() == edges
