"""Statistics paragraph of the methods: the quantities that are estimated, and their intervals and tests."""

from collections.abc import Iterator

from lkca_search.analysis.scores import RoundScores
from lkca_search.reporting.sections.looks import ALPHA_RULE
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count, join_words, pluralize
from lkca_search.spec.metrics import Metric

_SIMULATED_DESIGN = (5, 2)
"""Draws and seeds of the simulations in benchmarks/known_truth.py."""
_EXCEPT = "except those on classes, agreement and calibration "
"""Numbers that include the sampling of test images for every leading metric."""
_METHODS = (
    "Replicates of two variants with the same draw and seed are pairs. Intervals of differences are 95% Student's t "
    "intervals over units. {means} Contrasts are tested two-sided by t and corrected by Holm's "
    f"method over all contrasts of the round. {ALPHA_RULE} The probability of improvement (Agarwal et al. 2021) has "
    "Wilson's interval; its number of trials is the effective number of independent units. Power laws α + η n^γ (Hoiem "
    "et al. 2021) are fitted by weighted least squares. Their bootstrap intervals over draws are widened for the "
    "number of draws. Data efficiency is read within the measured sizes, and its interval has no end beyond the ratios "
    "that they can show. A crossover is stated only between two sizes at which corrected tests decide for different "
    "variants. Both have an interval from 4 draws on, as the bootstrap of a difference: more than a tenth of the "
    "resamples of 3 draws repeat a single one. Neither has a canonical source."
)


def statistics_paragraph(scores: RoundScores | None, metric: Metric) -> str:
    """Return the paragraph; without a round, only the methods."""
    return " ".join(statistics_sentences(scores, metric))


def statistics_sentences(scores: RoundScores | None, metric: Metric) -> list[str]:
    """Return the sentences of the paragraph."""
    if scores is None or not scores.cells:
        return [_methods(metric)]
    return [
        *_estimand(scores, MetricFormat(metric)),
        _methods(metric),
        *_sampling(scores),
        *_predictions(scores),
        _coverage(scores),
    ]


def _methods(metric: Metric) -> str:
    """Return the methods; those of means depend on the metric, as percentages are bounded."""
    percentages = (
        f"Intervals of mean {'accuracies' if metric.test_field == 'accuracy' else 'scores'} are on the scale of log "
        "odds. Each end is the further one of Student's t and, from 5 units on, the bootstrap-t, but at most twice "
        "Student's t."
    )
    others = "Intervals of mean scores are 95% Student's t intervals over units."
    return _METHODS.replace("{means}", percentages if metric.is_percentage else others)


def _plural(scores: RoundScores) -> str:
    return "accuracies" if scores.cells[0].metric.test_field == "accuracy" else "scores"


def _estimand(scores: RoundScores, metric: MetricFormat) -> Iterator[str]:
    subject = "the configurations that searches find" if scores.round.repeats else "the configuration found"
    yield (
        f"A mean estimates the expected {metric.test_label} of {subject} for a cell, trained with a new seed on a "
        "new random subset of the available training images. It says nothing about other available images."
    )
    yield "The unit of analysis is the draw: seeds are averaged within each draw first."
    if scores.round.repeats:
        yield "Each draw has its own repeat of the search. All repeats choose by the same validation images."
        if whole := sorted({cell.num_train_images for cell in scores.cells if cell.overlap == 1}):
            yield (
                f"At {join_words([format_count(size) for size in whole])} images, all draws have the same images. "
                "There the unit is still the repeat, and means are about these training images, new searches and new "
                "seeds."
            )
    if over_seeds := sorted({cell.num_train_images for cell in scores.cells if cell.unit == "seed"}):
        yield (
            f"At {join_words([format_count(size) for size in over_seeds])} images, all draws have the same images. "
            "There the unit is the training, and means are about these training images and new seeds."
        )


def _sampling(scores: RoundScores) -> Iterator[str]:
    images = {cell.image_scores.shape[2] for cell in scores.cells if cell.image_scores is not None}
    if all(cell.image_scores is None for cell in scores.cells):
        is_known = any(cell.has_predictions for cell in scores.cells)
        reason = "the score is no mean over images" if is_known else "predictions per test image are not known"
        yield f"All numbers {_EXCEPT if is_known else ''}are for these test images: {reason}."
        return
    known = "" if all(cell.image_scores is not None for cell in scores.cells) else ", where predictions are known,"
    yield (
        f"Intervals of mean {_plural(scores)}, interquartile means, differences, data efficiency and crossovers"
        f"{known} are for new test images like these: they include the sampling of "
        f"{join_words([format_count(number) for number in sorted(images)])} test images, which both sides of a "
        f"comparison share. All other numbers {_EXCEPT}are for these test images."
    )


def _predictions(scores: RoundScores) -> Iterator[str]:
    if any(cell.has_predictions for cell in scores.cells):
        yield (
            "Accuracies per class, error consistency (Geirhos et al. 2020) and calibration (Guo et al. 2017) are means "
            "over units. Their intervals include the sampling of test images by the delta method."
        )
        if any(cell.unit == "seed" for cell in scores.cells):
            yield "Where trainings are the units, two trainings of one variant are compared in groups of two."


def _coverage(scores: RoundScores) -> str:
    draws, seeds = _SIMULATED_DESIGN
    design = len(scores.round.draws), scores.round.num_seeds
    here = (
        "which is the design of this round"
        if design == _SIMULATED_DESIGN
        else (
            f"but this round has {pluralize(design[0], 'draw')} x {pluralize(design[1], 'seed')}, which was not "
            "simulated for all of them"
        )
    )
    return (
        "In simulations with a known truth, 95% intervals of means, differences, probabilities of improvement, "
        "parameters of power laws, data efficiency and crossovers covered it in at least 90% of cases at "
        f"{draws} draws x {seeds} seeds (benchmarks/known_truth.py), {here}."
    )
