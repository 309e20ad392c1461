"""CSV files have every number of the page, in columns that pandas reads as numbers."""

import csv
import io
import json
import re

import pandas as pd
import pytest
from pandas.api.types import is_integer_dtype, is_numeric_dtype

from lkca_search.analysis.stats.estimate import Estimate, Interval
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.values import numbers
from lkca_search.reporting.values.report import Report
from lkca_search.reporting.values.table import (
    Column,
    Table,
    TableCell,
    counted_cell,
    interval_cell,
    make_table,
    number_cell,
    range_cell,
    share_cell,
    value_and_interval_cell,
)
from tests.support.inspections import with_inspections
from tests.support.predictions import with_class_predictions
from tests.support.search_results import law, make_search_results

VALUE_AND_INTERVAL = re.compile(r"(?:([+−]?[\d.]+) )?\[([+−]?[\d.,]+), ([+−]?[\d.,]+)\]")
IN_ONE_CELL = {"accuracies", "agreement", "calibration", "classes", "class_sizes", "confusions", "selection"}
APART = {"accuracies", "contrasts", "effects", "lengths", "kernel_layers", "receptive_fields", "kernel_trends"}
FOUND = Estimate(value=0.387, interval=Interval(lower=-0.357, upper=None, level=0.95))


def read(table: Table) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv()))


def table_of(*cells: TableCell) -> pd.DataFrame:
    """Return what pandas reads of a table with one column."""
    column = Column[TableCell]("x", lambda cell: cell)
    return read(make_table(name="t", title="", caption="", columns=[column], rows=cells))


@pytest.fixture(scope="module")
def report() -> Report:
    results = with_class_predictions(make_search_results(law(lead=0.02)), 4, num_images=600)
    results = with_inspections(
        results, lambda family, images, draw, seed, layer: 1.2 + images / 5000 + 0.05 * draw + 0.02 * seed
    )
    return make_report(results)


def shows(number: float, text: str) -> bool:
    written = text.replace("−", "-").replace(",", "")
    return float(f"{number:.{len(written.partition('.')[2])}f}") == float(written)


def test_every_interval_of_the_page_is_two_numbers_in_csv_and_its_value_a_third(report: Report) -> None:
    found: dict[str, set[bool]] = {}
    for table in report.tables:
        read_table = read(table)
        for index, header in enumerate(table.columns):
            for row, cells in enumerate(table.rows):
                if interval := VALUE_AND_INTERVAL.fullmatch(cells[index].text):
                    value, lower, upper = interval.groups()
                    found.setdefault(table.name, set()).add(value is not None)
                    assert value is None or shows(read_table[header][row], value)
                    assert shows(read_table[f"{header} lower"][row], lower)
                    assert shows(read_table[f"{header} upper"][row], upper)
    assert {name for name, kinds in found.items() if True in kinds} >= IN_ONE_CELL
    assert {name for name, kinds in found.items() if False in kinds} >= APART - {"effects", "lengths"}


def test_pandas_reads_every_column_of_numbers_as_numbers(report: Report) -> None:
    for table in report.tables:
        found = read(table)
        for header, is_number in zip(table.columns, table.is_numeric, strict=True):
            if is_number:
                assert is_numeric_dtype(found[header]), (table.name, header)
        for header in found.columns:
            if re.search(r" (lower|upper|of)$", header) and header != "radius of":
                assert is_numeric_dtype(found[header]), (table.name, header)
        if "training images" in table.columns and table.rows:
            assert is_integer_dtype(found["training images"]), table.name
        assert not re.search("[−–]", table.to_csv()), table.name


def test_columns_of_csv_do_not_depend_on_the_results(report: Report) -> None:
    single = with_class_predictions(make_search_results(law(), draws=1, seeds=1), 4, num_images=600)
    without_intervals = {table.name: list(read(table)) for table in make_report(single).tables}
    for table in report.tables:
        if table.name in without_intervals and table.name not in ("agreement", "contrasts", "disputed_images"):
            known = [header for header in read(table) if not header.endswith(" reason")]
            found = [header for header in without_intervals[table.name] if not header.endswith(" reason")]
            assert [header for header in known if "not estimable" not in header] == [
                header for header in found if "not estimable" not in header
            ], table.name


def test_the_button_of_the_page_gives_the_content_of_the_file(report: Report) -> None:
    page = to_html(report, source="")
    start = page.index("const TABLES = ") + len("const TABLES = ")
    tables, _ = json.JSONDecoder().raw_decode(page[start:])
    assert tables == {table.name: table.to_csv() for table in report.tables}


def test_an_open_end_and_a_missing_interval_are_empty_and_a_reason_has_its_column() -> None:
    found = table_of(value_and_interval_cell(FOUND, numbers.format_estimate), value_and_interval_cell(None, str))
    assert list(found) == ["x", "x lower", "x upper"]
    assert found["x"].tolist()[0] == 0.387
    assert found["x lower"].tolist()[0] == -0.357
    assert found.isna().to_numpy().tolist() == [[False, False, True], [True, True, True]]
    found = table_of(interval_cell(FOUND), interval_cell(Estimate(value=1.0, reason="a single draw")))
    assert list(found) == ["x lower", "x upper", "x reason"]
    assert found["x reason"].tolist()[1] == "a single draw"


def test_whole_numbers_ranges_units_and_totals_have_their_numbers() -> None:
    assert table_of(number_cell(116), number_cell(1200)).to_csv(index=False) == "x\n116\n1200\n"
    assert table_of(number_cell(116.0)).to_csv(index=False) == "x\n116.0\n"
    assert table_of(counted_cell(3, "draw")).to_csv(index=False) == "x,x unit\n3,draw\n"
    assert table_of(share_cell(4, 12)).to_csv(index=False) == "x,x of\n4,12\n"
    found = table_of(range_cell((45_200, 45_600), numbers.format_compact))
    assert found.to_csv(index=False) == "x lower,x upper\n45200,45600\n"


def test_more_units_than_the_power_analysis_counts_are_a_lower_end(report: Report) -> None:
    (contrasts,) = (table for table in report.tables if table.name == "contrasts")
    found, name = read(contrasts), "more units for 0.5 points"
    assert is_numeric_dtype(found[name])
    assert set(found["units unit"]) == {"draw"}
    texts = [row[contrasts.columns.index(name)].text for row in contrasts.rows]
    expected = [10_000 if text.startswith("over") else None for text in texts]
    assert [None if pd.isna(lower) else lower for lower in found[f"{name} lower"]] == expected


def test_the_headers_of_a_table_are_distinct(report: Report) -> None:
    for table in report.tables:
        headers = next(csv.reader(io.StringIO(table.to_csv())))
        assert len(headers) == len(set(headers)), table.name
