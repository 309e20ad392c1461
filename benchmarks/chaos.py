"""Exactness of a search whose processes are killed at every point and at random times.

Question:  after kill -9, does the same command complete every trial exactly once, without a lost or repeated trial?
Command:   python -m benchmarks.chaos [--points NAME ...] [--random 25] [--workers 10] [--seed 0] [--jobs 1]
           python -m benchmarks.chaos --storm 60 40 [--searches 3] [--seed 0] [--minutes M]
Expected:  no broken invariant in any row; otherwise exit code 1.

Each row is a search of 4 cells with 2 trials each on a real local cluster, which keeps one model per cell. It is
killed once (or its workers ten times) and then resumed by the same command. Named points: the driver is killed at each
commit of a trial, a worker around its checkpoint and its model; `+driver` kills the driver at a point of a worker.
Random times: the driver is killed within the duration of an undisturbed search, every second time within the duration
of its trials. tests/support/chaos/invariants.py has the invariants. Workers log events on their own, so that repeated
training is noticed.

`--storm KILLS DAMAGES` runs several searches of one home at once instead. Drivers, workers, raylets and GCS are killed
or frozen at random times. Records, checkpoints, manifests, rounds, specs and ledgers are emptied, cut, overwritten,
deleted or replaced by an older copy. After each attack, a command reads the search. A command without progress for 60
seconds and a printed traceback break the rules too.
"""

import argparse
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lkca_search.records.record import Record
from tests.support.chaos.harness import POINTS, WORKER_POINTS, ChaosSearch
from tests.support.chaos.storm import suffer_storm

KEEPING = {"keep__weights": "best"}
"""Override of every search but those of a storm: trials keep models, too."""
LONGER = {"training__steps": "200", "training__reports": "10", **KEEPING}
"""Overrides of searches that are killed at a random time: training should take as long as start-up."""
DRIVER_POINTS = tuple(f"{point}+driver" for point in POINTS if point.split(":")[1] in WORKER_POINTS)
_checking = threading.Lock()

Attack = Callable[[ChaosSearch], str]
"""Function that kills processes of a search and returns a description."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One row of the table."""

    name: str
    hit: str = ""
    num_drivers: int = 0
    num_durable: int = 0
    """Records that were durable when the driver died."""
    attempts: int = 0
    """Largest number of attempts of a trial."""
    resumed: tuple[int, ...] = ()
    """Steps at which trials were resumed."""
    left_behind: int = 0
    seconds: float
    broken: tuple[str, ...]


class TooLate(Exception):
    """The search ended before the kill."""


def suffer(name: str, attack: Attack, root: Path, undisturbed: Mapping[str, Record], **overrides: str) -> Outcome:
    """Run a search with an attack to its end and check its invariants."""
    begun = time.perf_counter()
    with ChaosSearch(root, undisturbed=undisturbed, **overrides) as search:
        try:
            hit = attack(search)
            search.finish()
        except TooLate:
            raise
        except Exception as error:
            return Outcome(name=name, seconds=time.perf_counter() - begun, broken=(f"{type(error).__name__}: {error}",))
        with _checking:
            broken = search.broken()
        return Outcome(
            name=name,
            hit=hit,
            num_drivers=search.num_drivers,
            num_durable=search.num_durable(),
            attempts=max(record.attempt for record in search.records().values()),
            resumed=tuple(search.resumed_steps()),
            left_behind=search.num_left_behind(),
            seconds=time.perf_counter() - begun,
            broken=tuple(broken),
        )


def suffer_at_moment(
    name: str, seconds: float, root: Path, undisturbed: Mapping[str, Record], *, of_training: bool, **overrides: str
) -> Outcome:
    """Kill the driver after some seconds; if the search ends before, try again with half the time."""
    try:
        label = f"{name}: {seconds:.2f} s{' of training' if of_training else ''}"
        return suffer(label, at_moment(seconds, of_training=of_training), root, undisturbed, **overrides)
    except TooLate:
        half = root.with_name(f"{root.name}-half")
        return suffer_at_moment(name, seconds / 2, half, undisturbed, of_training=of_training, **overrides)


def at_point(name: str) -> Attack:
    """Return an attack at a named point."""

    def attack(search: ChaosSearch) -> str:
        point, _, victim = name.partition("+")
        search.crash(point, victim=victim)
        return "driver" if victim or point.split(":")[1] not in WORKER_POINTS else "worker"

    return attack


def at_moment(seconds: float, *, of_training: bool) -> Attack:
    """Return an attack on the driver after some seconds."""

    def attack(search: ChaosSearch) -> str:
        if not search.kill_at(seconds, of_training=of_training):
            raise TooLate
        return "driver"

    return attack


def at_workers(count: int, seed: int) -> Attack:
    """Return an attack on `count` workers of one search."""

    def attack(search: ChaosSearch) -> str:
        moments = search.kill_workers(count, random.Random(seed))
        if len(moments) < count:
            raise AssertionError(f"only {len(moments)} of {count} workers were killed before the search ended")
        return f"workers at {', '.join(map(str, moments))} s"

    return attack


def scenarios(options: argparse.Namespace, root: Path) -> Iterator[Callable[[], Outcome]]:
    """Yield the function of every requested row, in order."""
    if options.points:
        alone, _ = run_undisturbed(root / "alone", **KEEPING)
        for name in options.points:
            yield partial(suffer, name, at_point(name), root / name.replace(":", "-"), alone, **KEEPING)
    if options.random or options.workers:
        alone, seconds = run_undisturbed(root / "alone-longer", **LONGER)
        print(f"without kills, the search of the next rows takes {seconds:.1f} s", file=sys.stderr, flush=True)
        for number in range(options.random):
            of_training = number % 2 == 1  # a short search spends most of its time starting up
            span = training_seconds(alone) if of_training else seconds
            # The last tenth is left out: the next search may be faster.
            moment = random.Random(f"{options.seed} {number}").uniform(0, 0.9 * span)
            name, folder = f"moment {number} of seed {options.seed}", root / f"moment-{number}"
            yield partial(suffer_at_moment, name, moment, folder, alone, of_training=of_training, **LONGER)
    if options.workers:
        attack = at_workers(options.workers, options.seed)
        name = f"{options.workers} workers, seed {options.seed}"
        yield partial(suffer, name, attack, root / "workers", alone, **LONGER, search__max_retries="50")


def run_undisturbed(root: Path, **overrides: str) -> tuple[Mapping[str, Record], float]:
    """Run a search without kills; return its records and its duration in seconds."""
    with ChaosSearch(root, **overrides) as search:
        begun = time.perf_counter()
        search.finish()
        seconds = time.perf_counter() - begun
        if broken := search.broken():
            raise AssertionError(f"broken without a kill: {broken}")
        return search.records(), seconds


def training_seconds(records: Mapping[str, Record]) -> float:
    """Return the time from the start of the first trial to the end of the last."""
    return max(record.finished for record in records.values()) - min(record.started for record in records.values())


def show(outcomes: list[Outcome]) -> None:
    """Print the table and every broken invariant."""
    names = ("killed", "hit", "drivers", "durable", "attempts", "resumed at steps", "left", "seconds", "broken")
    table = Table(*names, title="4 cells of 2 trials, on 2 slots")
    for outcome in outcomes:
        table.add_row(
            outcome.name,
            outcome.hit,
            str(outcome.num_drivers),
            str(outcome.num_durable),
            str(outcome.attempts),
            " ".join(map(str, outcome.resumed)),
            str(outcome.left_behind),
            f"{outcome.seconds:.0f}",
            str(len(outcome.broken)),
        )
    Console(width=160).print(table)
    for outcome in outcomes:
        for problem in outcome.broken:
            print(f"BROKEN  {outcome.name}: {problem}")


def run_storm(num_kills: int, num_damages: int, *, num_searches: int, seed: int, minutes: float) -> int:
    """Run a storm, print its table, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        sieges = suffer_storm(
            Path(folder),
            seed=seed,
            num_searches=num_searches,
            num_kills=num_kills,
            num_damages=num_damages,
            minutes=minutes,
        )
        names = ("search", "kills", "damages", "drivers", "durable", "records", "slowest s", "broken")
        table = Table(
            *names,
            title=f"storm of {sum(siege.kills.total() for siege in sieges)} kills and "
            f"{sum(len(siege.damages) for siege in sieges)} damages, seed {seed}",
        )
        for siege in sieges:
            damages = Counter(f"{damage.file} {damage.kind}" for damage in siege.damages)
            table.add_row(
                siege.search.folder.name,
                ", ".join(f"{count} {victim}" for victim, count in sorted(siege.kills.items())),
                ", ".join(f"{count} {damage}" for damage, count in sorted(damages.items())),
                str(siege.search.num_drivers),
                str(siege.search.num_durable()),
                str(len(siege.search.records())),
                f"{siege.slowest:.0f}",
                str(len(siege.problems)),
            )
        Console(width=160).print(table)
        for siege in sieges:
            for problem in siege.problems:
                print(f"BROKEN  {siege.search.folder.name}: {problem}")
    return 1 if any(siege.problems for siege in sieges) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    points = (*POINTS, *DRIVER_POINTS)
    parser.add_argument("--points", nargs="*", default=points, metavar="NAME", help=", ".join(points))
    parser.add_argument("--random", type=int, default=25, help="number of kills at random times (default: 25)")
    parser.add_argument("--workers", type=int, default=10, help="number of workers to kill in one search (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="searches in parallel (default: 1)")
    parser.add_argument("--storm", nargs=2, type=int, metavar=("KILLS", "DAMAGES"), help="random kills and damages")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end the attacks of the storm after this time")
    parser.add_argument("--searches", type=int, default=3, help="searches in the storm (default: 3)")
    options = parser.parse_args()
    if options.storm:
        return run_storm(*options.storm, num_searches=options.searches, seed=options.seed, minutes=options.minutes)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        outcomes = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for outcome in pool.map(lambda run: run(), scenarios(options, root)):
                print(f"{outcome.name}: {outcome.broken or 'exact'}", file=sys.stderr, flush=True)
                outcomes.append(outcome)
    show(outcomes)
    return 1 if any(outcome.broken for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
