"""A table is shown, sorted and downloaded from the same fields."""

import csv
import io
import re

import pytest

from lkca_search.analysis.stats.estimate import Estimate, Interval
from lkca_search.report.values import numbers
from lkca_search.report.values.table import Table, number, text

TABLE = Table(
    name="t",
    title="A table",
    caption="What 50% of it says: a_b & c",
    columns=("name", "accuracy, %", "note"),
    rows=(
        (text("lkca | a_b"), number(84.123456, "84.1"), text("")),
        (text("vit"), number(None, "–"), text("none, “of” it\nall")),
    ),
)


def test_csv_has_numbers_in_full_and_survives_commas_and_lines() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert rows == [list(TABLE.columns), ["lkca | a_b", "84.123456", ""], ["vit", "–", "none, “of” it\nall"]]


def test_a_row_has_a_field_for_every_column() -> None:
    with pytest.raises(ValueError, match="a row must have 3 fields, as there are columns, got 2"):
        Table(name="t", title="", caption="", columns=TABLE.columns, rows=(TABLE.rows[0][:2],))


def test_markdown_escapes_what_would_end_a_field() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert lines[:3] == ["| name | accuracy, % | note |", "| --- | ---: | --- |", r"| lkca \| a_b | 84.1 |  |"]


def test_latex_escapes_what_latex_would_take() -> None:
    told = TABLE.to_latex()
    assert r"lkca | a\_b & 84.1 &  \\" in told
    assert r"\caption{What 50\% of it says: a\_b \& c}" in told
    assert r"\begin{tabular}{lrl}" in told
    assert not re.search(r"(?<!\\)[%_#$]", told.replace("$-$", ""))


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
def test_numbers_are_written_with_the_digits_they_deserve(written: str, expected: str) -> None:
    assert written == expected
