"""Description, parameters and metrics of the run of a search."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lkca_search.layout import SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker, send_missing
from lkca_search.tracking.search_run.search_run import SearchContent, SearchRun
from tests.support.tracking.recorded import assert_stored, open_store, read_stored
from tests.support.tracking.tracked import RECORDS, track

NOTE = "mlflow.note.content"


def content(text: str = "one", **values: float) -> SearchContent:
    return SearchContent(description=text, parameters={"family": f"lkca, {text}"}, metrics=values)


def stored_parent(uri: str, uid: str) -> Run:
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    return stored.parent


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the run of each batch that is written is added."""
    real, found = MlflowClient.log_batch, []

    def log_batch(self: MlflowClient, run_id: str, *arguments: object, **options: object) -> object:
        found.append(run_id)
        return real(self, run_id, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    return found


def test_an_equal_description_is_not_written_again_and_no_parameter_changes(
    root: Path, uid: str, uri: str, calls: list[str]
) -> None:
    for text, value, num_calls in (("one", 1.0, 1), ("one", 1.0, 0), ("one", 2.0, 1), ("two", 2.0, 1), ("two", 2.0, 0)):
        run = open_store(root, uid=uid).search_run
        calls.clear()
        run.describe(content(text, **{"best/lkca": value}))
        assert len(calls) == num_calls
        run = open_store(root, uid=uid).search_run
        parent = stored_parent(uri, uid)
        assert (parent.data.tags[NOTE], parent.data.metrics["best/lkca"]) == (text, value)
        assert parent.data.params == {"family": "lkca, one"}


def test_a_description_that_a_user_has_edited_stays_even_if_it_was_edited_meanwhile(
    root: Path, uid: str, uri: str
) -> None:
    run = open_store(root, uid=uid).search_run
    run.describe(content("one"))
    run.client.set_tag(run.run_id, NOTE, "mine")
    for again in (run, open_store(root, uid=uid).search_run):
        again.describe(content("two", speed=1.0))
        parent = stored_parent(uri, uid)
        assert (parent.data.tags[NOTE], parent.data.metrics) == ("mine", {"speed": 1.0})


def test_many_and_long_parameters_are_written_within_the_limits(root: Path, uid: str, uri: str) -> None:
    names = {f"name_{number}": "x" * 900 for number in range(230)}
    store = open_store(root, uid=uid)
    store.search_run.describe(SearchContent(description="", parameters=names, metrics={}))
    parent = stored_parent(uri, uid)
    assert parent.data.params.keys() == names.keys()
    assert max(map(len, parent.data.params.values())) == 500


def test_a_search_is_described_at_its_start_and_at_its_end_and_not_per_trial(
    root: Path, uid: str, uri: str, folder: SearchFolder
) -> None:
    described: list[str] = []

    def describe(run: SearchRun) -> SearchContent:
        described.append("running")
        return content("running")

    def describe_end(run: SearchRun) -> SearchContent:
        described.append("ended")
        return content("ended")

    tracker = MLflowTracker(lambda: open_store(root, uid=uid), folder, describe=describe)
    track(tracker, folder, *RECORDS)
    assert tracker.close(complete=True, best=None, describe=describe_end) == 0
    assert described in (["running", "ended"], ["ended"])  # the search may end before its store is open
    assert stored_parent(uri, uid).data.tags[NOTE] == "ended"


def test_results_that_cannot_be_described_delay_no_run(root: Path, uid: str, uri: str, folder: SearchFolder) -> None:
    def fail(run: SearchRun) -> SearchContent:
        raise ZeroDivisionError("no replicates")

    lines: list[str] = []
    tracker = MLflowTracker(lambda: open_store(root, uid=uid), folder)
    track(tracker, folder, *RECORDS)
    tracker.close(complete=True, best=None)
    outcome = send_missing(
        lambda: open_store(root, uid=uid),
        folder,
        complete=True,
        best=None,
        patience_seconds=10,
        notify=lines.append,
        describe=fail,
    )
    assert (outcome.num_missing, outcome.fault) == (0, None)
    assert lines == ["MLflow: the run of the search is not described: ZeroDivisionError: no replicates"]
    assert_stored(read_stored(uri, uid=uid), *RECORDS)


def test_a_trial_links_its_search_and_a_parameter_that_exists_never_changes(root: Path, uid: str, uri: str) -> None:
    store: MLflowStore = open_store(root, uid=uid)
    record = RECORDS[0]
    store.finish(record)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    run = stored.trials[record.trial_id]
    assert f"[study]({store.search_run.page})" in run.data.tags[NOTE]
    changed = record.model_copy(update={"spec": record.spec.model_copy(update={"seed": 99})})
    again = open_store(root, uid=uid)
    again.finish(changed)  # a restored search may have other values: the store keeps those that it has
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert stored.trials[record.trial_id].data.params == run.data.params
