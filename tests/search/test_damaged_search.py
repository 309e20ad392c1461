"""A search on a real cluster whose files and ledger are damaged between two runs: the next run ends it exact."""

import os
from pathlib import Path

import pytest

from lkca_search.search.state.database import find_database
from tests.support.search.command_line import ONE_CELL, SearchCommands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CELL = "family=lkca,data_fraction=0.2"


def test_a_run_after_damage_trains_what_has_no_intact_record_and_nothing_else(tmp_path: Path) -> None:
    search, calm = (SearchCommands(tmp_path / name) for name in ("damaged", "calm"))
    search.run(*ONE_CELL)
    folder = search.folder
    kept = folder.records()[f"{CELL}/0"]
    damaged = folder.records()[f"{CELL}/1"]
    before = kept.read_bytes()
    assert isinstance(damaged, Path)
    damaged.write_bytes(damaged.read_bytes()[:100])
    ledger = find_database(folder).file
    assert ledger is not None
    ledger.write_bytes(ledger.read_bytes()[:4096] + os.urandom(65_536))
    for path in [*folder.root.glob("subsets/*.json"), folder.root / "dataset.json", folder.root / "uid"]:
        path.write_bytes(b"")
    assert "4 damaged files" in search.call("status", "toy")
    driver = search.start_run(*ONE_CELL, "search.trials_per_cell=4")
    code, printed = driver.wait()
    assert code == 0, printed
    assert "Traceback" not in printed
    assert "it is kept as ledger.db.damaged-1" in printed
    assert kept.read_bytes() == before
    assert damaged.with_name("record.json.damaged-1").exists()
    search.call("sync", "toy")
    records = {record.trial_id: record for record in search.records()}
    assert {trial_id: record.attempt for trial_id, record in records.items()} == {
        f"{CELL}/0": 1,
        f"{CELL}/1": 2,
        f"{CELL}/2": 1,
        f"{CELL}/3": 1,
    }
    assert "kept as NAME.damaged-N" in search.call("status", "toy")
    calm.run(*ONE_CELL, "search.trials_per_cell=4")
    undisturbed = {record.trial_id: record.value for record in calm.records()}
    assert {trial_id: records[trial_id].value for trial_id in (f"{CELL}/0", f"{CELL}/1")} == {
        trial_id: undisturbed[trial_id] for trial_id in (f"{CELL}/0", f"{CELL}/1")
    }
