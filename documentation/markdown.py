"""Markdown of generated pages: tables, and text that is safe in them."""

from collections.abc import Iterable, Sequence

NOTE = "*This page is made from the code when the site is built.*"
"""First paragraph of a generated page."""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table. Line breaks in a cell become spaces, and its bars are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def code(text: object) -> str:
    """Return text in the font of code, or nothing for an empty text."""
    return f"`{text}`" if str(text) else ""


def join(*parts: str) -> str:
    """Return a page from its paragraphs, headings and tables; empty ones are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
