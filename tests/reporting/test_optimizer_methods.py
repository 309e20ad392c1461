"""Sentences of a report on optimizer, schedule and loss."""

from typing import Any

import pytest

from lkca_search.reporting.methods.optimizer import optimizer_methods
from lkca_search.spec.configuration import Configuration

SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}


def methods(*recipes: dict[str, Any]) -> str:
    return optimizer_methods([Configuration.model_validate(recipe) for recipe in recipes])


def test_the_default_recipe_has_the_sentences_of_earlier_versions() -> None:
    assert methods({}) == (
        "The optimizer is AdamW with β1 = 0.9, β2 = 0.999, ε = 1e-08, peak learning rate 0.001 and decoupled weight "
        "decay 0.05 on all parameters, biases and normalization included. The learning rate rises linearly over a "
        "fraction 0.1 of the steps, then falls as half a cosine to 1e-06. The loss is cross-entropy with label "
        "smoothing 0.1. Gradients are not clipped, and weights are not averaged."
    )


@pytest.mark.parametrize(
    ("recipes", "sentence"),
    [
        ([SGD], "SGD with Nesterov momentum 0.9, peak learning rate 0.1 and weight decay 0.0005 on all"),
        ([{"optimizer": "lion"}], "Lion with β1 = 0.9, β2 = 0.99, peak learning rate 0.001 and decoupled"),
        ([{"optimizer": "lamb", "beta2": 0.9}], "LAMB with β1 = 0.9, β2 = 0.9, ε = 1e-06, peak"),
        ([{"optimizer": "mylab.Own", "momentum": 0.5}], "mylab.Own with momentum 0.5, peak learning rate"),
        ([{}, SGD], "The optimizers are AdamW with"),
        ([{}, SGD], " and SGD with Nesterov momentum 0.9, peak learning rate 0.1"),
        ([{"weight_decay_on": "weights"}], "weight decay 0.05 on weights alone, without biases"),
        ([{"schedule": "linear", "final_lr_fraction": 0.1}], "then falls linearly to 0.1 of the peak."),
        ([{"schedule": "constant"}], "then stays constant."),
        ([{"schedule": "warmup_stable_decay"}], "falls linearly to 1e-06 in the last 20% of the steps."),
        ([{"schedule": "warmup_stable_decay", "warmup_fraction": 0.9}], "1e-06 in at most the last 20% of the steps."),
        ([{}, {"schedule": "constant"}], "then falls as half a cosine to 1e-06, or stays constant."),
        ([{"class_weights": "balanced"}], "; classes are weighted inversely to their number of training images."),
        ([{"gradient_clip": 1.0}], "Gradients are clipped to a norm of 1, and weights are not averaged."),
        ([{}, {"gradient_clip": 1.0}], "Gradients are clipped to a norm of 1 in some trainings, and"),
        ([{"ema_decay": 0.99}], "and the evaluated weights are exponential moving averages whose decay rises to 0.99."),
    ],
)
def test_the_sentences_name_what_the_trainings_used(recipes: list[dict[str, Any]], sentence: str) -> None:
    assert sentence in methods(*recipes)
