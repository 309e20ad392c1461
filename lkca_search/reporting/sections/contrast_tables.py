"""Tables of contrasts: the reference against the other variants, and one search against another."""

from collections.abc import Iterable, Sequence

from lkca_search.analysis.comparison import UnpairedContrast
from lkca_search.analysis.contrasts import Contrast, Verdict
from lkca_search.analysis.scores import Unit
from lkca_search.analysis.stats.estimate import Estimate, Interval
from lkca_search.analysis.stats.power import MAX_REPLICATES
from lkca_search.records.rounds import ERROR_RATE
from lkca_search.reporting.sections.looks import format_alpha, scope_of_intervals
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    NO_VALUE,
    format_count,
    format_interval,
    format_p_value,
    format_percent,
    pluralize,
)
from lkca_search.reporting.values.table import (
    Column,
    Table,
    TableCell,
    counted_cell,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    text_cell,
)

VERDICTS: dict[Verdict, str] = {
    "ahead": "ahead",
    "behind": "behind",
    "undecided": "not significant",
    "untested": "not tested",
}
"""Words of the tables."""
_NOUNS: dict[Unit, str] = {"draw": "draw", "seed": "training"}


def contrast_table(
    contrasts: Sequence[Contrast], reference: str, metric: MetricFormat, *, alpha: float, tests: str
) -> Table:
    """Return the reference against every other variant at each size.

    `alpha` is the level of the round, and `tests` names the tests that the correction is over.
    """
    return make_table(
        name="contrasts",
        title=f"{reference} compared with the other variants",
        caption=_caption(contrasts, reference, metric, alpha, tests=tests) + _dashes(contrasts),
        columns=[Column[Contrast]("other", lambda contrast: text_cell(contrast.other)), *_columns(metric)],
        rows=contrasts,
        highlight=_is_decided,
    )


def comparison_table(contrasts: Sequence[Contrast], a: str, b: str, metric: MetricFormat, *, alpha: float) -> Table:
    """Return search `a` against search `b`, cell by cell; `alpha` is the stricter level of the two rounds."""
    return make_table(
        name="comparison",
        title=f"{a} compared with {b}",
        caption=_caption(contrasts, a, metric, alpha, tests="tests of this comparison") + _dashes(contrasts),
        columns=[Column[Contrast]("cell", lambda contrast: text_cell(contrast.reference_cell)), *_columns(metric)],
        rows=contrasts,
        highlight=_is_decided,
    )


def unpaired_table(
    contrasts: Sequence[UnpairedContrast], a: str, b: str, metric: MetricFormat, *, alpha: float
) -> Table:
    """Return search `a` against search `b` in the cells without pairs; `alpha` is the stricter level of the rounds."""
    columns: list[Column[UnpairedContrast]] = [
        Column("cell", lambda contrast: text_cell(contrast.cell)),
        Column("training images", lambda contrast: text_cell(_join(contrast.num_train_images))),
        Column("draws", lambda contrast: text_cell(_join(contrast.num_draws))),
        Column(
            metric.difference_header("difference"),
            lambda contrast: estimate_cell(contrast.difference, metric.difference),
        ),
        Column(
            "95% interval",
            lambda contrast: interval_cell(contrast.difference, metric.difference_interval, missing=NO_VALUE),
        ),
        Column("verdict", lambda contrast: text_cell(VERDICTS[contrast.verdict])),
        Column("p", lambda contrast: number_cell(contrast.p_value, format_p_value)),
        Column("p, corrected", lambda contrast: number_cell(contrast.adjusted_p, format_p_value)),
    ]
    return make_table(
        name="unpaired",
        title=f"{a} compared with {b}, unpaired",
        caption=(
            f"Unpaired difference in {metric.test_difference_label}: mean over the draws of {a} minus mean over the "
            f"draws of {b}. No two replicates of these cells trained on the same images with the same seed. "
            "Differences between subsets and seeds therefore do not cancel, and a paired test would detect smaller "
            "differences. 95% intervals and p are those of Welch's t test over draws (at a data fraction of 1.0, over "
            "trainings). They are for these test images: another sample of test images would give another "
            "difference. p, corrected: by Holm's method over all tests of this comparison, then for the rounds, of "
            f"which the stricter one has the level {format_alpha(alpha)}. Two numbers in a column are those of {a} "
            f"and of {b}.{_reasons(contrast.difference for contrast in contrasts)}"
        ),
        columns=columns,
        rows=contrasts,
        highlight=lambda contrast: contrast.verdict in ("ahead", "behind"),
    )


def _join(numbers: tuple[int, int]) -> str:
    return " and ".join(dict.fromkeys(map(format_count, numbers)))


def _caption(contrasts: Sequence[Contrast], reference: str, metric: MetricFormat, alpha: float, *, tests: str) -> str:
    scope = scope_of_intervals("They", (contrast.paired.sampling_error is not None for contrast in contrasts))
    other_kind = (
        " They are of another kind than the intervals of means, which are on the scale of log odds."
        if metric.metric.is_percentage
        else ""
    )
    return (
        f"Difference in {metric.test_difference_label}: {reference} minus the other, paired by draw and seed. Units "
        "are draws, or trainings where all draws have the same images. 95% t intervals over units are each for one "
        f"contrast and a single look. {scope}{other_kind} A bootstrap over units and seeds checks them; where both "
        "differ much, their ends are uncertain. p: two-sided t test over units. p, corrected: by Holm's method over "
        f"all {tests}, then for the rounds of a search, of which this one has the level {format_alpha(alpha)}. The "
        f"verdict is ahead or behind if the corrected p is at most {ERROR_RATE:g}. P(better): probability that a "
        f"training of {reference} beats one of the other on the same draw. More units: number of additional draws, or "
        f"trainings where these are the units, that would resolve {metric.small} with a power of 80%, in a test "
        "with both corrections. This number is imprecise if there are few units."
    )


def _columns(metric: MetricFormat) -> list[Column[Contrast]]:
    return [
        Column("training images", lambda contrast: number_cell(contrast.num_train_images, format_count)),
        Column(
            metric.difference_header("difference"),
            lambda contrast: estimate_cell(contrast.paired.difference, metric.difference),
        ),
        Column(
            "95% interval",
            lambda contrast: interval_cell(contrast.paired.difference, metric.difference_interval, missing=NO_VALUE),
        ),
        Column("verdict", lambda contrast: text_cell(VERDICTS[contrast.verdict])),
        Column("units", _units),
        Column(
            "95% bootstrap",
            lambda contrast: interval_cell(contrast.bootstrap, metric.difference_interval, missing=NO_VALUE),
        ),
        Column("p", lambda contrast: number_cell(contrast.paired.p_value, format_p_value)),
        Column("p, corrected", lambda contrast: number_cell(contrast.adjusted_p, format_p_value)),
        Column(
            "P(better), %",
            lambda contrast: estimate_cell(as_percentage(contrast.improvement.probability), format_percent),
        ),
        Column(
            "95% interval of P",
            lambda contrast: interval_cell(
                as_percentage(contrast.improvement.probability), format_interval, missing=NO_VALUE
            ),
        ),
        Column(f"more units for {metric.small}", _more_units),
    ]


def _dashes(contrasts: Sequence[Contrast]) -> str:
    return _reasons(
        estimate
        for contrast in contrasts
        for estimate in (contrast.paired.difference, contrast.bootstrap, contrast.improvement.probability)
    )


def _reasons(estimates: Iterable[Estimate]) -> str:
    """Return the sentence of a caption on intervals that are missing; empty if none is."""
    reasons = dict.fromkeys(estimate.reason for estimate in estimates if estimate.interval is None and estimate.reason)
    return f" Without an interval ({NO_VALUE}): {'; '.join(reasons)}." if reasons else ""


def _units(contrast: Contrast) -> TableCell:
    return counted_cell(contrast.paired.num_draws, _NOUNS[contrast.unit])


def _is_decided(contrast: Contrast) -> bool:
    return contrast.verdict in ("ahead", "behind")


def _more_units(contrast: Contrast) -> TableCell:
    """Return a cell with the number of units; of one that is above the limit, CSV has the lower end."""
    noun, analysis = _NOUNS[contrast.unit], contrast.power_analysis
    if analysis is None:
        return TableCell(text=NO_VALUE, parts=(("", None), ("unit", None), ("lower", None)))
    more = analysis.additional_draws
    if more is None:
        text = f"over {pluralize(MAX_REPLICATES, noun)}"
        return TableCell(text=text, parts=(("", None), ("unit", noun), ("lower", MAX_REPLICATES)))
    found = counted_cell(more, noun)
    return found.model_copy(update={"parts": (*found.parts, ("lower", None))})


def as_percentage(share: Estimate) -> Estimate:
    """Return a share of 1 and its interval in percent."""
    interval = share.interval
    if interval is not None:
        lower, upper = (None if end is None else 100 * end for end in (interval.lower, interval.upper))
        interval = Interval(lower=lower, upper=upper, level=interval.level)
    return Estimate(value=100 * share.value, interval=interval, reason=share.reason)
