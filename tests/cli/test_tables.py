"""Tables in a terminal: they fold by words, are never wider than it, and lose nothing."""

import io
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lkca_search.cli.terminal.folding import echo_prose, fold
from lkca_search.cli.terminal.tables import TableView
from lkca_search.records.record import State
from tests.support.processes import Command
from tests.support.records import CELL, make_record, make_search
from tests.support.screen import open_screen

WORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)


def show(view: TableView, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def squeezed(lines: Sequence[str]) -> str:
    return re.sub(r"\s", "", "".join(lines))


@given(TEXTS, st.integers(min_value=12, max_value=40))
def test_a_folded_text_fits_its_width_cuts_no_word_and_loses_nothing(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(len(line) <= width for line in lines)
    assert squeezed(lines) == squeezed([text])
    ends = {position for position, character in enumerate(text + " ", 1) if character in " ,/;"}
    position = 0
    for line in lines[:-1]:
        position = text.index(line, position) + len(line)
        assert position in ends or text[position] == " ", (lines, line)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("family=lkca,data_fraction=0.1", 18, ["family=lkca,", "data_fraction=0.1"]),
        ("12,345 of 1/20", 8, ["12,345", "of 1/20"]),
        ("a" * 20, 8, ["aaaaaaaa", "aaaaaaaa", "aaaa"]),
        ("  trial 12", 20, ["  trial 12"]),
        ("", 5, [""]),
        ("one\ntwo three", 5, ["one", "two", "three"]),
        ("FLOPs 1.38M to 1.45M", 16, ["FLOPs", "1.38M to 1.45M"]),
        ("trained to a report", 12, ["trained to a", "report"]),
        ("see `data list`, then", 15, ["see", "`data list`,", "then"]),
    ],
)
def test_lines_end_after_a_space_or_after_a_comma_or_slash_outside_numbers(
    text: str, width: int, lines: list[str]
) -> None:
    assert fold(text, width) == lines


@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=4), st.integers(min_value=30, max_value=120))
def test_a_table_is_never_wider_than_the_terminal_and_shows_every_cell(rows: list[list[str]], width: int) -> None:
    lines = show(TableView(header=("one", "two", "three"), rows=rows), width)
    assert all(len(line) <= width for line in lines)
    assert Counter(squeezed([cell for row in rows for cell in row])) <= Counter(squeezed(lines))


def test_a_narrow_terminal_leaves_out_optional_columns_and_names_them() -> None:
    view = TableView(header=("cell", "samples", "best"), rows=[("lkca", "123456", "0.5")], optional=("samples",))
    assert [line.rstrip() for line in show(view, 30)] == ["cell  samples  best", "lkca  123456   0.5"]
    assert [line.rstrip() for line in show(view, 15)] == [
        "cell  best",
        "lkca  0.5",
        "not shown:",
        "samples; a",
        "wider terminal",
        "or --json shows",
        "all",
    ]


def test_columns_are_left_out_if_a_row_would_have_many_lines_without_need() -> None:
    rows = [("digits", " ".join(["word"] * 20)), ("svhn", "")]
    view = TableView(header=("name", "cite"), rows=rows, optional=("cite",))
    assert len(show(view, 60)) == 4, "two lines of a row are few"
    assert [line.rstrip() for line in show(view, 24)][:3] == ["name", "digits", "svhn"]
    tall = TableView(header=("name", "cite"), rows=[(" ".join(["wordword"] * 20), "")], optional=("cite",))
    assert show(tall, 14)[0].split() == ["name", "cite"], "the row would be as high without the column"


def test_a_narrow_table_folds_its_long_texts_to_few_lines_and_no_short_one() -> None:
    rows = [("a few words", "some more words here", "word " * 30)]
    lines = show(TableView(header=("one", "two", "three"), rows=rows), 80)
    assert len(lines) == 4, "equal widths of 38 columns would make it 5"
    assert lines[1].startswith("a few words  some more")


def test_sentences_end_their_lines_after_words_in_a_terminal_and_cut_no_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"/{'long/' * 20}report.html"
    text = f"{'one two three ' * 6}\n{path}"
    echo_prose(text)
    assert capsys.readouterr().out == f"{text}\n"
    with open_screen(monkeypatch, 30) as screen:
        echo_prose(text)
    assert screen.transcript[:3] == ["one two three one two three"] * 3
    assert "".join(screen.transcript[3:]) == path


def test_an_error_of_a_command_cuts_no_word(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_screen(monkeypatch) as screen:
        assert command("plan", "search_spaces/quickstart.yaml", "factors.family=[lkca,vitt]").code == 2
    assert screen.transcript[0] == "error: unknown family 'vitt'; did you mean vit?; known families: lkca,"
    assert len(screen.transcript) > 3


def test_rows_that_do_not_fit_side_by_side_are_blocks() -> None:
    view = TableView(header=("name", "value"), rows=[("abcdefgh", "12345678"), ("b", "c")])
    assert [line.rstrip() for line in show(view, 16)] == [
        "name   abcdefgh",
        "value  12345678",
        "",
        "name   b",
        "value  c",
    ]


def test_status_at_80_columns_breaks_no_name_and_no_number(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = make_record(1, state=State.FAIL, family="vit", data_fraction=1.0)
    folder = make_search("made", [make_record(0), make_record(1, state=State.PRUNED), failed])
    folder.trial(f"{CELL}/2").attempt(driver=1, attempt=1).mkdir(parents=True)
    with open_screen(monkeypatch) as screen:
        assert command("status", "made").code == 0
    rows = [" ".join(line.split()) for line in screen.transcript]
    position = rows.index("family=lkca, 129 2/3 1 1 0.5000 0 40 4 s")
    assert rows[position + 1] == "data_fraction=0.1"
    assert "not shown: samples; a wider terminal or --json shows all" in rows


@pytest.mark.parametrize("arguments", ["data list", "list", "best made", "status made"])
def test_tables_of_commands_cut_no_word_at_80_columns(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    make_search("made", [make_record(number) for number in range(3)])
    whole = command(*arguments.split())
    with open_screen(monkeypatch) as screen:
        assert command(*arguments.split()).code == 0
    words = {word for line in screen.transcript for word in line.split() if len(word) < 30}
    units = {unit for word in whole.out.split() for unit in [word, *re.split(r"(?<=[,/;])(?!\d)", word)]}
    joined = {word for word in words if word not in units and not any(word in unit for unit in whole.out.split())}
    assert (
        joined - set("not shown: samples, steps, images, time; cite; a wider terminal or --json shows all".split())
        == set()
    )
