"""Overhead of a trial outside its training, compared with searches built from Ray Tune's own parts.

Question:  how many seconds of a slot does a trial take outside its training, and does this grow with the search?
Command:   python -m benchmarks.search_overhead [--trials 1000] [--cells 1] [--plain-trials 60] [--only NAME]
Expected:  at most 0.25 s per trial; the last 100 at most 1.5 times the first 100; at most a quarter of plain Tune, and
           at most that of plain Tune with reused actors. Otherwise exit code 1.

Every variant trains the same smallest model on digits for one step, on 2 slots of its own cluster, with an Optuna TPE
sampler and every result in MLflow on SQLite:

    here          `run`, with its durable studies, records and MLflow thread
    plain         a function, OptunaSearch and MLflowLoggerCallback, as in their tutorials
    plain reused  a class, and `reuse_actors=True`

The overhead per trial is the time between the ends of trials, times the slots, minus the training time. The first
trial of each slot is left out as start-up. The time after the last trial counts in `all`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SLOTS = 2
MOST_SECONDS, MOST_GROWTH, LEAST_GAIN = 0.25, 1.5, 4.0
TIMED = "TIMED "
SPACE = """
data: {{dataset: digits, validation: 0.1, scale_validation: true}}
factors:
  family: [lkca]
  draw: {draws}
parameters:
  data_fraction: {{value: 0.1}}
  kernel_size:   {{value: 3}}
  patch_size:    {{value: 2}}
  depth:         {{value: 1}}
  width:         {{value: 8}}
  learning_rate: {{float: [1.0e-4, 1.0e-1], log: true}}
training: {{steps: 1, reports: 1, batch_size: 2}}
search:   {{sampler: tpe, trials_per_cell: {trials}}}
"""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """End and training time of each trial of a variant."""

    begun: float
    """Start of the variant in Unix time, like all times here."""
    ended: float
    finished: Sequence[float]
    """Ends of the trials, ascending."""
    seconds: Sequence[float]
    """Training time of each trial."""

    def overhead(self, first: int, last: int, *, end: float | None = None) -> float:
        """Return the overhead in seconds per trial, over the trials `first` to `last` by their ends."""
        passed = (end or self.finished[last]) - self.finished[first - 1]
        return passed * SLOTS / (last - first + 1) - sum(self.seconds[first : last + 1]) / (last - first + 1)


def run_here(num_trials: int, cells: int, root: Path) -> Timing:
    """Run a search with this package."""
    from lkca_search.layout import Home
    from lkca_search.records.record import read_records
    from lkca_search.search.run import run_search
    from lkca_search.search.run_context import RunContext
    from lkca_search.search.state.lease import hold_lease
    from lkca_search.spec.space_file import read_space_file
    from lkca_search.tracking.tracker import Tracker
    from lkca_search.training.images import DataDirs

    path = root / "overhead.yaml"
    path.write_text(SPACE.format(draws=list(range(cells)), trials=num_trials // cells))
    home = Home(root=root)
    folder = home.search("overhead")
    data_dirs = DataDirs(cache=home.datasets, data_dir=None)
    begun = time.time()
    context = RunContext(home=home, data_dirs=data_dirs, console=Tracker(), num_cpus=SLOTS)
    with hold_lease(folder) as lease:
        run_search(read_space_file(path, ()), folder, lease, context)
    ended = time.time()
    records = sorted(read_records(folder), key=lambda record: record.finished)
    assert {record.state for record in records} == {"COMPLETE"}, records[0].error
    finished, seconds = zip(*((record.finished, record.curve[-1].seconds) for record in records), strict=True)
    return Timing(begun=begun, ended=ended, finished=finished, seconds=seconds)


def run_plain(num_trials: int, root: Path, *, reuse: bool) -> Timing:
    """Run a search with Ray Tune's own parts."""
    import torch
    from ray import init, tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from lkca_search.records.trial import TrialSpec
    from lkca_search.spec.configuration import Configuration
    from lkca_search.spec.space_file import read_space_file
    from lkca_search.training.assembly import open_training
    from lkca_search.training.device import configure_torch
    from lkca_search.training.images import DataDirs, open_train_images

    path = root / "overhead.yaml"
    path.write_text(SPACE.format(draws=[0], trials=num_trials))
    spec = read_space_file(path, ()).spec
    data_dirs = DataDirs(cache=root / "datasets", data_dir=None)
    open_train_images(spec.data, data_dirs)
    fixed = {name: domain.value for name, domain in spec.parameters.items() if hasattr(domain, "value")}

    def train(config: Mapping[str, Any]) -> dict[str, Any]:
        configuration = Configuration(**{"family": "lkca", "draw": 0, **fixed, **config})
        trial = TrialSpec(
            data=spec.data,
            training=spec.training,
            resources=spec.resources.of_trial(),
            configuration=configuration,
            seed=0,
            split_seed=0,
        )
        configure_torch(num_threads=trial.resources.cpu)
        _, training = open_training(trial, data_dirs, device=torch.device("cpu"))
        (result,) = training.results()
        return result.model_dump()

    def function(config: dict[str, Any]) -> None:
        tune.report(train(config))

    class Reused(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.values = config

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.values = new_config
            return True

        def step(self) -> dict[str, Any]:
            return {**train(self.values), "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Save nothing: trials are too short to be resumed."""

    class Clock(tune.Callback):
        def __init__(self) -> None:
            self.ends: list[tuple[float, float]] = []

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.ends.append((time.time(), trial.last_result["seconds"]))

    clock, store = Clock(), f"sqlite:///{root}/mlflow.db"
    begun = time.time()
    init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        Reused if reuse else function,
        param_space={"learning_rate": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(),
            metric="val_accuracy",
            mode="max",
            num_samples=num_trials,
            max_concurrent_trials=SLOTS,
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(
            storage_path=str(root / "tune"),
            callbacks=[MLflowLoggerCallback(tracking_uri=store, experiment_name="plain"), clock],
            verbose=0,
        ),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    finished, seconds = zip(*clock.ends, strict=True)
    return Timing(begun=begun, ended=time.time(), finished=finished, seconds=seconds)


def run_in_subprocess(name: str, options: argparse.Namespace) -> Timing:
    """Run a variant in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.search_overhead", "--variant", name]
    command += [f"--{key.replace('_', '-')}={getattr(options, key)}" for key in ("trials", "cells", "plain_trials")]
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, env={**os.environ, **quiet}, stdout=subprocess.PIPE, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(TIMED))
    return Timing(**json.loads(line.removeprefix(TIMED)))


def run_variant(name: str, options: argparse.Namespace) -> None:
    """Run a variant in this process and print its timing for the parent process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if name == "here":
            timing = run_here(options.trials, options.cells, root)
        else:
            timing = run_plain(options.plain_trials, root, reuse=name == "plain reused")
    print(TIMED + json.dumps(asdict(timing)))


def show(timings: Mapping[str, Timing]) -> None:
    """Print one row per variant."""
    from rich.console import Console
    from rich.table import Table

    names = ("", "trials", "start-up, s", "training, s", "first 100, s", "last 100, s", "all, s", "closing, s")
    table = Table(*names, title=f"overhead per trial, {SLOTS} slots")
    for name, timing in timings.items():
        count = len(timing.finished)
        table.add_row(
            name,
            str(count),
            f"{timing.finished[SLOTS - 1] - timing.begun:.1f}",
            f"{sum(timing.seconds) / count:.3f}",
            f"{timing.overhead(SLOTS, min(SLOTS + 99, count - 1)):.3f}",
            f"{timing.overhead(max(SLOTS, count - 100), count - 1):.3f}",
            f"{timing.overhead(SLOTS, count - 1, end=timing.ended):.3f}",
            f"{timing.ended - timing.finished[-1]:.1f}",
        )
    Console(width=120).print(table)


def shortfalls(timings: Mapping[str, Timing]) -> list[str]:
    """Return every expectation that is not met."""
    if "here" not in timings:
        return []
    mean = {name: timing.overhead(SLOTS, len(timing.finished) - 1) for name, timing in timings.items()}
    here, last = timings["here"], len(timings["here"].finished) - 1
    total = here.overhead(SLOTS, last, end=here.ended)
    growth = here.overhead(max(SLOTS, last - 99), last) / here.overhead(SLOTS, min(SLOTS + 99, last))
    found = []
    if total > MOST_SECONDS:
        found.append(f"overhead per trial must be at most {MOST_SECONDS} s, got {total:.3f} s")
    if growth > MOST_GROWTH:
        found.append(f"the last 100 trials cost {growth:.2f} times the first, at most {MOST_GROWTH}")
    if mean["here"] * LEAST_GAIN > mean.get("plain", math.inf):
        found.append(f"plain Tune costs {mean['plain'] / mean['here']:.1f} times as much, at least {LEAST_GAIN}")
    if mean["here"] > mean.get("plain reused", math.inf):
        found.append(
            f"reused actors alone cost {mean['plain reused']:.3f} s a trial, and here it is {mean['here']:.3f}"
        )
    return found


def main() -> int:
    variants = ("here", "plain", "plain reused")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="trials of this package's search (default: 1000)")
    parser.add_argument("--cells", type=int, default=1, help="cells of this package's search (default: 1)")
    parser.add_argument("--plain-trials", type=int, default=60, help="trials of the other variants (default: 60)")
    parser.add_argument("--only", choices=variants, nargs="+", default=variants)
    parser.add_argument("--variant", choices=variants, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        run_variant(options.variant, options)
        return 0
    timings = {}
    for name in options.only:
        timings[name] = run_in_subprocess(name, options)
        print(f"{name}: {timings[name].ended - timings[name].begun:.0f} s", file=sys.stderr, flush=True)
    show(timings)
    problems = shortfalls(timings)
    for problem in problems:
        print(f"SHORT  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
