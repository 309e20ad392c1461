"""How numbers are written: as many digits as they deserve, and intervals beside them."""

from collections.abc import Sequence

from lkca_search.analysis.stats.estimate import Estimate, Interval

NOTHING = "–"
"""Where there is no number."""
_UNITS = ((12, "T"), (9, "G"), (6, "M"), (3, "k"))


def count(value: float) -> str:
    """A whole number with separators: 12,345."""
    return f"{value:,.0f}"


def human(value: float) -> str:
    """A count in three digits: 1.03M, 62.1M, 940."""
    for digits, unit in (*((digits, unit) for digits, unit in ((18, "E"), (15, "P"))), *_UNITS):
        if value >= 0.9995 * 10**digits:
            share = value / 10**digits
            return f"{share:.{2 if share < 9.995 else 1 if share < 99.95 else 0}f}{unit}"
    return f"{value:.0f}"


def percent(value: float) -> str:
    """A percentage: 84.2."""
    return f"{value:.1f}"


def points(value: float) -> str:
    """A difference of percentages, with its sign: +3.1, −0.4, 0.0."""
    text = f"{abs(value):.1f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def decimal(value: float, *, signed: bool = False) -> str:
    """A number in two decimals: 0.62, −0.79; with a plus where that is asked for."""
    return f"{value:{'+' if signed else ''}.2f}".replace("-", "−")


def interval(found: Interval | None, *, signed: bool = False) -> str:
    """[1.2, 4.9]; an end without a bound is open."""
    if found is None:
        return ""
    write = points if signed else percent
    lower = "−∞" if found.lower is None else write(found.lower)
    upper = "∞" if found.upper is None else write(found.upper)
    return f"[{lower}, {upper}]"


def estimate(found: Estimate, *, signed: bool = False) -> str:
    """A percentage, or a difference of two, with its interval if there is one."""
    write = points if signed else percent
    return f"{write(found.value)} {interval(found.interval, signed=signed)}".rstrip()


def times(value: float) -> str:
    """A factor, in three digits at most: 0.62, 1.8, 14."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def times_interval(found: Interval | None) -> str:
    """The interval of a factor; an end without a bound is open."""
    if found is None:
        return ""
    lower = "0" if found.lower is None else times(found.lower)
    return f"[{lower}, {'∞' if found.upper is None else times(found.upper)}]"


def count_interval(found: Interval | None) -> str:
    """The interval of a count; an end that lies beyond what was measured is open."""
    if found is None:
        return ""
    lower = "…" if found.lower is None else count(found.lower)
    return f"[{lower}, {'…' if found.upper is None else count(found.upper)}]"


def p_value(value: float | None) -> str:
    """A p-value: 0.03, 0.0004, < 0.0001."""
    if value is None:
        return NOTHING
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """A span of time in its own unit: 42 s, 12 min, 3.4 h, 11 d."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 99.5 * 3600 else f"{seconds / 86400:.0f} d"


def listed(items: Sequence[str]) -> str:
    """Items as a sentence lists them: a, b and c."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""


def plural(number: int, noun: str) -> str:
    """A number and its noun: 1 draw, 5 draws."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
