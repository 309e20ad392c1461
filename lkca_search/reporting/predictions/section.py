"""Sections on predictions: single classes, agreement of the variants, and calibration."""

from collections.abc import Iterator

from lkca_search.analysis.predictions.class_accuracies import ClassAccuracy
from lkca_search.analysis.predictions.prediction_analysis import PredictionAnalysis
from lkca_search.analysis.search_results import SearchResults
from lkca_search.reporting.predictions.agreement import agreement_figure, agreement_sentences, agreement_table
from lkca_search.reporting.predictions.calibration import (
    calibration_figures,
    calibration_sentences,
    calibration_table,
)
from lkca_search.reporting.predictions.class_tables import class_tables, confusion_matrices, confusion_table
from lkca_search.reporting.predictions.disagreements import (
    FindPictures,
    disagreement_gallery,
    disagreement_sentence,
    disagreement_table,
)
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count, format_percent_estimate, pluralize
from lkca_search.reporting.values.report import Section


def prediction_sections(
    results: SearchResults, analysis: PredictionAnalysis, *, find_pictures: FindPictures
) -> Iterator[Section]:
    """Yield the sections on the predictions of a round on one dataset."""
    reference = results.reference
    yield Section(
        name="classes",
        title="Accuracy per class and confusions",
        summary=(*_missing(analysis), *_range_of_classes(analysis, reference.label)),
        figures=tuple(confusion_matrices(analysis, reference)),
        tables=(
            *class_tables(analysis, reference, MetricFormat(results.metric)),
            confusion_table(analysis, reference),
        ),
    )
    if analysis.agreements:
        yield _agreement_section(results, analysis, find_pictures)
    if analysis.calibrations:
        yield Section(
            name="calibration",
            title="Calibration",
            summary=tuple(calibration_sentences(analysis)),
            figures=tuple(calibration_figures(analysis)),
            tables=(calibration_table(analysis),),
        )


def _agreement_section(results: SearchResults, analysis: PredictionAnalysis, find_pictures: FindPictures) -> Section:
    figure = agreement_figure(analysis, results.reference)
    found = analysis.disagreement
    gallery = None
    if found is not None:
        indices = [image.index for image in found.images]
        pngs = find_pictures(found.data_hash, indices) if found.data_hash and indices else {}
        gallery = disagreement_gallery(found, pngs)
    return Section(
        name="agreement",
        title="Agreement of the variants",
        summary=(
            *agreement_sentences(analysis, results.reference),
            *([disagreement_sentence(found)] if found else []),
        ),
        figures=() if figure is None else (figure,),
        tables=(
            agreement_table(analysis),
            *((disagreement_table(found, has_pictures=gallery is not None),) if found and found.images else ()),
        ),
        galleries=() if gallery is None else (gallery,),
    )


def _missing(analysis: PredictionAnalysis) -> Iterator[str]:
    """Yield the number of replicates that the sections leave out, if there are some."""
    if analysis.num_missing:
        yield (
            f"{pluralize(analysis.num_missing, 'replicate')} of {format_count(analysis.num_tested)} with a test result "
            f"{'has' if analysis.num_missing == 1 else 'have'} no predictions that can be read. They are left out of "
            "the numbers on classes, agreement and calibration."
        )


def _range_of_classes(analysis: PredictionAnalysis, reference: str) -> Iterator[str]:
    """Yield the classes of the reference with the lowest and the highest accuracy at the largest size."""
    largest = analysis.sizes[-1]
    at = [found for found in analysis.classes if found.num_train_images == largest]
    own = [found for found in at if found.variant == reference] or at
    own = [found for found in own if found.variant == own[0].variant]
    low, high = (pick(own, key=lambda found: found.accuracy.value) for pick in (min, max))
    if low.accuracy.value < high.accuracy.value:
        yield (
            f"At {format_count(largest)} training images, {low.variant} has its lowest accuracy for {_named(low)} and "
            f"its highest for {_named(high)}, of {len(own)} classes."
        )


def _named(found: ClassAccuracy) -> str:
    return f"{found.class_name} ({format_percent_estimate(found.accuracy)})"
