"""Committed studies: one command makes their figures and tables again, and their pages quote these alone."""

import csv
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from lkca_search.layout import PUBLISHED
from lkca_search.published.results import read_published
from lkca_search.spec.space_file import read_space_file
from tests.support.code_blocks import ROOT
from tests.support.processes import Command

STUDIES = sorted(path.parent.parent for path in (ROOT / "studies").glob(f"*/results/{PUBLISHED}"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
QUOTED = re.compile(r"([+−]?[\d.,]*\d)(?:%| points| tokens)? (\[[+−]?[\d.,]+, [+−]?[\d.,]+\])")

each_study = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)


def rows_of(study: Path) -> Iterator[list[str]]:
    for path in sorted((study / "report" / "tables").glob("*.csv")):
        yield from csv.reader(path.read_text(encoding="utf-8").splitlines())


def same_numbers(one: str, other: str) -> bool:
    """Return True if two texts differ in the last digits of their numbers at most, as on another processor."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(a == b or float(a) == pytest.approx(float(b), rel=1e-6, abs=1e-3) for a, b in pairs)


def shows(cell: str, quoted: str) -> bool:
    """Return True if a cell of a table is a number that is rounded to a quoted one."""
    digits = quoted.replace("−", "-").replace(",", "").lstrip("+")
    try:
        return round(float(cell), len(digits.partition(".")[2])) == float(digits)
    except ValueError:
        return False


def has_interval(row: list[str], quoted: str) -> bool:
    """Return True if two cells in succession are the ends of a quoted interval."""
    lower, upper = quoted.strip("[]").split(", ")
    return any(shows(one, lower) and shows(other, upper) for one, other in pairwise(row))


def test_the_studies_have_results() -> None:
    assert [study.name for study in STUDIES] == ["cifar10_scarcity", "kernel_size"]


@pytest.mark.slow
@each_study
def test_one_command_makes_the_committed_figures_and_tables_again(
    study: Path, command: Command, tmp_path: Path
) -> None:
    assert command("report", str(study / "results"), "--to", str(tmp_path)).code == 0
    committed = {path.relative_to(study / "report") for path in (study / "report").rglob("*.*")}
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")}
    assert {name for name in made if name.suffix == ".csv"} <= committed <= made
    different = [
        str(name)
        for name in sorted(committed)
        if not same_numbers((study / "report" / name).read_text("utf-8"), (tmp_path / name).read_text("utf-8"))
    ]
    assert different == []


@each_study
def test_every_number_with_an_interval_on_the_page_is_in_a_table_of_the_report(study: Path) -> None:
    rows = list(rows_of(study))
    quotes = QUOTED.findall((study / "README.md").read_text(encoding="utf-8"))
    assert len(quotes) >= 5
    missing = [
        f"{value} {interval}"
        for value, interval in quotes
        if not any(has_interval(row, interval) and any(shows(cell, value) for cell in row) for row in rows)
    ]
    assert missing == []


@each_study
def test_the_page_has_the_largest_late_gain_with_its_interval_and_the_fewest_validation_images(study: Path) -> None:
    page = " ".join((study / "README.md").read_text(encoding="utf-8").split())
    rows = csv.DictReader((study / "report" / "tables" / "lengths.csv").read_text(encoding="utf-8").splitlines())
    names = ("late gain, points", "95% interval lower", "95% interval upper")
    gains = [tuple(float(row[name]) for name in names) for row in rows]
    rising = [gain for gain in gains if gain[0] > 0.5 and gain[1] > 0]
    value, lower, upper = max(rising)
    assert f"in {len(rising)} of {len(gains)} cells the validation accuracy still rises" in page
    assert f"by up to {value:.1f} points [+{lower:.1f}, +{upper:.1f}]" in page
    results, _ = read_published(study / "results")
    fewest = min(record.facts.num_validation_images for record in results.trials if record.facts)
    assert f"chosen by {fewest} validation images" in page


@each_study
def test_the_results_are_those_of_the_space_file_and_name_no_folder(study: Path) -> None:
    results, _ = read_published(study / "results")
    assert results.spec == read_space_file(study / f"{study.name}.yaml", []).spec
    assert len(results.trials) == results.spec.search.trials_per_cell * len(results.cells)
    text = "".join(record.model_dump_json() for record in (*results.trials, *results.replicates))
    assert re.findall(r'"/[^"]*"', text) == []
