"""List of all models: hyperparameters, defaults, and cost on images of one shape."""

from lkca_search.errors import UserError
from lkca_search.models.cost import Cost
from lkca_search.models.family import COMMON, Family, require
from lkca_search.models.registry import FAMILIES, PRESETS, find_family, model_cost, resolve
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, Configuration, ImageShape, Scalar, in_order

BATCH_SIZE = 128
"""Images per training step for the listed activation memory."""
COMMON_NAMES = tuple(name for name in NAMES if name in COMMON and name != "family")
"""Hyperparameters of every model, in canonical order."""


class ListedName(FrozenModel):
    """Hyperparameter of a model."""

    name: str
    """Name in a space file."""
    default: Scalar | None
    """Value used if a space file gives none; None if there is no default."""
    fixed: bool
    """True if a preset fixes it to the default."""
    meaning: str
    """Meaning in this model."""


class ListedModel(FrozenModel):
    """Family, preset or timm model, with its defaults for images of one shape."""

    name: str
    """Name in a space file: a level of `family`."""
    label: str
    """Description for reports."""
    names: tuple[ListedName, ...]
    """Hyperparameters that not every model has."""
    problem: str | None
    """Rules that its defaults break on images of this shape; None if it can be built."""
    cost: Cost | None
    """Cost with its defaults and batches of BATCH_SIZE images; None if it cannot be built."""


def list_common_names() -> tuple[ListedName, ...]:
    """Describe the hyperparameters of every model: images, training, and the recipe."""
    return tuple(
        ListedName(
            name=name,
            default=Configuration.model_fields[name].default,
            fixed=False,
            meaning=_sentence(name),
        )
        for name in COMMON_NAMES
    )


def list_models(shape: ImageShape, num_classes: int) -> list[ListedModel]:
    """Describe every family, then every preset. Models that cannot be built have a `problem`."""
    return [_listed_or_problem(name, shape, num_classes) for name in (*FAMILIES, *PRESETS)]


def describe_model(name: str, shape: ImageShape, num_classes: int) -> ListedModel:
    """Describe one model.

    Raises:
        UserError: No model has this name, or its defaults do not fit images of this shape.
    """
    resolved = resolve(Configuration(family=name), shape, num_classes)
    cost = model_cost(resolved, shape, num_classes, batch_size=BATCH_SIZE)
    return _listed(name, shape, cost=cost)


def _listed_or_problem(name: str, shape: ImageShape, num_classes: int) -> ListedModel:
    try:
        return describe_model(name, shape, num_classes)
    except UserError as error:
        return _listed(name, shape, problem=str(error))


def _listed(name: str, shape: ImageShape, *, cost: Cost | None = None, problem: str | None = None) -> ListedModel:
    family = require(find_family(name))
    defaults = family.fill(Configuration(family=name), shape)
    return ListedModel(
        name=name,
        label=family.label,
        names=tuple(
            ListedName(
                name=hyperparameter,
                default=getattr(defaults, hyperparameter),
                fixed=hyperparameter in family.fixed,
                meaning=_meaning(family, hyperparameter),
            )
            for hyperparameter in in_order(family.hyperparameters)
            if hyperparameter not in COMMON and not (hyperparameter == "match_parameters" and "width" in family.fixed)
        ),
        problem=problem,
        cost=cost,
    )


def _meaning(family: Family, name: str) -> str:
    """Return the meaning of a hyperparameter: the family's own, or else the description in Configuration."""
    return family.meanings.get(name) or _sentence(name)


def _sentence(name: str) -> str:
    """Return the description in Configuration as one line, as a part of a sentence."""
    description = " ".join(require(Configuration.model_fields[name].description).split())
    sentence = description.partition("; None for ")[0].removesuffix(".")
    return sentence if sentence[:2].isupper() else sentence[0].lower() + sentence[1:]
