"""Families of your own: a callable `(image_shape, num_classes, **names) -> nn.Module`, by its dotted path.

The names that it takes are the parameters of its signature, with their types and defaults.
"""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from inspect import Parameter
from typing import Any, Literal, Union, get_args, get_origin

import torch
from torch import Tensor, nn

from lkca_search.errors import UserError
from lkca_search.models.family import COMMON, BrokenRule, Family, describe_images
from lkca_search.own_code import describe_error, is_dotted, load_own, signature_of
from lkca_search.spec.configuration import NAMES, Configuration, ImageShape, Scalar, own_name_rule

_GIVEN = ("image_shape", "num_classes")
"""Parameters that every family of your own has; they are no names of a configuration."""
_ON_META = "meta"
GIVEN = ", given "
"""Text before the values of a configuration, in the message on a model that cannot be used."""
_NUM_IMAGES = 2
_NUM_CLASSES = 10


def own_family(name: str) -> Family | None:
    """Return the family at a dotted path; None if the name is no dotted path.

    Raises:
        UserError: The code cannot be imported, or the signature breaks a rule.
    """
    return _own_family(name) if is_dotted(name) else None


@lru_cache
def _own_family(path: str) -> Family:
    build = load_own("family", path)
    parameters = _named_parameters(path, build)
    kinds = _annotations(build)

    def construct(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
        names = {name: getattr(configuration, name) for name in parameters}
        given = {name: _cast(value, kinds.get(name)) for name, value in names.items() if value is not None}
        return _construct(build, {"image_shape": shape, "num_classes": num_classes, **given})

    def rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
        broken = list(_value_rules(path, parameters, kinds, configuration))
        yield from broken
        if not broken and (rule := _model_rule(path, construct, configuration, shape)):
            yield ("family",), rule

    defaults = {name: _default(parameter) for name, parameter in parameters.items()}
    return Family(
        label=f"{path} (own code)",
        hyperparameters={**defaults, **({"match_parameters": None} if "width" in parameters else {})},
        meanings={name: f"parameter of {path}" for name in parameters if name not in NAMES},
        initialization="those of your own code",
        pooling="that of your own code",
        rules=rules,
        build=construct,
    )


def _named_parameters(path: str, build: Any) -> dict[str, Parameter]:
    """Return the parameters that are names of a configuration; UserError if the signature breaks a rule."""
    signature = signature_of("family", path, build)
    parameters = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    }
    rule = f"family {path} must take image_shape and num_classes, and names of a configuration as keywords"
    missing = [name for name in _GIVEN if name not in parameters]
    positional = [name for name, parameter in parameters.items() if parameter.kind is Parameter.POSITIONAL_ONLY]
    if missing or positional:
        raise UserError(f"{rule}, got {path.rpartition('.')[2]}{signature}")
    names = {name: parameter for name, parameter in parameters.items() if name not in _GIVEN}
    for name in names:
        if name in COMMON:
            raise UserError(f"family {path} must not take {name}, which the training applies; got {signature}")
        if name not in NAMES and (broken := own_name_rule(name)):
            raise UserError(f"family {path}: {broken}")
    return names


def _default(parameter: Parameter) -> Scalar | None:
    """Return the default of a parameter; None if there is none, or if it is not a value of a configuration."""
    default = parameter.default
    return default if isinstance(default, bool | int | float | str) else None


def _annotations(build: Any) -> Mapping[str, Any]:
    """Return the type of each annotated parameter; empty if an annotation cannot be evaluated."""
    try:
        parameters = inspect.signature(build, eval_str=True).parameters
        return {name: each.annotation for name, each in parameters.items() if each.annotation is not Parameter.empty}
    except Exception:  # annotations are the user's code
        return {}


def _value_rules(
    path: str, parameters: Mapping[str, Parameter], kinds: Mapping[str, Any], configuration: Configuration
) -> Iterator[BrokenRule]:
    """Yield each parameter without a value, and each value of another type than its annotation."""
    for name, parameter in parameters.items():
        value = getattr(configuration, name)
        if value is None and parameter.default is Parameter.empty:
            yield (name, "family"), f"family {path} needs {name}: give it as a factor or a parameter"
        elif value is not None and not _is_of(value, kinds.get(name, Any)):
            kind = kinds[name]
            yield (name,), f"{name} of family {path} must be {getattr(kind, '__name__', kind)}, got {value!r}"


def _is_of(value: object, kind: Any) -> bool:
    """Return True if a value has an annotated type. Types that no space file can have are not checked."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is_of(value, option) for option in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (bool, str, type(None)) else True


def _cast(value: Scalar, kind: Any) -> Scalar:
    """Return a float for an integer that a space file gives for one: `[1, 2]` in a range of floats."""
    return float(value) if kind is float and isinstance(value, int) and not isinstance(value, bool) else value


def _construct(build: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    """Return the model; on the meta device if that is the default and the code can run there.

    Code that reads values while it builds, such as `torch.linspace(...).tolist()`, runs on the CPU, and its model is
    moved.
    """
    if torch.get_default_device().type != _ON_META:
        return _checked(build(**arguments))
    try:
        return _checked(build(**arguments))
    except (NotImplementedError, RuntimeError) as error:
        if _ON_META not in str(error).lower():
            raise
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return _checked(build(**arguments)).to(_ON_META)


def _checked(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"it must return a torch.nn.Module, got {type(model).__name__}")
    return model


def _model_rule(path: str, construct: Any, configuration: Configuration, shape: ImageShape) -> str | None:
    """Return the rule that a configuration's model breaks on images of this shape. Uses the meta device."""
    names = {name: value for name, value in configuration.model_dump().items() if name not in COMMON}
    return _cached_rule(path, construct, Configuration(**{**names, "family": path}), shape)


@lru_cache(maxsize=10_000)
def _cached_rule(path: str, construct: Any, configuration: Configuration, shape: ImageShape) -> str | None:
    given = [f"{name} {getattr(configuration, name)}" for name in _own_values(configuration)]
    what = f"family {path} cannot classify {describe_images(shape)}{GIVEN if given else ''}{', '.join(given)}"
    try:
        with torch.device(_ON_META):
            model = construct(configuration, shape, _NUM_CLASSES)
            logits = model.eval()(torch.empty(_NUM_IMAGES, shape.channels, *shape[:2]))
    except Exception as error:  # the user's code may raise anything
        if _ON_META in str(error).lower() and isinstance(error, NotImplementedError | RuntimeError):
            return None  # it reads values, which the laws of `training/laws` check on the CPU
        return f"{what}: {describe_error(error)}"
    return None if (rule := output_rule(logits, _NUM_IMAGES, _NUM_CLASSES)) is None else f"{what}: {rule}"


def _own_values(configuration: Configuration) -> list[str]:
    dumped = configuration.model_dump(exclude_none=True, exclude_defaults=True)
    return [name for name in dumped if name != "family"]


def output_rule(logits: object, num_images: int, num_classes: int) -> str | None:
    """Return the rule that a model's output breaks; None if it is a floating-point tensor (images, classes)."""
    rule = f"the output for {num_images} images and {num_classes} classes must be a floating-point tensor of shape"
    expected = (num_images, num_classes)
    if not isinstance(logits, Tensor):
        return f"{rule} {expected}, got {type(logits).__name__}"
    if tuple(logits.shape) != expected or not logits.is_floating_point():
        return f"{rule} {expected}, got {tuple(logits.shape)} {logits.dtype}"
    return None
