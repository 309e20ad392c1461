"""Registry of the metrics that trials are compared by. All packages from `spec` to `reporting` read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from lkca_search.spec.base import FrozenModel

Direction = Literal["maximize", "minimize"]
"""Better direction of a metric, in Optuna's words."""
VALIDATION = "val_"
"""Prefix of the metrics that are measured on validation images; on test images, their names lack it."""
NUM_CALIBRATION_BINS = 15
"""Bins of the calibration error, of equal width."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Number by which trials are compared; its name is a field of `source`, or a key of `Result.metrics`."""

    direction: Direction
    """Better direction."""
    source: Literal["result", "metadata"]
    """Value that has the number: the last Result of a trial, or its TrialMetadata."""
    label: str
    """Name in the text, tables and figures of the report."""
    unit: str = ""
    """Unit of a value times `scale`; empty for a plain number."""
    scale: float = 1.0
    """Factor from the recorded value to the value in `unit`."""
    test_field: str | None = None
    """Name of the same number in TestResult. A metric that has one may be the first metric."""
    small: float = 0.01
    """Small difference in `unit`: the power analysis is for it, and a smaller late gain is not reported."""
    lowest: float = 0.0
    """Smallest possible value, as it is recorded; -inf if there is none."""
    highest: float = math.inf
    """Largest possible value, as it is recorded; inf if there is none."""

    @property
    def can_lead(self) -> bool:
        """True if it may be the first metric: it is measured on validation images at every report."""
        return self.test_field is not None

    @property
    def sign(self) -> int:
        """1 if a higher value is better, else -1."""
        return 1 if self.direction == "maximize" else -1

    @property
    def best(self) -> Literal["highest", "lowest"]:
        """Word for the best of several values: `highest` or `lowest`."""
        return "highest" if self.direction == "maximize" else "lowest"

    @property
    def is_percentage(self) -> bool:
        """True if values are percentages, so that differences are in points."""
        return self.unit == "%"

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest possible value, in `unit`."""
        return self.scale * self.lowest, self.scale * self.highest

    @property
    def difference_bounds(self) -> tuple[float, float]:
        """Smallest and largest possible difference of two values, in `unit`."""
        lowest, highest = self.bounds
        return lowest - highest, highest - lowest

    @property
    def perfect(self) -> float | None:
        """Value of a classifier without errors, in `unit`: 100% or 0; None for a number without this bound."""
        best = self.bounds[0 if self.direction == "minimize" else 1]
        return best if math.isfinite(best) else None


class OwnMetric(FrozenModel):
    """Metric of your own: a function of probabilities, (N, K), and labels, (N,), that returns a number."""

    name: Annotated[str, AfterValidator(lambda name: _check_path(name))]
    """Dotted path of the function: `mylab.metrics.brier_score`."""
    direction: Direction
    """Better direction."""
    label: Annotated[str, Field(min_length=1)] | None = None
    """Name in the report; by default the name of the function, with spaces for underscores."""
    unit: Literal["", "%"] = ""
    """`%` if the function returns a share of 1, which the report shows in percent."""
    range: tuple[float | None, float | None] | None = None
    """Smallest and largest possible value, null for an end without one. Another value is an error, and no interval in
    the report goes beyond them. By default, 0 to 1 with `unit: "%"`, else no limit."""

    @property
    def metric(self) -> Metric:
        """Direction, label, unit, scale and range."""
        is_percentage = self.unit == "%"
        lowest, highest = self.range or ((0.0, 1.0) if is_percentage else (None, None))
        return Metric(
            direction=self.direction,
            source="result",
            label=f"validation {self.label or self.name.rpartition('.')[2].replace('_', ' ')}",
            unit=self.unit,
            scale=100.0 if is_percentage else 1.0,
            test_field=self.name,
            small=0.5 if is_percentage else 0.01,
            lowest=-math.inf if lowest is None else lowest,
            highest=math.inf if highest is None else highest,
        )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.range is None:
            return self
        if self.unit == "%":
            raise ValueError(f"range must be left out with unit: '%', which is a share of 1, got {list(self.range)}")
        lowest, highest = self.range
        if lowest is not None and highest is not None and lowest >= highest:
            raise ValueError(f"range must be [lowest, highest], got {list(self.range)}")
        return self


def _percentage(label: str, test_field: str, direction: Direction = "maximize") -> Metric:
    return Metric(
        direction=direction,
        source="result",
        label=f"validation {label}",
        unit="%",
        scale=100.0,
        test_field=test_field,
        small=0.5,
        highest=1.0,
    )


METRICS: Mapping[str, Metric] = {
    "val_accuracy": _percentage("accuracy", "accuracy"),
    "val_loss": Metric(direction="minimize", source="result", label="validation loss", test_field="loss", small=0.02),
    "val_top5_accuracy": _percentage("top-5 accuracy", "top5_accuracy"),
    "val_balanced_accuracy": _percentage("balanced accuracy", "balanced_accuracy"),
    "val_calibration_error": _percentage("calibration error", "calibration_error", "minimize"),
    "val_macro_auroc": _percentage("macro AUROC", "macro_auroc"),
    "num_train_images": Metric(direction="minimize", source="metadata", label="training images"),
    "num_parameters": Metric(direction="minimize", source="metadata", label="parameters"),
    "flops": Metric(direction="minimize", source="metadata", label="FLOPs per image"),
    "seconds": Metric(direction="minimize", source="result", label="training time", unit="s"),
}
"""Every metric by the name that a space file gives it."""
SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("accuracy", "acc", "top1"), "val_accuracy"),
    "loss": "val_loss",
    "nll": "val_loss",
    "negative_log_likelihood": "val_loss",
    "ece": "val_calibration_error",
    "auroc": "val_macro_auroc",
    "auc": "val_macro_auroc",
    "top5": "val_top5_accuracy",
}
"""Other names of the field for a metric, without the prefix, for errors."""


def metric_rule(name: str) -> str | None:
    """Return the rule that the name of a metric breaks; None if it is of the registry or a dotted path."""
    if name in METRICS or _is_path(name):
        return None
    close = SYNONYMS.get(name.removeprefix(VALIDATION)) or next(iter(get_close_matches(name[:200], METRICS, n=1)), None)
    hint = f"; did you mean {close}?" if close else ""
    return (
        f"metric must be one of {', '.join(METRICS)} or the dotted path of a function (package.module.function), "
        f"got {name!r}{hint}"
    )


def find_metric(choice: str | OwnMetric) -> Metric:
    """Return a metric of the registry by its name, or an own one."""
    if isinstance(choice, OwnMetric):
        return choice.metric
    return METRICS[choice]


def name_of(choice: str | OwnMetric) -> str:
    """Return the name of a metric in records and tables; for an own one, its dotted path."""
    return choice if isinstance(choice, str) else choice.name


def with_directions(
    compared: Sequence[str | OwnMetric], goals: Sequence[Direction | None]
) -> tuple[str | OwnMetric, ...]:
    """Return the metrics; a dotted path alone becomes an own metric with the direction that its goal gives it."""
    padded = [*goals, *[None] * len(compared)]
    return tuple(
        OwnMetric(name=metric, direction=goal) if isinstance(metric, str) and goal and metric not in METRICS else metric
        for metric, goal in zip(compared, padded, strict=False)
    )


def check_choices(compared: Sequence[str | OwnMetric], also: Sequence[str | OwnMetric]) -> None:
    """Raise ValueError if a metric is named twice, an own one has no direction, or the first one cannot lead."""
    names = [name_of(metric) for metric in compared]
    if len(set(names)) < len(names):
        raise ValueError(f"metrics must be distinct, got {names}")
    others = [name_of(metric) for metric in also]
    if len({*names, *others}) < len(names) + len(others):
        raise ValueError(f"also_measure must have other metrics than metric, each once, got {others}")
    for metric in (*compared, *also):
        if isinstance(metric, str) and metric not in METRICS:
            raise ValueError(
                f"an own metric must have a direction, got {metric} without one; write goal: maximize or minimize, or "
                f"{{name: {metric}, direction: maximize}}"
            )
    if not find_metric(compared[0]).can_lead:
        leads = " or ".join(name for name, metric in METRICS.items() if metric.can_lead)
        raise ValueError(f"the first metric leads and must be {leads} or an own one, got {names[0]}")


def check_goals(compared: Sequence[str | OwnMetric], goals: Sequence[Direction | None]) -> None:
    """Raise ValueError unless the goals are the directions of the metrics."""
    if len(goals) != len(compared):
        raise ValueError(f"goal must have one direction per metric, got {len(compared)} metrics and {list(goals)}")
    for metric, goal in zip(compared, goals, strict=True):
        if goal != (direction := find_metric(metric).direction):
            raise ValueError(f"goal of metric {name_of(metric)} must be {direction}, got {goal}")


def _check_name(name: str) -> str:
    if rule := metric_rule(name):
        raise ValueError(rule)
    return name


def _check_path(name: str) -> str:
    if not _is_path(name):
        raise ValueError(f"name must be the dotted path of a function (package.module.function), got {name!r}")
    return name


def _is_path(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def _kind(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "several"
    return "own" if isinstance(value, Mapping | OwnMetric) else "name"


_One = Annotated[str, AfterValidator(_check_name), Tag("name")] | Annotated[OwnMetric, Tag("own")]
MetricChoice = Annotated[_One, Discriminator(_kind)]
"""Metric as a space file gives it: a name of the registry, or an own metric."""
MetricChoices = Annotated[
    _One | Annotated[tuple[MetricChoice, ...], Field(min_length=1), Tag("several")], Discriminator(_kind)
]
"""One metric, or several."""
Goal = Annotated[
    Annotated[Direction, Tag("one")] | Annotated[tuple[Direction, ...], Field(min_length=1), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]
"""Better direction of one metric, or of each of several."""
