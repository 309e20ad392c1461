"""Page of the space file: every key with its type and default, every name of a configuration, and the JSON Schema."""

from typing import Any

from documentation.markdown import NOTE, code, join, table
from lkca_search.api.space_schema import space_file_schema
from lkca_search.spec.configuration import NAMES, Configuration

_USE = """\
An editor with the YAML language server completes and checks a space file that begins with this line
([space.schema.json](space.schema.json) is the file of this site):

    # yaml-language-server: $schema=space.schema.json

Write the schema of the installed version next to your space files:

    python -m lkca_search.api.space_schema > space.schema.json

[Space files](../search.md) explains the keys with examples. The schema makes some checks, and `lkca-search plan SPACE`
makes all."""
_SECTIONS = {
    "data": "DataSection",
    "training": "TrainingSection",
    "search": "SearchSection",
    "resources": "ResourcesSection",
    "limits": "LimitsSection",
    "confirm": "ConfirmSection",
    "keep": "KeepSection",
}


def space_files_page() -> str:
    """Return the page."""
    schema = space_file_schema()
    top = [
        (code(name), _required(schema, name), f"[Section](#{name})" if name in _SECTIONS else value["description"])
        for name, value in schema["properties"].items()
    ]
    parts = [
        "# Space file: keys and names",
        NOTE,
        _USE,
        "## Keys of the file",
        table(("key", "required", "meaning"), top),
    ]
    for name, kind in _SECTIONS.items():
        parts += [f"## {name}", schema["$defs"][kind]["description"], _keys(schema["$defs"][kind])]
    parts += ["## Names of factors and parameters", "A family of your own may add names.", _names()]
    return join(*parts)


def _required(schema: dict[str, Any], name: str) -> str:
    return "yes" if name in schema.get("required", ()) else ""


def _keys(section: dict[str, Any]) -> str:
    rows = [
        (
            code(name),
            _type(value),
            "required" if _required(section, name) else code(_text(value.get("default"))),
            value.get("description", ""),
        )
        for name, value in section["properties"].items()
    ]
    return table(("key", "type", "default", "meaning"), rows)


def _type(value: dict[str, Any]) -> str:
    """Return the type of a key in words, without null."""
    if "enum" in value:
        return " or ".join(code(each) for each in value["enum"])
    if "const" in value:
        return code(value["const"])
    if "$ref" in value:
        return {"ComponentConfig": "name, or mapping"}.get(value["$ref"].rpartition("/")[2], "mapping")
    for several in ("anyOf", "oneOf"):
        if several in value:
            found = dict.fromkeys(_type(each) for each in value[several] if each.get("type") != "null")
            return " or ".join(found)
    return {"object": "mapping", "array": "list"}.get(str(value.get("type")), str(value.get("type")))


def _text(value: object) -> str:
    return "" if value in (None, [], {}) else str(value).lower() if isinstance(value, bool) else str(value)


def _names() -> str:
    fields = Configuration.model_fields
    rows = [(code(name), code(_text(fields[name].default)), fields[name].description or "") for name in NAMES]
    return table(("name", "default", "meaning"), rows)
