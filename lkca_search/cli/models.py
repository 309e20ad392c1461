"""The command on models: models."""

from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.output import Json, echo_json, echo_rows
from lkca_search.spec.configuration import ImageShape, Scalar

if TYPE_CHECKING:
    from lkca_search.models.listing import ListedModel


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(models)


def models(
    name: Annotated[
        str | None, typer.Argument(help="A family, a preset or timm:NAME; by default all but timm's.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images in pixels.")] = 32,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    classes: Annotated[int, typer.Option(min=2, help="Classes to tell apart.")] = 10,
    json: Json = False,
) -> None:
    """List families and presets, or describe one: the names it takes, their defaults, and what it costs."""
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
    typer.echo(f"as built by default for {_images(shape, num_classes)}\n")
    families = [
        (model.name, *_costs(model), model.label, " ".join(taken.name for taken in model.names))
        for model in listed
        if model.name not in PRESETS
    ]
    echo_rows(("family", *costs, "what it is", "names it takes"), families)
    presets = [
        (
            model.name,
            *_costs(model),
            model.label,
            " ".join(f"{taken.name}={_text(taken.default)}" for taken in model.names if taken.fixed),
        )
        for model in listed
        if model.name in PRESETS
    ]
    typer.echo()
    echo_rows(("preset", *costs, "what it is", "values it fixes"), presets)
    typer.echo("\ntimm:NAME takes any model of timm that can classify such images: timm:resnet18")
    typer.echo(_common())
    for model in listed:
        if model.problem is not None:
            typer.echo(f"{model.name} does not fit such images: {model.problem}")


def _show(model: "ListedModel", shape: ImageShape, num_classes: int) -> None:
    from lkca_search.models.listing import BATCH_SIZE

    typer.echo(f"{model.name}: {model.label}\n")
    rows = [
        (taken.name, _text(taken.default) + (", fixed" if taken.fixed else ""), taken.meaning) for taken in model.names
    ]
    if rows:
        echo_rows(("name", "default", "what it is"), rows)
        typer.echo()
    if model.cost is not None:
        costs = (
            ("parameters", f"{model.cost.num_parameters:,}"),
            ("FLOPs an image", f"{model.cost.flops:,}"),
            (f"bytes of activations at batch {BATCH_SIZE}", f"{model.cost.activation_bytes:,}"),
        )
        echo_rows(("cost", f"for {_images(shape, num_classes)}"), costs)
    typer.echo(f"\n{_common()}")


def _common() -> str:
    from lkca_search.models.listing import COMMON_NAMES

    return f"every model takes {' '.join(COMMON_NAMES)}"


def _images(shape: ImageShape, num_classes: int) -> str:
    return f"{shape.height}x{shape.width}x{shape.channels} images of {num_classes} classes"


def _costs(model: "ListedModel") -> tuple[str, str]:
    """Millions of parameters and of FLOPs."""
    if model.cost is None:
        return "", ""
    return f"{model.cost.num_parameters / 1e6:,.2f}", f"{model.cost.flops / 1e6:,.1f}"


def _text(value: Scalar | None) -> str:
    """A value as a space file has it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
