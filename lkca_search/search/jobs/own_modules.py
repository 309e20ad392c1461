"""Modules of the user's own samplers and pruners, which a job must upload."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lkca_search.spec.components import OPTUNAHUB
from lkca_search.spec.search_spec import SearchSpec


def find_own_modules(spec: SearchSpec, folders: Sequence[Path], *, included: Sequence[Path] = ()) -> list[Path]:
    """Return the files and packages in `folders` with the samplers and pruners that a space file names.

    Installed packages come first, as in an import, and are not returned: the nodes must have them. Neither are modules
    that the user has included already.
    """
    tops = {name.partition(".")[0] for name in _class_names(spec)} - {path.resolve().stem for path in included}
    return [path for top in sorted(tops) if (path := _find_own(top, folders)) is not None]


def _class_names(spec: SearchSpec) -> Iterator[str]:
    """Yield the dotted paths of classes."""
    for component in (spec.search.sampler, spec.search.pruner):
        wraps: Any = component.arguments.get("wraps")
        inner = wraps.get("name") if isinstance(wraps, Mapping) else wraps
        for name in (component.name, inner):
            if isinstance(name, str) and "." in name and not name.startswith(OPTUNAHUB):
                yield name


def _find_own(module: str, folders: Sequence[Path]) -> Path | None:
    own = PathFinder.find_spec(module, [str(folder) for folder in folders])
    installed = find_spec(module)
    if own is None or (installed is not None and _location(installed) != _location(own)):
        return None
    return _location(own)


def _location(found: Any) -> Path | None:
    """Return the file of a module, or the folder of a package."""
    if found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations))).resolve()
    return Path(found.origin).resolve() if found.origin else None
