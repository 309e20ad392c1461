"""One search by this package, and as users write it with Ray Tune, with Optuna, with Syne Tune, and in one process.

Question:  how many trials per hour does each finish, after how many seconds is the first one finished, what CPU time
           and memory does it take, and are the accuracies the same?
Command:   LKCA_DATA_DIR=... python -m benchmarks.peers [--trials 24] [--images 2000] [--epochs 5] [--repeats 1]
           [--only NAME ...]; without data, it runs on the digits
Expected:  at least 3 times the trials per hour of Ray Tune and 1.5 times those of Optuna in processes, with LKCA as its
           paper writes it and with the forms of this package; accuracies that the Mann-Whitney test cannot tell apart
           at the 1% level. Otherwise exit code 1.

All contestants train the same families of this package on the same images, with the same sampler (TPE, the same
arguments and seed), number of trials per family, epochs, batch size, augmentation (crop, flip), optimizer and schedule.
Each is a whole process, measured from outside: imports, start of Ray, and the end count. Repeats have seeds of their
own, and every second one runs in the reverse order. Images are decoded before.

The peers are as fast as their parts allow. Trials run on one thread beside another, except for those of `Optuna,
torch's threads`, which keep torch's default of a thread per core. Transforms are torchvision's on images in memory,
normalization is per batch, and AdamW is fused. The DataLoader has two workers if a short trial is clearly faster with
them while all slots train, else none. Peers with `published LKCA` compute it as its paper writes it, with the channels
folded into the batch; all others have the forms of this package. `Ray Tune` is a function with OptunaSearch and
MLflowLoggerCallback; `reused actors` is a class with `reuse_actors=True`. Optuna and the one process track nothing
outside their storage. Syne Tune runs if it is installed. NePS 0.17 needs pandas and networkx below 3, which are older
than those of this project.

`--only "Ray Tune" "Optuna, processes"` takes about 15 minutes on two cores that do nothing else; with
`published LKCA`, about 45.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peers.agreement import describe_sample, p_value, superiority
from benchmarks.peers.arrays import Arrays
from benchmarks.peers.contestants import CONTESTANTS, OURS, environment
from benchmarks.peers.finished import Finished
from benchmarks.peers.process_tree import Measured, run_measured
from benchmarks.peers.question import Question

LEAST_GAIN = {
    "Ray Tune": 3.0,
    "Ray Tune, published LKCA": 3.0,
    "Optuna, processes": 1.5,
    "Optuna, published LKCA": 1.5,
}
LEVEL = 0.01
CLEARLY_FASTER = 0.95
"""Ratio of times below which workers of the DataLoader are taken: they compete with the trials for the cores."""
DIGITS = {"dataset": "digits", "images_per_class": 100, "parameters": 45_000, "epochs": 20, "augment": ("crop",)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a contestant."""

    measured: Measured
    finished: Sequence[Finished]

    @property
    def trials_per_hour(self) -> float:
        """Finished trials per hour of the whole process."""
        return 3600 * len(self.finished) / self.measured.wall

    @property
    def first(self) -> float:
        """Seconds from the start of the command to the end of the first trial."""
        return self.finished[0].ended - self.measured.begun

    @property
    def accuracies(self) -> list[float]:
        """Validation accuracies of all trials."""
        return [trial.accuracy for trial in self.finished]


def run_once(name: str, question: Question, arrays: Arrays, root: Path) -> Run:
    """Run a contestant in a new folder."""
    contestant = CONTESTANTS[name]
    with tempfile.TemporaryDirectory(dir=root) as folder:
        own = replace(question, folder=folder)
        arrays.save(folder)
        variables = environment(own, root / "datasets")
        measured = run_measured(contestant.command(own), environment=variables, folder=Path(folder))
        finished = contestant.finished(own)
    if len(finished) != question.num_trials:
        raise RuntimeError(f"{name} must finish {question.num_trials} trials, got {len(finished)}")
    return Run(measured=measured, finished=finished)


def run_all(names: Sequence[str], question: Question, arrays: Arrays, root: Path, repeats: int) -> dict[str, list[Run]]:
    """Run all contestants in turn, in the reverse order in every second repeat."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            load = os.getloadavg()[0]
            run = run_once(name, replace(question, seed=repeat), arrays, root)
            runs[name].append(run)
            print(f"{name}: {run.measured.wall:.0f} s (load before: {load:.1f})", file=sys.stderr, flush=True)
    return runs


def gain(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """Return the median over repeats of the ratio of trials per hour."""
    return statistics.median(
        one.trials_per_hour / other.trials_per_hour for one, other in zip(ours, theirs, strict=True)
    )


def speed_table(runs: dict[str, list[Run]], question: Question) -> Table:
    """Return a row per contestant: medians over repeats."""
    title = f"{question.num_trials} trials, {question.slots} slots, medians of {len(runs[OURS])} runs"
    names = (
        "",
        "trials per hour",
        "ours is faster by",
        "first trial, s",
        "wall, s",
        "CPU, s",
        "CPU per trial, s",
        "peak MB",
    )
    table = Table(*names, title=title)
    for name, theirs in runs.items():
        cpu = statistics.median(run.measured.cpu for run in theirs)
        table.add_row(
            name,
            f"{statistics.median(run.trials_per_hour for run in theirs):.0f}",
            f"{gain(runs[OURS], theirs):.2f}",
            f"{statistics.median(run.first for run in theirs):.1f}",
            f"{statistics.median(run.measured.wall for run in theirs):.0f}",
            f"{cpu:.0f}",
            f"{cpu / question.num_trials:.1f}",
            f"{statistics.median(run.measured.peak_bytes for run in theirs) / 1e6:,.0f}",
        )
    return table


def accuracy_table(runs: dict[str, list[Run]]) -> Table:
    """Return a row per contestant: the accuracies of all its trials, and their agreement with ours."""
    ours = [accuracy for run in runs[OURS] for accuracy in run.accuracies]
    names = ("", "accuracy: quartiles and best, %", "P(ours is above theirs)", "p (Mann-Whitney)")
    table = Table(*names, title="validation accuracy")
    for name, theirs in runs.items():
        sample = [accuracy for run in theirs for accuracy in run.accuracies]
        agreement = ("", "") if name == OURS else (f"{superiority(ours, sample):.2f}", f"{p_value(ours, sample):.2f}")
        table.add_row(name, describe_sample(sample), *agreement)
    return table


def shortfalls(runs: dict[str, list[Run]]) -> list[str]:
    """Return every expectation that is not met."""
    found = []
    ours = [accuracy for run in runs[OURS] for accuracy in run.accuracies]
    for name, theirs in runs.items():
        faster, least = gain(runs[OURS], theirs), LEAST_GAIN.get(name, 0.0)
        if faster < least:
            found.append(f"{OURS} must finish {least} times the trials per hour of {name}, got {faster:.2f}")
        if (p := p_value(ours, [accuracy for run in theirs for accuracy in run.accuracies])) < LEVEL:
            found.append(f"accuracies must be those of {name}, got p = {p:.4f}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24, help="trials of all families (default: 24)")
    parser.add_argument("--images", type=int, help="training images (default: 2,000; digits: 1,000)")
    parser.add_argument("--epochs", type=int, help="epochs per trial (default: 5; digits: 20)")
    parser.add_argument("--parameters", type=int, help="parameters per model (default: 100,000; digits: 45,000)")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--loader-workers", type=int, help="workers of the DataLoader (default: the faster of 0 and 2)")
    parser.add_argument("--only", choices=list(CONTESTANTS)[1:], nargs="+", help="peers to run (default: all)")
    options = parser.parse_args()
    data_dir = os.environ.get("LKCA_DATA_DIR")
    question = question_of(options, has_data=data_dir is not None)
    names = [name for name in CONTESTANTS if name == OURS or name in (options.only or CONTESTANTS)]
    if missing := [name for name in names if not CONTESTANTS[name].is_installed]:
        print(f"not installed, left out: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        space = root / "space.yaml"
        space.write_text(question.space_file)
        arrays = Arrays.decode(space, cache=root / "datasets", data_dir=Path(data_dir) if data_dir else None)
        question = replace(question, loader_workers=choose_loader(options.loader_workers, question, arrays))
        installed = [name for name in names if name not in missing]
        runs = run_all(installed, question, arrays, root, options.repeats)
    images = f"{len(arrays.train_labels):,} images of {question.dataset}, {len(arrays.validation_labels):,} to validate"
    families = " and ".join(question.families)
    print(f"{families} of {question.parameters:,} parameters, {images}, {question.epochs} epochs")
    console = Console(width=140)
    console.print(speed_table(runs, question))
    console.print(accuracy_table(runs))
    problems = shortfalls(runs)
    for problem in problems:
        print(f"SHORT  {problem}")
    return 1 if problems else 0


def question_of(options: argparse.Namespace, *, has_data: bool) -> Question:
    """Return the question of a command line: on CIFAR-10, or on the digits without data."""
    question = Question() if has_data else Question(**DIGITS)
    changes = {name: getattr(options, name) for name in ("epochs", "parameters") if getattr(options, name)}
    changes["trials_per_family"] = max(1, options.trials // len(question.families))
    if options.images:
        changes["images_per_class"] = max(1, options.images // 10)
    return replace(question, **changes)


def choose_loader(requested: int | None, question: Question, arrays: Arrays) -> int:
    """Return the number of DataLoader workers: the requested one, or the faster one."""
    if requested is not None:
        return requested
    from benchmarks.peers.loader_choice import time_loaders

    seconds = time_loaders(question, arrays)
    print(", ".join(f"DataLoader, {workers} workers: {each:.1f} s" for workers, each in seconds.items()))
    return 2 if seconds[2] < CLEARLY_FASTER * seconds[0] else 0


if __name__ == "__main__":
    sys.exit(main())
