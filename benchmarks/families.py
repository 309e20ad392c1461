"""Loss, accuracy and speed of every family after a few epochs on a part of CIFAR-10, at one model size.

Question:  does the loss of each family fall, is its accuracy above chance, and what are its FLOPs and training time?
Command:   LKCA_DATA_DIR=... python -m benchmarks.families [--epochs 6] [--fraction 0.25] [--parameters 250k]
Expected:  every loss falls and every accuracy is well above 0.1; otherwise exit code 1. One seed and a few epochs do
           not rank the families.

Images per second are training images per total time, which includes validation on a ninth as many images. FLOPs are
those of the forward pass of one image.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lkca_search.models.registry import FAMILIES
from lkca_search.records.record import Result, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.images import DataDirs

CHANCE = 0.1


def train(family: str, options: argparse.Namespace, cache: Path) -> tuple[TrialMetadata, list[Result]]:
    """Train one family; return its metadata and one result per epoch."""
    spec = TrialSpec(
        data=DataSection(dataset="cifar10", scale_validation=True, augment=("crop", "flip")),
        training=TrainingSection(epochs=options.epochs, batch_size=128),
        resources=TrialResources(cpu=options.threads, gpu=options.gpu),
        configuration=Configuration(family=family, data_fraction=options.fraction, match_parameters=options.parameters),
        seed=0,
        split_seed=0,
    )
    data_dir = os.environ.get("LKCA_DATA_DIR")
    data_dirs = DataDirs(cache=cache, data_dir=Path(data_dir) if data_dir else None)
    configure_torch(num_threads=options.threads)
    facts, training = open_training(spec, data_dirs, device=choose_device(options.gpu))
    return facts, list(training.results())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--fraction", type=float, default=0.25)
    parser.add_argument("--parameters", default="250k")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", type=float, default=0.0)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    options = parser.parse_args()
    table = Table("family", "parameters", "MFLOPs", "images/s", "first loss", "last loss", "val accuracy", "learns")
    learnt = True
    with tempfile.TemporaryDirectory() as cache:
        for family in options.families:
            begun = time.perf_counter()
            facts, results = train(family, options, Path(cache))
            learns = results[-1].train_loss < results[0].train_loss and results[-1].val_accuracy > 1.5 * CHANCE
            learnt = learnt and learns
            table.add_row(
                family,
                f"{facts.num_parameters:,}",
                f"{facts.flops / 1e6:.1f}",
                f"{results[-1].samples / results[-1].seconds:,.0f}",
                f"{results[0].train_loss:.3f}",
                f"{results[-1].train_loss:.3f}",
                f"{results[-1].val_accuracy:.3f}",
                "yes" if learns else "NO",
            )
            print(f"{family}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    Console(width=140).print(table)
    return 0 if learnt else 1


if __name__ == "__main__":
    sys.exit(main())
