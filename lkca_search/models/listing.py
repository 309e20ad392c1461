"""Which models there are, what each takes, and what it costs on given images."""

from lkca_search.errors import UserError
from lkca_search.models.cost import Cost
from lkca_search.models.family import COMMON, Family, known
from lkca_search.models.registry import FAMILIES, PRESETS, find_family, model_cost, resolve
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, Configuration, ImageShape, Scalar

BATCH_SIZE = 128
"""Images of the training step whose activations are listed."""
COMMON_NAMES = tuple(name for name in NAMES if name in COMMON and name != "family")
"""The names that every model takes, in canonical order."""


class ListedName(FrozenModel):
    """A name that a model takes."""

    name: str
    """The name in a space file."""
    default: Scalar | None
    """The value used where none is given; None where there is none."""
    fixed: bool
    """Whether a preset decides it: the default is then the only value."""
    meaning: str
    """What it is in this model."""


class ListedModel(FrozenModel):
    """A family, a preset or a model of timm, with its defaults for images of one shape."""

    name: str
    """What a space file calls it, among the levels of `family`."""
    label: str
    """What it is, in the words of a report."""
    names: tuple[ListedName, ...]
    """The names that it takes and not every model does."""
    problem: str | None
    """The rules that its defaults break on such images, or None if it can be built."""
    cost: Cost | None
    """What it costs with its defaults, activations at a batch of BATCH_SIZE images; None if it cannot be built."""


def list_models(shape: ImageShape, num_classes: int) -> list[ListedModel]:
    """Describe every family, then every preset; a `problem` is no error here."""
    return [_listed_or_problem(name, shape, num_classes) for name in (*FAMILIES, *PRESETS)]


def describe_model(name: str, shape: ImageShape, num_classes: int) -> ListedModel:
    """Describe one model. UserError if there is none of this name, or if its defaults do not fit such images."""
    resolved = resolve(Configuration(family=name), shape, num_classes)
    cost = model_cost(resolved, shape, num_classes, batch_size=BATCH_SIZE)
    return _listed(name, shape, cost=cost)


def _listed_or_problem(name: str, shape: ImageShape, num_classes: int) -> ListedModel:
    try:
        return describe_model(name, shape, num_classes)
    except UserError as error:
        return _listed(name, shape, problem=str(error))


def _listed(name: str, shape: ImageShape, *, cost: Cost | None = None, problem: str | None = None) -> ListedModel:
    family = known(find_family(name))
    filled = family.fill(Configuration(family=name), shape)
    return ListedModel(
        name=name,
        label=family.label,
        names=tuple(
            ListedName(
                name=taken, default=getattr(filled, taken), fixed=taken in family.fixed, meaning=_meaning(family, taken)
            )
            for taken in NAMES
            if taken in family.takes and not (taken == "match_parameters" and "width" in family.fixed)
        ),
        problem=problem,
        cost=cost,
    )


def _meaning(family: Family, name: str) -> str:
    """What a name is in a family: in its own words, else in those of Configuration."""
    sentence = known(Configuration.model_fields[name].description).removesuffix(".")
    return family.means.get(name) or sentence[0].lower() + sentence[1:]
