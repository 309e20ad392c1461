"""A search on a real cluster whose files and ledger are damaged between two runs: the next run ends it exact."""

import os
from pathlib import Path

import pytest

from lkca_search.search.state.database import find_database
from tests.support.search.command_line import ONE_CELL, SearchCommands

pytestmark = pytest.mark.slow
CELL = "family=lkca,data_fraction=0.2"


def test_a_run_after_damage_trains_what_has_no_intact_record_and_nothing_else(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    short = (*ONE_CELL, "training.steps=8", "training.reports=2")
    search.run(*short)
    folder = search.folder
    values = {record.trial_id: record.value for record in search.records()}
    kept, damaged = (folder.records()[f"{CELL}/{number}"] for number in (0, 1))
    before = kept.read_bytes()
    assert isinstance(damaged, Path)
    damaged.write_bytes(damaged.read_bytes()[:100])
    ledger = find_database(folder).file
    assert ledger is not None
    ledger.write_bytes(ledger.read_bytes()[:4096] + os.urandom(65_536))
    for path in [*folder.root.glob("subsets/*.json"), folder.root / "dataset.json", folder.root / "uid"]:
        path.write_bytes(b"")
    assert "4 damaged files" in search.call("status", "toy")
    code, printed = search.start_run(*short, "search.trials_per_cell=3").wait()
    assert code == 0, printed
    assert "Traceback" not in printed
    assert "it is kept as ledger.db.damaged-1" in printed
    assert kept.read_bytes() == before
    assert damaged.with_name("record.json.damaged-1").exists()
    records = {record.trial_id: record for record in search.records()}
    attempts = {f"{CELL}/0": 1, f"{CELL}/1": 2, f"{CELL}/2": 1}
    assert {trial_id: record.attempt for trial_id, record in records.items()} == attempts
    assert {trial_id: records[trial_id].value for trial_id in values} == values, "a repeated trial has the same value"
    assert "kept as NAME.damaged-N" in search.call("status", "toy")
