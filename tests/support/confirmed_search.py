"""Confirmation of a made-up search on disk: a sealed round and its replicates."""

from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.record import Record, TestResult, read_records
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.driver.rounds import open_round
from lkca_search.spec.sections import ConfirmSection
from tests.support.records import make_record


def write_confirmation(folder: SearchFolder) -> None:
    """Write a sealed round and its replicates, in which lkca leads by 20 points."""
    sealed = open_round(
        folder,
        read_spec(folder),
        ConfirmSection(draws=3, seeds=1),
        read_records(folder),
        test_hashes={None: "t" * 64},
        num_trials_left=0,
    )
    for pick, replication in sealed.replications():
        accuracy = 0.6 + 0.01 * replication.draw + (0.2 if "lkca" in pick.cell else 0.003 * replication.draw)
        score = TestResult(num_images=100, data_hash="t" * 64, loss=1.0, accuracy=accuracy)
        made = make_record(1, family=pick.configuration.family)
        record = made.model_copy(
            update={"trial_id": replication.replicate_id, "replicate": replication, "test": score, "value": accuracy}
        )
        write_atomically(
            folder.trial(record.trial_id).attempt(driver=1, attempt=1) / "record.json",
            Record.model_validate(record.model_dump()).model_dump_json().encode(),
        )
