"""Axes of parallel coordinates: places of values between 0 and 1, and ticks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lkca_search.analysis.ablation.levels import format_level, position
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Choice, Domain, FloatRange, IntRange

Tick = tuple[float, str]
"""Place from 0 to 1, and label."""
_MAX_TICKS = 6
_NO_VALUE_SHARE = 0.12
"""Share of an axis below its values, for trials that have none."""
_LOG_RATIO = 4
"""Ratio of the largest to the smallest number from which an axis of counts is logarithmic."""
_STEPS = (1, 2, 5)
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis, with the place and the text of each trial."""

    label: str
    ticks: tuple[Tick, ...]
    places: tuple[float, ...]
    """Place of each trial, from 0 to 1."""
    texts: tuple[str, ...]
    """Value of each trial."""


def value_axis(label: str, values: Sequence[Scalar | None], domain: Domain | None) -> Axis:
    """Return the axis of a hyperparameter; `domain` is None for a factor. Values that are None are below the others."""
    present = [value for value in values if value is not None]
    if isinstance(domain, IntRange | FloatRange):
        bounds: tuple[float, float] = domain.bounds
        places = {value: position(value, domain) for value in present}
        ticks = _ticks(*bounds, is_logarithmic=domain.log, is_whole=isinstance(domain, IntRange))
    else:
        order = _order(present, domain)
        places = {value: index / max(len(order) - 1, 1) for index, value in enumerate(order)}
        ticks = tuple((places[value], format_level(value)) for value in order)
    shift = _NO_VALUE_SHARE if len(present) < len(values) else 0.0
    moved = tuple((shift + (1 - shift) * place, text) for place, text in ticks)
    return Axis(
        label=label,
        ticks=((0.0, _NONE), *moved) if shift else moved,
        places=tuple(0.0 if value is None else shift + (1 - shift) * places[value] for value in values),
        texts=tuple(_NONE if value is None else _text(value) for value in values),
    )


def count_axis(label: str, counts: Sequence[int]) -> Axis:
    """Return the axis of a count, such as training images; logarithmic if the counts differ much."""
    distinct = sorted(set(counts))
    low, high = distinct[0], distinct[-1]
    is_logarithmic = low > 0 and high / low >= _LOG_RATIO
    if len(distinct) <= _MAX_TICKS:
        ticks = tuple((_place(count, low, high, is_logarithmic), f"{count:,}") for count in distinct)
    else:
        ticks = _ticks(low, high, is_logarithmic=is_logarithmic, is_whole=True)
    return Axis(
        label=label,
        ticks=ticks,
        places=tuple(_place(count, low, high, is_logarithmic) for count in counts),
        texts=tuple(f"{count:,}" for count in counts),
    )


def number_axis(label: str, numbers: Sequence[float], texts: Sequence[str]) -> Axis:
    """Return the linear axis of numbers, such as a metric."""
    low, high = min(numbers), max(numbers)
    return Axis(
        label=label,
        ticks=_ticks(low, high, is_logarithmic=False, is_whole=False),
        places=tuple(_place(number, low, high, False) for number in numbers),
        texts=tuple(texts),
    )


def _order(present: Sequence[Scalar], domain: Domain | None) -> list[Scalar]:
    """Return the distinct values: numbers by size, texts as the space file lists them."""
    distinct = list(dict.fromkeys(present))
    if all(isinstance(value, int | float) for value in distinct):
        return sorted(distinct, key=float)
    listed = list(domain.choice) if isinstance(domain, Choice) else []
    return sorted(distinct, key=lambda value: listed.index(value) if value in listed else len(listed))


def _place(number: float, low: float, high: float, is_logarithmic: bool) -> float:
    if high == low:
        return 0.5
    if is_logarithmic:
        return math.log(number / low) / math.log(high / low)
    return (number - low) / (high - low)


def _ticks(low: float, high: float, *, is_logarithmic: bool, is_whole: bool) -> tuple[Tick, ...]:
    """Return round numbers between two bounds, at most _MAX_TICKS."""
    if low == high:
        return ((0.5, f"{low:,.4g}"),)
    numbers = [each for each in _decades(low, high) if low <= each <= high] if is_logarithmic else []
    if len(numbers) < 2:  # linear, or less than a decade
        numbers = [each for each in _multiples(low, high) if low <= each <= high]
    numbers = [each for each in numbers if not is_whole or each == round(each)]
    return tuple((_place(each, low, high, is_logarithmic), _label(each)) for each in numbers)


def _decades(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, or the powers alone if there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in (_STEPS, _STEPS[:1]):
        numbers = [float(f"{step}e{power}") for power in powers for step in steps]
        if sum(low <= number <= high for number in numbers) <= _MAX_TICKS:
            return numbers
    return [float(f"1e{power}") for power in powers[:: math.ceil(len(powers) / _MAX_TICKS)]]


def _multiples(low: float, high: float) -> list[float]:
    """Return the multiples of the smallest round step that gives few of them."""
    for step in _round_steps((high - low) / _MAX_TICKS):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < _MAX_TICKS:
            return [float(f"{index * step:.12g}") for index in range(first, last + 1)]
    raise AssertionError("the last step is larger than the range")


def _round_steps(least: float) -> Iterator[float]:
    power = math.floor(math.log10(least))
    for exponent in (power, power + 1, power + 2):
        for step in _STEPS:
            yield step * 10.0**exponent


def _label(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) and abs(number) < 1e6 else f"{number:g}"


def _text(value: Scalar) -> str:
    return f"{value:.4g}" if isinstance(value, float) else format_level(value)
