"""The card of the registered models states what they are, how they were chosen, and what their numbers are worth."""

import re
from dataclasses import replace

import pytest

from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.records.search.champions import choose_champions
from lkca_search.records.search.mlflow_runs import MAX_DESCRIPTION_CHARACTERS
from lkca_search.reporting.model_card import write_model_card, write_version_cards
from lkca_search.reporting.values.metric_format import MetricFormat
from tests.support.dataset_results import make_dataset_results, normal
from tests.support.search_results import law, make_search_results, with_predictions

RESULTS = make_search_results(law(), fractions=(0.1, 0.5), draws=3, seeds=2)


def card_of(results: SearchResults) -> str:
    kept = [record.trial_id for record in results.replicates]
    champions = choose_champions(results.spec, results.replicates, results.rounds[-1], kept)
    aliases = {key: f"alias-{number}" for number, key in enumerate(champions.replicates)}
    names = [f"champion{'-' * bool(level)}{level or ''}" for level in champions.cells]
    return write_model_card(
        results, results.rounds[-1], champions, aliases=aliases, champion_aliases=names, model="made"
    )


def rows_of(card: str) -> list[list[str]]:
    lines = [line for line in card.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_cell_has_its_alias_the_mean_and_the_interval_of_the_report_and_the_draws_and_seeds() -> None:
    scores = round_scores(RESULTS, RESULTS.rounds[-1])
    metric = MetricFormat(RESULTS.metric)
    rows = rows_of(card_of(RESULTS))
    assert len(rows) == len(scores.cells) == 4
    for number, (row, cell) in enumerate(zip(rows, scores.cells, strict=True)):
        estimate = mean_score(cell)
        assert row[0].startswith(f"`alias-{number}`")
        assert row[1] == cell.variant.label
        assert row[4:] == [metric.value(estimate.value), metric.interval(estimate.interval), "3 x 2"]
    assert [row[0].endswith("(champion)") for row in rows].count(True) == 1


def test_the_card_states_data_protocol_choice_and_limits() -> None:
    card = card_of(RESULTS)
    sealed = RESULTS.rounds[-1]
    for part in (
        *("## Data", "`digits`", "## Protocol", "## Test accuracy", "## Limits", "## Use"),
        *(sealed.seal[:12], sealed.test_hash[:12], "3 draws", "2 seeds per draw", "Test images decide no alias"),
        *("models:/made@champion", "Every cell was searched once", "for these test images only"),
    ):
        assert part in card, part
    assert "Intervals include the sampling of test images." in card_of(with_predictions(RESULTS))


@pytest.mark.parametrize("num_sizes", [1, 30])
def test_a_card_has_at_most_the_characters_that_mlflow_stores(num_sizes: int) -> None:
    fractions = [number / 40 for number in range(1, 1 + num_sizes)]
    card = card_of(make_search_results(law(), families=("lkca", "vit", "resnet"), fractions=fractions, draws=2))
    assert len(card) <= MAX_DESCRIPTION_CHARACTERS
    left_out = 3 * num_sizes - len(rows_of(card))
    assert (left_out > 0) == (num_sizes == 30)
    assert (f"{left_out} more cells are in the report." in card) == (left_out > 0)
    assert card.count("\n* ") >= 8
    assert "## Use" in card


def test_an_interval_that_is_not_estimable_is_replaced_by_its_reason() -> None:
    single = make_search_results(law(), fractions=(0.1,), draws=1, seeds=1)
    (row, _) = rows_of(card_of(single))
    estimate = mean_score(round_scores(single, single.rounds[-1]).cells[0])
    assert row[5] == estimate.reason
    assert row[6] == "1 x 1"


def test_each_dataset_has_its_own_line_and_champion() -> None:
    results = make_dataset_results(normal())
    card = card_of(results)
    assert len(re.findall(r"^\* `(cifar10|cifar100|tiny_imagenet)`: ", card, re.MULTILINE)) == 3
    assert [row[0].endswith("(champion)") for row in rows_of(card)].count(True) == 3


def test_a_version_states_its_own_values_and_those_of_its_cell() -> None:
    record = RESULTS.replicates[0]
    assert record.replicate is not None
    assert record.test is not None
    cards = write_version_cards(RESULTS, RESULTS.rounds, [record.trial_id])
    assert list(cards) == [record.trial_id]
    text = cards[record.trial_id]
    metric = MetricFormat(RESULTS.metric)
    scores = round_scores(RESULTS, RESULTS.rounds[-1]).cells[0]
    for part in (
        f"`{record.trial_id}`",
        f"{metric.value_with_unit(100 * record.test.accuracy)}, of this model alone",
        f"{metric.value_with_unit(mean_score(scores).value)} {metric.interval(mean_score(scores).interval)} over",
        "over 3 x 2 draws and seeds of round 1",
    ):
        assert part in text, part


def test_a_replicate_of_a_lower_rank_has_no_mean() -> None:
    (sealed,) = RESULTS.rounds
    picks = [pick.model_copy(update={"rank": 2}) for pick in sealed.picks]
    second = replace(RESULTS, rounds=[sealed.model_copy(update={"picks": tuple(picks)}).sealed()])
    record = second.replicates[0]
    assert "of its cell" not in write_version_cards(second, second.rounds, [record.trial_id])[record.trial_id]
