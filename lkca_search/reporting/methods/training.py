"""Methods of the trainings in a report: images, models, optimizer and length, with every default in force."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lkca_search.analysis.search_results import SearchResults
from lkca_search.augmentations import Augmentation, join_augment, parse_augment
from lkca_search.recipe import (
    CROP_DIVISOR,
    ERASE_AREA,
    ERASE_ASPECT,
    ERASE_CHANCE,
    POLICY_GROUP,
)
from lkca_search.records.record import Record
from lkca_search.reporting.methods.length import batch_methods, length_methods, list_sizes, num_evaluations
from lkca_search.reporting.methods.numerics import numerics_methods
from lkca_search.reporting.methods.optimizer import format_values, optimizer_methods
from lkca_search.reporting.values.numbers import format_count, join_words, pluralize
from lkca_search.spec.configuration import NAMES, OPTIMIZER_NAMES, RECIPE_NAMES, SUBSET_NAMES, Configuration
from lkca_search.spec.domains import holds
from lkca_search.spec.metrics import Metric, find_metric
from lkca_search.spec.search_spec import SearchSpec

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
_ARCHITECTURE = tuple(
    name
    for name in NAMES
    if name not in ("family", *SUBSET_NAMES, *OPTIMIZER_NAMES, *RECIPE_NAMES, "precision", "compile")
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
    numbers = f"Numbers of images: {list_sizes(sizes)}. " if sizes else ""
    test = f"The test split has {join_words([format_count(size) for size in tested])} images. " if tested else ""
    used = {record.spec.complete_configuration.augment for record in _started(results)} - {None}
    levels = sorted(map(str, used)) or [str(join_augment(results.spec.data.augment))]
    return (
        f"{numbers}{test}Each channel is normalized by its mean and standard deviation over the training subset. "
        f"{_augmentation(levels)} Validation and test images are not augmented."
    )


def _augmentation(levels: Sequence[str]) -> str:
    """Return the augmentations of one level, or those of each level."""
    texts = {level: join_words([_describe(name) for name in parse_augment(level)]) for level in levels}
    if len(levels) == 1:
        text = texts[levels[0]]
        return f"Training images are augmented by {text}." if text else "There is no augmentation."
    listed = "; ".join(f"{level}: {texts[level] or 'nothing'}" for level in levels)
    return f"Training images are augmented by the level of augment: {listed}."


def _describe(name: str) -> str:
    """Return an augmentation with its strength; one by dotted path has only its name."""
    return {str(known): text for known, text in AUGMENTATION_TEXTS.items()}.get(name, name)


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
        f"{length_methods(results)} {batch_methods(results)} {_optimizer(results)} {numerics_methods(facts)} "
        f"The model is evaluated {num_evaluations(results)} times; the last evaluation is the result.{patience}"
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
    values = [(name, format_values(resolved, name)) for name in left_out]
    defaults = join_words([f"{name} {text}" for name, text in values if text])
    poolings = join_words(list(dict.fromkeys(description.pooling for description in descriptions)))
    initial = join_words(list(dict.fromkeys(description.initialization for description in descriptions)))
    more = "".join(f"; {text}" for text in (defaults, _backends(records)) if text)
    return f"{label}: pooling: {poolings}; initial weights: {initial}{more}."


def _backends(records: Iterable[Record]) -> str:
    """Return the backends that computed the LKCA layers of some trainings; empty if they have none, or are old."""
    counts = Counter(each.backend for record in records if record.facts for each in record.facts.backends or ())
    names = [f"{name} ({pluralize(count, 'training')})" for name, count in counts.most_common()]
    return f"computed by the LKCA backend {join_words(names)}" if names else ""


def _is_given(name: str, spec: SearchSpec, configuration: Configuration) -> bool:
    """Return True if the space file gives a hyperparameter in this configuration, as a factor or a parameter."""
    given = {**spec.factors, **spec.parameters}.get(name)
    return given is not None and holds(given.when, configuration.model_dump())


def _optimizer(results: SearchResults) -> str:
    """Return the optimizer, its schedule and the loss; values are those of the trainings."""
    return optimizer_methods([record.spec.configuration for record in _started(results)] or [Configuration()])
