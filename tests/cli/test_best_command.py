"""Tests of `lkca-search best` over cells whose values cannot be ranked, and its first line after a confirmation."""

import json

import pytest

from lkca_search import load_search
from lkca_search.layout import Home
from lkca_search.records.record import Record, RecordReader
from lkca_search.search.state.best_trials import read_champion
from tests.support.confirmed_search import write_confirmation
from tests.support.processes import Command
from tests.support.records import FACTS, make_record, make_search

LKCA, VIT = "family=lkca,data_fraction=0.1", "family=vit,data_fraction=0.1"


@pytest.fixture
def records() -> list[Record]:
    """Return trials of LKCA on 28 validation images, where one is perfect, and of ViT on 287."""
    few, many = (FACTS.model_copy(update={"num_validation_images": count}) for count in (28, 287))
    return [
        make_record(0, accuracy=2 / 3, facts=few),
        make_record(1, accuracy=1.0, facts=few),
        make_record(0, accuracy=0.875, family="vit", facts=many),
    ]


def test_cells_with_unequal_validation_images_are_listed_and_not_ranked(
    command: Command, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    make_search("made", records)
    code, out, err = command("best", "made")
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split() == ["cell", "best", "trial", "validation", "images", "val_accuracy"]
    assert [row.split() for row in rows[:2]] == [[LKCA, "1", "28", "1.0000"], [VIT, "0", "287", "0.8750"]]
    assert rows[-1].startswith("! Cells have 28 to 287 validation images, and values on few images vary more.")
    assert rows[-1].endswith("`lkca-search confirm made` tests them all on the same test images.")


def test_a_piped_table_has_one_line_per_row_whatever_columns_is(
    command: Command, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_search("made", records)
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = command("best", "made").out
    assert max(map(len, wide.splitlines()[:3])) > 60
    for value in ("", "0", "50"):
        monkeypatch.setenv("COLUMNS", value)
        assert command("best", "made").out == wide


def test_one_cell_has_one_best_trial_and_its_configuration(command: Command, records: list[Record]) -> None:
    make_search("made", records)
    assert command("best", "made", "--cell", LKCA).out.startswith(f"{LKCA}/1: val_accuracy 1.0000\n")
    make_search("equal", records[:2])
    assert command("best", "equal").out.startswith(f"{LKCA}/1: val_accuracy 1.0000\n")


def test_the_json_and_the_trial_file_of_best_stay_the_best_value_of_all_cells(
    command: Command, records: list[Record]
) -> None:
    make_search("made", records)
    code, out, err = command("best", "made", "--json")
    assert (code, json.loads(out)["trial_id"]) == (0, f"{LKCA}/1")
    assert err.startswith("! Cells have 28 to 287 validation images"), "beside the values, not in them"
    code, out, err = command("best", "made", "--yaml")
    assert (code, f"trial_id: {LKCA}/1\n" in out) == (0, True)
    assert err.startswith("! Cells have 28 to 287 validation images")


def test_the_library_warns_that_unequal_validation_images_do_not_rank_cells(records: list[Record]) -> None:
    make_search("made", records)
    search = load_search("made")
    with pytest.warns(UserWarning, match="cells of search 'made' have 28 to 287 validation images"):
        assert search.best().cell == LKCA
    assert search.best(VIT).cell == VIT
    make_search("equal", [each.model_copy(update={"facts": FACTS}) for each in records])
    assert load_search("equal").best().number == 1


def test_a_pareto_front_over_unequal_validation_images_has_a_warning(command: Command, records: list[Record]) -> None:
    make_search("several", records, "search.metric=[val_accuracy, num_parameters]", "search.goal=[maximize, minimize]")
    assert "! Cells have 28 to 287 validation images" in command("best", "several").out
    assert "! Cells" not in command("best", "several", "--cell", LKCA).out


def test_the_champion_of_a_confirmed_search_comes_first(command: Command, records: list[Record]) -> None:
    for name, made in (("equal", [each.model_copy(update={"facts": FACTS}) for each in records]), ("unequal", records)):
        make_search(name, made)
        folder = Home.from_environment().search(name)
        write_confirmation(folder)
        champion = read_champion(folder, RecordReader(folder))
        assert champion is not None
        out = command("best", name).out
        assert out.startswith(
            f"champion {champion.trial_id}: the replicate of `predict`, `export` and `rerun {name}`\n"
        )
        label = f"\nbest trial on validation images, not the champion: {LKCA}/1: val_accuracy 1.0000\n"
        assert (label in out) == (name == "equal")
        file = command("best", name, "--yaml")
        assert (f"trial_id: {champion.trial_id}\n" in file.out, file.err) == (True, ""), "the training of `rerun NAME`"
        assert json.loads(command("best", name, "--json").out)["trial_id"] == champion.trial_id
        assert ("`lkca-search report unequal` compares the cells" in " ".join(out.split())) == (name == "unequal")
