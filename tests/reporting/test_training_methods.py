"""Methods of the trainings list everything in force, from the records."""

import re
from dataclasses import replace
from typing import Any, get_args

import torch

from lkca_search.analysis.search_results import SearchResults
from lkca_search.augmentations import Augmentation
from lkca_search.models.registry import FAMILIES, PRESETS, find_family, resolve
from lkca_search.recipe import ADAM_EPSILON, BETA1
from lkca_search.records.provenance import LayerBackend
from lkca_search.records.record import ModelDefaults, Record
from lkca_search.reporting.content import make_report
from lkca_search.reporting.methods.training import AUGMENTATION_TEXTS
from lkca_search.spec.configuration import Configuration, ImageShape
from tests.support.search_results import law, make_search_results


def described(results: SearchResults) -> SearchResults:
    """Return the results with the descriptions that a training on 8x8 images writes."""

    def with_description(record: Record) -> Record:
        family = find_family(record.spec.configuration.family)
        assert family is not None
        assert record.facts is not None
        resolved = resolve(record.spec.configuration, ImageShape(8, 8, 1), 10)
        description = ModelDefaults(
            configuration=resolved,
            initialization=family.describe_initialization(resolved),
            pooling=family.describe_pooling(resolved),
        )
        return record.model_copy(
            update={
                "facts": record.facts.model_copy(update={"model": family.label, "description": description}),
                "spec": record.spec.model_copy(update={"configuration": resolved}),  # as the ledger assigns it
            }
        )

    return replace(
        results,
        trials=[with_description(record) for record in results.trials],
        replicates=[with_description(record) for record in results.replicates],
    )


def methods(**changes: Any) -> dict[str, str]:
    return dict(make_report(described(make_search_results(law(), fractions=(0.005, 0.1), **changes))).methods)


def test_methods_list_the_optimizer_the_schedule_and_the_loss() -> None:
    text = methods()["Training"]
    assert "AdamW with β1 = 0.9, β2 = 0.999, ε = 1e-08, peak learning rate 0.001 to 0.003" in text
    assert "decoupled weight decay 0.05 on all parameters, biases and normalization included" in text
    assert "linearly over a fraction 0.1 of the steps, then falls as half a cosine to 1e-06" in text
    assert "cross-entropy with label smoothing 0.1" in text
    assert "Gradients are not clipped, and weights are not averaged. Numbers are float32." in text


def test_the_constants_of_the_recipe_are_those_that_the_optimizer_had_by_default() -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((BETA1, 0.999), ADAM_EPSILON)


def test_methods_list_the_images_and_the_batches_of_each_size() -> None:
    paragraphs = methods()
    assert "90 for training and 300 for validation; 1,800 for training and 300 for validation" in paragraphs["Data"]
    assert "The test split has 1,000 images." in paragraphs["Data"]
    assert "normalized by its mean and standard deviation over the training subset" in paragraphs["Data"]
    assert "The batch size is 128; a smaller subset is one batch (90 images)." in paragraphs["Training"]


def test_methods_list_the_steps_and_epochs_of_each_size() -> None:
    assert "This is 20 steps (4.0 epochs) with 90 images; 20 steps (4.0 epochs) with 1,800" in methods()["Training"]
    bounded = methods(training={"epochs": 60, "min_steps": 400, "max_steps": 2000})["Training"]
    assert bounded.startswith("The length of a training is 60 epochs, but at least 400 and at most 2,000 steps. This")
    assert "Sizes at the floor or the cap have equal steps, the others equal epochs." in bounded


def test_methods_list_the_pooling_the_initial_weights_and_the_defaults_of_each_model() -> None:
    text = methods()["Models"]
    lkca, vit = re.findall(r"(LKCA, .*?\.) (ViT: .*\.)", text)[0]
    assert "pooling: mean of the tokens; initial weights: Xavier-normal linear weights, zero biases" in lkca
    assert "kernels by kernel_init" in lkca
    assert "depth 9, width 136, mlp_ratio 2, kernel_size 7, kernel_init zero, position_embedding true" in lkca
    assert "patch_size" not in lkca  # given in the space file
    assert "num_heads 8, pooling mean" in vit


def test_a_value_that_only_other_families_are_given_is_listed_as_a_default() -> None:
    text = methods(
        parameters={
            "patch_size": {"value": 1, "when": {"family": ("lkca",)}},
            "kernel_size": {"choice": (3,), "when": {"family": ("lkca",)}},
        }
    )["Models"]
    lkca, vit = re.findall(r"(LKCA, .*?\.) (ViT: .*\.)", text)[0]
    assert "patch_size" not in lkca
    assert "kernel_size" not in lkca
    assert "patch_size 2" in vit


def test_the_backends_of_lkca_are_listed_with_their_trainings() -> None:
    results = described(make_search_results(law(), fractions=(0.005, 0.1)))
    layer = {"grid": (4, 4), "kernel_size": 3, "num_kernels": 1, "channels": 8, "batch_size": 8}
    backends = [
        LayerBackend.model_validate({**layer, "backend": name, "precision": "float32", "milliseconds": {}})
        for name in ("conv", "fft")
    ]
    trials = []
    for i, record in enumerate(results.trials):
        assert record.facts is not None
        chosen = (backends[i == 0],) if record.spec.configuration.family == "lkca" else ()
        trials.append(record.model_copy(update={"facts": record.facts.model_copy(update={"backends": chosen})}))
    count = sum(record.spec.configuration.family == "lkca" for record in trials)
    text = dict(make_report(replace(results, trials=trials)).methods)["Models"]
    assert f"computed by the LKCA backend conv ({count - 1} trainings) and fft (1 training)." in text
    assert text.count("LKCA backend") == 1


def test_records_of_earlier_versions_have_no_description() -> None:
    results = make_search_results(law())
    assert dict(make_report(results).methods)["Models"] == "The records do not describe the models."


def test_many_sizes_are_given_as_a_range() -> None:
    fractions = tuple(0.01 * i for i in range(1, 12))
    text = dict(make_report(make_search_results(law(), fractions=fractions)).methods)["Training"]
    assert "This is from 20 steps (4.0 epochs) with 180 images, to 20 steps (4.0 epochs) with 1,980 images." in text


def test_every_augmentation_and_every_family_has_a_text() -> None:
    assert tuple(AUGMENTATION_TEXTS) == get_args(Augmentation)
    for name in (*FAMILIES, *PRESETS):
        family = find_family(name)
        assert family is not None
        resolved = family.fill(Configuration(family=name), ImageShape(32, 32, 3))
        assert family.describe_initialization(resolved)
        assert family.describe_pooling(resolved)


def with_numerics(results: SearchResults, count: int, **numerics: Any) -> SearchResults:
    """Return the results with other numerics in the facts of the first `count` trials; None for all trainings."""

    def changed(records: list[Record]) -> list[Record]:
        return [
            record.model_copy(update={"facts": record.facts.model_copy(update=numerics)}) if record.facts else record
            for record in records
        ]

    return replace(results, trials=[*changed(list(results.trials[:count])), *results.trials[count:]])


def test_methods_state_the_precision_and_the_compilation_that_were_used() -> None:
    results = described(replace(make_search_results(law()), replicates=[]))
    total = len(results.trials)

    def text(count: int, **numerics: Any) -> str:
        return dict(make_report(with_numerics(results, count, **numerics)).methods)["Training"]

    assert "Numbers are float32." in text(0)
    autocast = "atrix products and convolutions are bfloat16, and weights, gradients, losses and metrics are float32"
    assert f"M{autocast} (autocast); torch.compile compiles the model." in text(
        total, used_precision="bfloat16", compiled=True
    )
    mixed = text(2, used_precision="bfloat16", compiled=False)
    assert f"In {total - 2} of {total} trainings, numbers are float32. In 2 of {total} trainings, m{autocast}" in mixed
