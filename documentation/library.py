"""Page of the Python API: every exported function, class and error with its signature and docstring."""

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import lkca_search
from documentation.markdown import NOTE, join

_SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields):$", re.MULTILINE)


def library_page() -> str:
    """Return the page: functions first, then classes, then errors."""
    found = [(name, getattr(lkca_search, name)) for name in lkca_search.__all__ if not name.startswith("_")]
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors and warnings": []}
    for name, value in found:
        if not inspect.isclass(value):
            kinds["Functions"] += [f"### {name}", _signature(name, value), _docstring(value)]
        elif issubclass(value, Exception):
            kinds["Errors and warnings"] += [
                f"### {name}",
                f"Base: `{value.__bases__[0].__name__}`.",
                _docstring(value),
            ]
        else:
            kinds["Classes"] += [f"### {name}", _docstring(value), *_members(name, value)]
    sections = [part for title, parts in kinds.items() for part in (f"## {title}", *parts)]
    return join("# Python API", NOTE, "[Library](../library.md) explains the functions with examples.", *sections)


def _signature(name: str, function: Any) -> str:
    """Return the signature as code, one parameter per line if it is long; modules of types are left out."""
    signature = inspect.signature(function)
    words = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        default = "" if each.default is each.empty else f" = {each.default!r}"
        if each.name != "self":
            words.append(f"{each.name}: {_annotation(each.annotation)}{default}")
    result = signature.return_annotation
    arrow = "" if result is inspect.Signature.empty else f" -> {_annotation(result)}"
    line = f"{name}({', '.join(words)}){arrow}"
    if len(line) > 90:
        line = f"{name}(\n    " + ",\n    ".join(words) + f",\n){arrow}"
    return f"```text\n{line}\n```"


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"(?:\w+\.)+(?=\w)", "", text).replace("'", "")


def _docstring(value: Any) -> str:
    """Return a docstring with its sections in bold, and the lines of a section as a list."""
    text = inspect.getdoc(value) or ""
    lines, in_section = [], False
    for line in text.splitlines():
        if _SECTION.match(line):
            lines += ["", f"**{line.removesuffix(':')}**", ""]
            in_section = True
        elif in_section and re.match(r" {4}\S", line):
            lines.append(f"* {line.strip()}")
        else:
            lines.append(f"  {line.strip()}" if in_section and line.strip() else line)
    return "\n".join(lines)


def _members(name: str, value: Any) -> Iterator[str]:
    """Yield the public methods, properties and fields of a class, in the order of its source."""
    for member, found in vars(value).items():
        if member.startswith("_"):
            continue
        if isinstance(found, property | cached_property):
            yield f"#### {name}.{member}"
            yield _docstring(found)
        elif inspect.isfunction(found) or isinstance(found, classmethod | staticmethod):
            yield f"#### {name}.{member}()"
            yield _signature(member, getattr(value, member))
            yield _docstring(getattr(value, member))
