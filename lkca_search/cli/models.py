"""The command `models`: model families, presets and their costs."""

from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.augmentations import AUGMENTATION_SETS, AUGMENTATIONS, join_augment
from lkca_search.cli.terminal.arguments import Json
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import describe_images, echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.spec.configuration import SECTIONS, ImageShape, Scalar

if TYPE_CHECKING:
    from lkca_search.models.listing import ListedModel, ListedName


def models(
    name: Annotated[
        str | None, typer.Argument(help="A family, a preset or timm:NAME. Default: list all families and presets.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images, in pixels.")] = 32,
    channels: Annotated[int, typer.Option(min=1, help="Number of image channels.")] = 3,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    json: Json = False,
) -> None:
    """List the model families and presets, or describe one.

    Costs (parameters and FLOPs) are computed for images as described by the options.
    """
    from lkca_search.models.listing import describe_model, list_models

    shape = ImageShape(size, size, channels)
    if name is None:
        listed = list_models(shape, classes)
        echo_json(listed) if json else _show_all(listed, shape, classes)
    else:
        model = describe_model(name, shape, classes)
        echo_json(model) if json else _show(model, shape, classes)


def _show_all(listed: "list[ListedModel]", shape: ImageShape, num_classes: int) -> None:
    from lkca_search.models.registry import PRESETS

    costs = ("M parameters", "M FLOPs")
    echo(f"with default hyperparameters, for {describe_images(shape, num_classes)}\n")
    families = [
        (model.name, *_costs(model), model.label, " ".join(hyperparameter.name for hyperparameter in model.names))
        for model in listed
        if model.name not in PRESETS
    ]
    echo_rows(("family", *costs, "description", "hyperparameters"), families, optional=("hyperparameters",))
    presets = [
        (
            model.name,
            *_costs(model),
            model.label,
            " ".join(
                f"{hyperparameter.name}={_text(hyperparameter.default)}"
                for hyperparameter in model.names
                if hyperparameter.fixed
            ),
        )
        for model in listed
        if model.name in PRESETS
    ]
    echo()
    echo_rows(("preset", *costs, "description", "fixed values"), presets)
    echo_prose("\ntimm:NAME is any timm model that can classify these images, for example timm:resnet18\n")
    _show_common()
    for model in listed:
        if model.problem is not None:
            echo_prose(f"{model.name} does not fit these images: {model.problem}")


def _show(model: "ListedModel", shape: ImageShape, num_classes: int) -> None:
    from lkca_search.models.listing import BATCH_SIZE

    echo_prose(f"{model.name}: {model.label}\n")
    rows = [
        (
            hyperparameter.name,
            _text(hyperparameter.default) + (", fixed" if hyperparameter.fixed else ""),
            hyperparameter.meaning,
        )
        for hyperparameter in model.names
    ]
    if rows:
        echo_rows(("hyperparameter", "default", "meaning"), rows)
        echo()
    if model.cost is not None:
        costs = (
            ("parameters", f"{model.cost.num_parameters:,}"),
            ("FLOPs per image", f"{model.cost.flops:,}"),
            (f"bytes of activations at batch size {BATCH_SIZE}", f"{model.cost.activation_bytes:,}"),
        )
        echo_rows(("cost", f"for {describe_images(shape, num_classes)}"), costs)
    echo()
    _show_common()


def _show_common() -> None:
    """Print the hyperparameters of every model, and the sets of augmentations."""
    from lkca_search.models.listing import list_common_names

    rows = [(each.name, _default(each), each.meaning) for each in list_common_names()]
    echo_rows(("hyperparameter of every model", "default", "meaning"), rows)
    sets = "; ".join(f"{name} = {join_augment(list(names))}" for name, names in AUGMENTATION_SETS.items() if names)
    echo_prose(f"\naugment: none; {sets}; or a list of {', '.join(AUGMENTATIONS)}")


def _default(listed: "ListedName") -> str:
    """Return the default of a hyperparameter; one of a section is where the space file gives it."""
    return f"{SECTIONS[listed.name]}.{listed.name}" if listed.name in SECTIONS else _text(listed.default)


def _costs(model: "ListedModel") -> tuple[str, str]:
    """Return the parameters and FLOPs of a model, each in millions; empty strings if it has no cost."""
    if model.cost is None:
        return "", ""
    return f"{model.cost.num_parameters / 1e6:,.2f}", f"{model.cost.flops / 1e6:,.1f}"


def _text(value: Scalar | None) -> str:
    """Format a value as in a space file."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
