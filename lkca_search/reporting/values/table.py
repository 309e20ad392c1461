"""Table of cells with a text and a number; it is written as CSV, Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Generic, Self, TypeVar

from pydantic import model_validator

from lkca_search.analysis.stats.estimate import Estimate, Interval, NotEstimable
from lkca_search.reporting.values.numbers import NO_VALUE, format_interval, format_range, pluralize
from lkca_search.spec.base import FrozenModel

_LONG_TEXT = 40
"""Characters above which a text may be broken into lines."""
_LONG_TABLE = 12
"""Rows above which the page folds a table."""
_MAX_KEYS = 2
"""Columns that stay in place at most while a table is scrolled: more would fill a phone."""
_GREEK = {"α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "η": r"\eta", "λ": r"\lambda"}
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"${command}$" for letter, command in _GREEK.items()},
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "…": r"\ldots{}",
    "<": "$<$",
    ">": "$>$",
}
_POWER = re.compile(r"\b(\w)\^(\w)\b")  # n^γ

NOT_ESTIMABLE = "not estimable because"
"""Header of the column that gives the reason for a missing number."""

Number = int | float
Row = TypeVar("Row")
Value = TypeVar("Value")


class TableCell(FrozenModel):
    """Text of one row in one column, and the numbers behind it."""

    text: str
    """Text in the page, in Markdown and in LaTeX."""
    number: Number | None = None
    """Number for sorting; None if the text is not a number."""
    link: str | None = None
    """Address to which the text leads in the page."""
    parts: tuple[tuple[str, Number | str | None], ...] = ()
    """Values in CSV, each with the end of its header: `lower`, or nothing for the header itself.

    Empty for a cell whose number or text is its only value.
    """

    @property
    def csv_values(self) -> dict[str, Number | str | None]:
        """Unrounded values by the ends of their headers; a dash is no value."""
        if self.parts:
            return dict(self.parts)
        return {"": (None if self.text == NO_VALUE else self.text) if self.number is None else self.number}


@dataclass(frozen=True)
class Column(Generic[Row]):
    """Column of a table whose rows are values of one type."""

    header: str
    cell: Callable[[Row], TableCell]
    """Function from a row to its cell in this column."""


class Table(FrozenModel):
    """Table with a title, a caption and one header per column."""

    name: str
    """Name of its files, without extension: `contrasts`."""
    title: str
    caption: str
    columns: tuple[str, ...]
    """Headers."""
    rows: tuple[tuple[TableCell, ...], ...]
    highlighted: tuple[int, ...] = ()
    """Indices of rows that the page highlights."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if wrong := [len(row) for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"rows must have {len(self.columns)} cells, one per column, got {wrong[0]}")
        return self

    def to_csv(self) -> str:
        """Return the headers and the unrounded numbers as CSV; a column of the page may be several columns.

        The minus sign of texts is that of ASCII, as in numbers.
        """
        values = [[cell.csv_values for cell in row] for row in self.rows]
        columns = [
            (index, end)
            for index in range(len(self.columns))
            for end in dict.fromkeys(end for row in values for end in row[index]) or {"": None}
        ]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(f"{self.columns[index]} {end}".rstrip() for index, end in columns)
        writer.writerows([row[index].get(end) for index, end in columns] for row in values)
        return file.getvalue().replace("−", "-")

    def to_markdown(self) -> str:
        """Return the table as Markdown, numbers aligned to the right, with the caption below."""
        alignment = ["---:" if is_numeric else "---" for is_numeric in self.is_numeric]
        lines = [self.columns, alignment, *([cell.text for cell in row] for row in self.rows)]
        body = "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
        return f"{body}\n\n{self.caption}\n"

    def to_latex(self) -> str:
        """Return the table as LaTeX; it requires the package booktabs."""
        alignment = "".join("r" if is_numeric else "l" for is_numeric in self.is_numeric)
        rows = [_latex_row([cell.text for cell in row]) for row in self.rows]
        lines = [_latex_row(self.columns), r"\midrule", *rows]
        body = "\n".join([rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
        caption = rf"\caption{{{to_latex(self.caption)}}}"
        return "\n".join([r"\begin{table}", r"\centering", body, caption, r"\end{table}", ""])

    def has_long_texts(self, column: int) -> bool:
        """Return True if a column has texts that need several lines."""
        return any(len(row[column].text) > _LONG_TEXT for row in self.rows)

    @property
    def is_long(self) -> bool:
        """True if the page shows the table on request only."""
        return len(self.rows) > _LONG_TABLE

    @property
    def num_keys(self) -> int:
        """Number of first columns that identify a row, and stay in place while the others are scrolled."""
        for count in range(1, _MAX_KEYS):
            if len({tuple(cell.text for cell in row[:count]) for row in self.rows}) == len(self.rows):
                return count
        return _MAX_KEYS

    @property
    def is_numeric(self) -> tuple[bool, ...]:
        """True for each column that has numbers."""
        return tuple(any(row[column].number is not None for row in self.rows) for column in range(len(self.columns)))


def make_table(
    *,
    name: str,
    title: str,
    caption: str,
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    highlight: Callable[[Row], bool] = lambda row: False,
) -> Table:
    """Return a table with one cell per row and column; `highlight` selects rows that the page highlights."""
    return Table(
        name=name,
        title=title,
        caption=caption,
        columns=tuple(column.header for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in rows),
        highlighted=tuple(index for index, row in enumerate(rows) if highlight(row)),
    )


def text_cell(text: str | None, *, link: str | None = None) -> TableCell:
    """Return a cell without a number; it is empty for None. In the page, its text leads to the address `link`."""
    return TableCell(text=text or "", link=link)


def number_cell(value: float | None, write: Callable[[float], str] = str) -> TableCell:
    """Return a cell with a number and its text; a dash for None. A whole number stays one in CSV."""
    if value is None:
        return TableCell(text=NO_VALUE)
    return TableCell(text=write(value), number=int(value) if isinstance(value, Integral) else float(value))


def share_cell(count: int, total: int) -> TableCell:
    """Return a cell such as `3 of 12`."""
    return TableCell(text=f"{count} of {total}", number=count, parts=(("", count), ("of", total)))


def counted_cell(count: int, noun: str) -> TableCell:
    """Return a cell such as `3 draws`, with the noun as `unit` in CSV."""
    return TableCell(text=pluralize(count, noun), number=count, parts=(("", count), ("unit", noun)))


def range_cell(ends: tuple[float, float] | None, write: Callable[[float], str]) -> TableCell:
    """Return a cell with the two ends of a range; a dash for None."""
    lower, upper = ends or (None, None)
    return TableCell(text=format_range(ends, write), parts=(("lower", lower), ("upper", upper)))


def estimate_cell(estimate: Estimate | None, write: Callable[[float], str]) -> TableCell:
    """Return a cell with the value of an estimate; a dash for None."""
    return number_cell(None if estimate is None else estimate.value, write)


def interval_cell(
    estimate: Estimate | None,
    write: Callable[[Interval | None], str] = format_interval,
    *,
    missing: str | None = None,
) -> TableCell:
    """Return a cell with the interval of an estimate, or with the reason why it has none; it is empty for None.

    `missing` is the text in place of the reason. It is empty if another column has the reason, and CSV has none then.
    """
    ends = _ends(estimate)
    if estimate is None or estimate.interval is not None:
        return TableCell(text="" if estimate is None else write(estimate.interval), parts=ends)
    reason = "" if missing == "" else estimate.reason or ""
    return TableCell(text=reason if missing is None else missing, parts=(*ends, ("reason", reason)) if reason else ends)


def value_and_interval_cell(estimate: Estimate | None, write: Callable[[Estimate], str]) -> TableCell:
    """Return a cell with the value of an estimate and its interval; a dash for None."""
    ends = _ends(estimate)
    if estimate is None:
        return TableCell(text=NO_VALUE, parts=(("", None), *ends))
    return TableCell(text=write(estimate), number=estimate.value, parts=(("", estimate.value), *ends))


def _ends(estimate: Estimate | None) -> tuple[tuple[str, float | None], tuple[str, float | None]]:
    """Return the ends of the interval of an estimate for CSV; None for an open end, and without an interval."""
    interval = estimate.interval if estimate else None
    return ("lower", interval.lower if interval else None), ("upper", interval.upper if interval else None)


def estimable(value: Value | NotEstimable) -> Value | None:
    """Return a value, or None if it is not estimable."""
    return None if isinstance(value, NotEstimable) else value


def reason_cell(*values: object) -> TableCell:
    """Return a cell with the reasons of those values that are not estimable."""
    return text_cell("; ".join(sorted({str(value) for value in values if isinstance(value, NotEstimable)})))


def markdown_row(*texts: str) -> str:
    """Return a row of a table in Markdown; a vertical bar in a text becomes a slash."""
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"


def to_latex(text: str) -> str:
    """Return a text with LaTeX's special characters escaped, and with Greek letters and symbols in math mode."""
    start, parts = 0, []
    for power in _POWER.finditer(text):
        base, exponent = (_GREEK.get(char, char) for char in power.groups())
        parts += [_escape(text[start : power.start()]), f"${base}^{{{exponent}}}$"]
        start = power.end()
    return "".join([*parts, _escape(text[start:])])


def _escape(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def _latex_row(texts: Sequence[str]) -> str:
    return rf"{' & '.join(map(to_latex, texts))} \\"
