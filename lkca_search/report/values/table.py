"""A table as a value: what is shown in each field, and the number behind it; written as CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Sequence
from typing import Self

from pydantic import model_validator

from lkca_search.spec.base import FrozenModel

_SENTENCE = 40
"""Characters beyond which a text may be broken into lines."""
_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "∞": r"$\infty$",
    "≤": r"$\le$",
    "×": r"$\times$",
    "…": r"\ldots{}",
    "<": "$<$",
}


class Field(FrozenModel):
    """One field of a table."""

    text: str
    """As it is shown."""
    number: float | None = None
    """As it is sorted and downloaded; None where the text is all there is."""

    @property
    def raw(self) -> str | float:
        """The number in full, or the text."""
        return self.text if self.number is None else self.number


class Table(FrozenModel):
    """A table with a name, a caption and a row of column heads."""

    name: str
    """Of its files: `contrasts`."""
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Field, ...], ...]
    """As many fields in each as there are columns."""
    marked: tuple[int, ...] = ()
    """Rows, from 0, that stand out."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if other := [len(row) for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"a row must have {len(self.columns)} fields, as there are columns, got {other[0]}")
        return self

    def to_csv(self) -> str:
        """The numbers in full, under the column heads."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(
            [self.columns, *([field.raw for field in row] for row in self.rows)]
        )
        return file.getvalue()

    def to_markdown(self) -> str:
        """As it is shown, numbers to the right."""
        rule = ["---:" if numeric else "---" for numeric in self.numeric]
        lines = [self.columns, rule, *([field.text for field in row] for row in self.rows)]
        body = "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
        return f"{body}\n\n{self.caption}\n"

    def to_latex(self) -> str:
        """As it is shown, for the package booktabs."""
        kinds = "".join("r" if numeric else "l" for numeric in self.numeric)
        lines = [_latex_row(self.columns), r"\midrule", *(_latex_row([each.text for each in row]) for row in self.rows)]
        body = "\n".join([rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
        caption = rf"\caption{{{latex(self.caption)}}}"
        return "\n".join([r"\begin{table}", r"\centering", body, caption, r"\end{table}", ""])

    def is_prose(self, place: int) -> bool:
        """Whether a column holds sentences."""
        return any(len(row[place].text) > _SENTENCE for row in self.rows)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Of each column whether it holds numbers."""
        return tuple(any(row[place].number is not None for row in self.rows) for place in range(len(self.columns)))


def text(value: str) -> Field:
    """A field of words."""
    return Field(text=value)


def number(value: float | None, shown: str) -> Field:
    """A field of a number; NaN never gets here, since None is what is missing."""
    return Field(text=shown, number=None if value is None else float(value))


def latex(value: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(_LATEX.get(mark, mark) for mark in value)


def _latex_row(texts: Sequence[str]) -> str:
    return rf"{' & '.join(map(latex, texts))} \\"
