"""A search whose trials lie in an object store: it is run, killed, continued and read as any other."""

import json
import signal
from pathlib import Path

import pytest

from lkca_search.records.record import read_replicates
from lkca_search.records.rounds import read_rounds
from tests.support.object_store import running_object_store
from tests.support.search.command_line import SearchCommands

LONGER = ("search.trials_per_cell=2", "training.steps=200", "training.reports=10")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # whole searches, on machines that may be busy


def test_a_search_in_an_object_store_that_is_killed_goes_on_from_checkpoints_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_object_store(monkeypatch) as bucket:
        searching = SearchCommands(tmp_path / "home")
        storage = bucket.replace("?", "/runs?")
        process = searching.start_run(*LONGER, f"storage={storage}")
        process.wait_until(lambda: len(searching.folder.records()) >= 2)
        process.process.send_signal(signal.SIGKILL)
        process.wait()
        durable = {str(path): path.read_bytes() for path in searching.folder.records().values()}
        searching.run(*LONGER, f"storage={storage}")
        searching.assert_exact(trials_per_cell=2)
        assert not (searching.folder.root / "trials").exists()
        after = {str(path): path.read_bytes() for path in searching.folder.records().values()}
        assert durable.items() <= after.items()
        continued = [record for record in searching.records() if record.attempt > 1]
        assert continued
        outcome = json.loads(searching.call("rerun", "toy", "--trial", continued[0].trial_id, "--json"))
        assert outcome["difference"] == 0.0
        searching.call("confirm", "toy", "--draws", "2", "--seeds", "1", "--num-cpus", "2")
        (sealed,) = read_rounds(searching.folder)
        replicates = read_replicates(searching.folder)
        assert {record.trial_id for record in replicates} == {each.replicate_id for _, each in sealed.replications()}
        assert {record.state for record in replicates} == {"COMPLETE"}
        assert not (searching.folder.root / "rounds").exists()
        searching.call("report", "toy")
        assert (Path(str(searching.folder.root)) / "report" / "report.html").is_file()
