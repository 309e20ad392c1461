"""Narrowing of a space file: parts that refer to levels which overrides left out.

`factors.family=[lkca, vit]` on a file with four families leaves no meaning to `when: {family: [resnet]}`, and none to
an exclusion or a start with `family: resnet`. Such parts are left out, each with a note. A level that is mistyped in
the file stays an error.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from lkca_search.errors import Location
from lkca_search.spec.reading.scalars import parse_count

_SECTIONS = ("factors", "parameters")
Content = dict[str, Any]
"""Content of a space file: mappings, tuples and scalars."""


def narrow(
    original: Content,
    content: Content,
    positions: dict[Location, str],
    *,
    defaults: Mapping[str, Any],
    sections: Mapping[str, str],
) -> tuple[str, ...]:
    """Remove from `content` the parts that its overrides left without meaning; return a note per part.

    Args:
        original: Content of the file without overrides.
        content: Content with overrides.
        positions: Location to position; those of list items follow their items.
        defaults: Value of each name that is neither a factor nor a parameter; None if it has none.
        sections: Section with the value of a name, for cells without their own.
    """
    return tuple(_Narrowing(original, content, positions, defaults).run(sections))


class _Narrowing:
    """Content before and after overrides."""

    def __init__(
        self, original: Content, content: Content, positions: dict[Location, str], defaults: Mapping[str, Any]
    ) -> None:
        self._original = original
        self._content = content
        self._positions = positions
        self._defaults = defaults
        given = list(_conditions(original))
        self._given = [place[:3] for place in _conditions(content) if place in given]
        """Section, name and other name of each condition that no override sets."""

    def run(self, sections: Mapping[str, str]) -> Iterator[str]:
        # An entry that is left out may be named in the condition of another one.
        while (lines := [*self._narrow_conditions()]) != []:
            yield from lines
        yield from self._narrow_sections(sections)
        yield from self._narrow_mapping("base", self._content.get("base"))
        yield from self._narrow_mapping("data.sources", _at(self._content, "data", "sources"))
        yield from self._narrow_items(("exclude",), trims=True)
        yield from self._narrow_items(("search", "start"), trims=False)

    def _narrow_conditions(self) -> Iterator[str]:
        for section, name, other in self._given:
            entry = _at(self._content, section, name)
            when = _at(entry, "when")
            if (listed := _at(when, other)) is None:  # it was left out
                continue
            kept = tuple(value for value in listed if not self._is_left_out(other, value))
            given = f"when {other} is {_join(listed)}"
            if not kept:
                del self._content[section][name]
                yield f"{section[:-1]} {name} is left out: it applies {given}, which the overrides leave out"
            elif _domain(self._content, other) is None and _domain(self._original, other) is not None:
                entry["when"] = {key: values for key, values in when.items() if key != other}
                yield f"{section[:-1]} {name} applies to every cell: it applied {given}, and {other} is {_join(kept)}"
            elif kept != listed:
                entry["when"] = {**when, other: kept}

    def _narrow_sections(self, sections: Mapping[str, str]) -> Iterator[str]:
        """Remove values of sections for cells without their own, if the overrides left no such cell."""
        for name, section in sections.items():
            value = _at(self._content, section, name)
            if value is None or value != _at(self._original, section, name):
                continue
            for kind in _SECTIONS:
                when, given = (_at(each, kind, name, "when") for each in (self._content, self._original))
                entry = _at(self._content, kind, name)
                if entry and _is_always(self._content, when) and not _is_always(self._original, given):
                    del self._content[section][name]
                    yield f"{section}.{name} is left out: {kind[:-1]} {name} gives every cell its own"

    def _narrow_mapping(self, place: str, mapping: Any) -> Iterator[str]:
        """Remove the names of left-out factors from `base`, and left-out datasets from `data.sources`."""
        for key in list(mapping) if isinstance(mapping, dict) else ():
            is_base = place == "base"
            gone = _domain(self._content, key) is None and _domain(self._original, key) is not None
            if gone if is_base else self._is_left_out("dataset", key):
                del mapping[key]
                yield f"{place}.{key} is left out: {'factor' if is_base else 'dataset'} {key} is left out"

    def _narrow_items(self, place: tuple[str, ...], *, trims: bool) -> Iterator[str]:
        """Remove items of a list that name left-out levels: every one of a name if `trims`, else any."""
        items = _at(self._content, *place)
        if not isinstance(items, tuple) or items != _at(self._original, *place):
            return
        kept: list[tuple[int, Any]] = []
        for i, item in enumerate(items):
            narrowed: Any = {} if isinstance(item, Mapping) else item
            for name, values in item.items() if isinstance(item, Mapping) else ():
                listed = values if isinstance(values, tuple) else (values,)
                left = tuple(value for value in listed if not self._is_left_out(name, value))
                if not left or (not trims and left != listed):
                    yield f"{'.'.join(place)}.{i} is left out: it has {name} {_join(listed)}, which is left out"
                    break
                narrowed[name] = values if left == listed else left
            else:
                kept.append((i, narrowed))
        if len(kept) < len(items):
            self._move_positions(place, {old: new for new, (old, _) in enumerate(kept)})
        parent = _at(self._content, *place[:-1])
        parent[place[-1]] = tuple(item for _, item in kept)

    def _move_positions(self, place: tuple[str, ...], moved: Mapping[int, int]) -> None:
        depth = len(place)
        below = [each for each in self._positions if each[:depth] == place and len(each) > depth]
        for location, position in [(each, self._positions.pop(each)) for each in below]:
            index = location[depth]
            if isinstance(index, int) and index in moved:
                self._positions[(*place, moved[index], *location[depth + 1 :])] = position

    def _is_left_out(self, name: str, value: Any) -> bool:
        """Return True if a value of a name is possible in the file, and impossible with its overrides."""
        return self._is_possible(self._original, name, value) and not self._is_possible(self._content, name, value)

    def _is_possible(self, content: Content, name: str, value: Any) -> bool:
        domain = _domain(content, name)
        if domain is None:
            fixed = _at(content, "data", "dataset") if name == "dataset" else self._defaults.get(name)
            domain = () if fixed is None else (fixed,)
        value = parse_count(value)
        # A range compares a text with each of its numbers.
        return (isinstance(value, int) or not isinstance(domain, range)) and value in domain


def _conditions(content: Content) -> Iterator[tuple[str, str, str, tuple[Any, ...]]]:
    """Yield section, name, other name and its values of each condition."""
    for section in _SECTIONS:
        for name, entry in _items(content.get(section)):
            for other, values in _items(_at(entry, "when")):
                if isinstance(values, tuple):
                    yield section, name, other, values


def _domain(content: Content, name: str) -> Container[Any] | None:
    """Return the possible values of a factor or parameter; None if the content has no such name."""
    for section in _SECTIONS:
        entry = _at(content, section, name)
        if isinstance(entry, tuple):
            return tuple(map(parse_count, entry))
        if not isinstance(entry, Mapping):
            continue
        for key in ("levels", "choice", "float"):
            if isinstance(values := entry.get(key), tuple):
                return tuple(map(parse_count, values))
        bounds, step = entry.get("int"), entry.get("step", 1)
        if isinstance(bounds, tuple) and len(bounds) == 2 and all(type(each) is int for each in (*bounds, step)):
            return range(bounds[0], bounds[1] + 1, max(step, 1))
        return (parse_count(entry["value"]),) if "value" in entry else ()
    return None


def _is_always(content: Content, when: Any) -> bool:
    """Return True if every level of each factor in a condition is listed."""
    return all(
        isinstance(levels := _domain(content, other), tuple) and {*map(str, levels)} <= {*map(str, values)}
        for other, values in _items(when)
    )


def _at(content: Any, *keys: str) -> Any:
    """Return the value at a path of keys; None if there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _items(mapping: Any) -> list[tuple[str, Any]]:
    return list(mapping.items()) if isinstance(mapping, Mapping) else []


def _join(values: tuple[Any, ...]) -> str:
    return " or ".join(map(str, values))
