"""Guard against levels and values of the recipe that train the same way: the optimizer, the schedule and the loss."""

from typing import Any

import numpy as np
import pytest

from lkca_search.search.studies.equal_trainings import find_equal_trainings, list_partly_equal_values
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.optimizers import identify_optimizer

EQUAL = np.repeat(np.arange(3), 40)  # 90 images to train on, after 25% for validation
UNEQUAL = np.repeat(np.arange(3), [40, 40, 20])
Values = dict[str, Any]


def spec(factors: Values, parameters: Values, *, steps: int = 12, **training: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits", "validation": 0.25},
            "factors": {"family": ("resnet",), **factors},
            "parameters": parameters,
            "training": {"steps": steps, **training},
            "search": {"trials_per_cell": 2},
        }
    )


LATE = {"warmup_fraction": {"value": 0.85}}
CASES: list[tuple[Values, Values, int, str | None]] = [
    # factors, parameters, steps, end of the sentence on the equal levels
    ({"weight_decay_on": ("all", "weights")}, {"weight_decay": {"value": 0.0}}, 4, "weight_decay_on=weights;"),
    ({"weight_decay_on": ("all", "weights")}, {"weight_decay": {"float": (0.0, 0.1)}}, 4, None),
    ({"beta2": (0.999, 0.99)}, {}, 4, None),
    ({"beta2": (0.999, 0.99), "optimizer": ("adamw", "lion")}, {}, 4, None),
    ({"schedule": ("cosine", "linear")}, {"final_lr_fraction": {"value": 1.0}}, 4, "schedule=linear;"),
    ({"schedule": ("cosine", "linear")}, {"final_lr_fraction": {"choice": (1.0, 0.1)}}, 4, None),
    ({"warmup_fraction": (0.01, 0.02)}, {}, 12, "warmup_fraction=0.01 and warmup_fraction=0.02 in 12 steps;"),
    ({"warmup_fraction": (0.01, 0.02)}, {}, 100, None),
    ({"warmup_fraction": (0.1000001, 0.1)}, {}, 1_000, "warmup_fraction=0.1 in 1,000 steps;"),
    ({"warmup_fraction": (0.1, 0.101)}, {}, 1_000, None),
    ({"schedule": ("linear", "warmup_stable_decay")}, LATE, 100, "schedule=warmup_stable_decay in 100 steps;"),
    ({"schedule": ("cosine", "warmup_stable_decay")}, LATE, 100, None),
    ({"schedule": ("linear", "warmup_stable_decay")}, {}, 100, None),
    ({"schedule": ("constant", "warmup_stable_decay")}, {}, 100_000, None),
    ({"schedule": ("cosine", "linear")}, {"warmup_fraction": {"value": 0.9}}, 12, "schedule=linear in 12 steps;"),
    ({"optimizer": ("torch.optim.Adam", "torch.optim.adam.Adam")}, {}, 4, "optimizer=torch.optim.adam.Adam;"),
    ({"optimizer": ("adamw", "torch.optim.AdamW")}, {}, 4, "optimizer=torch.optim.AdamW;"),
    ({"optimizer": ("adamw", "torch.optim.AdamW")}, {"beta2": {"value": 0.99}}, 4, "optimizer=torch.optim.AdamW;"),
    ({"optimizer": ("adamw", "torch.optim.Adam")}, {"weight_decay": {"value": 0.0}}, 4, "=torch.optim.Adam;"),
    ({"optimizer": ("adamw", "torch.optim.Adam")}, {}, 4, None),
    ({"optimizer": ("adamw", "torch.optim.AdamW", "sgd", "torch.optim.NAdam")}, {}, 4, "=torch.optim.AdamW;"),
    ({"optimizer": ("adamw", "sgd", "lamb", "lion", "torch.optim.RAdam")}, {}, 4, None),
]


@pytest.mark.parametrize(("factors", "parameters", "steps", "sides"), CASES, ids=lambda value: str(value)[:60])
def test_cells_whose_recipes_train_the_same_way_are_a_problem(
    factors: Values, parameters: Values, steps: int, sides: str | None
) -> None:
    problems = list(find_equal_trainings(spec(factors, parameters, steps=steps), EQUAL))
    assert [problem.location for problem in problems] == ([("factors", next(iter(factors)))] if sides else [])
    if sides:
        assert f"{sides} remove or `exclude` one of them" in problems[0].rule


def test_class_weights_are_no_factor_if_every_class_has_as_many_images() -> None:
    weighted = spec({"class_weights": ("none", "balanced")}, {})
    (problem,) = find_equal_trainings(weighted, EQUAL)
    assert problem.location == ("factors", "class_weights")
    assert ": every class has as many training images; remove" in problem.rule
    assert list(find_equal_trainings(weighted, UNEQUAL)) == []


SEARCHED: list[tuple[Values, str | None]] = [
    ({"weight_decay_on": {"choice": ("all", "weights")}, "weight_decay": {"value": 0.0}}, "weight_decay_on=weights;"),
    ({"weight_decay_on": {"choice": ("all", "weights")}, "weight_decay": {"choice": (0.0, 0.1)}}, None),
    ({"batch_size": {"choice": (64, 128, 256)}}, "batch_size=128 and batch_size=256 on 90 images;"),
    ({"batch_size": {"choice": (32, 64, 128)}}, None),
    ({"batch_size": {"int": (100, 4_000)}}, "batch_size=100 and batch_size=4000 on 90 images;"),
    ({"warmup_fraction": {"float": (0.0, 0.02)}}, "warmup_fraction=0.0 and warmup_fraction=0.02 in 12 steps;"),
    ({"optimizer": {"choice": ("adamw", "torch.optim.AdamW")}}, "optimizer=torch.optim.AdamW;"),
    ({"augment": {"choice": ("light", "crop")}}, "augment=light and augment=crop;"),
    ({"class_weights": {"choice": ("none", "balanced")}}, ": every class has as many training images;"),
    ({"momentum": {"choice": (0.8, 0.9), "when": {"optimizer": ("sgd",)}}, "optimizer": {"value": "sgd"}}, None),
]


@pytest.mark.parametrize(("parameters", "sides"), SEARCHED, ids=lambda value: str(value)[:60])
def test_values_of_a_parameter_that_are_one_training_in_every_cell_are_a_problem(
    parameters: Values, sides: str | None
) -> None:
    searched = spec({}, parameters)
    problems = list(find_equal_trainings(searched, EQUAL))
    assert [problem.location for problem in problems] == ([("parameters", next(iter(parameters)))] if sides else [])
    if sides:
        assert f"{sides} remove one of them, or search another parameter" in problems[0].rule
    assert list(find_equal_trainings(searched, EQUAL, started=searched)) == [], "an old search resumes"
    assert list_partly_equal_values(searched, EQUAL) == []


def test_values_that_are_one_training_in_some_cells_only_are_noted() -> None:
    searched = spec({"data_fraction": (0.2, 1.0)}, {"batch_size": {"choice": (16, 32, 64)}})
    assert list(find_equal_trainings(searched, EQUAL)) == []
    (line,) = list_partly_equal_values(searched, EQUAL)
    cell = "in 1 of 2 cells, such as family=resnet,data_fraction=0.2"
    assert line == f"batch_size 32 and 64 are one training {cell}, and two trials"


def test_equal_cells_of_a_search_that_is_resumed_are_accepted_and_new_ones_are_not() -> None:
    old, new = spec({"warmup_fraction": (0.01, 0.02)}, {}), spec({"warmup_fraction": (0.01, 0.02, 0.03)}, {})
    assert list(find_equal_trainings(old, EQUAL, started=old)) == []
    (problem,) = find_equal_trainings(new, EQUAL, started=old)
    assert "warmup_fraction=0.01 and warmup_fraction=0.03 in 12 steps" in problem.rule


def test_the_identity_of_an_optimizer_depends_on_its_class_and_its_values_alone() -> None:
    def identify(optimizer: str, **values: Any) -> object:
        return identify_optimizer(Configuration(optimizer=optimizer, **values))

    assert identify("adamw") == identify("torch.optim.AdamW") == identify("adamw", learning_rate=0.5, beta2=0.999)
    assert identify("sgd") != identify("torch.optim.SGD"), "with and without momentum"
    assert identify("adamw") != identify("adamw", weight_decay=0.1) != identify("adamw", beta2=0.99)
    assert identify("no.such.Optimizer") != identify("no.other.Optimizer")
