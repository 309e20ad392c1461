"""Methods of the trainings in a report: images, models, optimizer and length, with every default in force."""

from collections.abc import Iterable, Mapping

from lkca_search.analysis.search_results import SearchResults
from lkca_search.augmentations import Augmentation
from lkca_search.recipe import (
    ADAM_BETAS,
    ADAM_EPSILON,
    CROP_DIVISOR,
    ERASE_AREA,
    ERASE_ASPECT,
    ERASE_CHANCE,
    FINAL_LEARNING_RATE,
    POLICY_GROUP,
)
from lkca_search.records.record import Record
from lkca_search.report.methods.numerics import numerics_methods
from lkca_search.report.values.numbers import format_count, format_epochs, format_range, join_words, pluralize
from lkca_search.spec.configuration import NAMES, SUBSET_NAMES, Configuration
from lkca_search.spec.domains import holds
from lkca_search.spec.metrics import Metric, find_metric
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import TrainingSection

_CROP = f"by 1/{CROP_DIVISOR} of each side, at least a pixel"
_POLICY = f"with its default strength, one draw per {POLICY_GROUP} images"
AUGMENTATION_TEXTS: Mapping[Augmentation, str] = {
    "crop": f"crop (a random window after padding with black {_CROP})",
    "crop_reflect": f"crop_reflect (a random window after padding by reflection {_CROP})",
    "flip": "flip (left to right, with probability 1/2)",
    "trivial_augment": f"trivial_augment (torchvision's TrivialAugmentWide {_POLICY})",
    "rand_augment": f"rand_augment (torchvision's RandAugment {_POLICY})",
    "erase": (
        f"erase (with probability {ERASE_CHANCE:g}, a gray box of {ERASE_AREA[0]:.0%} to {ERASE_AREA[1]:.0%} of the "
        f"area with aspect ratio {ERASE_ASPECT[0]:g} to {ERASE_ASPECT[1]:g})"
    ),
    "cutmix": "cutmix (α = 1)",
    "mixup": "mixup (α = 1)",
}
"""Augmentations with their strengths, in the order in which they are applied."""
_EQUAL_LENGTH = {
    "epochs": "Epochs are equal at every size, so fewer images mean fewer steps.",
    "steps": "Optimizer steps are equal at every size, so fewer images are seen more often.",
    "samples": "The number of images seen is equal at every size.",
    "bounded": (
        "More images never get fewer steps. Sizes at the floor or the cap have equal steps, the others equal epochs."
    ),
}
_MAX_SIZES = 8
"""Maximum number of sizes to list; of more sizes, the smallest and the largest are given."""
_OPTIMIZER_NAMES = ("learning_rate", "weight_decay", "label_smoothing", "warmup_fraction")
_ARCHITECTURE = tuple(
    name for name in NAMES if name not in ("family", *SUBSET_NAMES, *_OPTIMIZER_NAMES, "precision", "compile")
)
"""Hyperparameters of the model itself."""


def images_methods(results: SearchResults) -> str:
    """Return the sentences on the numbers of images, normalization and augmentation."""
    counts = {_image_counts(record) for record in _started(results) if record.facts}
    sizes = [
        f"{format_count(train)} for training and {format_count(validation)} for validation"
        for train, validation in sorted(counts)
    ]
    tested = sorted({record.test.num_images for record in results.replicates if record.test})
    numbers = f"Numbers of images: {_list_sizes(sizes)}. " if sizes else ""
    test = f"The test split has {join_words([format_count(size) for size in tested])} images. " if tested else ""
    names = [text for name, text in AUGMENTATION_TEXTS.items() if name in results.spec.data.augment]
    augmentation = f"Training images are augmented by {join_words(names)}." if names else "There is no augmentation."
    return (
        f"{numbers}{test}Each channel is normalized by its mean and standard deviation over the training subset. "
        f"{augmentation} Validation and test images are not augmented."
    )


def models_methods(results: SearchResults) -> str:
    """Return the pooling, the initial weights and the defaults of each model."""
    described: dict[str, list[Record]] = {}
    for record in _started(results):
        if record.facts and record.facts.description:
            described.setdefault(record.facts.model, []).append(record)
    if not described:
        return "The records do not describe the models."
    sentences = [_model_sentence(label, records, results.spec) for label, records in described.items()]
    return f"No model is pretrained. {' '.join(sentences)}"


def _patience_metric(results: SearchResults) -> Metric:
    """Return the metric that `patience` followed: accuracy in records of earlier versions, else the leading one."""
    record = next(iter((*results.trials, *results.replicates)), None)
    return results.metric if record is None else find_metric(record.spec.metrics[0])


def training_methods(results: SearchResults) -> str:
    """Return the length, the batches, the optimizer and the evaluation of every training."""
    training, metric = results.spec.training, _patience_metric(results)
    facts = [record.facts for record in _started(results) if record.facts]
    patience = (
        f" A training ends early after {pluralize(training.patience, 'evaluation')} without a "
        f"{'higher' if metric.sign > 0 else 'lower'} {metric.label}."
        if training.patience
        else ""
    )
    return (
        f"The length of a training is {_length(training)}. {_lengths_per_size(results)}"
        f"{_EQUAL_LENGTH[_unit(training)]} "
        f"{_batches(results)} {_optimizer(results)} {numerics_methods(facts)} The model is evaluated "
        f"{training.num_reports} times; the last evaluation is the result.{patience}"
    )


def _started(results: SearchResults) -> Iterable[Record]:
    return (*results.trials, *results.replicates)


def _image_counts(record: Record) -> tuple[int, int]:
    assert record.facts is not None
    return record.facts.num_train_images, record.facts.num_validation_images


def _model_sentence(label: str, records: list[Record], spec: SearchSpec) -> str:
    """Return one model's pooling, initial weights, and the values that the space file leaves to defaults."""
    descriptions = [record.facts.description for record in records if record.facts and record.facts.description]
    resolved = [description.configuration for description in descriptions]
    names = (*_ARCHITECTURE, *dict.fromkeys(name for each in resolved for name in each.own))
    left_out = [name for name in names if not all(_is_given(name, spec, each) for each in resolved)]
    values = [(name, _values(resolved, name)) for name in left_out]
    defaults = join_words([f"{name} {text}" for name, text in values if text])
    poolings = join_words(list(dict.fromkeys(description.pooling for description in descriptions)))
    initial = join_words(list(dict.fromkeys(description.initialization for description in descriptions)))
    return f"{label}: pooling: {poolings}; initial weights: {initial}{f'; {defaults}' if defaults else ''}."


def _is_given(name: str, spec: SearchSpec, configuration: Configuration) -> bool:
    """Return True if the space file gives a hyperparameter in this configuration, as a factor or a parameter."""
    given = {**spec.factors, **spec.parameters}.get(name)
    return given is not None and holds(given.when, configuration.model_dump())


def _values(configurations: Iterable[Configuration], name: str) -> str:
    """Return the value of a hyperparameter, or the range or list of its values; empty if it does not apply."""
    values = {getattr(configuration, name) for configuration in configurations} - {None}
    if not values:
        return ""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return format_range((min(values), max(values)), _number)
    return join_words(sorted(str(value).lower() for value in values))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _unit(training: TrainingSection) -> str:
    if training.has_bounds:
        return "bounded"
    return next(name for name in ("epochs", "steps", "samples") if getattr(training, name) is not None)


def _length(training: TrainingSection) -> str:
    """Return the length as the space file gives it: `60 epochs, but at least 2,000 and at most 15,000 steps`."""
    unit = next(name for name in ("epochs", "steps", "samples") if getattr(training, name) is not None)
    length = f"{format_count(getattr(training, unit))} {'training images seen' if unit == 'samples' else unit}"
    bounds = [
        f"{name} {format_count(bound)}"
        for name, bound in (("at least", training.min_steps), ("at most", training.max_steps))
        if bound is not None
    ]
    return f"{length}, but {join_words(bounds)} steps" if bounds else length


def _lengths_per_size(results: SearchResults) -> str:
    """Return the planned steps and epochs of each size; empty if no training has a result."""
    steps: dict[int, int] = {}
    epochs: dict[int, float] = {}
    for record in _started(results):
        if record.facts and record.curve:
            size, planned = record.facts.num_train_images, record.facts.planned_steps
            steps[size] = planned
            # Equal for all trials of a size: the last epoch may be incomplete, which changes the ratio a little.
            epochs[size] = record.curve[-1].epoch * planned / record.curve[-1].step
    if not steps:
        return ""
    sizes = [
        f"{format_count(steps[size])} steps ({format_epochs(epochs[size])} epochs) with {format_count(size)} images"
        for size in sorted(steps)
    ]
    return f"This is {_list_sizes(sizes)}. "


def _list_sizes(sizes: list[str]) -> str:
    return f"from {sizes[0]}, to {sizes[-1]}" if len(sizes) > _MAX_SIZES else "; ".join(sizes)


def _batches(results: SearchResults) -> str:
    batch_size = results.spec.training.batch_size
    sizes = {record.facts.num_train_images for record in _started(results) if record.facts}
    smaller = [f"{format_count(size)} images" for size in sorted(sizes) if size < batch_size]
    used = f"; a smaller subset is one batch ({_list_sizes(smaller)})" if smaller else ""
    joined = sorted(
        {
            record.facts.num_train_images
            for record in _started(results)
            if record.facts and (record.facts.last_batch or 0) > min(batch_size, record.facts.num_train_images)
        }
    )
    single = (
        f" With {_list_sizes([f'{format_count(size)} images' for size in joined])} the last batch has "
        f"{batch_size + 1}: a single image that is left over joins the batch before it."
        if joined
        else ""
    )
    return f"The batch size is {batch_size}{used}. The last batch of an epoch may be smaller.{single}"


def _optimizer(results: SearchResults) -> str:
    """Return the optimizer, its schedule and the loss; values are those of the trainings."""
    configurations = [record.spec.configuration for record in _started(results)] or [Configuration()]
    rate, decay, smoothing, warmup = (_values(configurations, name) for name in _OPTIMIZER_NAMES)
    return (
        f"The optimizer is AdamW with β1 = {ADAM_BETAS[0]:g}, β2 = {ADAM_BETAS[1]:g}, ε = {ADAM_EPSILON:g}, peak "
        f"learning rate {rate} and decoupled weight decay {decay} on all parameters, biases and normalization "
        f"included. The learning rate rises linearly over a fraction {warmup} of the steps, then falls as half a "
        f"cosine to {FINAL_LEARNING_RATE:g}. The loss is cross-entropy with label smoothing {smoothing}. Gradients are "
        "not clipped, and weights are not averaged."
    )
