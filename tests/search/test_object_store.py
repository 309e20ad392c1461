"""A search with its trials in an object store is run, killed, resumed and read like any other."""

import json
import signal
from functools import partial
from pathlib import Path

import pytest

from lkca_search.paths import list_paths
from lkca_search.records.predictions import read_correct
from lkca_search.records.record import read_replicates
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.looks import read_looks
from tests.support.object_store import running_object_store
from tests.support.search.command_line import SearchCommands

LONGER = (
    *("factors.data_fraction=[0.2]", "training.steps=200", "training.reports=10"),
    *("confirm.draws=2", "confirm.seeds=1"),
)
CELLS = ("family=lkca,data_fraction=0.2", "family=vit,data_fraction=0.2")

pytestmark = pytest.mark.slow


def test_a_killed_search_resumes_from_checkpoints_in_an_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_object_store(monkeypatch) as bucket:
        search = SearchCommands(tmp_path / "home")
        storage = bucket.replace("?", "/runs?")
        process = search.start_run(*LONGER, f"storage={storage}")
        checkpoints = partial(list_paths, search.folder.with_storage(storage).trials, "*/*/*/checkpoint-*.pt")

        def may_be_killed() -> bool:
            attempts = [path.parent for path in checkpoints()]
            finished = [path.parent for path in search.folder.records().values()]  # later: a trial may have ended
            return bool(finished) and any(attempt not in finished for attempt in attempts)

        process.wait_until(may_be_killed)
        process.process.send_signal(signal.SIGKILL)
        process.wait()
        durable = {str(path): path.read_bytes() for path in search.folder.records().values()}
        search.run(*LONGER, f"storage={storage}")
        search.assert_exact(trials_per_cell=2, cells=CELLS)
        assert not (search.folder.root / "trials").exists()
        after = {str(path): path.read_bytes() for path in search.folder.records().values()}
        assert durable.items() <= after.items()
        resumed = [record for record in search.records() if record.attempt > 1]
        assert resumed
        outcome = json.loads(search.call("rerun", "toy", "--trial", resumed[0].trial_id, "--json"))
        assert outcome["difference"] == 0.0
        (sealed,) = read_rounds(search.folder)
        replicates = read_replicates(search.folder)
        assert {record.trial_id for record in replicates} == {each.replicate_id for _, each in sealed.replications()}
        assert {record.state for record in replicates} == {"COMPLETE"}
        accuracies = {id_: correct.mean() for id_, correct in read_correct(search.folder, replicates).items()}
        assert accuracies == {record.trial_id: record.test.accuracy for record in replicates if record.test}
        assert not (search.folder.root / "rounds").exists()
        assert len(read_looks(search.home, sealed.test_hash).looks) == 1
        assert len(list_paths(search.home.test_looks(sealed.test_hash), "*.json")) == 1
        search.call("report", "toy")
        assert (Path(str(search.folder.root)) / "report" / "report.html").is_file()
