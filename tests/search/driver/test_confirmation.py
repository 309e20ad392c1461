"""A confirmation freezes the best of each cell, and trains and tests each replicate once, whenever its driver dies."""

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
from lkca_search.records.record import Record, RecordReader, State, TestResult, read_records, read_replicates
from lkca_search.records.rounds import Round, read_rounds, round_statuses
from lkca_search.search.driver.confirmation import (
    Confirmation,
    design_conflict,
    find_or_open_round,
    write_round_manifests,
)
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.driver.sealing import fresh_draws, open_round
from lkca_search.search.state.manifests import make_manifest, split_seed
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection, LimitsSection
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import make_messages, make_spec, train_all

OpenLedger = Callable[..., Ledger]
CELLS = ("family=lkca", "family=vit")
TEST = TestResult(num_images=9, data_hash="test", loss=1.0, accuracy=0.25)


def freeze(folder: SearchFolder, *, trials_left: int = 0, spec: SearchSpec | None = None, **section: int) -> Round:
    return open_round(
        folder,
        spec or make_spec(),
        ConfirmSection(**{"draws": 2, "seeds": 2, **section}),
        read_records(folder),
        test_hash="test",
        num_trials_left=trials_left,
    )


def open_book(folder: SearchFolder, sealed: Round, tracker: Tracker | None = None) -> Confirmation:
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
    """A search that is done: two cells of three trials."""
    train_all(open_ledger())
    return read_records(folder)


def test_the_best_of_each_cell_is_frozen_as_it_was_trained(folder: SearchFolder, searched: list[Record]) -> None:
    picks = freeze(folder).picks
    assert [pick.cell for pick in picks] == list(CELLS)
    for pick in picks:
        best = max((record for record in searched if record.cell == pick.cell), key=lambda record: record.value or 0)
        assert (pick.trial_id, pick.value) == (best.trial_id, best.value)
        assert pick.configuration == best.spec.configuration
        assert pick.num_trials == 3


def test_the_top_k_of_a_cell_are_frozen_in_order(folder: SearchFolder, searched: list[Record]) -> None:
    values = [pick.value for pick in freeze(folder, top=2).picks if pick.cell == CELLS[0]]
    assert values == sorted((record.value for record in searched if record.cell == CELLS[0]), reverse=True)[:2]
    assert [pick.rank for pick in freeze(folder, top=9).picks] == [1, 2, 3] * 2, "as many as there are"


def test_replicates_are_paired_across_cells_and_share_nothing_with_a_trial(
    folder: SearchFolder, searched: list[Record]
) -> None:
    replicates = finish(open_book(folder, freeze(folder)))
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
    assert len({spec.seed for spec in specs.values()} | trained) == 4 + len(trained), "every seed is fresh"


def test_a_replicate_has_the_frozen_configuration_on_another_draw(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = freeze(folder)
    for record in finish(open_book(folder, sealed)):
        (pick,) = (pick for pick in sealed.picks if pick.cell == record.cell)
        assert record.replicate is not None
        assert record.replicate.of == pick.trial_id
        assert record.spec.configuration == pick.configuration.model_copy(update={"draw": record.replicate.draw})
        assert (record.metric, record.value, record.test) == ("test_accuracy", 0.25, TEST)


def test_where_the_search_is_repeated_the_best_of_each_repeat_has_a_draw_of_its_own(
    folder: SearchFolder, open_ledger: OpenLedger
) -> None:
    train_all(open_ledger(repeats=2))
    spec = make_spec(repeats=2)
    searched = read_records(folder)
    by_repeat = [[record.spec for record in searched if record.spec.configuration.draw == draw] for draw in (0, 1)]
    assert [len(specs) for specs in by_repeat] == [2 * 3] * 2
    assert not {one.seed for one in by_repeat[0]} & {other.seed for other in by_repeat[1]}
    rates = [{one.configuration.learning_rate for one in specs} for specs in by_repeat]
    assert not rates[0] & rates[1], "samplers draw apart"
    sealed = freeze(folder, spec=spec)
    assert (sealed.repeats, sealed.draws) == ((0, 1), (2, 3))
    assert len(sealed.picks) == 2 * 2
    replicates = finish(Confirmation(folder, spec, sealed, Tracker()))
    assert len(replicates) == 2 * 2 * 2, "as many as of a search that is made once"
    picks = {pick.trial_id: pick for pick in sealed.picks}
    for record in replicates:
        assert record.replicate is not None
        assert picks[record.replicate.of].configuration.draw == record.replicate.draw - 2
    pairs = Counter(
        (record.replicate.draw, record.replicate.seed, record.spec.seed) for record in replicates if record.replicate
    )
    assert set(pairs.values()) == {2}, "each of one family has its partner in the other"


def fail(queue: Confirmation) -> None:
    assignment = queue.assign()
    assert assignment is not None
    queue.on_message(assignment.trial_id, Message(error="a fault of its own", done=True))
    queue.finish(assignment.trial_id)


def test_no_replicate_starts_once_more_have_failed_than_may(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = freeze(folder)
    spec = make_spec().model_copy(update={"limits": LimitsSection(max_failures=1)})
    queue = Confirmation(folder, spec, sealed, Tracker())
    fail(queue)
    fail(queue)
    assert queue.assign() is None
    assert queue.halt_reason == "limits.max_failures: 2 have failed, 1 may"
    again = Confirmation(folder, spec, sealed, Tracker())
    assert not again.may_assign
    assert again.num_due == 6
    assert open_book(folder, sealed).assign() is not None, "without the limit it goes on"


def test_no_replicate_starts_when_the_hours_of_its_driver_have_passed(
    folder: SearchFolder, searched: list[Record]
) -> None:
    sealed = freeze(folder)
    spec = make_spec().model_copy(update={"limits": LimitsSection(hours=1)})
    late = Confirmation(folder, spec, sealed, Tracker(), opened=time.monotonic() - 3600)
    assert late.assign() is None
    assert late.halt_reason == "limits.hours: 1 have passed"
    assert Confirmation(folder, spec, sealed, Tracker()).assign() is not None


def test_records_of_replicates_are_apart_from_those_of_trials(folder: SearchFolder, searched: list[Record]) -> None:
    replicates = finish(open_book(folder, freeze(folder)))
    assert read_records(folder) == searched
    assert {record.trial_id for record in read_replicates(folder)} == {record.trial_id for record in replicates}


def test_a_confirmation_goes_on_where_its_driver_died(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = freeze(folder)
    dying = open_book(folder, sealed)
    first, second = dying.assign(), dying.assign()
    assert first is not None
    assert second is not None
    done = train(dying, first)
    path = folder.replicates()[first.trial_id]
    content = path.read_bytes()
    queue = open_book(folder, sealed)
    assert queue.num_due == 7
    again = queue.assign()
    assert again is not None
    assert (again.trial_id, again.attempt) == (second.trial_id, 2)
    assert again.earlier_folders == (second.attempt_folder,)
    train(queue, again)
    finish(queue)
    assert path.read_bytes() == content
    assert len(read_replicates(folder)) == 8
    assert done in read_replicates(folder)


def test_a_replicate_whose_worker_died_is_tried_again_and_one_that_fails_is_recorded(
    folder: SearchFolder, searched: list[Record]
) -> None:
    queue = open_book(folder, freeze(folder))
    first = queue.assign()
    assert first is not None
    queue.on_worker_lost(first.trial_id, "the worker died")
    again = queue.assign()
    assert again is not None
    assert (again.trial_id, again.attempt) == (first.trial_id, 2)
    queue.on_message(again.trial_id, Message(error="RuntimeError: broken", done=True))
    record = queue.finish(again.trial_id)
    assert (record.state, record.value, record.test) == (State.FAIL, None, None)
    finish(queue)
    (status,) = round_statuses(folder, num_trials=6)
    assert (status.complete, status.failed, status.num_left) == (7, 1, 0)


def test_workers_test_replicates_and_no_trials(
    folder: SearchFolder, open_ledger: OpenLedger, searched: list[Record]
) -> None:
    replicate = open_book(folder, freeze(folder)).assign()
    trial = open_ledger(trials_per_cell=4).assign()
    assert replicate is not None
    assert trial is not None
    assert (replicate.test_hash, trial.test_hash) == ("test", None)


def test_a_further_round_trains_only_what_no_earlier_one_has(folder: SearchFolder, searched: list[Record]) -> None:
    finish(open_book(folder, freeze(folder)))
    more = freeze(folder, draws=3)
    assert more.number == 2
    assert [record.replicate.draw for record in finish(open_book(folder, more)) if record.replicate] == [3] * 4


def test_a_round_is_sealed(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = [freeze(folder), freeze(folder)]
    assert read_rounds(folder) == sealed
    path = folder.rounds / "0001.json"
    changed = json.loads(path.read_text())
    changed["picks"][0]["value"] = 1.0
    path.write_text(json.dumps(changed))
    with pytest.raises(SearchError, match=r"must match its seal, and this file was changed .*0001.json"):
        read_rounds(folder)


def test_extending_a_search_leaves_its_round_and_shows(
    folder: SearchFolder, open_ledger: OpenLedger, searched: list[Record]
) -> None:
    sealed = freeze(folder)
    train_all(open_ledger(trials_per_cell=5))
    assert read_rounds(folder) == [sealed]
    (status,) = round_statuses(folder, num_trials=len(read_records(folder)))
    assert (status.num_trials, status.num_trials_since) == (6, 4)


def take(folder: SearchFolder, *, new_round: bool = False, test_hash: str = "test", **section: int) -> Round:
    return find_or_open_round(
        folder,
        make_spec(),
        ConfirmSection(**{"draws": 2, "seeds": 2, **section}),
        RecordReader(folder),
        test_hash=test_hash,
        num_trials_left=0,
        new_round=new_round,
    )


def test_a_round_is_gone_on_with_until_it_is_done_and_a_new_one_must_be_asked_for(
    folder: SearchFolder, searched: list[Record]
) -> None:
    first = take(folder)
    assert take(folder, new_round=True) == first, "replicates of it are due"
    finish(open_book(folder, first))
    assert take(folder) == first
    assert take(folder, new_round=True).number == 2


def test_a_round_that_stands_is_not_asked_for_another_design(folder: SearchFolder, searched: list[Record]) -> None:
    sealed = freeze(folder)
    assert design_conflict(sealed, {}) is None
    assert design_conflict(sealed, {"draws": 2, "seeds": 2, "top": 1}) is None
    said = design_conflict(sealed, {"draws": 8, "seeds": 2, "top": 3})
    assert said == (
        "round 1 is sealed with draws 2, not 8 and top 1, not 3: --new-round seals another, once it is finished"
    )


def test_all_rounds_of_a_search_are_tested_on_the_same_images(folder: SearchFolder, searched: list[Record]) -> None:
    take(folder)
    with pytest.raises(SearchError, match="round 1 was tested on other images: their hash is test, that of these is x"):
        take(folder, test_hash="x")


def test_cells_without_a_complete_trial_are_named_and_a_search_without_any_is_refused(
    folder: SearchFolder, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger(trials_per_cell=1)
    with pytest.raises(SearchError, match="search 'toy' has no complete trial yet, so there is nothing to confirm"):
        freeze(folder)
    assert read_rounds(folder) == []
    first = ledger.assign()
    assert first is not None
    for message in make_messages(first):
        ledger.on_message(first.trial_id, message)
    ledger.finish(first.trial_id)
    sealed = freeze(folder, trials_left=1)
    assert (sealed.cells_without, sealed.num_trials_left) == (("family=vit",), 1)
    assert [pick.cell for pick in sealed.picks] == ["family=lkca"]


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("factors", {}, [1, 2, 3]),
        ("factors", {"draw": (0, 2)}, [1, 3, 4]),
        ("factors", {"draw": (3, 7)}, [0, 1, 2]),
        ("parameters", {"draw": {"choice": (0, 1)}}, [2, 3, 4]),
        ("parameters", {"draw": {"int": (1, 3)}}, [4, 5, 6]),
    ],
)
def test_no_trial_has_trained_on_a_fresh_draw(section: str, values: dict[str, Any], expected: list[int]) -> None:
    plain = make_spec().model_dump(by_alias=True, exclude_unset=True)
    spec = SearchSpec.model_validate({**plain, section: {**plain[section], **values}})
    draws = fresh_draws(spec)
    assert [next(draws) for _ in range(3)] == expected


def test_every_subset_of_a_round_has_its_manifest(folder: SearchFolder, searched: list[Record], tmp_path: Any) -> None:
    images = open_images("digits", "train", cache=tmp_path / "cache")
    sealed = freeze(folder)
    manifests = write_round_manifests(sealed, make_spec(), images, folder)
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
