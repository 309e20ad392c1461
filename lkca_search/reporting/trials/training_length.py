"""Length of trainings in a report: epochs and late gain per cell, and the limits that follow from them."""

from collections.abc import Iterator, Sequence

from lkca_search.analysis.compute_spent import ComputeSpent
from lkca_search.analysis.late_gain import LATE_SHARE, MIN_REPORTS, LateGain
from lkca_search.analysis.search_results import SearchResults
from lkca_search.recipe import FEW_EPOCHS
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count, format_epochs, join_words, pluralize
from lkca_search.reporting.values.table import (
    Column,
    Table,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    range_cell,
    text_cell,
)

_MAX_NAMED = 6
"""Maximum number of cells that the sentence on few epochs names."""


def length_table(results: SearchResults, gains: Sequence[LateGain]) -> Table:
    """Return the epochs and the late gain of the replicates of each cell."""
    metric = MetricFormat(results.metric)
    columns: list[Column[LateGain]] = [
        Column("variant", lambda cell: text_cell(cell.variant)),
        Column("training images", lambda cell: number_cell(cell.num_train_images, format_count)),
        Column("epochs", lambda cell: range_cell(cell.epochs, format_epochs)),
        Column(metric.difference_header("late gain"), lambda cell: estimate_cell(cell.gain, metric.difference)),
        Column("95% interval", lambda cell: interval_cell(cell.gain, metric.difference_interval)),
    ]
    return make_table(
        name="lengths",
        title="Length of the replicates",
        caption=(
            f"Late gain: improvement of the {metric.label} over the last {LATE_SHARE:.0%} of the steps, by a line "
            "through these reports; mean over draws, or over trainings where all draws have the same images, with a "
            "95% t interval. Highlighted cells may improve still: by more than "
            f"{metric.distance(results.metric.small)}, with an interval above 0. A flat end does not "
            "prove that a training was long enough, since the decay of the learning rate flattens every curve. A cell "
            f"without a number has fewer than {MIN_REPORTS} reports there."
        ),
        columns=columns,
        rows=gains,
        highlight=lambda cell: cell.is_improving,
    )


def length_caveats(results: SearchResults, spent: Sequence[ComputeSpent], gains: Sequence[LateGain]) -> Iterator[str]:
    """Yield the limits that short trainings set: cells that still improve, and cells with few epochs."""
    metric = MetricFormat(results.metric)
    if improving := [
        f"{gain.cell} ({metric.distance(gain.gain.value)} {metric.difference_interval(gain.gain.interval)})"
        for gain in gains
        if gain.gain and gain.is_improving
    ]:
        yield (
            f"In {pluralize(len(improving), 'cell')}, the {metric.label} of the replicates seems to improve still, "
            f"over the last {LATE_SHARE:.0%} of the steps, so longer trainings may change the comparison. The gains "
            f"are: {join_words(improving)}."
        )
    short = [cell for cell in spent if cell.planned_epochs is not None and cell.planned_epochs < FEW_EPOCHS]
    if short:
        fewest = min(cell.planned_epochs for cell in short if cell.planned_epochs is not None)
        others = ", among others" if len(short) > _MAX_NAMED else ""
        named = f"{join_words([cell.cell for cell in short[:_MAX_NAMED]])}{others}"
        yield (
            f"In {pluralize(len(short), 'cell')}, trainings have fewer than {FEW_EPOCHS} epochs, and as few as "
            f"{format_epochs(fewest)}, so their accuracy may be limited by the length of training, not by the number "
            f"of images. These are {named}."
        )
