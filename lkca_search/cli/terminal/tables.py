"""Tables that fold their cells by words to the width of the terminal. Rich alone would cut words and numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

from lkca_search.cli.terminal.folding import fold, words
from lkca_search.cli.terminal.streams import visible

_LONGEST_WORD = 40
"""Columns that a word may require. A longer one, such as a hash or a path, may be cut."""
_MOST_LINES = 4
"""Lines of a row above which columns are left out."""


@dataclass(frozen=True, kw_only=True)
class FoldedTable:
    """Table in which every cell is a list of lines that fit its column."""

    header: Sequence[Sequence[str]]
    """Lines of each column's name."""
    rows: Sequence[Sequence[Sequence[str]]]
    """Lines of each cell, by row and column."""
    widths: Sequence[int]
    """Width of each column."""
    gap: int
    """Spaces between two columns."""

    @property
    def heights(self) -> list[int]:
        """Number of lines of each row."""
        return [max((len(lines) for lines in row), default=1) for row in self.rows]

    @property
    def header_height(self) -> int:
        """Number of lines of the header."""
        return max((len(lines) for lines in self.header), default=1)

    def render(self, *, numbers: frozenset[int] = frozenset(), dim: frozenset[int] = frozenset()) -> Table:
        """Return Rich's table. The columns `numbers` are aligned to the right, and the rows `dim` are dim."""
        columns = [
            Column(Text("\n".join(lines)), width=width, no_wrap=True, justify="right" if i in numbers else "left")
            for i, (lines, width) in enumerate(zip(self.header, self.widths, strict=True))
        ]
        table = Table(*columns, box=None, pad_edge=False, padding=(0, self.gap, 0, 0))
        for i, row in enumerate(self.rows):
            table.add_row(*(Text("\n".join(lines)) for lines in row), style="dim" if i in dim else None)
        return table


@dataclass(frozen=True, kw_only=True)
class TableView:
    """Table that fits the width of the terminal without truncation; Rich renders it.

    Cells fold by words. If the words of a row do not fit side by side, or a row has many lines, columns in `optional`
    are left out, and a line names them. If that is not enough, each row is a block with one line per name.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    """Columns that are aligned to the right."""
    gap: int = 2
    """Spaces between two columns, or 1 if the table would not fit."""
    optional: Sequence[str] = ()
    """Columns that a narrow terminal leaves out, in this order."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table for the width of the console."""
        width = options.max_width
        optional = [name for name in self.optional if name in self.header]
        fitting = []
        for num_left_out in range(len(optional) + 1):
            shown = [i for i, name in enumerate(self.header) if name not in optional[:num_left_out]]
            if (folded := self._fold(shown, width)) is not None:
                fitting.append((max(folded.heights, default=1), num_left_out, shown, folded))
                if fitting[-1][0] <= _MOST_LINES:
                    break
        if not fitting:
            yield from self._blocks(width)
            return
        _, num_left_out, shown, folded = min(fitting, key=lambda each: (max(each[0], _MOST_LINES), each[1]))
        yield folded.render(numbers=frozenset(shown.index(i) for i in self.numbers if i in shown))
        if num_left_out:
            note = f"not shown: {', '.join(optional[:num_left_out])}; a wider terminal or --json shows all"
            yield Text("\n".join(fold(note, width)), style="dim")

    def _fold(self, shown: Sequence[int], width: int) -> FoldedTable | None:
        """Return the table with the columns `shown`; None if its words do not fit side by side."""
        header, rows = [self.header[i] for i in shown], [[row[i] for i in shown] for row in self.rows]
        return fold_table(header, rows, width=width, gap=self.gap) or fold_table(header, rows, width=width, gap=1)

    def _blocks(self, width: int) -> Iterator[RenderableType]:
        """Yield a block per row, with a line per name and value."""
        if not self.rows:
            yield Text("\n".join(fold("  ".join(self.header), width)), style="bold")
        names = max(cell_len(name) for name in self.header)
        for i, row in enumerate(self.rows):
            columns = (Column(width=each, no_wrap=True) for each in (names, max(1, width - names - 2)))
            block = Table.grid(*columns, padding=(0, 2, 0, 0))
            for name, value in zip(self.header, row, strict=True):
                if not value:
                    continue
                lines = fold(visible(value), max(1, width - names - 2))
                block.add_row(Text(name, style="bold"), Text("\n".join(lines)))
            if i:
                yield Text()
            yield block


def fold_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, gap: int = 2) -> FoldedTable | None:
    """Return the table folded to a width; None if its words do not fit side by side."""
    cells = [[visible(cell) for cell in row] for row in (header, *rows)]
    columns = list(zip(*cells, strict=True))
    natural = [max(_width(cell) for cell in column) for column in columns]
    minimal = [min(_LONGEST_WORD, max(_longest_word(cell) for cell in column)) for column in columns]
    widths = _shrink(natural, minimal, width - gap * (len(columns) - 1))
    if widths is None:
        return None
    folded = [[fold(cell, width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    return FoldedTable(header=folded[0], rows=folded[1:], widths=widths, gap=gap)


def _shrink(natural: Sequence[int], minimal: Sequence[int], available: int) -> list[int] | None:
    """Return widths of columns that add up to at most `available`, or None if the words do not fit.

    Rows get few lines. Space that is left goes to columns that then need one line, the nearest to it first.
    """
    if sum(minimal) > available:
        return None
    num_lines, widths = 1, list(natural)
    while sum(widths) > available:
        num_lines += 1
        widths = [max(least, -(-wide // num_lines)) for wide, least in zip(natural, minimal, strict=True)]
    for i in sorted(range(len(widths)), key=lambda i: natural[i] - widths[i]):
        widths[i] += min(natural[i] - widths[i], available - sum(widths))
    return widths


def _width(text: str) -> int:
    return max(cell_len(line) for line in text.split("\n"))


def _longest_word(text: str) -> int:
    return max((cell_len(word.rstrip()) for line in text.split("\n") for word in words(line)), default=0)


def format_range(low: str, high: str) -> str:
    """Format two formatted numbers as a range, or as one number if they are equal."""
    return low if low == high else f"{low} to {high}"
