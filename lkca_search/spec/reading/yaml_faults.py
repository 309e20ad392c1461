"""Faults of YAML: the line to correct, which is often not the one where the parser stops, and the next step."""

import yaml

_INDENT = "keys of one section must have equal indentation"
_BLOCK = ("<block mapping start>", "<block sequence start>", "<scalar>", "?")
"""Tokens that begin an entry: the parser finds one where a section ends if its indentation differs."""
_CLOSING = {"while parsing a flow mapping": ("{", "}"), "while parsing a flow sequence": ("[", "]")}


def describe_fault(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    """Return the line to correct in a text, counted from 1, and the rule with the next step."""
    found, begun = error.problem_mark or error.context_mark, error.context_mark or error.problem_mark
    problem = f"not YAML: {error.problem or error.context}"
    if found is None or begun is None:
        return 1, problem
    line, start = found.line + 1, begun.line + 1
    context = str(error.context)
    if context in _CLOSING and "expected ','" in problem:
        opened, closed = _CLOSING[context]
        where = f" in line {line}" if line != start else ""
        return start, f"{problem}{where}; close the {opened} of this line by {closed}, or add the missing comma"
    if context == "while scanning a quoted scalar":
        return start, f"{problem}; end the text that begins here by its quote"
    if context == "while scanning a simple key":
        return start, f"{problem}; write a key as `key: value`, with a space after the colon"
    return line, problem + _next_step(problem, text, found)


def _next_step(problem: str, text: str, found: yaml.Mark) -> str:
    """Return the next step after a problem at a place; an empty text if the problem has it."""
    lines = text.split("\n")
    before = lines[found.line][: found.column] if found.line < len(lines) else ""
    above = next((number for number in range(found.line, 0, -1) if _has_value(lines[number - 1])), None)
    compare = f": compare this line with line {above}" if above else ""
    if "'\\t' that cannot start" in problem:
        return "; use spaces in place of tabs"
    if "that cannot start any token" in problem:
        return "; put quotes around a text that begins with it"
    if "<block end>" in problem and problem.endswith(("'}'", "']'", "','")):
        return "; remove it"
    if any(f"but found '{token}'" in problem for token in _BLOCK):
        return f"; {_INDENT}{compare}"
    if "mapping values are not allowed" in problem:
        if ": " in before:
            return "; a line has one `key: value`: put quotes around a text with a colon"
        return f"; {_INDENT}, and a space after the colon{compare}"
    if "another document" in problem:
        return "; remove the line ---"
    return "; write a text with \\ in single quotes" if "unknown escape" in problem else ""


def _has_value(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
