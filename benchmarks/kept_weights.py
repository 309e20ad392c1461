"""Disk and time that kept models cost.

Question:  how much more disk and time do replicates take if their weights are kept?
Command:   python -m benchmarks.kept_weights [--replicates 100] [--parameters 50000 200000 500000] [--steps 30]
Expected:  the size of a model is 4 bytes per parameter, and its time is below 5% of the shortest training.

Each row is the confirmation of two searches of one configuration on the bundled digits, in one process: one keeps the
models of its replicates, the other has `keep.weights: none`. Their replicates alternate, from the assignment to the
durable record. The trainings are short, so the ratio of the times is an upper bound: the seconds per model do not
depend on the length. Disk is that of all files of the replicates: records, predictions, inspections and models.

Measured on 2 cores that ran other work, with 100 replicates of 200,000 parameters and 5 steps:

    not kept   1.32 s and 0.020 MB per replicate
    kept       1.31 s and 0.830 MB per replicate: 4.03 bytes per parameter, and 3.5 kB of JSON
    ratio      1.00 in time, 42 in disk (100 replicates: 2 MB and 83 MB)

The write alone, from the state dict to two durable files, took 26 ms for 50,000 parameters, 28 ms for 200,000, 79 ms
for 500,000 and 570 ms for 5,000,000 (medians). For 200,000 it is 2% of these trainings of 5 steps.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lkca_search.layout import SearchFolder
from lkca_search.spec.sections import ConfirmSection
from tests.support.search.in_process import InProcessSearch, make_spec

KEPT = ("none", "replicates")


def file_bytes(folder: SearchFolder) -> dict[str, int]:
    """Return the bytes of the files of all replicates by name."""
    sizes: dict[str, int] = {}
    assert isinstance(folder.trials, Path)
    for path in folder.trials.glob("*/*/draw=*/attempt-*/*"):
        sizes[path.name] = sizes.get(path.name, 0) + path.stat().st_size
    return sizes


def rows(options: argparse.Namespace, root: Path) -> Iterator[tuple[str, ...]]:
    section = ConfirmSection(draws=options.replicates, seeds=1)
    for size in options.parameters:
        searches = {
            weights: InProcessSearch(
                root, f"{weights}-{size}", make_spec(weights, parameters=size, steps=options.steps, trials=1)
            )
            for weights in KEPT
        }
        for search in searches.values():
            list(search.search())
        trainings = {weights: search.confirm(section) for weights, search in searches.items()}
        seconds: dict[str, list[float]] = {weights: [] for weights in KEPT}
        for number in range(options.replicates):
            for weights in KEPT if number % 2 else reversed(KEPT):
                seconds[weights].append(next(trainings[weights]))
        without, kept = (file_bytes(searches[weights].folder) for weights in KEPT)
        time_without, time_kept = (statistics.median(seconds[weights]) for weights in KEPT)
        pairs = zip(seconds["replicates"], seconds["none"], strict=True)
        model = statistics.median(one - other for one, other in pairs)
        yield (
            f"{size:,}",
            f"{time_without:.3f}",
            f"{time_kept:.3f}",
            f"{1000 * model:+.1f}",
            f"{1 + model / time_without:.3f}",
            f"{sum(without.values()) / options.replicates / 1e6:.3f}",
            f"{sum(kept.values()) / options.replicates / 1e6:.3f}",
            f"{kept['model.safetensors'] / options.replicates / size:.2f}",
            f"{kept['model.json'] / options.replicates / 1e3:.1f}",
            f"{sum(kept.values()) / sum(without.values()):.1f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=100, help="replicates per search (default: 100)")
    parser.add_argument("--parameters", type=int, nargs="*", default=[50_000, 200_000, 500_000], help="model sizes")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps per replicate (default: 30)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(
        *("parameters", "s without", "s kept", "ms per model", "time ratio"),
        *("MB without", "MB kept", "bytes per parameter", "kB of JSON", "disk ratio"),
        title=f"{options.replicates} replicates of {options.steps} steps: medians of seconds, means of bytes",
    )
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options, Path(folder)):
            table.add_row(*row)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
