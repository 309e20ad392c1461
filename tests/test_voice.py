"""Docstrings of the package begin with the thing or the action, never with a question word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lkca_search

FORBIDDEN = re.compile(r"(What|How|Whether|Which|Where|Of|Such|Why)\b")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring, including strings under fields."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def forbidden_openings(source: str) -> list[str]:
    """Return every docstring that begins with a forbidden word, with its line."""
    return [f"{line}: {text[:60]}" for line, text in docstrings(source) if FORBIDDEN.match(text)]


def test_no_docstring_begins_with_a_question_word() -> None:
    package = Path(lkca_search.__file__).parent
    found = {str(path): forbidden_openings(path.read_text()) for path in sorted(package.rglob("*.py"))}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        '"""What a module holds."""',
        'def f():\n    """Whether it holds."""',
        'class A:\n    """How to hold."""',
        'class A:\n    x: int\n    """Of the search."""',
    ],
)
def test_a_planted_opening_is_found(source: str) -> None:
    assert len(forbidden_openings(source)) == 1


def test_other_openings_are_allowed() -> None:
    assert forbidden_openings('"""Offered whatever."""\nclass A:\n    x: int\n    """Number of trials."""') == []
