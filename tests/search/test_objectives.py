"""Values of trials with one or several metrics, and the Pareto front."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study import StudyDirection

from lkca_search.layout import SearchFolder
from lkca_search.records.objectives import pareto_front, trial_values
from lkca_search.records.record import Record, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.database import find_database
from lkca_search.search.studies.study import open_storage
from lkca_search.spec.sections import SearchSection
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, make_messages, make_spec, train_all

TWO_GOALS = {"metric": ("val_accuracy", "num_train_images"), "goal": ("maximize", "minimize")}
TWO = SearchSection.model_validate({"trials_per_cell": 1, **TWO_GOALS})


def record_of(folder: SearchFolder) -> Record:
    train_all(Ledger(folder, make_spec(trials_per_cell=1), DIGITS, 10, Tracker()))
    return read_records(folder)[0]


def made(record: Record, number: int, accuracy: float, images: int) -> Record:
    assert record.facts is not None
    result = record.curve[-1].model_copy(update={"val_accuracy": accuracy})
    facts = record.facts.model_copy(update={"num_train_images": images})
    return record.model_copy(update={"number": number, "value": accuracy, "curve": (result,), "facts": facts})


def test_only_complete_trials_have_values_one_per_metric(folder: SearchFolder) -> None:
    record = record_of(folder)
    assert record.facts is not None
    assert trial_values(record, TWO) == (record.curve[-1].val_accuracy, record.facts.num_train_images)
    for state in (State.PRUNED, State.FAIL):
        assert trial_values(record.model_copy(update={"state": state}), TWO) == ()


def test_a_study_receives_every_value(folder: SearchFolder) -> None:
    train_all(Ledger(folder, make_spec(trials_per_cell=2, **TWO_GOALS), DIGITS, 10, Tracker()))
    storage = open_storage(find_database(folder))
    for record in read_records(folder):
        study = storage.get_study_id_from_name(record.cell)
        assert storage.get_study_directions(study) == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
        assert tuple(storage.get_all_trials(study)[record.number].values) == trial_values(record, TWO)
        assert record.value == record.curve[-1].val_accuracy


def test_a_search_with_several_goals_can_be_resumed(folder: SearchFolder) -> None:
    spec = make_spec(trials_per_cell=2, **TWO_GOALS)
    dying = Ledger(folder, spec, DIGITS, 10, Tracker())
    assignment = dying.assign()
    assert assignment is not None
    dying.on_message(assignment.trial_id, next(make_messages(assignment)))
    train_all(Ledger(folder, spec, DIGITS, 10, Tracker()))
    assert len(read_records(folder)) == 4


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(points)
def test_a_trial_is_on_the_front_if_and_only_if_no_other_dominates_it(
    front_record: Record, trials: list[tuple[int, int]]
) -> None:
    records = [made(front_record, number, accuracy, images) for number, (accuracy, images) in enumerate(trials)]
    front = [record.number for record in pareto_front(records, TWO)]
    for number, (accuracy, images) in enumerate(trials):
        dominated = any(a >= accuracy and i <= images and (a, i) != (accuracy, images) for a, i in trials)
        assert (number not in front) == dominated
    points_on_front = [trials[number] for number in front]
    assert points_on_front == sorted(points_on_front, key=lambda pair: (-pair[0], pair[1]))


@pytest.fixture(scope="module")
def front_record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = SearchFolder(root=tmp_path_factory.mktemp("front") / "toy")
    folder.root.mkdir()
    return record_of(folder)


def test_with_one_goal_the_front_is_the_best_trial(front_record: Record) -> None:
    one = SearchSection(trials_per_cell=1)
    records = [made(front_record, number, value, 1) for number, value in enumerate((0.3, 0.9, 0.5, 0.9))]
    assert [record.number for record in pareto_front(records, one)] == [1, 3]
