"""Section on all datasets together: normalized differences, performance profiles, and the ranges they are based on."""

from collections.abc import Sequence

from lkca_search.analysis.aggregate.aggregate import Aggregate
from lkca_search.analysis.aggregate.dataset_range import DatasetRange
from lkca_search.analysis.aggregate.differences import AggregateDifference
from lkca_search.analysis.aggregate.profiles import Profile
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.records.rounds import ERROR_RATE
from lkca_search.reporting.aggregate.figures import difference_figure, format_size, profile_figure
from lkca_search.reporting.sections.contrast_tables import VERDICTS, as_percentage
from lkca_search.reporting.sections.looks import format_alpha
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    format_p_value,
    format_percent,
    format_points,
    format_signed_interval,
    join_words,
)
from lkca_search.reporting.values.report import Section
from lkca_search.reporting.values.table import (
    Column,
    Table,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    text_cell,
)

TITLE = "All datasets together"
_SCOPE = (
    "Draws are resampled within each dataset, and the datasets are not resampled: the intervals are about new draws of "
    "these datasets, not about other datasets."
)


def normalization(metric: MetricFormat) -> str:
    """Return the definition of normalized scores and differences."""
    return (
        "A score is normalized by the range of its dataset: 0 is chance (equal probabilities of all classes), 100 is "
        f"the best mean {metric.test_label} of a cell of the dataset in this round. A difference is divided by the "
        "same range, above 0 if the reference is better (Agarwal et al. 2021, section 2, after the scores of Atari "
        "games)."
    )


def aggregate_section(aggregate: Aggregate | NotEstimable, metric: MetricFormat, *, alpha: float) -> Section:
    """Return the section; it has only the reason if nothing is estimable. `alpha` is the level of the round."""
    if isinstance(aggregate, NotEstimable):
        return Section(name="aggregate", title=TITLE, paragraphs=(f"Not estimable: {aggregate}.",))
    reasons = [f"Not estimable over the datasets: {reason}." for reason in aggregate.left_out]
    figures, tables = [], []
    if aggregate.differences:
        tables.append(difference_table(aggregate.differences, alpha=alpha))
        if figure := difference_figure(aggregate.differences):
            figures.append(figure)
    if isinstance(aggregate.profiles, NotEstimable):
        reasons.append(f"Performance profiles are not estimable: {aggregate.profiles}.")
    else:
        figures.append(profile_figure(aggregate.profiles, metric))
        tables.append(score_table(aggregate.profiles, metric))
    return Section(
        name="aggregate",
        title=TITLE,
        paragraphs=(f"{normalization(metric)} {_SCOPE}", *reasons),
        figures=tuple(figures),
        tables=(*tables, range_table(aggregate.ranges, metric)),
    )


def difference_table(differences: Sequence[AggregateDifference], *, alpha: float) -> Table:
    """Return the reference against every other variant, over all sizes and at each size."""
    columns: list[Column[AggregateDifference]] = [
        Column("other", lambda row: text_cell(row.other)),
        Column("size", lambda row: text_cell(format_size(row.size))),
        Column("datasets", lambda row: text_cell(join_words(row.datasets))),
        Column("difference, % of the range", lambda row: estimate_cell(row.difference, format_points)),
        Column("95% interval", lambda row: interval_cell(row.difference, format_signed_interval)),
        Column("verdict", lambda row: text_cell(VERDICTS[row.verdict])),
        Column("p", lambda row: number_cell(row.p_value, format_p_value)),
        Column("p, corrected", lambda row: number_cell(row.adjusted_p, format_p_value)),
        Column("P(better), %", lambda row: estimate_cell(as_percentage(row.improvement), format_percent)),
        Column("95% interval of P", lambda row: interval_cell(as_percentage(row.improvement))),
        Column("values", lambda row: number_cell(row.num_values)),
        Column("units per dataset", lambda row: text_cell(join_words([str(number) for number in row.num_draws]))),
    ]
    reference = differences[0].reference
    return make_table(
        name="aggregate_differences",
        title=f"{reference} compared with the other variants, over the datasets",
        caption=(
            "Interquartile mean (25% trimmed at each end; Agarwal et al. 2021) of the normalized differences "
            f"{reference} minus other: one value per dataset, size and draw, the mean over its pairs of replicates. "
            "The interval is t times the stratified bootstrap standard error. Highlighted rows have a corrected p of "
            f"at most {ERROR_RATE:g}: Holm's correction is over all contrasts of all datasets and the tests of this "
            f"table, which together have the level {format_alpha(alpha)}. P(better) is the probability that a training "
            f"of {reference} is better than one of the other variant on the same images, the mean over datasets, with "
            "Wilson's interval. Intervals are not corrected."
        ),
        columns=columns,
        rows=differences,
        highlight=lambda row: row.verdict in ("ahead", "behind"),
    )


def score_table(profiles: Sequence[Profile], metric: MetricFormat) -> Table:
    """Return the interquartile mean of the normalized scores of each variant."""
    columns: list[Column[Profile]] = [
        Column("variant", lambda profile: text_cell(profile.variant.label)),
        Column(f"normalized {metric.name}, %", lambda profile: estimate_cell(profile.mean, format_percent)),
        Column("95% interval", lambda profile: interval_cell(profile.mean)),
        Column("datasets", lambda profile: number_cell(len({dataset for dataset, _ in profile.tasks}))),
        Column("tasks", lambda profile: number_cell(len(profile.tasks))),
    ]
    return make_table(
        name="aggregate_scores",
        title=f"Normalized {metric.test_label} over the datasets",
        caption=(
            "Interquartile mean of the normalized scores, one value per dataset, size and draw. A task is a "
            "dataset at one size of the data. Only tasks with test results of every variant count. Intervals are "
            "those of the differences; the paired differences above are the comparison."
        ),
        columns=columns,
        rows=profiles,
    )


def range_table(ranges: Sequence[DatasetRange], metric: MetricFormat) -> Table:
    """Return the range of the test score of each dataset."""
    columns: list[Column[DatasetRange]] = [
        Column("dataset", lambda found: text_cell(found.dataset)),
        Column("classes", lambda found: number_cell(found.num_classes)),
        Column(metric.header("chance"), lambda found: number_cell(found.chance, metric.value)),
        Column(metric.header("best"), lambda found: number_cell(found.best, metric.value)),
        Column(metric.difference_header("range"), lambda found: number_cell(abs(found.width), metric.value)),
        Column("best cell", lambda found: text_cell(found.best_cell)),
    ]
    return make_table(
        name="ranges",
        title="Range of each dataset",
        caption=f"{normalization(metric)} The range is treated as known.",
        columns=columns,
        rows=ranges,
    )
