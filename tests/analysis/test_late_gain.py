"""The late gain of a cell: known curves, and the share of flat and of rising curves that are reported."""

from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.late_gain import LATE_SHARE, LateGain, curve_gain, late_gains
from lkca_search.analysis.scores import round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.student import NO_SPREAD
from lkca_search.records.record import Record, Result
from lkca_search.reporting.content import make_report
from lkca_search.spec.metrics import METRICS
from tests.support.records import make_result
from tests.support.search_results import law, make_search_results

REPORTS = 20
CONFIRMED = make_search_results(law(), fractions=(0.02, 0.1))
"""Two families at two sizes, with 5 draws x 2 seeds."""


def curve(accuracies: list[float]) -> tuple[Result, ...]:
    return tuple(make_result(10 * i, accuracy) for i, accuracy in enumerate(accuracies, 1))


def with_curves(results: SearchResults, *, late: float, noise: float, seed: int = 0) -> SearchResults:
    """Return the results with noisy curves that rise by `late`, as a fraction, over the last fifth of the steps."""
    generator = np.random.default_rng(seed)
    progress = np.linspace(1 / REPORTS, 1, REPORTS)
    mean = 0.5 + late * np.clip((progress - 1 + LATE_SHARE) / LATE_SHARE, 0, None)

    def with_curve(record: Record) -> Record:
        return record.model_copy(update={"curve": curve((mean + generator.normal(0, noise, REPORTS)).tolist())})

    return replace(results, replicates=[with_curve(record) for record in results.replicates])


def gains_of(results: SearchResults) -> tuple[LateGain, ...]:
    return late_gains(results, round_scores(results, results.rounds[-1]))


def share_reported(late: float, noise: float, searches: int) -> float:
    made = (with_curves(CONFIRMED, late=late, noise=noise, seed=seed) for seed in range(searches))
    return float(np.mean([gain.is_improving for results in made for gain in gains_of(results)]))


def test_the_gain_of_a_line_is_that_of_its_last_fifth() -> None:
    assert curve_gain(
        curve([0.5 + 0.01 * i for i in range(REPORTS)]), "val_accuracy", METRICS["val_accuracy"]
    ) == pytest.approx(4.0)
    assert curve_gain(curve([0.9, 0.1] * 5 + [0.5] * 10), "val_accuracy", METRICS["val_accuracy"]) == pytest.approx(0.0)


def test_a_falling_loss_is_a_gain() -> None:
    falling = [result.model_copy(update={"val_loss": 2 - result.step / 200}) for result in curve([0.5] * REPORTS)]
    assert curve_gain(falling, "val_loss", METRICS["val_loss"]) == pytest.approx(0.2)


@pytest.mark.parametrize(("reports", "is_known"), [(2, False), (9, False), (10, True), (11, True), (20, True)])
def test_a_gain_needs_three_reports_in_the_last_fifth(reports: int, is_known: bool) -> None:
    assert (curve_gain(curve([0.5] * reports), "val_accuracy", METRICS["val_accuracy"]) is not None) is is_known


def test_the_interval_of_a_gain_is_over_draws() -> None:
    results = with_curves(CONFIRMED, late=0.02, noise=0.003)
    first = gains_of(results)[0]
    of_draw: dict[int, list[float]] = {}
    for record in results.replicates:
        if record.cell == first.cell and record.replicate is not None:
            of_draw.setdefault(record.replicate.draw, []).append(
                curve_gain(record.curve, "val_accuracy", METRICS["val_accuracy"]) or 0.0
            )
    means = [np.mean(gains) for gains in of_draw.values()]
    assert len(means) == 5
    assert first.gain is not None
    assert first.gain.interval is not None
    assert first.gain.value == pytest.approx(np.mean(means))
    half = 2.776 * np.std(means, ddof=1) / np.sqrt(5)
    assert first.gain.interval.upper == pytest.approx(first.gain.value + half, abs=1e-3)


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.03])  # reports on about 50,000, 2,500 and 280 images
def test_flat_noisy_curves_are_reported_in_at_most_one_cell_of_twenty(noise: float) -> None:
    assert share_reported(0, noise, searches=60) <= 0.05


def test_a_clear_gain_is_reported_and_a_small_one_is_not() -> None:
    assert share_reported(0.02, 0.005, searches=15) > 0.95
    assert share_reported(0.002, 0.005, searches=15) < 0.05


def test_a_gain_that_is_equal_in_all_draws_has_no_interval() -> None:
    """The values of the draws differ, so the gains of flat curves differ by rounding errors."""
    levels = iter(np.linspace(0.1, 0.9, len(CONFIRMED.replicates)).tolist())
    flat = [record.model_copy(update={"curve": curve([next(levels)] * 17)}) for record in CONFIRMED.replicates]
    gains = [each.gain for each in gains_of(replace(CONFIRMED, replicates=flat))]
    assert [(gain.interval, gain.reason) for gain in gains if gain] == [(None, NO_SPREAD)] * 4


def test_no_interval_of_a_gain_leaves_the_possible_differences() -> None:
    few = make_search_results(law(), fractions=(0.02,), draws=2, seeds=1)
    steep = [
        record.model_copy(update={"curve": curve([0.0] * 13 + [float(record.replicate.draw % 2)] * 2)})
        for record in few.replicates
        if record.replicate
    ]
    for each in gains_of(replace(few, replicates=steep)):
        assert each.gain is not None
        assert each.gain.interval is not None
        assert each.gain.interval.upper == 100


def test_a_single_draw_has_no_interval_and_is_not_reported() -> None:
    single = with_curves(make_search_results(law(), fractions=(0.1,), draws=1), late=0.05, noise=0.001)
    assert not any(gain.is_improving for gain in gains_of(single))


def test_trainings_are_the_units_of_a_gain_on_a_single_draw_of_all_images() -> None:
    single = make_search_results(law(), fractions=(0.5, 1.0), draws=1, seeds=6)
    assert [gain.is_improving for gain in gains_of(with_curves(single, late=0.05, noise=0.001))] == [False, True] * 2


def test_repeats_that_chose_other_sizes_have_late_gains_and_epochs_of_their_own() -> None:
    search = {"trials_per_cell": 3, "repeats": 5}
    results = make_search_results(law(), families=("lkca",), fractions=(0.1,), search=search)
    large = {pick.trial_id for pick in results.rounds[0].picks[2:]}

    def with_size(record: Record) -> Record:
        of = record.replicate.of if record.replicate else record.trial_id
        assert record.facts is not None
        size, slope = (3600, 0.01) if of in large else (1800, 0.001)
        facts = record.facts.model_copy(update={"num_train_images": size})
        return record.model_copy(update={"facts": facts, "curve": curve([0.5 + slope * i for i in range(REPORTS)])})

    made = replace(
        results,
        trials=[with_size(record) for record in results.trials],
        replicates=[with_size(record) for record in results.replicates],
    )
    gains = {gain.num_train_images: gain.gain.value for gain in gains_of(made) if gain.gain}
    assert gains == pytest.approx({1800: 0.4, 3600: 4.0})


def test_the_report_names_the_cells_that_still_improve() -> None:
    report = make_report(with_curves(CONFIRMED, late=0.03, noise=0.001))
    (sentence,) = (caveat for caveat in report.caveats if "improve still" in caveat)
    assert "of the replicates seems to improve still, over the last 20% of the steps, so longer" in sentence
    assert ". The gains are: family=lkca" in sentence
    assert "family=vit,data_fraction=0.1 (3.0 points [+2.9, +3.1])." in sentence
    (table,) = (table for table in report.tables if table.name == "lengths")
    assert len(table.highlighted) == len(table.rows) == 4


def test_the_report_shows_the_epochs_of_each_cell_and_names_cells_with_few() -> None:
    def with_length(record: Record, steps: int) -> Record:
        assert record.facts is not None
        made = curve([0.5] * (steps // 10))  # 5 steps per epoch
        return record.model_copy(
            update={"curve": made, "facts": record.facts.model_copy(update={"planned_steps": steps})}
        )

    trials = [with_length(record, 200 if "vit" in record.cell else 90) for record in CONFIRMED.trials]
    trials[0] = with_length(trials[0], 80)
    report = make_report(replace(with_curves(CONFIRMED, late=0, noise=0.001), trials=trials))
    (table,) = (table for table in report.tables if table.name == "budgets")
    assert [row[table.columns.index("epochs")].text for row in table.rows] == ["16 to 18", "18", "40", "40"]
    (sentence,) = (caveat for caveat in report.caveats if "epochs" in caveat)
    lkca = "family=lkca,data_fraction=0.02 and family=lkca,data_fraction=0.1"
    assert sentence.startswith("In 2 cells, trainings have fewer than 20 epochs, and as few as 16, so ")
    assert f"These are {lkca}." in sentence
    assert not any("improve still" in caveat for caveat in report.caveats)
