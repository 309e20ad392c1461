"""Augmentations of training images: names, named sets, and the text of a list that is a level of `augment`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from lkca_search.errors import did_you_mean, show_value
from lkca_search.own_code import is_dotted

Augmentation = Literal[
    "crop", "crop_reflect", "flip", "trivial_augment", "rand_augment", "erase", "cutmix", "mixup"
]  # fmt: skip
"""Augmentation of training images, in the order in which they are applied; data/augmentation.py has the strengths.

`crop`: a random window after padding with black by an eighth of each side. `crop_reflect`: the same, padded by
reflection. `flip`: left to right, with probability 1/2. `trivial_augment`, `rand_augment`: the policies of these names.
`erase`: a random gray box, with probability 1/2. `cutmix`, `mixup`: images and labels mixed in pairs. If both are
given, each step draws one of them.
"""
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)
NONE = "none"
"""Level without augmentation."""
AUGMENTATION_SETS: Mapping[str, tuple[Augmentation, ...]] = {
    NONE: (),
    "light": ("crop",),
    "standard": ("crop", "flip"),
    "strong": ("crop", "flip", "rand_augment", "erase", "cutmix", "mixup"),
}
"""Named sets. `light` suits digits and text, whose mirror image is another class. `standard` is that of ResNet on CIFAR
(arXiv 1512.03385, section 4.2). `strong` has the list of DeiT (arXiv 2012.12877, table 9), with the strengths of this
package. A set never changes: records have its name.
"""
_EXCLUSIVE = (("crop", "crop_reflect"), ("trivial_augment", "rand_augment"))
_SEPARATOR = "+"


def parse_augment(level: str) -> tuple[str, ...]:
    """Return the augmentations of a level of `augment`: a set, or names joined by `+`."""
    return expand_sets(part.strip() for part in level.split(_SEPARATOR))


def expand_sets(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names with each named set replaced by its augmentations."""
    return tuple(inner for name in names for inner in AUGMENTATION_SETS.get(name, (name,)))


def join_augment(value: Any) -> Any:
    """Return the one text that stands for a level of `augment`; a value that is no list or text unchanged.

    A set keeps its name. Lists that mean the same have the same text: names in the order in which they are applied,
    joined by `+`, then dotted paths in the order of the list. An empty list is `none`. What is no name stands in the
    text as it is, and `augment_rule` reports it.
    """
    if isinstance(value, list | tuple):
        value = _SEPARATOR.join(name if isinstance(name, str) else show_value(name) for name in value) or NONE
    if not isinstance(value, str):
        return value
    if (level := value.strip()) in ("", *AUGMENTATION_SETS):
        return level
    names = parse_augment(value)
    known = [name for name in AUGMENTATIONS for given in names if given == name]
    return _SEPARATOR.join([*known, *(name for name in names if name not in AUGMENTATIONS)]) or NONE


def augment_rule(names: Sequence[str]) -> str | None:
    """Return the rule that a list of augmentations breaks; None if it breaks none."""
    if unknown := [name for name in names if name not in AUGMENTATIONS and not is_dotted(name)]:
        known = f"{', '.join(AUGMENTATIONS)}, or a set: {', '.join(AUGMENTATION_SETS)}"
        hint = did_you_mean(unknown[0], (*AUGMENTATIONS, *AUGMENTATION_SETS))
        return f"augment must have names among {known}; got {unknown[0]!r}{hint}"
    if len(set(names)) < len(names):
        return f"augment must name each augmentation once, got {list(names)}"
    for pair in _EXCLUSIVE:
        if set(pair) <= set(names):
            return f"augment must have at most one of {' and '.join(pair)}, got both"
    return None


def with_joined_levels(content: Any) -> Any:
    """Return the content of a space file in which each list that is a level of `augment` is its text.

    In `factors`, `exclude` and `when`, `augment` has a list of levels: `[none, [crop, flip]]` are two. Elsewhere its
    value is one level.
    """
    if not isinstance(content, Mapping):
        return content
    return {name: _join_section(name, _with_tuples(section)) for name, section in content.items()}


def _with_tuples(value: Any) -> Any:
    """Return the value with tuples in place of lists: pydantic reads those of JSON only in unchanged content."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _join_section(name: str, section: Any) -> Any:
    if name == "exclude" and isinstance(section, list | tuple):
        return tuple(map(_join_listed, section))
    if name == "base" and isinstance(section, Mapping):
        return {key: join_augment(level) if key == "augment" else level for key, level in section.items()}
    if name in ("factors", "parameters") and isinstance(section, Mapping):
        return {key: _join_entry(key, entry) for key, entry in section.items()}
    return section


def _join_entry(name: str, entry: Any) -> Any:
    """Join the levels of a factor or parameter if it is `augment`, and those in its `when`."""
    if not isinstance(entry, Mapping):
        return _join_each(entry) if name == "augment" else entry
    result = {key: _join_listed(value) if key == "when" else value for key, value in entry.items()}
    if name == "augment":
        result |= {key: _join_each(entry[key]) for key in ("levels", "choice") if key in entry}
        result |= {"value": join_augment(entry["value"])} if "value" in entry else {}
    return result


def _join_listed(condition: Any) -> Any:
    """Join the levels of `augment` in a condition or an exclusion."""
    if not isinstance(condition, Mapping) or "augment" not in condition:
        return condition
    levels = condition["augment"]
    return {**condition, "augment": _join_each(levels) if isinstance(levels, list | tuple) else join_augment(levels)}


def _join_each(levels: Any) -> Any:
    return tuple(map(join_augment, levels)) if isinstance(levels, list | tuple) else levels
