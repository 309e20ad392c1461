"""Disk and time that kept models cost.

Question:  how much more disk and time do replicates take if their weights are kept?
Command:   python -m benchmarks.kept_weights [--replicates 100] [--parameters 50000 500000 5000000] [--steps 100]
Expected:  the size of a model is 4 bytes per parameter, and its time is below 5% of the shortest training.

Each row is the confirmation of two searches of one configuration on the bundled digits, in one process: one keeps the
models of its replicates, the other has `keep.weights: none`. Their replicates alternate, from the assignment to the
durable record. The trainings are short, so the ratio of the times is an upper bound: the seconds per model do not
depend on the length. Disk is that of all files of the replicates: records, predictions and models.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lkca_search.data.store import Images, open_images
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import read_records
from lkca_search.search.driver.confirmation import Confirmation
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.tracking.tracker import Tracker

KEPT = ("none", "replicates")


def make_spec(weights: str, parameters: int, steps: int) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca",)},
            "parameters": {
                "match_parameters": {"value": parameters},
                "patch_size": {"value": 2},
                "kernel_size": {"value": 5},
                "depth": {"value": 3},
            },
            "training": {"steps": steps, "reports": 2},
            "search": {"trials_per_cell": 1, "sampler": "random", "checkpoint_seconds": 1e9},
            "keep": {"weights": weights},
        }
    )


class Trainer:
    """Worker in this process, which trains the assignments of queues."""

    def __init__(self, cache: Path) -> None:
        self._data_dirs = {"cache": str(cache), "data_dir": None}
        self._actor: TrialActor | None = None

    def train(self, queue: TrialQueue) -> float:
        """Train the next assignment of a queue; return the seconds until its record is durable."""
        begun = time.perf_counter()
        assignment = queue.assign()
        assert assignment is not None
        self._open(assignment)
        assert self._actor is not None
        done = False
        while not done:
            message = Message.model_validate_json(self._actor.step()["message"])
            assert message.failure is None, message.failure
            queue.on_message(assignment.trial_id, message)
            done = message.done
        queue.finish(assignment.trial_id)
        return time.perf_counter() - begun

    def _open(self, assignment: Assignment) -> None:
        config = {"assignment": assignment.model_dump_json(), "data_dirs": self._data_dirs}
        if self._actor is None:
            self._actor = TrialActor(config=config)
        else:
            self._actor.reset_config(config)


def open_confirmation(
    root: Path, weights: str, trainer: Trainer, train: Images, test: Images, options: argparse.Namespace, size: int
) -> Confirmation:
    """Search one trial, and return the queue of a round of its replicates."""
    folder = Home(root=root).search(f"{weights}-{size}")
    spec = make_spec(weights, size, options.steps)
    trainer.train(Ledger(folder, spec, train.shape, len(train.class_names), Tracker()))
    section = ConfirmSection(draws=options.replicates, seeds=1)
    hashes = {None: test.content_hash}
    sealed = open_round(folder, spec, section, read_records(folder), test_hashes=hashes, num_trials_left=0)
    return Confirmation(folder, spec, sealed, Tracker())


def file_bytes(folder: SearchFolder) -> dict[str, int]:
    """Return the bytes of the files of all replicates by name."""
    sizes: dict[str, int] = {}
    assert isinstance(folder.trials, Path)
    for path in folder.trials.glob("*/*/draw=*/attempt-*/*"):
        sizes[path.name] = sizes.get(path.name, 0) + path.stat().st_size
    return sizes


def rows(options: argparse.Namespace, root: Path) -> Iterator[tuple[str, ...]]:
    cache = root / "datasets"
    train, test = (open_images("digits", split, cache=cache) for split in ("train", "test"))
    trainer = Trainer(cache)
    for size in options.parameters:
        queues = {weights: open_confirmation(root, weights, trainer, train, test, options, size) for weights in KEPT}
        seconds: dict[str, list[float]] = {weights: [] for weights in KEPT}
        for number in range(options.replicates):
            for weights in KEPT if number % 2 else reversed(KEPT):
                seconds[weights].append(trainer.train(queues[weights]))
        without, kept = (file_bytes(queues[weights].folder) for weights in KEPT)
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
    parser.add_argument("--parameters", type=int, nargs="*", default=[50_000, 500_000, 5_000_000], help="model sizes")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps per replicate (default: 100)")
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
