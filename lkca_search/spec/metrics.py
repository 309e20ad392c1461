"""Registry of the metrics that trials are compared by. All packages from `spec` to `report` read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["maximize", "minimize"]
"""Better direction of a metric, in Optuna's words."""
MetricName = Literal["val_accuracy", "val_loss", "num_train_images", "num_parameters", "flops", "seconds"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Number by which trials are compared; its name is a field of `source`."""

    direction: Direction
    """Better direction."""
    source: Literal["result", "metadata"]
    """Value that has the number as a field: the last Result of a trial, or its TrialMetadata."""
    label: str
    """Name in the text, tables and figures of the report."""
    unit: str = ""
    """Unit of a value times `scale`; empty for a plain number."""
    scale: float = 1.0
    """Factor from the recorded value to the value in `unit`."""
    test_field: str | None = None
    """Field of TestResult with the same number for test images. A metric that has one may be the first metric."""

    @property
    def can_lead(self) -> bool:
        """True if it may be the first metric: it is measured on validation images at every report."""
        return self.test_field is not None

    @property
    def sign(self) -> int:
        """1 if a higher value is better, else -1."""
        return 1 if self.direction == "maximize" else -1

    @property
    def best(self) -> str:
        """Word for the best of several values: `highest` or `lowest`."""
        return "highest" if self.direction == "maximize" else "lowest"


METRICS: Mapping[MetricName, Metric] = {
    "val_accuracy": Metric(
        direction="maximize", source="result", label="validation accuracy", unit="%", scale=100.0, test_field="accuracy"
    ),
    "val_loss": Metric(direction="minimize", source="result", label="validation loss", test_field="loss"),
    "num_train_images": Metric(direction="minimize", source="metadata", label="training images"),
    "num_parameters": Metric(direction="minimize", source="metadata", label="parameters"),
    "flops": Metric(direction="minimize", source="metadata", label="FLOPs per image"),
    "seconds": Metric(direction="minimize", source="result", label="training time", unit="s"),
}
"""Every metric by the name that a space file gives it."""
