"""Figures on all datasets together: performance profiles, and the normalized differences at each size of the data."""

from collections.abc import Sequence

from lkca_search.analysis.aggregate.dataset_scores import SizeLevel
from lkca_search.analysis.aggregate.differences import AggregateDifference
from lkca_search.analysis.aggregate.profiles import Profile
from lkca_search.reporting.values.figure import Figure, Series, side_shift
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_points, format_signed_interval, join_words, pluralize


def profile_figure(profiles: Sequence[Profile], metric: MetricFormat) -> Figure:
    """Return the share of the trainings of each variant above each normalized score."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in profiles[0].tasks))
    band = (
        "Bands have 95% at each threshold alone, by a stratified bootstrap over draws that is widened for their number."
        if any(profile.bounds for profile in profiles)
        else "There are no bands, because a dataset has a single draw."
    )
    return Figure(
        name="performance_profiles",
        title="Performance profiles over the datasets",
        caption=(
            f"Share of the trainings of a variant above a normalized {metric.test_label}, on {join_words(datasets)}; "
            "each dataset has the same weight (Agarwal et al. 2021, section 4.2). A curve above another one is "
            f"better. {band}"
        ),
        x_label=f"normalized {metric.test_label}, %",
        y_label="share of the trainings above, %",
        y_bounds=(0.0, 100.0),
        series=tuple(_profile_series(index, profile) for index, profile in enumerate(profiles)),
    )


def _profile_series(index: int, profile: Profile) -> Series:
    lower, upper = profile.bounds or ((), ())
    return Series(
        name=profile.variant.label,
        x=tuple(map(float, profile.thresholds)),
        y=tuple(map(float, profile.shares)),
        lower=tuple(map(float, lower)),
        upper=tuple(map(float, upper)),
        kind="band" if profile.bounds else "line",
        color_index=index,
        in_legend=True,
    )


def difference_figure(differences: Sequence[AggregateDifference]) -> Figure | None:
    """Return the differences at each size; None if there is one size, or sizes are not on one scale."""
    at_sizes = [each for each in differences if each.size is not None and _position(each.size) is not None]
    if not at_sizes:
        return None
    is_fraction = all(each.size is not None and each.size[0] is not None for each in at_sizes)
    positions = sorted({_position(each.size) or 0.0 for each in at_sizes})
    others = list(dict.fromkeys(each.other for each in at_sizes))
    reference = at_sizes[0].reference
    return Figure(
        name="aggregate_differences",
        title=f"Normalized difference of {reference} minus the other variants, over the datasets",
        caption=(
            "Interquartile mean of the normalized differences at each size, with the 95% interval of each one alone. "
            f"Above 0, {reference} is better. The x-axis is logarithmic."
        ),
        x_label="data fraction, %" if is_fraction else "training images per class",
        y_label="difference, % of the range",
        x_is_logarithmic=True,
        x_ticks=tuple(positions),
        has_zero_line=True,
        series=tuple(
            _difference_series(
                [each for each in at_sizes if each.other == other],
                color_index=index + 1,
                shift=side_shift(index, len(others), positions),
            )
            for index, other in enumerate(others)
        ),
    )


def _difference_series(differences: Sequence[AggregateDifference], *, color_index: int, shift: float) -> Series:
    intervals = [each.difference.interval for each in differences]
    return Series(
        name=f"{differences[0].reference} − {differences[0].other}",
        x=tuple(shift * (_position(each.size) or 1.0) for each in differences),
        y=tuple(each.difference.value for each in differences),
        lower=tuple(interval.lower if interval else None for interval in intervals),
        upper=tuple(interval.upper if interval else None for interval in intervals),
        color_index=color_index,
        hover_texts=tuple(
            f"{each.reference} − {each.other}, {format_size(each.size)}: {format_points(each.difference.value)}% of "
            f"the range {format_signed_interval(each.difference.interval)}, {pluralize(len(each.datasets), 'dataset')}"
            for each in differences
        ),
    )


def _position(size: SizeLevel | None) -> float | None:
    """Return the position of a size on its axis: the fraction in percent, or the images per class."""
    if size is None or size == (None, None):
        return None
    fraction, per_class = size
    return 100 * fraction if fraction is not None else float(per_class or 0)


def format_size(size: SizeLevel | None) -> str:
    """Return a level of size: `all sizes`, `10% of the images`, `25 images per class`."""
    if size is None:
        return "all sizes"
    fraction, per_class = size
    if fraction is not None:
        return f"{100 * fraction:g}% of the images"
    return "as found" if per_class is None else f"{per_class:,} images per class"
