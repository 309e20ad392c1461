"""Length and batches of the trainings in a report, as ranges or lists where factors or parameters set them."""

from collections.abc import Mapping, Sequence

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record
from lkca_search.reporting.values.numbers import format_count, format_epochs, format_range, join_words
from lkca_search.spec.configuration import LENGTH_NAMES, Configuration
from lkca_search.spec.sections import TrainingSection

_EQUAL_LENGTH: Mapping[str, str] = {
    "epochs": "Epochs are equal at every size, so fewer images mean fewer steps.",
    "steps": "Optimizer steps are equal at every size, so fewer images are seen more often.",
    "samples": "The number of images seen is equal at every size.",
    "bounded": (
        "More images never get fewer steps. Sizes at the floor or the cap have equal steps, the others equal epochs."
    ),
}
_MAX_LISTED = 8
"""Maximum number of sizes, lengths or batch sizes to list; of more, the smallest and the largest are given."""


def length_methods(results: SearchResults) -> str:
    """Return the length as the space file gives it, the steps and epochs of each size, and what is equal."""
    sections = _sections(results)
    texts = list(dict.fromkeys(_length(section) for section in sections))
    if len(texts) == 1:
        unit = "bounded" if sections[0].has_bounds else sections[0].unit
        assert unit is not None
        return f"The length of a training is {texts[0]}. {_lengths_per_size(results)}{_EQUAL_LENGTH[unit]}"
    shown = join_words(texts) if len(texts) <= _MAX_LISTED else _ranges(sections)
    return (
        f"The length of a training is a level of {join_words(_sources(results, LENGTH_NAMES))}: {shown}. "
        f"{_lengths_per_size(results)}Cells have equal numbers of trials, and trials with other lengths other budgets."
    )


def batch_methods(results: SearchResults) -> str:
    """Return the images per step, and the sizes at which batches are smaller or larger."""
    sizes = sorted({section.batch_size for section in _sections(results)})
    records = [record for record in _started(results) if record.facts]
    numbers = sorted({record.facts.num_train_images for record in records if record.facts})
    smaller = [f"{format_count(number)} images" for number in numbers if number < sizes[-1]]
    used = f"; a smaller subset is one batch ({list_sizes(smaller)})" if smaller else ""
    joined = sorted({record.facts.num_train_images for record in records if record.facts and _is_joined(record)})
    more = f"{sizes[0] + 1}" if len(sizes) == 1 else "one image more"
    single = (
        f" With {list_sizes([f'{format_count(number)} images' for number in joined])} the last batch has {more}: a "
        "single image that is left over joins the batch before it."
        if joined
        else ""
    )
    if len(sizes) == 1:
        text = f"The batch size is {sizes[0]}"
    else:
        listed = [str(size) for size in sizes]
        shown = join_words(listed) if len(sizes) <= _MAX_LISTED else f"{listed[0]} to {listed[-1]}"
        text = f"The batch size is a level of {join_words(_sources(results, ('batch_size',)))}: {shown}"
    return f"{text}{used}. The last batch of an epoch may be smaller.{single}"


def num_evaluations(results: SearchResults) -> str:
    """Return the planned number of evaluations per training, or its range."""
    numbers = [section.num_reports for section in _sections(results)]
    return format_range((min(numbers), max(numbers)), format_count)


def list_sizes(sizes: Sequence[str]) -> str:
    """Return the texts of all sizes; of many, the first and the last one."""
    return f"from {sizes[0]}, to {sizes[-1]}" if len(sizes) > _MAX_LISTED else "; ".join(sizes)


def _started(results: SearchResults) -> Sequence[Record]:
    return (*results.trials, *results.replicates)


def _sections(results: SearchResults) -> list[TrainingSection]:
    """Return the sections `training` in force: those of the trainings, or of the space file if none has started."""
    if started := list(dict.fromkeys(record.spec.training for record in _started(results))):
        return started
    spec = results.spec
    return [spec.training.of(Configuration.model_validate(recipe)) for recipe in spec.recipes.recipes]


def _sources(results: SearchResults, names: Sequence[str]) -> list[str]:
    """Return the names that a factor or a parameter gives, with the kind of each: factor epochs."""
    factors, parameters = results.spec.factors, results.spec.parameters
    kinds = {**dict.fromkeys(parameters, "parameter"), **dict.fromkeys(factors, "factor")}
    return [f"{kinds[name]} {name}" for name in names if name in kinds] or ["the space file"]


def _length(section: TrainingSection) -> str:
    """Return the length as the space file gives it: `60 epochs, but at least 2,000 and at most 15,000 steps`."""
    assert section.unit is not None
    unit = "training images seen" if section.unit == "samples" else section.unit
    length = f"{format_count(getattr(section, section.unit))} {unit}"
    bounds = [
        f"{name} {format_count(bound)}"
        for name, bound in (("at least", section.min_steps), ("at most", section.max_steps))
        if bound is not None
    ]
    return f"{length}, but {join_words(bounds)} steps" if bounds else length


def _ranges(sections: Sequence[TrainingSection]) -> str:
    """Return the shortest and the longest length per unit."""
    texts = []
    for unit in LENGTH_NAMES:
        if numbers := [getattr(section, unit) for section in sections if section.unit == unit]:
            texts.append(f"{format_range((min(numbers), max(numbers)), format_count)} {unit}")
    return join_words(texts)


def _lengths_per_size(results: SearchResults) -> str:
    """Return the planned steps and epochs of each size; empty if no training has a result."""
    steps: dict[int, list[int]] = {}
    epochs: dict[int, list[float]] = {}
    for record in _started(results):
        if record.facts and record.curve:
            size, planned = record.facts.num_train_images, record.facts.planned_steps
            steps.setdefault(size, []).append(planned)
            # Nearly equal for all trials of one length: the last epoch may be incomplete.
            epochs.setdefault(size, []).append(record.curve[-1].epoch * planned / record.curve[-1].step)
    if not steps:
        return ""
    sizes = [
        f"{format_range((min(steps[size]), max(steps[size])), format_count)} steps "
        f"({format_range((min(epochs[size]), max(epochs[size])), format_epochs)} epochs) "
        f"with {format_count(size)} images"
        for size in sorted(steps)
    ]
    return f"This is {list_sizes(sizes)}. "


def _is_joined(record: Record) -> bool:
    """Return True if a single image that was left over has joined the batch before it."""
    assert record.facts is not None
    batch = min(record.spec.training.batch_size, record.facts.num_train_images)
    return (record.facts.last_batch or 0) > batch
