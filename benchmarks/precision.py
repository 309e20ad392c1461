"""Accuracy and speed of trainings in several precisions, over seeds.

Question:  do trainings in bfloat16 reach the accuracy of float32, and at which speed?
Command:   python -m benchmarks.precision [--device cpu] [--precisions float32 bfloat16] [--seeds 5] [--dataset digits]
Expected:  every mean difference from the first precision is below the noise of seeds, which is the standard deviation
           of one training, or its 95% interval contains 0; otherwise exit code 1.

Trainings with one seed have the same initial weights, batches and augmentation in every precision. The interval of
their mean difference is that of a paired t test. Images per second include the evaluations.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

from lkca_search.records.record import Result
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration, Precision
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs

MODELS: dict[str, dict[str, Any]] = {
    "lkca": {"patch_size": 2, "depth": 4, "width": 64},
    "vit": {"patch_size": 2, "depth": 4, "width": 64, "num_heads": 4},
    "resnet": {"depth": 1, "width": 64},
}
"""Models for the 8x8 images of digits."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Data, length and device of all trainings of a comparison."""

    device: torch.device
    dataset: str = "digits"
    fraction: float = 1.0
    epochs: int = 10
    batch_size: int = 64
    threads: int = 1
    models: dict[str, dict[str, Any]]
    data_dirs: DataDirs

    def train(self, family: str, precision: Precision, seed: int) -> list[Result]:
        """Return the results of one training."""
        configure_torch(num_threads=self.threads)
        configuration = {
            "family": family,
            "precision": precision,
            "data_fraction": self.fraction,
            **self.models[family],
        }
        spec = TrialSpec(
            data=DataSection(dataset=self.dataset, augment=("crop",), validation=0.2),
            training=TrainingSection(epochs=self.epochs, batch_size=self.batch_size, reports=2),
            resources=TrialResources(cpu=self.threads, gpu=float(self.device.type != "cpu")),
            configuration=Configuration.model_validate(configuration),
            seed=seed,
            split_seed=0,
        )
        _, training = open_training(spec, self.data_dirs, device=self.device)
        return list(training.results())


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Accuracies of one family in one precision, against those in the first one."""

    family: str
    precision: str
    accuracies: list[float]
    """One per seed."""
    differences: list[float]
    """Differences from the first precision, one per seed."""
    noise: float
    """Standard deviation over seeds in the first precision."""
    images_per_second: float

    @property
    def half_width(self) -> float:
        """Half of the 95% interval of the mean difference."""
        count = len(self.differences)
        return float(stats.t.ppf(0.975, count - 1)) * stdev(self.differences) / count**0.5

    @property
    def agrees(self) -> bool:
        """True if the mean difference is below the noise of seeds, or its interval contains 0."""
        return abs(mean(self.differences)) <= max(self.noise, self.half_width)


def compare(setting: Setting, precisions: Sequence[Precision], *, seeds: int) -> list[Compared]:
    """Train every family in every precision with every seed."""
    rows = []
    for family in setting.models:
        reference: list[float] = []
        for precision in precisions:
            lasts = [setting.train(family, precision, seed)[-1] for seed in range(seeds)]
            accuracies = [last.val_accuracy for last in lasts]
            reference = reference or accuracies
            rows.append(
                Compared(
                    family=family,
                    precision=precision,
                    accuracies=accuracies,
                    differences=[one - other for one, other in zip(accuracies, reference, strict=True)],
                    noise=stdev(reference),
                    images_per_second=sum(last.samples for last in lasts) / sum(last.seconds for last in lasts),
                )
            )
            print(f"{family} {precision}: {sum(last.seconds for last in lasts):.0f} s", file=sys.stderr, flush=True)
    return rows


def comparison_table(rows: Sequence[Compared]) -> Table:
    """Return a table with one row per family and precision."""
    table = Table(
        "family", "precision", "accuracy (mean, sd of seeds)", "difference (95% interval)", "images/s", "agrees"
    )
    for row in rows:
        is_reference = not any(row.differences) and row.precision == rows[0].precision
        difference = f"{100 * mean(row.differences):+.2f} ± {100 * row.half_width:.2f}"
        table.add_row(
            row.family,
            row.precision,
            f"{100 * mean(row.accuracies):.2f}, {100 * stdev(row.accuracies):.2f}",
            "-" if is_reference else difference,
            f"{row.images_per_second:,.0f}",
            "-" if is_reference else "yes" if row.agrees else "NO",
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--patch-size", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    models = {
        family: values | ({"patch_size": options.patch_size} if "patch_size" in values else {})
        for family, values in MODELS.items()
    }
    data_dir = os.environ.get("LKCA_DATA_DIR")
    with tempfile.TemporaryDirectory() as cache:
        setting = Setting(
            device=torch.device(options.device),
            dataset=options.dataset,
            fraction=options.fraction,
            epochs=options.epochs,
            threads=options.threads,
            models=models,
            data_dirs=DataDirs(cache=Path(cache), data_dir=Path(data_dir) if data_dir else None),
        )
        rows = compare(setting, options.precisions, seeds=options.seeds)
    Console(width=140).print(comparison_table(rows))
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
