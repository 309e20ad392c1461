"""Reader of YAML: plain values (sequences become tuples) with their positions, within the limits of space files."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml

from lkca_search.errors import Location, SpaceFileError
from lkca_search.spec.reading.limits import FILE_SIZE, MAX_DEPTH, VALUES, Limits, shorten
from lkca_search.spec.reading.scalars import TAG, read_scalar
from lkca_search.spec.reading.yaml_faults import describe_fault


class YamlReader:
    """Reader of one text; it records the position of each value."""

    def __init__(self, position_of_line: Callable[[int], str], positions: dict[Location, str], limits: Limits) -> None:
        """Record positions in `positions`; `position_of_line` returns the position of a line of the text."""
        self._position_of_line = position_of_line
        self._positions = positions
        self._limits = limits
        self._num_values = self._num_characters = 0

    def read(self, text: str, location: Location) -> Any:
        """Return the value of a text at a location of the space file; None for an empty text.

        Raises:
            SpaceFileError: The text is not YAML, or breaks a limit or another rule of space files.
        """
        self._positions.setdefault(location, self._position_of_line(1))
        try:
            loader = _Loader(text, self._limits)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._error(line, f"not YAML: {error.reason}, got {chr(error.character)!r}") from error
        try:
            node = loader.get_single_node()
            return None if node is None else self._value(loader, node, location, ())
        except yaml.MarkedYAMLError as error:
            raise self._error(*describe_fault(error, text)) from error
        except _RuleError as error:
            raise self._error(error.line, str(error)) from error
        finally:
            loader.dispose()

    def _error(self, line: int, rule: str) -> SpaceFileError:
        return SpaceFileError([f"{shorten(rule)} ({self._position_of_line(line)})"])

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, location: Location, ancestors: tuple[int, ...]) -> Any:
        line = node.start_mark.line + 1
        self._positions.setdefault(location, self._position_of_line(line))
        self._num_values += 1
        _check_size(line, self._num_values, len(location), self._limits)
        if id(node) in ancestors:
            raise _RuleError(line, "an anchor must not contain itself")
        ancestors = (*ancestors, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, location, ancestors)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._value(loader, item, (*location, i), ancestors) for i, item in enumerate(node.value))
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(loader, node)

    def _mapping(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, location: Location, ancestors: tuple[int, ...]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, entry in self._entries(loader, node, location, ancestors).items():
            self._positions[(*location, key)] = self._position_of_line(entry.line)
            result[key] = self._value(loader, entry.node, (*location, key), entry.ancestors)
        return result

    def _entries(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, location: Location, ancestors: tuple[int, ...]
    ) -> "dict[str, _Entry]":
        """Return the entries of a mapping: those of its merge key first, each unless a later or own key replaces it."""
        own: dict[str, _Entry] = {}
        merged: dict[str, _Entry] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                kind = "a mapping" if isinstance(key_node, yaml.MappingNode) else "a list"
                raise _RuleError(line, f"a key must be text, got {kind}")
            if key_node.tag.endswith(":merge"):
                for key, entry in self._merged(loader, value_node, location, ancestors, line):
                    merged.setdefault(key, entry)
                continue
            key = self._scalar(loader, key_node)
            if not isinstance(key, str):
                raise _RuleError(line, f"a key must be text, got {key!r}")
            if key in own:
                raise _RuleError(line, f"a key must appear once per mapping, got {key!r} twice")
            own[key] = _Entry(line, value_node, ancestors)
        return merged | own

    def _merged(
        self, loader: yaml.SafeLoader, node: yaml.Node, location: Location, ancestors: tuple[int, ...], line: int
    ) -> "Iterator[tuple[str, _Entry]]":
        """Yield the entries of the mappings of a merge key in a line; the first of two entries with one key counts."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                raise _RuleError(line, "a merge key (<<) must have a mapping or a list of mappings, such as *anchor")
            if id(source) in ancestors:
                raise _RuleError(line, "an anchor must not contain itself")
            self._num_values += 1  # entries that are merged again and again take time without a trace in the result
            _check_size(line, self._num_values, len(location), self._limits)
            for key, entry in self._entries(loader, source, location, (*ancestors, id(source))).items():
                self._num_values += 1
                _check_size(line, self._num_values, len(location), self._limits)
                yield key, entry

    def _scalar(self, loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        self._num_characters += len(node.value)
        if self._limits.breaks(FILE_SIZE, self._num_characters):  # by aliases: the file itself has fewer
            rule = FILE_SIZE.rule("the characters of all values, with each alias replaced,", "more")
            raise _RuleError(node.start_mark.line + 1, rule)
        try:
            return read_scalar(loader, node, self._limits)
        except ValueError as error:
            raise _RuleError(node.start_mark.line + 1, str(error)) from error


class _Entry(NamedTuple):
    """Value of a key, which a merge key may have brought from another mapping."""

    line: int
    node: yaml.Node
    ancestors: tuple[int, ...]
    """Nodes that contain the value. None of them may be its value again."""


class _RuleError(Exception):
    """Rule that a line of the text breaks."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(rule)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Loader that refuses tags, deep nesting and too many values while it parses, before it builds them."""

    def __init__(self, text: str, limits: Limits) -> None:
        super().__init__(text)
        self._limits = limits
        self._depth = 0
        self._num_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        parser: Any = self  # without types
        event = parser.peek_event()
        line = event.start_mark.line + 1
        if (tag := getattr(event, "tag", None)) is not None:
            written = f"!!{tag.removeprefix(TAG)}" if tag.startswith(TAG) else tag
            raise _RuleError(line, f"a value must have no tag, got {written}; remove it, or quote a text")
        self._num_nodes += 1
        _check_size(line, self._num_nodes, self._depth, self._limits)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _check_size(line: int, num_values: int, depth: int, limits: Limits) -> None:
    if depth > MAX_DEPTH:
        raise _RuleError(line, f"values must be nested at most {MAX_DEPTH} deep, got more")
    if limits.breaks(VALUES, num_values):
        raise _RuleError(line, VALUES.rule("the number of values in a space file", "more"))
