"""The page, CSV, Markdown and LaTeX show the same cells of a table."""

import csv
import io
import re

import pytest

from lkca_search.analysis.stats.estimate import Estimate, Interval, NotEstimable
from lkca_search.reporting.values import numbers
from lkca_search.reporting.values.table import (
    Column,
    Table,
    interval_cell,
    make_table,
    number_cell,
    reason_cell,
    text_cell,
    to_latex,
)

Row = tuple[str, float | None, str]
COLUMNS: list[Column[Row]] = [
    Column("name", lambda row: text_cell(row[0])),
    Column("accuracy, %", lambda row: number_cell(row[1], numbers.format_percent)),
    Column("note", lambda row: text_cell(row[2])),
]
TABLE = make_table(
    name="t",
    title="A table",
    caption="What 50% of it means: a_b & c",
    columns=COLUMNS,
    rows=[("lkca | a_b", 84.123456, ""), ("vit", None, "none, “of” it\nall")],
    highlight=lambda row: row[0] == "vit",
)


def test_each_column_gives_one_cell_per_row() -> None:
    assert TABLE.columns == ("name", "accuracy, %", "note")
    assert [[cell.text for cell in row] for row in TABLE.rows] == [
        ["lkca | a_b", "84.1", ""],
        ["vit", "–", "none, “of” it\nall"],
    ]
    assert TABLE.is_numeric == (False, True, False)
    assert TABLE.highlighted == (1,)


def test_csv_has_unrounded_numbers_and_no_dash_and_keeps_commas_and_line_breaks() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert rows == [list(TABLE.columns), ["lkca | a_b", "84.123456", ""], ["vit", "", "none, “of” it\nall"]]


def test_a_row_must_have_one_cell_per_column() -> None:
    with pytest.raises(ValueError, match="rows must have 3 cells, one per column, got 2"):
        Table(name="t", title="", caption="", columns=TABLE.columns, rows=(TABLE.rows[0][:2],))


def test_markdown_escapes_the_separator_of_columns() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert lines[:3] == ["| name | accuracy, % | note |", "| --- | ---: | --- |", r"| lkca \| a_b | 84.1 |  |"]


def test_latex_escapes_special_characters() -> None:
    source = TABLE.to_latex()
    assert r"lkca | a\_b & 84.1 &  \\" in source
    assert r"\caption{What 50\% of it means: a\_b \& c}" in source
    assert r"\begin{tabular}{lrl}" in source
    assert not re.search(r"(?<!\\)[%_#$]", source)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("α", r"$\alpha$"),
        ("γ", r"$\gamma$"),
        ("η", r"$\eta$"),
        ("−", "$-$"),
        ("–", "--"),
        ("×", r"$\times$"),
        ("±", r"$\pm$"),
        ("∞", r"$\infty$"),
        ("…", r"\ldots{}"),
        ("[−0.52, ∞]", r"[$-$0.52, $\infty$]"),
        ("< 0.0001", "$<$ 0.0001"),
        ("e(n) = α + η n^γ", r"e(n) = $\alpha$ + $\eta$ $n^{\gamma}$"),
        ("n^2", "$n^{2}$"),
        ("a^", r"a\textasciicircum{}"),
        ("{x}~\\", r"\{x\}\textasciitilde{}\textbackslash{}"),
    ],
)
def test_greek_letters_and_symbols_are_in_math_mode(text: str, latex: str) -> None:
    assert to_latex(text) == latex
    table = make_table(
        name="t", title="", caption=text, columns=[Column[str](text, lambda row: text_cell(row))], rows=[text]
    )
    assert table.to_latex().splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{l}",
        r"\toprule",
        rf"{latex} \\",
        r"\midrule",
        rf"{latex} \\",
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{latex}}}",
        r"\end{table}",
    ]


def test_a_missing_interval_has_its_reason() -> None:
    estimate = Estimate(value=1.0, interval=Interval(lower=0.5, upper=1.5, level=0.95))
    assert interval_cell(estimate).text == "[0.5, 1.5]"
    assert interval_cell(Estimate(value=1.0, reason="one draw")).text == "one draw"
    assert interval_cell(None).text == ""


def test_values_that_are_not_estimable_share_a_cell_for_their_reasons() -> None:
    assert reason_cell(1.0, None).text == ""
    assert reason_cell(NotEstimable("b"), 1.0, NotEstimable("a"), NotEstimable("b")).text == "a; b"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.format_count(12345), "12,345"),
        (numbers.format_points(3.14), "+3.1"),
        (numbers.format_points(-0.44), "−0.4"),
        (numbers.format_points(-0.04), "0.0"),
        (
            numbers.format_estimate(Estimate(value=84.16, interval=Interval(lower=81, upper=None, level=0.95))),
            "84.2 [81.0, ∞]",
        ),
        (numbers.format_estimate(Estimate(value=84.16, reason="one draw")), "84.2"),
        (numbers.format_decimal(-0.789), "−0.79"),
        (numbers.format_decimal(0.789, signed=True), "+0.79"),
        (numbers.format_decimal(-0.001), "0.00"),
        (numbers.format_decimal(-0.001, signed=True), "0.00"),
        (numbers.format_decimal(0.001, signed=True), "0.00"),
        (numbers.format_decimal_interval(Interval(lower=None, upper=-0.3, level=0.95)), "[−∞, −0.30]"),
        (numbers.format_ratio(0.618), "0.62"),
        (numbers.format_ratio(1.84), "1.8"),
        (numbers.format_ratio(14.2), "14"),
        (numbers.format_p_value(None), "–"),
        (numbers.format_p_value(0.00001), "< 0.0001"),
        (numbers.format_p_value(0.00051), "0.0005"),
        (numbers.format_p_value(0.0304), "0.030"),
        (numbers.format_p_value(0.26), "0.26"),
        (numbers.join_words(["a"]), "a"),
        (numbers.join_words(["a", "b", "c"]), "a, b and c"),
        (numbers.join_words([]), ""),
        (numbers.pluralize(1, "draw"), "1 draw"),
        (numbers.pluralize(1200, "draw"), "1,200 draws"),
        (numbers.format_compact(1_030_000), "1.03M"),
        (numbers.format_compact(62_100_000_000_000_000), "62.1P"),
    ],
)
def test_numbers_have_few_digits(written: str, expected: str) -> None:
    assert written == expected
