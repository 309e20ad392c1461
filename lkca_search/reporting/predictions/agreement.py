"""Agreement of the variants: sentences, a figure against training images, and a table."""

from collections.abc import Iterator, Sequence

from lkca_search.analysis.predictions.agreement import NO_ERRORS, Agreement
from lkca_search.analysis.predictions.prediction_analysis import PredictionAnalysis
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.reporting.values.figure import Figure, Series, side_shift
from lkca_search.reporting.values.numbers import (
    capitalize,
    format_count,
    format_decimal,
    format_decimal_interval,
    format_estimate,
    format_percent,
    format_percent_estimate,
)
from lkca_search.reporting.values.table import (
    Column,
    Table,
    make_table,
    number_cell,
    text_cell,
    value_and_interval_cell,
)

_DEFINITION = (
    "Error consistency κ (Geirhos et al. 2020) is Cohen's kappa of right and wrong: 0 for independent errors, 1 for "
    "errors on the same images"
)

_DIFFERENCE = (
    "The difference to retraining is to the mean of two trainings of each variant, over draws that have both. "
)
_TRAININGS = (
    "Where all draws have the same images, each training is a unit. Pairs of two variants then have the same draw and "
    "seed, and each training is in at most one pair of one variant. The difference to retraining is over groups of two "
    "trainings of each variant. "
)


def agreement_sentences(analysis: PredictionAnalysis, reference: Variant) -> Iterator[str]:
    """Yield a sentence per variant that is compared with the reference, at the largest size with both."""
    found: dict[tuple[str, str], Agreement] = {}
    for agreement in analysis.agreements:
        if not agreement.is_retraining and reference.label in (agreement.one, agreement.other):
            found[agreement.one, agreement.other] = agreement  # sizes are in ascending order
    for agreement in found.values():
        yield _sentence(agreement)


def _sentence(found: Agreement) -> str:
    one, other = found.one, found.other
    start = (
        f"At {format_count(found.num_train_images)} training images, {one} and {other} predict the same class on "
        f"{format_percent_estimate(found.equal_predictions)} of the test images."
    )
    if found.error_consistency is None:
        return f"{start} They have no error consistency: {NO_ERRORS}."
    shares = (
        f"Both are right or both are wrong on {format_percent(found.consistent)}%; independent errors with the same "
        f"accuracies give {format_percent(found.consistent_by_chance)}%"
    )
    verdict = _verdict(found.error_consistency)
    return f"{start} {shares} (error consistency κ {_decimal(found.error_consistency)}{verdict}).{_beyond(found)}"


def _verdict(kappa: Estimate) -> str:
    if kappa.interval is None:
        return f", no interval: {kappa.reason}"
    return ", not distinguishable from independent errors" if kappa.interval.contains(0.0) else ""


def _beyond(found: Agreement) -> str:
    """Return the comparison with two trainings of one variant; empty if there is none with an interval."""
    beyond = found.beyond_retraining
    if beyond is None or beyond.interval is None:
        return ""
    text = f"{format_decimal(beyond.value, signed=True)} {format_decimal_interval(beyond.interval)}"
    if beyond.interval.contains(0.0):
        return f" No difference to two trainings of the same variant can be shown: κ differs by {text}."
    side = "less" if beyond.value < 0 else "more"
    return f" Their errors coincide {side} than those of two trainings of the same variant: κ differs by {text}."


def _decimal(estimate: Estimate) -> str:
    return f"{format_decimal(estimate.value)} {format_decimal_interval(estimate.interval)}".rstrip()


def agreement_figure(analysis: PredictionAnalysis, reference: Variant) -> Figure | None:
    """Return error consistency against training images: the reference with each variant, and two trainings of each."""
    series: dict[tuple[str, str], list[Agreement]] = {}
    for agreement in analysis.agreements:
        is_shown = agreement.is_retraining or reference.label in (agreement.one, agreement.other)
        if is_shown and agreement.error_consistency is not None:
            series.setdefault((agreement.one, agreement.other), []).append(agreement)
    if not series:
        return None
    sizes = sorted({each.num_train_images for found in series.values() for each in found})
    ordered = sorted(series.items(), key=lambda item: item[1][0].is_retraining)
    return Figure(
        name="error_consistency",
        title="Error consistency against training images",
        caption=(
            f"{_DEFINITION}. Means over draws with 95% intervals for new draws, seeds and test images. "
            f"{_retraining(analysis, 'Retrained: two trainings on the same draw with other seeds. ')}"
            "Points of the same size are drawn side by side. The x-axis is logarithmic."
        ),
        x_label="training images",
        y_label="error consistency κ",
        x_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        has_zero_line=True,
        series=tuple(
            _series(found, index, side_shift(index, len(ordered), sizes)) for index, (_, found) in enumerate(ordered)
        ),
    )


def _series(found: Sequence[Agreement], index: int, shift: float) -> Series:
    kappas = [each.error_consistency for each in found if each.error_consistency is not None]
    name = _name(found[0])
    return Series(
        name=name,
        x=tuple(shift * each.num_train_images for each in found),
        y=tuple(kappa.value for kappa in kappas),
        lower=tuple(kappa.interval.lower if kappa.interval else None for kappa in kappas),
        upper=tuple(kappa.interval.upper if kappa.interval else None for kappa in kappas),
        color_index=index,
        hover_texts=tuple(
            f"{name}, {format_count(each.num_train_images)} images: κ {_decimal(kappa)}"
            for each, kappa in zip(found, kappas, strict=True)
        ),
    )


def _name(agreement: Agreement) -> str:
    return f"{agreement.one}, retrained" if agreement.is_retraining else f"{agreement.one} and {agreement.other}"


def _retraining(analysis: PredictionAnalysis, text: str) -> str:
    """Return a text on two trainings of one variant; empty if no draw has two seeds."""
    return text if any(each.is_retraining for each in analysis.agreements) else ""


def agreement_table(analysis: PredictionAnalysis) -> Table:
    """Return the agreement of all pairs of variants, and of two trainings of each."""
    difference = Column[Agreement](
        "κ minus that of retraining", lambda found: value_and_interval_cell(found.beyond_retraining, _decimal)
    )
    columns: list[Column[Agreement]] = [
        Column("trainings", lambda found: text_cell(_name(found))),
        Column("training images", lambda found: number_cell(found.num_train_images, format_count)),
        Column("same class, %", lambda found: value_and_interval_cell(found.equal_predictions, format_estimate)),
        Column("both right or wrong, %", lambda found: number_cell(found.consistent, format_percent)),
        Column("by chance, %", lambda found: number_cell(found.consistent_by_chance, format_percent)),
        Column("error consistency κ", lambda found: value_and_interval_cell(found.error_consistency, _decimal)),
        *([difference] if _retraining(analysis, "shown") else []),
        Column("pairs", lambda found: number_cell(found.num_pairs)),
    ]
    return make_table(
        name="agreement",
        title="Agreement of predictions",
        caption=capitalize(
            "pairs are two trainings on the same draw, of two variants or of one. By chance is the share of both right "
            f"or both wrong for independent errors with the same accuracies. {_DEFINITION}. It does not depend on the "
            f"wrong class that is predicted. {_retraining(analysis, _DIFFERENCE)}"
            f"{_TRAININGS if any(cell.by_seed for cell in analysis.cells) else ''}95% intervals are for new "
            "draws, seeds and test images, and are not corrected for the number of pairs."
        ),
        columns=columns,
        rows=sorted(analysis.agreements, key=lambda found: (found.is_retraining, found.num_train_images)),
    )
