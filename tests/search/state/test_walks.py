"""The folder of trials is walked once per command, and an object store gets a few requests per trial."""

from collections import Counter
from pathlib import Path

import pytest

from lkca_search.api.tables import write_all_tables
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.record import RecordReader
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.status import read_status
from lkca_search.tracking.tracker import Tracker
from lkca_search.trial_listing import list_trials
from tests.support.object_store import counted_requests, running_object_store
from tests.support.records import make_record, make_replicate, make_search
from tests.support.search.toy import DIGITS, make_spec, train, train_all


@pytest.fixture
def num_walks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts: Counter[str] = Counter()

    def counting(folder: SearchFolder) -> object:
        counts["walks"] += 1
        return list_trials(folder.trials)

    monkeypatch.setattr(SearchFolder, "list_trials", counting)
    return counts


def test_status_best_and_export_walk_the_trials_once(num_walks: Counter[str], tmp_path: Path) -> None:
    folder = make_search("made", [make_record(number) for number in range(3)])
    num_walks.clear()
    reader = RecordReader(folder)
    assert read_status(folder, reader).num_finished == 3
    assert num_walks["walks"] == 1
    write_all_tables(folder, tmp_path / "tables")
    assert num_walks["walks"] == 2


def test_a_ledger_is_opened_with_one_walk(num_walks: Counter[str], tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search("toy")
    folder.root.mkdir(parents=True)
    train_all(Ledger(folder, make_spec(), DIGITS, 10, Tracker()))
    num_walks.clear()
    assert Ledger(folder, make_spec(), DIGITS, 10, Tracker()).num_left == 0
    assert num_walks["walks"] == 1


def test_the_walk_finds_what_each_pattern_finds() -> None:
    folder = make_search("made", [make_record(0), make_record(11, family="vit"), make_replicate(0), make_replicate(1)])
    trials = folder.trials
    assert isinstance(trials, Path)
    first = make_record(0).trial_id
    (trials / first / "attempt-0012-0002").mkdir()
    (trials / first / "attempt-0003-0003").mkdir()
    (trials / first / "attempt-0003-0003" / "record.json.damaged-1").write_text("")
    (trials / "vit" / "7" / "attempt-0004-0001").mkdir(parents=True)
    (trials / "file").write_text("")
    (trials / "vit" / "8").write_text("")
    listing = folder.list_trials()
    expected = {str(path) for path in trials.glob("*/*/attempt-*/record.json")}
    assert {str(path) for path in listing.trials.records.values()} == expected
    assert len(listing.replicates.records) == len(list(trials.glob("*/*/draw=*,seed=*/attempt-*/record.json"))) == 2
    assert [path.name for path in listing.trials.set_aside] == ["record.json.damaged-1"]
    assert listing.trials.drivers == {first: 12, make_record(11, family="vit").trial_id: 1, "vit/7": 4}
    assert listing.latest_driver == 12


def test_requests_to_an_object_store_per_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_object_store(monkeypatch) as url:
        root = tmp_path / "searches" / "toy"
        root.mkdir(parents=True)
        folder = SearchFolder(root=root).with_storage(url.replace("?", "/runs?"))
        for path in folder.specs:
            write_atomically(path, make_spec(trials_per_cell=4).model_dump_json(by_alias=True).encode())
        ledger = Ledger(folder, make_spec(trials_per_cell=4), DIGITS, 10, Tracker())
        reads = []
        for _ in range(2):
            with counted_requests() as requests:
                assignment = ledger.assign()
                assert assignment is not None
                train(ledger, assignment)
            # Are there earlier attempts? start.json, record.json, files to remove; start.json is removed by three.
            assert requests == {"LIST": 2, "PUT": 3, "HEAD": 1, "DELETE": 1}
            with counted_requests() as requests:
                RecordReader(folder).trials()
            reads.append(requests)
        assert reads[1] - reads[0] == {"HEAD": 1, "GET": 1}  # pyarrow reads the size first
