"""Messages that the FAQ quotes: each one is printed by the code, word for word."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.code_blocks import ROOT

FAQ = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### (.*)$", FAQ, re.MULTILINE)
MESSAGES = [text for heading in HEADINGS for text in re.findall(r"`([^`]+)`", heading) if " " in text]


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the fixed texts of a module; `...` stands for the values in them."""
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in each.values)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


@cache
def all_texts() -> str:
    found = (text for path in (ROOT / "lkca_search").rglob("*.py") for text in texts(ast.parse(path.read_text())))
    return "\n".join(found)


def test_the_faq_has_twenty_messages() -> None:
    assert len(MESSAGES) >= 20
    assert len({*MESSAGES}) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_one_that_the_code_prints(message: str) -> None:
    assert message in all_texts()
