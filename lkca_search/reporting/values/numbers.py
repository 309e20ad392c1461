"""Numbers as text: rounded to a few digits, with intervals in brackets. Every function returns a string."""

from collections.abc import Callable, Sequence

from lkca_search.analysis.stats.estimate import Estimate, Interval

NO_VALUE = "–"
"""Text of a table cell without a number."""
_UNITS = ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"))


def format_count(value: float) -> str:
    """Return a whole number with separators: 12,345."""
    return f"{value:,.0f}"


def format_tick(value: float) -> str:
    """Return the label of a tick: 12,345 or 0.8."""
    return format_count(value) if value == round(value) else f"{value:g}".replace("-", "−")


def format_compact(value: float) -> str:
    """Return a count in three digits: 1.03M, 62.1M, 940."""
    for exponent, unit in _UNITS:
        if value >= 0.9995 * 10**exponent:
            scaled = value / 10**exponent
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{unit}"
    return f"{value:.0f}"


def format_bytes(count: int) -> str:
    """Return a number of bytes in three digits: 512 bytes, 1.50 kB, 35.9 MB. A kB has 1,000 bytes."""
    compact = format_compact(count)
    return f"{compact} bytes" if compact.isdigit() else f"{compact[:-1]} {compact[-1]}B"


def format_number(value: float, num_decimals: int) -> str:
    """Return a number with this many decimals: 0.523, −0.042, 0.000."""
    return f"{value:z.{num_decimals}f}".replace("-", "−")


def format_percent(value: float) -> str:
    """Return a percentage: 84.2."""
    return format_number(value, 1)


def format_points(value: float, *, num_decimals: int = 1) -> str:
    """Return a difference with its sign: +3.1, −0.4, 0.0."""
    text = f"{abs(value):.{num_decimals}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def format_decimal(value: float, *, signed: bool = False) -> str:
    """Return a number with two decimals: 0.62, −0.79, 0.00; `signed` adds a plus to positive numbers."""
    text = format_number(value, 2)
    return f"+{text}" if signed and round(value, 2) > 0 else text


def format_interval(
    interval: Interval | None,
    write: Callable[[float], str] = format_percent,
    *,
    open_ends: tuple[str, str] = ("−∞", "∞"),
) -> str:
    """Return an interval: [1.2, 4.9]; empty for None. An end without a bound is written as in `open_ends`."""
    if interval is None:
        return ""
    lower = open_ends[0] if interval.lower is None else write(interval.lower)
    upper = open_ends[1] if interval.upper is None else write(interval.upper)
    return f"[{lower}, {upper}]"


def format_signed_interval(interval: Interval | None) -> str:
    """Return the interval of a difference of percentages: [+1.2, +4.9]."""
    return format_interval(interval, format_points)


def format_decimal_interval(interval: Interval | None) -> str:
    """Return the interval of a number with two decimals: [−0.52, −0.31]."""
    return format_interval(interval, format_decimal)


def format_estimate(estimate: Estimate) -> str:
    """Return a percentage followed by its interval if it has one."""
    return f"{format_percent(estimate.value)} {format_interval(estimate.interval)}".rstrip()


def format_percent_estimate(estimate: Estimate) -> str:
    """Return a percentage with its unit, followed by its interval if it has one: 84.2% [83.0, 85.1]."""
    return f"{format_percent(estimate.value)}% {format_interval(estimate.interval)}".rstrip()


def format_ratio(value: float) -> str:
    """Return a ratio in at most three digits: 0.62, 1.8, 14."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def format_ratio_interval(interval: Interval | None) -> str:
    """Return the interval of a ratio; an end beyond the measured sizes is …."""
    return format_interval(interval, format_ratio, open_ends=("…", "…"))


def format_count_interval(interval: Interval | None) -> str:
    """Return the interval of a count; an end beyond the measured range is …."""
    return format_interval(interval, format_count, open_ends=("…", "…"))


def format_epochs(value: float) -> str:
    """Return a number of epochs: 0.4, 5.7, 178."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def format_range(ends: tuple[float, float] | None, write: Callable[[float], str]) -> str:
    """Return a range: 34.4k to 109k; one number if both ends look the same, a dash for None."""
    return " to ".join(dict.fromkeys(map(write, ends))) if ends else NO_VALUE


def format_p_value(value: float | None) -> str:
    """Return a p-value: 0.03, 0.0004, < 0.0001."""
    if value is None:
        return NO_VALUE
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def format_duration(seconds: float) -> str:
    """Return a duration in one unit: 42 s, 12 min, 3.4 h, 11 d."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 99.5 * 3600 else f"{seconds / 86400:.0f} d"


def capitalize(text: str) -> str:
    """Return a text with a capital first letter; the other letters stay, as in AUROC."""
    return text[:1].upper() + text[1:]


def join_words(items: Sequence[str]) -> str:
    """Join items with commas and a final `and`: a, b and c."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun: 1 draw, 5 draws."""
    return f"{format_count(number)} {noun}{'' if number == 1 else 's'}"
