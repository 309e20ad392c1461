"""The tables of contrasts: the reference against the others, and one search against another."""

from collections.abc import Sequence

from lkca_search.analysis.contrasts import TARGET_DIFFERENCE, Contrast, Verdict
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.report.values.numbers import (
    NO_VALUE,
    format_count,
    format_interval,
    format_p_value,
    format_percent,
    format_points,
)
from lkca_search.report.values.table import Field, Table, number, text

_VERDICTS: dict[Verdict, str] = {
    "ahead": "ahead",
    "behind": "behind",
    "undecided": "cannot be told apart",
    "untested": "not tested",
}


def contrast_table(contrasts: Sequence[Contrast], reference: str) -> Table:
    """The reference against every other variant at each size."""
    return Table(
        name="contrasts",
        title=f"{reference} against the others",
        caption=(
            f"Differences in points of test accuracy, {reference} less the other, paired by draw and seed, with 95% t "
            "intervals over draws, each of its own contrast; the bootstrap over draws and seeds is a check on these. "
            "p: two-sided, by t over draws; corrected by Holm over all contrasts of this table that were tested, and "
            f"ahead or behind where that is at most 0.05. P(better): probability that a training of {reference} beats "
            f"one of the other on the same draw. More draws: how many would resolve {TARGET_DIFFERENCE:g} points with a power "
            "of 80% in a test corrected for all contrasts; with few draws at hand this number is known badly."
        ),
        columns=(
            *(
                "other",
                "training images",
                "difference, points",
                "95% interval",
                "verdict",
                "95% bootstrap",
                "p",
                "p, Holm",
            ),
            *("P(better), %", "95% interval of P", f"more draws for {TARGET_DIFFERENCE:g} points"),
        ),
        rows=tuple(_contrast(each) for each in contrasts),
        marked=tuple(place for place, each in enumerate(contrasts) if each.verdict in ("ahead", "behind")),
    )


def comparison_table(found: Sequence[Contrast], a: str, b: str) -> Table:
    """Two searches, cell by cell."""
    whole = contrast_table(found, a)
    return whole.model_copy(
        update={
            "name": "comparison",
            "title": f"{a} against {b}",
            "columns": ("cell", *whole.columns[1:]),
            "rows": tuple((text(each.reference_cell), *row[1:]) for each, row in zip(found, whole.rows, strict=True)),
        }
    )


def _contrast(found: Contrast) -> tuple[Field, ...]:
    difference, better = found.paired.difference, found.improvement.probability
    advice = found.power_analysis
    return (
        text(found.other),
        number(found.num_train_images, format_count(found.num_train_images)),
        number(difference.value, format_points(difference.value)),
        text(format_interval(difference.interval, signed=True) or difference.reason or ""),
        text(_VERDICTS[found.verdict]),
        text(format_interval(found.bootstrap.interval, signed=True)),
        number(found.paired.p_value, format_p_value(found.paired.p_value)),
        number(found.adjusted_p, format_p_value(found.adjusted_p)),
        number(100 * better.value, format_percent(100 * better.value)),
        text(_share_interval(better)),
        _more_draws(advice.additional_draws) if advice else text(NO_VALUE),
    )


def _more_draws(more: int | None) -> Field:
    return text("over 10,000") if more is None else number(more, format_count(more))


def _share_interval(found: Estimate) -> str:
    if found.interval is None or found.interval.lower is None or found.interval.upper is None:
        return found.reason or ""
    return f"[{format_percent(100 * found.interval.lower)}, {format_percent(100 * found.interval.upper)}]"
