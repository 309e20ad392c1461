"""JSON Schema of a space file, with which an editor completes keys and marks mistakes while you type.

It has the short forms that the reader accepts: a list for a factor, a name for a sampler. It is less strict than the
reader, which also compares values with each other: `lkca-search plan SPACE` makes all checks.
"""

import json
from collections.abc import Mapping
from typing import Any

from lkca_search.spec.configuration import NAMES, Configuration
from lkca_search.spec.search_spec import SearchSpec

_SCALAR = {"type": ["boolean", "number", "string"]}
_LEVEL = {"anyOf": [_SCALAR, {"type": "array", "items": {"type": "string"}}]}
"""Value of a name. A list is one level of `augment`."""
_LEVELS = {"type": "array", "items": _LEVEL, "minItems": 1}
_LIST_OR_LEVEL = {"anyOf": [*_LEVEL["anyOf"], _LEVELS]}
_CONDITION = {"type": "object", "additionalProperties": _LEVELS}
_TEXTS = {"type": "array", "items": {"type": "string"}}


def space_file_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a space file, with the description of every key."""
    schema = SearchSpec.model_json_schema()
    kinds, keys = schema["$defs"], schema["properties"]
    kinds["Factor"]["properties"]["levels"].update(_LEVELS)
    for kind in ("Factor", "Choice", "IntRange", "FloatRange", "Fixed"):
        kinds[kind]["properties"]["when"].update(_CONDITION)
    kinds["Choice"]["properties"]["choice"].update(_LEVELS)
    kinds["Fixed"]["properties"]["value"].update(_LEVEL)
    kinds["Factor"] = {"anyOf": [_LEVELS, kinds["Factor"]], "description": kinds["Factor"]["description"]}
    component = kinds["ComponentConfig"]
    kinds["ComponentConfig"] = {
        "anyOf": [{"type": "string", "minLength": 1}, component],
        "description": component["description"],
    }
    domain = {"anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in ("Choice", "IntRange", "FloatRange", "Fixed")]}
    keys["factors"] = _named(keys["factors"], {"$ref": "#/$defs/Factor"})
    keys["parameters"] = _named(keys["parameters"], domain)
    keys["exclude"]["items"] = {"type": "object", "additionalProperties": _LIST_OR_LEVEL}
    keys["base"]["additionalProperties"] = _LEVEL
    kinds["SearchSection"]["properties"]["start"]["items"]["additionalProperties"] = _LEVEL
    augment = kinds["DataSection"]["properties"]["augment"]
    kinds["DataSection"]["properties"]["augment"] = {
        "anyOf": [{"type": "string"}, _TEXTS],
        "description": augment["description"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Space file of LKCA Search"}


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(space_file_schema(), indent=1) + "\n"


def _named(section: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a section whose keys are names of a configuration, or of a family of your own."""
    fields = Configuration.model_fields
    described = {name: {**value, "description": fields[name].description} for name in NAMES}
    kept = {key: text for key, text in section.items() if key in ("description", "default")}
    return {**kept, "type": "object", "properties": described, "additionalProperties": value}


if __name__ == "__main__":
    print(schema_text(), end="")
