"""Ties between trials: every choice of a best trial decides them in one way."""

from itertools import permutations

import pytest

from lkca_search.analysis.pareto import cost_front, cost_points
from lkca_search.analysis.search_results import read_search_results
from lkca_search.records.objectives import find_ties, pareto_front, rank_trials
from lkca_search.records.record import Record, State
from lkca_search.records.rounds import read_rounds
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.state.best_trials import best_record, find_record
from lkca_search.search.state.status import read_status
from lkca_search.spec.sections import ConfirmSection, SearchSection
from tests.support.records import CELL, FACTS, make_record, make_search

ONE = SearchSection(trials_per_cell=9)
TWO = SearchSection.model_validate({"trials_per_cell": 9, "metric": ("val_accuracy", "num_parameters")})


def make_tied(number: int, *, loss: float = 2.0, flops: int = 1000, accuracy: float = 0.75, **rest: object) -> Record:
    """Return the record of a trial with this loss and these FLOPs."""
    record = make_record(number, accuracy=accuracy, facts=FACTS.model_copy(update={"flops": flops}), **rest)
    last = record.curve[-1].model_copy(update={"val_loss": loss})
    return record.model_copy(update={"curve": (*record.curve[:-1], last)})


WORSE = make_tied(0, accuracy=0.5, loss=0.1, flops=1)
LATER_OF_TWO, COSTLY, LOSING = (
    make_tied(4, loss=1.0),
    make_tied(1, loss=1.0, flops=2000),
    make_tied(2, loss=1.5, flops=1),
)
BEST = make_tied(3, loss=1.0)
EXPECTED = [BEST, LATER_OF_TWO, COSTLY, LOSING, WORSE]


@pytest.mark.parametrize("search", [ONE, TWO], ids=["one metric", "two metrics"])
def test_trials_with_equal_metrics_are_ordered_by_loss_then_flops_then_number(search: SearchSection) -> None:
    for records in permutations(EXPECTED):
        assert rank_trials(records, search) == EXPECTED
    assert find_ties(EXPECTED, search) == EXPECTED[:4]
    assert pareto_front(EXPECTED[::-1], search) == EXPECTED[:4]


def test_only_complete_trials_are_ranked() -> None:
    others = [make_record(7, accuracy=1.0, state=state) for state in (State.PRUNED, State.FAIL)]
    assert rank_trials([*others, BEST], ONE) == [BEST]
    assert best_record(others, ONE) is None


def test_every_choice_of_a_best_trial_takes_the_same_one_of_tied_trials() -> None:
    folder = make_search("made", EXPECTED)
    spec = read_spec(folder)
    assert find_record(folder, None) == BEST
    assert next(cell.best_trial for cell in read_status(folder).cells if cell.cell == CELL) == BEST.trial_id
    sealed = open_round(folder, spec, ConfirmSection(top=2), EXPECTED, test_hashes={None: "t"}, num_trials_left=0)
    assert [pick.trial_id for pick in sealed.picks] == [BEST.trial_id, LATER_OF_TWO.trial_id]
    assert {pick.num_tied for pick in sealed.picks} == {4}
    assert read_rounds(folder) == [sealed]
    points = cost_points(read_search_results(folder))
    assert [point.trial_id for point in cost_front(points, "num_parameters")] == [BEST.trial_id]
    assert [point.trial_id for point in cost_front(points, "flops")] == [LOSING.trial_id]
