"""Texts that fold by words to the width of the terminal. A terminal alone would cut words and numbers."""

import re

from rich.cells import cell_len, chop_cells

from lkca_search.cli.terminal.streams import console, echo, visible

_WORD = re.compile(r"(?:`[^`\n]*`|(?<=\w) to (?=\d)|[^\s,/;]|[,/;](?=\d))*[,/;]*\s*")
"""Text up to the next end of a line: a space, or a comma, slash or semicolon outside a number.

A range of numbers and a command in backticks are one word.
"""


def echo_prose(text: str, *, err: bool = False) -> None:
    """Print sentences, to standard output or error. In a terminal, a line ends before the word that does not fit.

    A path or command that is longer than a line is left to the terminal, so that it can be copied. Outside a terminal,
    a text is one line, which other programs read.
    """
    screen = console(err=err)
    echo("\n".join(fold(visible(text), screen.width, cuts=False)) if screen.is_terminal else text, err=err)


def echo_note(line: str) -> None:
    """Print a line on the work of a command to standard error, as `echo_prose` does."""
    echo_prose(line, err=True)


def fold(text: str, width: int, *, cuts: bool = True) -> list[str]:
    """Return the lines of a text, folded after words to a width.

    Args:
        text: Text of one or more lines.
        width: Columns of a line.
        cuts: True to cut a word that is longer than a line. Otherwise it has a longer line.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in words(paragraph):
            if line.strip() and cell_len(line) + cell_len(word.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            is_long = cuts and cell_len(word.rstrip()) > width
            *full, line = chop_cells(line + word, width) if is_long else [line + word]
            lines += full
        lines.append(line.rstrip())
    return lines


def words(text: str) -> list[str]:
    """Return the words of a text, each with the space after it. A line may end after any of them."""
    return [word for word in _WORD.findall(text) if word]
