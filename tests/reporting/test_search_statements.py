"""Statements on the search itself: ties between trials, and trials that failed."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.records.record import Record, State
from lkca_search.reporting.content import make_report
from lkca_search.reporting.sections.search_length import best_of_k_table
from lkca_search.spec.components import ComponentConfig
from lkca_search.spec.domains import Domain, Fixed, FloatRange
from tests.support.search_results import law, make_search_results

RULE = "Ties are ordered by lower validation loss, then fewer FLOPs per image, then cell and number."
SIZES = ("360", "900", "1,800")
CONFIRMED = make_search_results(law(), fractions=(0.1, 0.5))


def with_ties(*numbers: int | None) -> SearchResults:
    """Return a confirmed search of four cells whose picks had these numbers of tied trials."""
    sealed = CONFIRMED.rounds[0]
    picks = [pick.model_copy(update={"num_tied": number}) for pick, number in zip(sealed.picks, numbers, strict=True)]
    return replace(CONFIRMED, rounds=[sealed.model_copy(update={"picks": tuple(picks)}).sealed()])


@pytest.mark.parametrize(
    ("numbers", "statement"),
    [
        ((1, 1, 1, 1), ""),
        ((1, 2, 1, 1), " In 1 of 4 cells, two trials tied for first place."),
        ((3, 2, 1, 5), " In 3 of 4 cells, up to 5 trials tied for first place."),
        ((None, None, None, None), " The version that sealed it ordered ties by the lowest number alone."),
    ],
)
def test_methods_state_the_rule_for_ties_and_how_many_cells_it_decided(
    numbers: tuple[int | None, ...], statement: str
) -> None:
    paragraphs = dict(make_report(with_ties(*numbers)).methods)
    assert RULE in paragraphs["Search"]
    assert f"chosen from 12 trials.{statement} Each was retrained" in paragraphs["Confirmation"]


def with_added_size(*, is_confirmed: bool) -> SearchResults:
    """Return a search that got its middle size after round 1; a second round has it if `is_confirmed`."""
    whole = make_search_results(law(), fractions=(0.02, 0.05, 0.1))
    first = tuple(pick for pick in whole.rounds[0].picks if "0.05" not in pick.cell)
    earlier = whole.rounds[0].model_copy(update={"picks": first, "num_trials": 12}).sealed()
    later = whole.rounds[0].model_copy(update={"number": 2}).sealed()
    replicates = [record for record in whole.replicates if is_confirmed or "0.05" not in record.cell]
    return replace(whole, rounds=[earlier, later] if is_confirmed else [earlier], replicates=replicates)


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_the_report_of_a_round_names_the_cells_that_the_search_got_later(is_confirmed: bool) -> None:
    report = make_report(with_added_size(is_confirmed=is_confirmed), round_number=1)
    added = [f"family={family},data_fraction=0.05" for family in ("lkca", "vit")]
    remedy = "Round 2 has them." if is_confirmed else "`lkca-search confirm made` opens one with them."
    assert f"Round 1 does not test {' and '.join(added)}. {remedy}" in report.caveats
    (table,) = (table for table in report.tables if table.name == "accuracies")
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[:2] for row in rows] == [[family, size] for family in ("lkca", "vit") for size in SIZES]
    assert [row[2:] for row in rows if row[1] == "900"] == [["–", "", "–", "0", "not in round 1"]] * 2
    assert all(row[-1] == "" and row[2] != "–" for row in rows if row[1] != "900")
    of_latest = make_report(with_added_size(is_confirmed=True))
    assert not [text for text in of_latest.caveats if "does not test" in text]


def test_a_cell_without_a_test_result_has_its_reason_in_the_table_of_accuracies() -> None:
    whole = make_search_results(law(), fractions=(0.02, 0.1))
    of_vit = [record for record in whole.replicates if not record.cell.startswith("family=vit,data_fraction=0.1")]
    (table,) = (table for table in make_report(replace(whole, replicates=of_vit)).tables if table.name == "accuracies")
    assert [row[-1].text for row in table.rows] == ["", "", "", "no test result"]
    without = [pick for pick in whole.rounds[0].picks if pick.cell != of_vit[0].cell]
    sealed = whole.rounds[0].model_copy(update={"picks": tuple(without), "cells_without": (of_vit[0].cell,)}).sealed()
    (table,) = (table for table in make_report(replace(whole, rounds=[sealed])).tables if table.name == "accuracies")
    assert table.rows[0][-1].text == "no complete trial"


def failed(record: Record) -> Record:
    changes = {"state": State.FAIL, "curve": (), "facts": None, "value": None, "error": "broken"}
    return record.model_copy(update=changes)


def test_a_report_shows_complete_trials_per_cell_and_says_that_failed_ones_spend_the_budget() -> None:
    trials = [*map(failed, CONFIRMED.trials[:1]), *CONFIRMED.trials[1:]]
    report = make_report(replace(CONFIRMED, trials=trials))
    statement = "1 trial failed and spent part of the budget: cells have 2 to 3 complete trials each."
    assert [caveat for caveat in report.caveats if caveat.startswith(statement)]
    (table,) = (table for table in report.tables if table.name == "budgets")
    (index,) = (i for i, header in enumerate(table.columns) if header == "complete")
    assert [row[index].number for row in table.rows] == [2, 3, 3, 3]
    assert not [caveat for caveat in make_report(CONFIRMED).caveats if "failed" in caveat]


@pytest.mark.parametrize(
    ("sampler", "reason", "may_repeat"),
    [
        ("random", None, True),
        ("qmc", None, True),
        ("gp", "sampler gp chooses a trial by the results of earlier trials", True),
        ("tpe", "sampler tpe chooses a trial by the results of earlier trials", False),
        ("grid", "sampler grid tries each configuration once, so its trials are no random sample", False),
        ("mylab.Mine", "sampler mylab.Mine may choose a trial by the results of earlier trials", False),
    ],
)
def test_a_report_claims_of_a_sampler_what_it_does(sampler: str, reason: str | None, may_repeat: bool) -> None:
    search = CONFIRMED.spec.search.model_copy(update={"sampler": ComponentConfig(name=sampler)})
    spec = CONFIRMED.spec.model_copy(update={"search": search})
    trials = [*map(failed, CONFIRMED.trials[:1]), *CONFIRMED.trials[1:]]
    report = make_report(replace(CONFIRMED, spec=spec, trials=trials))
    (costs,) = (section for section in report.sections if section.name == "costs")
    assert costs.paragraphs == ((f"The expected best of k trials is not estimable: {reason}.",) if reason else ())
    (caveat,) = (caveat for caveat in report.caveats if "failed and spent" in caveat)
    assert ("does not learn from failed trials, and may suggest similar values" in caveat) is may_repeat


def search_methods(parameters: Mapping[str, Domain] | None = None, **search: object) -> str:
    spec = CONFIRMED.spec
    search_section = spec.search.model_copy(update=search)
    changed = spec.model_copy(
        update={"search": search_section, "parameters": {**spec.parameters, **(parameters or {})}}
    )
    return dict(make_report(replace(CONFIRMED, spec=changed)).methods)["Search"]


def test_methods_state_what_the_pruner_does() -> None:
    assert "with no pruner. Trials are compared" in search_methods()
    median = search_methods(pruner=ComponentConfig(name="median"))
    assert "pruner median, which compares within a cell. A pruned trial is not the best one of its cell" in median
    sizes: dict[str, Domain] = {
        "data_fraction": FloatRange.model_validate({"float": (0.1, 1.0)}),
        "draw": Fixed(value=1),
    }
    assert "It compares trials that differ in data_fraction, which is searched." in search_methods(
        sizes, pruner=ComponentConfig(name="median")
    )
    curves = search_methods(pruner=ComponentConfig.model_validate({"name": "curves", "min_probability": 0.1}))
    assert "After 2 complete trials of a cell, it stops a trial that is in the worse half" in curves
    assert "is below 0.1, by Bayesian linear regression" in curves


def test_methods_list_the_known_starts_and_the_number_of_best_of_k_is_not_estimated() -> None:
    starts = ({"learning_rate": 0.001}, {"family": "vit", "depth": 4})
    assert (
        "The first trials of a cell have given values, as part of its budget: learning_rate = 0.001; family = vit, "
        "depth = 4. A start holds in the cells where all its names exist"
    ) in search_methods(start=starts)
    spec = CONFIRMED.spec
    search = spec.search.model_copy(update={"start": starts, "sampler": ComponentConfig(name="random")})
    results = replace(CONFIRMED, spec=spec.model_copy(update={"search": search}))
    missing = best_of_k_table(results)
    assert isinstance(missing, NotEstimable)
    assert "as starts" in str(missing)
