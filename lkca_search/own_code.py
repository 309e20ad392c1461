"""Your own code by dotted path: models, augmentations, datasets, optimizers, metrics, samplers and pruners.

A module is searched in the installed packages first, then in the folders of `import_from`.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

from lkca_search.errors import UserError, did_you_mean, find_closest

Kind = Literal["family", "augment", "dataset", "optimizer", "metric", "sampler", "pruner"]
"""Name in a space file that may be a dotted path."""

_BASES: Mapping[Kind, str] = {
    "optimizer": "torch.optim.Optimizer",
    "sampler": "optuna.samplers.BaseSampler",
    "pruner": "optuna.pruners.BasePruner",
}
"""Class that an object of this kind must be a subclass of. An object of another kind must be callable."""
_LIBRARIES = frozenset({"numpy", "optuna", "scipy", "sklearn", "timm", "torch", "torchvision"})
"""Packages that this one needs. They are no own code: their classes may be named, and an update changes no hash."""
_folders: dict[str, None] = {}


def is_dotted(name: str) -> bool:
    """Return True for `module.name`, the dotted path of an object in a module."""
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def import_from(*folders: Path) -> None:
    """Find your own code in these folders, after the installed packages.

    `python -m` puts the working directory on the path, and an installed command does not.
    """
    for path in (str(folder.absolute()) for folder in folders):
        _folders[path] = None
        if path not in sys.path:
            sys.path.append(path)


def own_folders() -> tuple[str, ...]:
    """Return the folders of all calls of `import_from`, which a worker must search too."""
    return tuple(_folders)


def load_path(path: str) -> Any:
    """Import the object at a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def load_own(kind: Kind, path: str) -> Any:
    """Return the object at a dotted path.

    Raises:
        UserError: The import fails, or the object is not of this kind. The message has the file and line of the cause.
    """
    try:
        loaded = load_path(path)
    except (Exception, SystemExit) as error:  # the module may raise anything when it is imported
        raise UserError(f"{kind} {path} cannot be loaded: {describe_error(error)}{_hint(path, error)}") from error
    check_kind(kind, path, loaded)
    code_hashes([path])  # of the code that is imported, which may change later
    return loaded


def check_kind(kind: Kind, name: str, loaded: Any) -> None:
    """Raise UserError unless an object has the base class of its kind, or is callable."""
    if base := _BASES.get(kind):
        if not is_subclass(kind, loaded):
            raise UserError(f"{kind} {name} must be a subclass of {base}, got {loaded!r}")
    elif not callable(loaded):
        raise UserError(f"{kind} {name} must be callable, got {type(loaded).__name__} {loaded!r}")


def is_subclass(kind: Kind, loaded: Any) -> bool:
    """Return True if an object is a class with the base class of its kind."""
    return isinstance(loaded, type) and issubclass(loaded, load_path(_BASES[kind]))


def signature_of(kind: Kind, path: str, loaded: Any) -> inspect.Signature:
    """Return the signature by which an object is called; UserError if Python cannot read it."""
    try:
        return inspect.signature(loaded)
    except (TypeError, ValueError) as error:
        rule = f"{kind} {path} must have a signature that Python can read"
        raise UserError(f"{rule}, got {error}: wrap it in a function") from error


def describe_error(error: BaseException) -> str:
    """Return type and text of an error, with the file and line of your own code that raised it.

    For a package that your own code imports and this environment lacks, the next step follows.
    """
    text = " ".join(str(error).split())
    description = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if any(frame.filename.startswith(f"{folder}/") for folder in _folders) and not _is_package_file(frame.filename)
    ]
    if not frames:
        return description
    step = "; install it in this environment, and on every node of a cluster"
    return f"{description} ({frames[-1]}){step if isinstance(error, ModuleNotFoundError) else ''}"


def code_hashes(paths: Iterable[str]) -> dict[str, str]:
    """Return a hash per top-level module of these dotted paths, and of your own modules that they import.

    The hash covers every `.py` file of a package, as it was when the module was first used by this process. An
    installed package has the version of its distribution instead.
    """
    return dict(_code_hashes(frozenset(path.partition(".")[0] for path in paths), own_folders()))


@cache
def _code_hashes(tops: frozenset[str], folders: tuple[str, ...]) -> Mapping[str, str]:
    tops -= _LIBRARIES
    located = {top: _location(top) for top in tops} | find_modules(tops, [Path(folder) for folder in folders])
    return {top: _hash(top, location) for top, location in sorted(located.items()) if location is not None}


def other_code(expected: Mapping[str, str], *, owner: str) -> str | None:
    """Return the phrase on a module that this process lacks, or has with another hash; None if there is none.

    `owner` is the process or the time with the expected hashes: `the driver`.
    """
    for module, expected_hash in expected.items():
        found = code_hashes([module]).get(module)
        if found != expected_hash:
            has = "cannot import the module" if found is None else "has another version of the module"
            return f"{has} {module}: {found or 'none'}, not {expected_hash} as {owner}"
    return None


def describe_code(hashes: Mapping[str, str]) -> str | None:
    """Return hashes as one line of text: `mylab 0123456789abcdef, other 1.2.3`; None if there are none."""
    return ", ".join(f"{top} {value}" for top, value in sorted(hashes.items())) or None


def find_modules(names: Iterable[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Return the file or package folder of each top-level module in `folders`, and of those there that it imports.

    Installed packages come first, as in an import, and are left out.
    """
    found: dict[str, Path] = {}
    pending = list(names)
    while pending:
        top = pending.pop().partition(".")[0]
        if top not in found and (path := _find_in(top, folders)) is not None:
            found[top] = path
            pending += _imported_by(path)
    return found


def _find_in(module: str, folders: Sequence[Path]) -> Path | None:
    own = PathFinder.find_spec(module, [str(folder) for folder in folders])
    if own is None or module == __name__.partition(".")[0]:
        return None
    path, installed = _path_of(own), _location(module)
    return path if installed is None or installed == path else None


def _location(module: str) -> Path | None:
    """Return the file of an importable top-level module, or the folder of a package."""
    try:
        found = find_spec(module)
    except (ImportError, ValueError):  # no spec: `__main__`
        return None
    return None if found is None else _path_of(found)


def _path_of(found: Any) -> Path | None:
    if found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations))).resolve()
    return Path(found.origin).resolve() if found.origin and found.has_location else None


def _sources(location: Path) -> list[Path]:
    """Return the `.py` files of a module or package, sorted."""
    return sorted(location.rglob("*.py")) if location.is_dir() else [location]


def _imported_by(location: Path) -> Iterator[str]:
    """Yield the top-level modules that a module or package imports."""
    for path in _sources(location):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # the import reports it
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


@cache
def _hash(top: str, location: Path) -> str:
    if _is_installed(location):
        names = packages_distributions().get(top, ())
        return version(names[0]) if names else f"Python {sys.version.split()[0]}"
    digest = hashlib.sha256()
    root = location if location.is_dir() else location.parent
    for path in _sources(location):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _is_installed(location: Path) -> bool:
    paths = sysconfig.get_paths()
    return any(location.is_relative_to(Path(paths[key]).resolve()) for key in ("purelib", "platlib", "stdlib"))


def _is_installed_module(name: str) -> bool:
    location = _location(name.partition(".")[0])
    return location is not None and _is_installed(location)


def _is_package_file(path: str) -> bool:
    return Path(path).is_relative_to(Path(__file__).parent)


def _own_modules() -> list[str]:
    """Return the names of the modules and packages in the folders of your own code, without private ones."""
    return [each.name for each in iter_modules(own_folders()) if not each.name.startswith("_")]


def _hint(path: str, error: BaseException) -> str:
    """Return the remedy of an import that failed."""
    module, _, name = path.rpartition(".")
    if isinstance(error, ModuleNotFoundError):
        if (error.name or "").partition(".")[0] != path.partition(".")[0]:
            return ""
        parent, _, last = str(error.name).rpartition(".")
        folders = getattr(sys.modules.get(parent), "__path__", ())
        siblings = [each.name for each in iter_modules(folders)] if parent else _own_modules()
        close = find_closest(last, siblings)
        meant = path.replace(str(error.name), f"{parent}.{close}" if parent else close, 1) if close else None
        if parent and _is_installed_module(parent):
            return f"; did you mean {meant}?" if meant else ""
        file = f"{str(error.name).replace('.', '/')}.py"
        remedy = f"put {file} next to the space file or into the working directory"
        return f"; did you mean {meant}? Otherwise {remedy}" if meant else f"; {remedy}"
    loaded = sys.modules.get(module)
    if isinstance(error, AttributeError) and loaded is not None and not hasattr(loaded, name):
        public = [f"{module}.{other}" for other in vars(loaded) if not other.startswith("_")]
        return did_you_mean(path, public) or f" ({getattr(loaded, '__file__', module)})"
    return ""
