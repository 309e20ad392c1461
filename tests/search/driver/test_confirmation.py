"""A confirmation trains and tests each replicate of its round once, whenever its driver crashes."""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lkca_search.data.store import open_images
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import parse_path
from lkca_search.records.predictions import Predictions, read_correct, save_predictions
from lkca_search.records.provenance import LayerBackend
from lkca_search.records.record import Record, RecordReader, State, TestResult, read_records, read_replicates
from lkca_search.records.rounds import Round, read_rounds, round_statuses
from lkca_search.search.driver.confirmation import (
    Confirmation,
    write_round_manifests,
)
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, Message
from lkca_search.search.driver.rounds import design_conflict, find_or_open_round, open_round, unused_draws
from lkca_search.search.state.manifests import make_manifest, split_seed
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection, LimitsSection
from lkca_search.tracking.tracker import Tracker
from tests.support.records import make_predictions
from tests.support.search.toy import make_messages, make_spec, train_all

OpenLedger = Callable[..., Ledger]
CELLS = ("family=lkca", "family=vit")
TEST = TestResult(num_images=9, data_hash="test", loss=1.0, accuracy=0.25)


def seal(folder: SearchFolder, *, trials_left: int = 0, spec: SearchSpec | None = None, **section: int) -> Round:
    return open_round(
        folder,
        spec or make_spec(),
        ConfirmSection(**{"draws": 2, "seeds": 2, **section}),
        read_records(folder),
        test_hashes={None: "test"},
        num_trials_left=trials_left,
    )


def open_queue(folder: SearchFolder, sealed: Round, tracker: Tracker | None = None) -> Confirmation:
    return Confirmation(folder, make_spec(), sealed, tracker or Tracker())


def train(queue: Confirmation, assignment: Assignment) -> Record:
    for message in make_messages(assignment):
        test = TEST if message.done else None
        assert not queue.on_message(assignment.trial_id, message.model_copy(update={"test": test}))
    return queue.finish(assignment.trial_id)


def finish(queue: Confirmation) -> list[Record]:
    records = []
    while (assignment := queue.assign()) is not None:
        records.append(train(queue, assignment))
    return records


@pytest.fixture
def searched(folder: SearchFolder, open_ledger: OpenLedger) -> list[Record]:
    """Return the records of a finished search: two cells of three trials."""
    train_all(open_ledger())
    return read_records(folder)


def test_the_best_configuration_of_each_cell_is_picked_as_it_was_trained(
    folder: SearchFolder, searched: list[Record]
) -> None:
    picks = seal(folder).picks
    assert [pick.cell for pick in picks] == list(CELLS)
    for pick in picks:
        best = max((record for record in searched if record.cell == pick.cell), key=lambda record: record.value or 0)
        assert (pick.trial_id, pick.value) == (best.trial_id, best.value)
        assert pick.configuration == best.spec.configuration
        assert pick.num_trials == 3


def test_the_top_k_of_a_cell_are_picked_in_order(folder: SearchFolder, searched: list[Record]) -> None:
    values = [pick.value for pick in seal(folder, top=2).picks if pick.cell == CELLS[0]]
    assert values == sorted((record.value for record in searched if record.cell == CELLS[0]), reverse=True)[:2]
    assert [pick.rank for pick in seal(folder, top=9).picks] == [1, 2, 3] * 2, "every complete trial"


def test_replicates_are_paired_across_cells_and_share_no_seed_with_a_trial(
    folder: SearchFolder, searched: list[Record]
) -> None:
    replicates = finish(open_queue(folder, seal(folder)))
    specs = {
        (record.cell, record.replicate.draw, record.replicate.seed): record.spec
        for record in replicates
        if record.replicate
    }
    assert len(specs) == len(replicates) == 2 * 2 * 2
    for draw in (1, 2):
        for seed in (0, 1):
            one, other = (specs[cell, draw, seed] for cell in CELLS)
            assert one.seed == other.seed
            assert one.configuration.draw == other.configuration.draw == draw
    trained = {record.spec.seed for record in searched}
    assert len({spec.seed for spec in specs.values()} | trained) == 4 + len(trained), "every seed is unused"


def test_a_replicate_has_its_picks_configuration_on_an_unused_draw(
    folder: SearchFolder, searched: list[Record]
) -> None:
    sealed = seal(folder)
    for record in finish(open_queue(folder, sealed)):
        (pick,) = (pick for pick in sealed.picks if pick.cell == record.cell)
        assert record.replicate is not None
        assert record.replicate.of == pick.trial_id
        assert record.spec.configuration == pick.configuration.model_copy(update={"draw": record.replicate.draw})
        assert (record.metric, record.value, record.test) == ("test_accuracy", 0.25, TEST)


def test_replicates_take_the_backends_of_the_trial_that_they_repeat(
    folder: SearchFolder, searched: list[Record]
) -> None:
    layer = LayerBackend(
        grid=(4, 4),
        kernel_size=3,
        num_kernels=1,
        channels=16,
        backend="fft",
        batch_size=32,
        precision="float32",
        milliseconds={"fft": 1.0, "conv": 2.0},
    )
    for record in searched:
        path = folder.trial(record.trial_id).record
        assert path is not None
        assert record.facts is not None
        if record.cell == "family=lkca":
            with_backend = record.facts.model_copy(update={"backends": (layer,)})
            path.write_bytes(record.model_copy(update={"facts": with_backend}).model_dump_json().encode())
    queue = open_queue(folder, seal(folder))
    given: dict[str, list[tuple[LayerBackend, ...]]] = {cell: [] for cell in CELLS}
    while (assignment := queue.assign()) is not None:
        given[assignment.trial_id.partition("/")[0]].append(assignment.backends)
        train(queue, assignment)
    # None on the record of an earlier version: its workers choose.
    assert given == {"family=lkca": 4 * [(layer,)], "family=vit": 4 * [()]}


def test_in_a_repeated_search_the_pick_of_each_repeat_is_trained_on_its_own_draw(
    folder: SearchFolder, open_ledger: OpenLedger
) -> None:
    train_all(open_ledger(repeats=2))
    spec = make_spec(repeats=2)
    searched = read_records(folder)
    by_repeat = [[record.spec for record in searched if record.spec.configuration.draw == draw] for draw in (0, 1)]
    assert [len(specs) for specs in by_repeat] == [2 * 3] * 2
    assert not {one.seed for one in by_repeat[0]} & {other.seed for other in by_repeat[1]}
    rates = [{one.configuration.learning_rate for one in specs} for specs in by_repeat]
    assert not rates[0] & rates[1], "samplers are seeded per repeat"
    sealed = seal(folder, spec=spec)
    assert (sealed.repeats, sealed.draws) == ((0, 1), (2, 3))
    assert len(sealed.picks) == 2 * 2
    replicates = finish(Confirmation(folder, spec, sealed, Tracker()))
    assert len(replicates) == 2 * 2 * 2, "as many as in a search without repeats"
    picks = {pick.trial_id: pick for pick in sealed.picks}
    for record in replicates:
        assert record.replicate is not None
        assert picks[record.replicate.of].configuration.draw == record.replicate.draw - 2
    pairs = Counter(
        (record.replicate.draw, record.replicate.seed, record.spec.seed) for record in replicates if record.replicate
    )
    assert set(pairs.values()) == {2}, "each replicate has a partner in the other family"


def fail(queue: Confirmation) -> None:
    assignment = queue.assign()
    assert assignment is not None
    queue.on_message(
        assignment.trial_id,
        Message(failure=Failure(kind=FailureKind.TRIAL, message="the loss is not finite"), done=True),
    )
    queue.finish(assignment.trial_id)


def test_no_replicate_starts_after_more_than_max_failures(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = seal(folder)
    spec = make_spec().model_copy(update={"limits": LimitsSection(max_failures=1)})
    queue = Confirmation(folder, spec, sealed, Tracker())
    fail(queue)
    fail(queue)
    assert queue.assign() is None
    assert queue.halt_reason == "limits.max_failures: 2 failed, at most 1 allowed"
    again = Confirmation(folder, spec, sealed, Tracker())
    assert not again.may_assign
    assert again.num_left == 6
    assert open_queue(folder, sealed).assign() is not None, "without the limit it resumes"


def test_no_replicate_starts_after_limits_hours(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = seal(folder)
    spec = make_spec().model_copy(update={"limits": LimitsSection(hours=1)})
    late = Confirmation(folder, spec, sealed, Tracker(), opened=time.monotonic() - 3600)
    assert late.assign() is None
    assert late.halt_reason == "limits.hours: 1 have passed"
    assert Confirmation(folder, spec, sealed, Tracker()).assign() is not None


def test_records_of_replicates_are_kept_apart_from_those_of_trials(
    folder: SearchFolder, searched: list[Record]
) -> None:
    replicates = finish(open_queue(folder, seal(folder)))
    assert read_records(folder) == searched
    assert {record.trial_id for record in read_replicates(folder)} == {record.trial_id for record in replicates}


def test_a_confirmation_resumes_after_a_crash_of_its_driver(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = seal(folder)
    crashing = open_queue(folder, sealed)
    first, second = crashing.assign(), crashing.assign()
    assert first is not None
    assert second is not None
    done = train(crashing, first)
    path = folder.replicates()[first.trial_id]
    content = path.read_bytes()
    queue = open_queue(folder, sealed)
    assert queue.num_left == 7
    again = queue.assign()
    assert again is not None
    assert (again.trial_id, again.attempt) == (second.trial_id, 2)
    assert again.earlier_folders == (second.attempt_folder,)
    train(queue, again)
    finish(queue)
    assert path.read_bytes() == content
    assert len(read_replicates(folder)) == 8
    assert done in read_replicates(folder)


def save(assignment: Assignment, seed: int) -> Predictions:
    """Write predictions as the worker of an attempt does after its test."""
    predictions = make_predictions(seed, num_images=TEST.num_images, data_hash=TEST.data_hash)
    save_predictions(predictions, parse_path(assignment.attempt_folder), replicate_id=assignment.trial_id)
    return predictions


@pytest.mark.parametrize("lost", ["worker", "driver"])
def test_only_the_predictions_of_the_recorded_attempt_are_left_after_a_crash_behind_them(
    folder: SearchFolder, searched: list[Record], lost: str
) -> None:
    sealed = seal(folder)
    queue = open_queue(folder, sealed)
    first = queue.assign()
    assert first is not None
    save(first, 1)
    if lost == "worker":
        queue.on_worker_lost(first.trial_id, "the worker died")
    else:
        queue = Confirmation(folder, make_spec(), sealed, Tracker(), driver=2)
    again = queue.assign()
    assert again is not None
    assert again.trial_id == first.trial_id
    predictions = save(again, 2)
    record = train(queue, again)
    (path,) = folder.trials.rglob("predictions.parquet")
    assert str(path.parent) == again.attempt_folder
    correct = read_correct(folder, [record])[record.trial_id]
    np.testing.assert_array_equal(correct, predictions.predicted == predictions.labels)


def test_a_replaced_driver_leaves_the_predictions_of_a_later_attempt(
    folder: SearchFolder, searched: list[Record]
) -> None:
    sealed = seal(folder)
    replaced, queue = open_queue(folder, sealed), Confirmation(folder, make_spec(), sealed, Tracker(), driver=2)
    early, late = replaced.assign(), queue.assign()
    assert early is not None
    assert late is not None
    assert early.trial_id == late.trial_id
    save(early, 1)
    predictions = save(late, 2)
    train(replaced, early)
    train(queue, late)
    (record,) = read_replicates(folder)
    assert record.driver == 2
    correct = read_correct(folder, [record])[record.trial_id]
    np.testing.assert_array_equal(correct, predictions.predicted == predictions.labels)


def test_a_replicate_that_lost_all_its_workers_has_no_predictions(folder: SearchFolder, searched: list[Record]) -> None:
    queue = open_queue(folder, seal(folder))
    for _ in range(make_spec().search.max_retries + 1):
        assignment = queue.assign()
        assert assignment is not None
        save(assignment, 1)
        queue.on_worker_lost(assignment.trial_id, "the worker died")
    (record,) = read_replicates(folder)
    assert (record.state, record.test) == (State.FAIL, None)
    assert read_correct(folder, [record]) == {}
    assert not list(folder.trials.rglob("predictions.parquet"))


def test_a_replicate_is_retried_after_a_lost_worker_and_recorded_after_its_own_error(
    folder: SearchFolder, searched: list[Record]
) -> None:
    queue = open_queue(folder, seal(folder))
    first = queue.assign()
    assert first is not None
    queue.on_worker_lost(first.trial_id, "the worker died")
    again = queue.assign()
    assert again is not None
    assert (again.trial_id, again.attempt) == (first.trial_id, 2)
    queue.on_message(
        again.trial_id, Message(failure=Failure(kind=FailureKind.TRIAL, message="RuntimeError: broken"), done=True)
    )
    record = queue.finish(again.trial_id)
    assert (record.state, record.value, record.test) == (State.FAIL, None, None)
    finish(queue)
    (status,) = round_statuses(folder, num_trials=6)
    assert (status.complete, status.failed, status.num_left) == (7, 1, 0)


def test_replicates_are_tested_and_trials_are_not(
    folder: SearchFolder, open_ledger: OpenLedger, searched: list[Record]
) -> None:
    replicate = open_queue(folder, seal(folder)).assign()
    trial = open_ledger(trials_per_cell=4).assign()
    assert replicate is not None
    assert trial is not None
    assert (replicate.test_hash, trial.test_hash) == ("test", None)


def test_a_further_round_trains_only_new_replicates(folder: SearchFolder, searched: list[Record]) -> None:
    finish(open_queue(folder, seal(folder)))
    more = seal(folder, draws=3)
    assert more.number == 2
    assert [record.replicate.draw for record in finish(open_queue(folder, more)) if record.replicate] == [3] * 4


def test_a_changed_round_is_refused(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = [seal(folder), seal(folder)]
    assert read_rounds(folder) == sealed
    path = folder.rounds / "0001.json"
    changed = json.loads(path.read_text())
    changed["picks"][0]["value"] = 1.0
    path.write_text(json.dumps(changed))
    with pytest.raises(SearchError, match=r"must match its seal, and this file was changed .*0001.json"):
        read_rounds(folder)


def test_extending_a_search_leaves_its_round_unchanged_and_is_counted(
    folder: SearchFolder, open_ledger: OpenLedger, searched: list[Record]
) -> None:
    sealed = seal(folder)
    train_all(open_ledger(trials_per_cell=5))
    assert read_rounds(folder) == [sealed]
    (status,) = round_statuses(folder, num_trials=len(read_records(folder)))
    assert (status.num_trials, status.num_trials_since) == (6, 4)


def find_or_open(folder: SearchFolder, *, new_round: bool = False, test_hash: str = "test", **section: int) -> Round:
    return find_or_open_round(
        folder,
        make_spec(),
        ConfirmSection(**{"draws": 2, "seeds": 2, **section}),
        RecordReader(folder),
        test_hashes={None: test_hash},
        num_trials_left=0,
        new_round=new_round,
    )


def test_a_new_round_is_sealed_only_on_request_and_once_the_latest_is_finished(
    folder: SearchFolder, searched: list[Record]
) -> None:
    first = find_or_open(folder)
    assert find_or_open(folder, new_round=True) == first, "its replicates are due"
    finish(open_queue(folder, first))
    assert find_or_open(folder) == first
    assert find_or_open(folder, new_round=True).number == 2


def test_a_request_that_differs_from_the_round_is_described(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = seal(folder)
    assert design_conflict(sealed, {}, "") is None
    assert design_conflict(sealed, {"draws": 2, "seeds": 2, "top": 1}, "") is None
    conflict = design_conflict(sealed, {"draws": 8, "seeds": 2, "top": 3}, "again")
    assert conflict == ("round 1 has draws 2 and top 1, got draws 8 and top 3: finish it, then seal another by `again`")


def test_all_rounds_of_a_search_have_the_same_test_images(folder: SearchFolder, searched: list[Record]) -> None:
    find_or_open(folder)
    with pytest.raises(
        SearchError, match="test images must be those of round 1, with hash test, got x: restore the dataset"
    ):
        find_or_open(folder, test_hash="x")


def test_a_round_names_cells_without_a_complete_trial_and_requires_one_cell_with_one(
    folder: SearchFolder, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger(trials_per_cell=1)
    with pytest.raises(SearchError, match="search 'toy' has no complete trial yet: run it first"):
        seal(folder)
    assert read_rounds(folder) == []
    first = ledger.assign()
    assert first is not None
    for message in make_messages(first):
        ledger.on_message(first.trial_id, message)
    ledger.finish(first.trial_id)
    sealed = seal(folder, trials_left=1)
    assert (sealed.cells_without, sealed.num_trials_left) == (("family=vit",), 1)
    assert [pick.cell for pick in sealed.picks] == ["family=lkca"]


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("factors", {}, [1, 2, 3]),
        ("factors", {"draw": (0, 2)}, [1, 3, 4]),
        ("factors", {"draw": (3, 7)}, [0, 1, 2]),
        ("factors", {"draw": {"levels": (3, 7), "when": {"family": ("lkca",)}}}, [1, 2, 4]),
        ("parameters", {"draw": {"choice": (0, 1)}}, [2, 3, 4]),
        ("parameters", {"draw": {"int": (1, 3)}}, [4, 5, 6]),
    ],
)
def test_unused_draws_are_those_of_no_trial(section: str, values: dict[str, Any], expected: list[int]) -> None:
    plain = make_spec().model_dump(by_alias=True, exclude_unset=True)
    spec = SearchSpec.model_validate({**plain, section: {**plain[section], **values}})
    draws = unused_draws(spec)
    assert [next(draws) for _ in range(3)] == expected


def test_every_subset_of_a_round_has_a_manifest(folder: SearchFolder, searched: list[Record], tmp_path: Any) -> None:
    images = open_images("digits", "train", cache=tmp_path / "cache")
    sealed = seal(folder)
    manifests = write_round_manifests(sealed, make_spec(), {None: images}, folder)
    assert [manifest.draw for manifest in manifests] == [1, 2]
    configuration = sealed.picks[0].configuration.model_copy(update={"draw": 2})
    expected = make_manifest(images, make_spec().data, configuration, split_seed=split_seed(make_spec()))
    assert manifests[1] == expected
    assert {manifest.train.hash for manifest in manifests} == {path.stem for path in folder.root.glob("subsets/*.json")}
    queue = Confirmation(folder, make_spec(), sealed, Tracker(), manifests=manifests)
    assignment = queue.assign()
    assert assignment is not None
    assert (assignment.data_hash, assignment.subset_hash) == (images.content_hash, manifests[0].train.hash)
    assert images.shape == ImageShape(8, 8, 1)
    assert np.isin(manifests[0].train.indices, np.arange(len(images.labels))).all()
