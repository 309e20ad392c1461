"""Part of a report on one dataset: summary and sections. The report of most searches has a single part."""

from collections.abc import Sequence
from dataclasses import dataclass

from lkca_search.analysis.compute_spent import ComputeSpent, compute_spent
from lkca_search.analysis.contrasts import Contrast
from lkca_search.analysis.curve_analysis import analyze_curves
from lkca_search.analysis.late_gain import LateGain, late_gains
from lkca_search.analysis.predictions.prediction_analysis import PredictionAnalysis, analyze_predictions
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import compute_selection_effects
from lkca_search.analysis.trials.training_curves import CellCurves, training_curves
from lkca_search.records.search.mlflow_runs import NO_RUNS, MlflowRuns
from lkca_search.reporting.kernels.section import kernel_section
from lkca_search.reporting.predictions.disagreements import FindPictures, no_pictures
from lkca_search.reporting.predictions.section import prediction_sections
from lkca_search.reporting.sections import figures, tables
from lkca_search.reporting.sections.ablation import ablation_section
from lkca_search.reporting.sections.contrast_tables import contrast_table
from lkca_search.reporting.sections.costs import cost_section
from lkca_search.reporting.sections.narrative import write_summary
from lkca_search.reporting.sections.other_metrics import metric_section
from lkca_search.reporting.sections.score_table import score_table
from lkca_search.reporting.trials.coordinates import coordinate_section
from lkca_search.reporting.trials.training import training_section
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize
from lkca_search.reporting.values.report import Section
from lkca_search.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class DatasetPart:
    """Results on one dataset, as sentences and sections."""

    results: SearchResults
    """Results on this dataset alone."""
    scores: RoundScores | None
    """Scores of a round; None if nothing is confirmed."""
    contrasts: tuple[Contrast, ...]
    spent: tuple[ComputeSpent, ...]
    gains: tuple[LateGain, ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    curves: tuple[CellCurves, ...]
    predictions: PredictionAnalysis | None
    """Numbers from the predictions on test images; None if there are none."""


def make_part(
    results: SearchResults,
    scores: RoundScores | None,
    contrasts: tuple[Contrast, ...],
    *,
    tests: str,
    find_pictures: FindPictures = no_pictures,
    runs: MlflowRuns = NO_RUNS,
) -> DatasetPart:
    """Return the part on one dataset; `tests` names the tests that Holm's correction of its contrasts is over."""
    spent = compute_spent(results)
    summary, test_sections = (
        _describe_scores(results, scores, contrasts, tests, runs) if scores and scores.cells else ([], [])
    )
    gains = late_gains(results, scores) if scores else ()
    curves = training_curves(results, scores)
    predictions = analyze_predictions(results, scores) if scores else None
    seed = derive_seed(results.spec.search.seed, "views")
    return DatasetPart(
        results=results,
        scores=scores,
        contrasts=contrasts,
        spent=spent,
        gains=gains,
        summary=tuple(summary),
        sections=(
            *test_sections,
            *(prediction_sections(results, predictions, find_pictures=find_pictures) if predictions else ()),
            coordinate_section(results, runs),
            ablation_section(results, scores, seed=seed),
            cost_section(results, runs, seed=seed),
            training_section(results, scores, curves, gains, runs),
            Section(name="budgets", title="Compute spent", tables=(tables.compute_table(spent),)),
        ),
        curves=curves,
        predictions=predictions,
    )


def _describe_scores(
    results: SearchResults, scores: RoundScores, contrasts: Sequence[Contrast], tests: str, runs: MlflowRuns
) -> tuple[list[str], list[Section]]:
    """Return the summary and the sections that are computed from test scores."""
    curves = analyze_curves(scores, results.reference, contrasts, seed=results.spec.search.seed)
    selections = compute_selection_effects(results, scores)
    reference, metric = results.reference.label, MetricFormat(results.metric)
    sections = [
        Section(
            name="scarcity",
            title=f"{capitalize(metric.name)} with fewer training images",
            figures=(figures.learning_curves(curves, scores, metric),),
            tables=(score_table(results, scores, metric),),
        )
    ]
    if contrasts:
        sections.append(
            Section(
                name="contrasts",
                title=f"{reference} compared with the other variants",
                figures=(figures.differences(contrasts, scores, reference, metric),),
                tables=(contrast_table(contrasts, reference, metric, alpha=scores.round.alpha, tests=tests),),
            )
        )
    efficiencies = (tables.efficiency_table(curves, reference),) if curves.contrasts else ()
    sections += [
        Section(
            name="curves",
            title="Power laws, data efficiency and crossover",
            tables=(tables.curve_table(curves, metric), *efficiencies),
        ),
        Section(
            name="selection",
            title=f"{capitalize(metric.label)} and {metric.test_label}",
            tables=(tables.selection_table(selections, metric), tables.pick_table(results, scores, runs)),
        ),
        *filter(None, (metric_section(results, scores),)),
        kernel_section(results, scores),
    ]
    return write_summary(results, scores, contrasts, curves, selections), sections
