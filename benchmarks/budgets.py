"""Pruners and samplers on recorded learning curves, and the transfer of trials between data sizes.

Question:  which pruner and which sampler find a configuration within 0.5 points of the full search's best in the fewest
           steps, and does a search of one data size help that of the next?
Command:   python -m benchmarks.budgets HOME [--only SET ...] [--seeds 10] [--part record|pruners|samplers|transfer]
           `record` trains the sets that HOME lacks (about 5 minutes on one core), with LKCA_DATA_DIR for CIFAR
Expected:  the tables below
Method:    every set is a search with 24 random trials per cell and no pruner. `replay` (the command `simulate`) repeats
           it with the real ledger, studies and pruners, once per seed in another order of the trials. Steps are those
           until the end of the search, and until the first complete trial within 0.5 points of the best recorded one

Measured on 2 cores that ran other work, with 5 orders. quickstart (4 cells of 7 trials) and scarcity_small (12 of 6)
are searches with the shipped space files; digits (4 of 16) and cifar10 (2 of 19) are the sets here, before all their
trials were recorded. Regret in points, then steps as a share of the full search's:

    set              curves       median       hyperband    successive_halving
    quickstart       0.14, 65%    0.17, 77%    0.37, 61%    0.96, 31%
    scarcity_small   0.58, 70%    0.24, 90%    1.22, 70%    2.20, 43%
    digits           0.77, 49%    1.57, 47%    4.14, 46%    9.48, 22%
    cifar10          2.25, 48%    0.25, 50%    2.00, 42%    1.50, 29%
    mean             0.94, 58%    0.56, 66%    1.93, 55%    3.54, 31%

The aim, 0.5 points in 45% of the steps, is out of reach for all of them, so no pruner stays the default. Limit: in few
steps, early reports say little about the end, and few finished curves say little about the rest. The arguments of
`curves` were chosen on the first three sets and 17 trials of cifar10.

Samplers without a pruner, with 3 seeds and the nearest recorded curves, in points of regret on digits and on cifar10:
random 9.04 and 1.04, tpe 5.55 and 1.25, qmc 1.93 and 1.67. The ranges overlap, so no shipped sampler changes.

Transfer of the three best configurations: 25% fewer trials to 0.5 points in quickstart, 21% in scarcity_small and 89%
in digits, and more trials in 4 of 13 cells. Cells stay independent; `search.start` gives configurations by hand.
"""

import argparse
import math
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lkca_search.data.store import open_images
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.record import Record, State, read_records
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Message
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.search.simulation.recorded_training import distance
from lkca_search.search.simulation.replay import replay
from lkca_search.search.simulation.replay_results import CLOSE
from lkca_search.spec.components import ComponentConfig
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker

PARTS = ("record", "pruners", "samplers", "transfer")
PRUNERS = ("none", "curves", "median", "hyperband", "successive_halving")
SAMPLERS = ("random", "qmc", "tpe")
SETTINGS: dict[str, Any] = {}
"""Arguments of pruners, by the name in a table."""
NUM_TRANSFERRED = 3
"""Configurations of a neighboring size that are tried first."""
HEADER = ("set", "sampler", "pruner", "regret in points", "steps", f"steps to within {100 * CLOSE:g} points")
SEARCHED: dict[str, Any] = {
    "kernel_size": {"choice": (3, 5, 7), "when": {"family": ("lkca", "convmixer")}},
    "depth": {"int": (2, 4)},
    "learning_rate": {"float": (1e-4, 1e-2), "log": True},
    "weight_decay": {"float": (1e-3, 1e-1), "log": True},
}
"""Parameters of every set, in the ranges of search_spaces/scarcity_cifar10.yaml."""
CIFAR = {"image_size": 16, "augment": ("crop", "flip")}
SETS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[float, ...], int]] = {
    "digits": ({"dataset": "digits", "augment": ("crop",)}, ("lkca", "vit"), (0.2, 1.0), 2),
    "cifar10": ({"dataset": "cifar10", **CIFAR}, ("lkca", "vit"), (0.02,), 4),
    "convolutional": ({"dataset": "cifar10", **CIFAR}, ("resnet", "convmixer"), (0.02,), 2),
    "cifar100": ({"dataset": "cifar100", **CIFAR}, ("lkca", "vit"), (0.02,), 4),
}
"""Data, families, data fractions and patch size of each set."""


def make_spec(name: str) -> SearchSpec:
    """Return the spec of a set."""
    data, families, fractions, patch_size = SETS[name]
    parameters = {
        **SEARCHED,
        "width": {"value": 24},
        "patch_size": {"value": patch_size, "when": {"family": ("lkca", "vit", "convmixer")}},
    }
    used = {
        key: {**domain, **({"when": {"family": here}} if here else {})}
        for key, domain in parameters.items()
        if (here := tuple(each for each in domain.get("when", {"family": families})["family"] if each in families))
    }
    return SearchSpec.model_validate(
        {
            "data": {**data, "validation": 0.2, "scale_validation": True},
            "factors": {"family": families, "data_fraction": fractions},
            "parameters": used,
            "training": {"steps": 160, "batch_size": 32, "reports": 16},
            "search": {"sampler": "random", "trials_per_cell": 24, "checkpoint_seconds": 1e9},
        }
    )


def record(home: Path, name: str) -> None:
    """Train what a set lacks, with the real ledger and the real worker, in this process."""
    folder, spec = Home(root=home).search(name), make_spec(name)
    data_dir = os.environ.get("LKCA_DATA_DIR")
    cache = home / "datasets"
    folder.root.mkdir(parents=True, exist_ok=True)
    write_atomically(folder.specs[0], spec.model_dump_json(by_alias=True).encode())
    images = open_images(
        spec.data.place_of(None),
        "train",
        cache=cache,
        data_dir=Path(data_dir) if data_dir else None,
        image_size=spec.data.image_size,
    )
    ledger = Ledger(folder, spec, images.shape, len(images.class_names), Tracker(), driver=folder.latest_driver() + 1)
    actor: TrialActor | None = None
    while (assignment := ledger.assign()) is not None:
        config = {"assignment": assignment.model_dump_json(), "data_dirs": {"cache": str(cache), "data_dir": data_dir}}
        if actor is None:
            actor = TrialActor(config=config)
        else:
            actor.reset_config(config)
        done = False
        while not done:
            message = Message.model_validate_json(actor.step()["message"])
            ledger.on_message(assignment.trial_id, message)
            done = message.done
        finished = ledger.finish(assignment.trial_id)
        print(f"{name} {finished.trial_id} {finished.value}", flush=True)


def compare(folder: SearchFolder, pruner: str, sampler: str | None, seeds: int) -> tuple[str, ...]:
    """Return a row: regret, steps and steps to the target as shares of the full search's, over seeds."""
    config = ComponentConfig.model_validate(SETTINGS.get(pruner, pruner))
    spread = replay(folder, pruner=config, sampler=sampler, num_seeds=seeds).spreads[-1]
    assert spread.mean_regret is not None
    saved, close, regret = spread.share_saved, spread.share_to_close, spread.mean_regret
    return (
        folder.name,
        *([sampler] if sampler else []),
        pruner,
        f"{100 * regret.mean:.2f} ({100 * regret.low:.2f} to {100 * regret.high:.2f})",
        f"{1 - saved.mean:.0%} ({1 - saved.high:.0%} to {1 - saved.low:.0%})",
        f"{close.mean:.0%} ({close.low:.0%} to {close.high:.0%})",
    )


def transfer(folder: SearchFolder, seeds: int) -> Iterator[tuple[str, ...]]:
    """Yield a row per cell with a neighbor: trials until one is close, without and with the neighbor's best ones first.

    The neighbor is the next smaller data size of the same family. Its `NUM_TRANSFERRED` best configurations stand for
    the nearest ones that this cell has recorded; all later trials are in random order in both cases.
    """
    spec = read_spec(folder)
    by_cell: dict[tuple[str, float], list[Record]] = {}
    for each in read_records(folder):
        configuration = each.spec.configuration
        by_cell.setdefault((configuration.family, configuration.data_fraction), []).append(each)
    for (family, fraction), records in sorted(by_cell.items()):
        smaller = [size for other, size in by_cell if other == family and size < fraction]
        if not smaller:
            continue
        best = sorted(by_cell[family, max(smaller)], key=_value, reverse=True)[:NUM_TRANSFERRED]
        first = list(
            dict.fromkeys(min(records, key=lambda here: _distance(spec, here, there)).number for there in best)
        )
        alone, helped = [], []
        for seed in range(seeds):
            order = random.Random(seed).sample(records, len(records))
            alone.append(_trials_to_close(order))
            start = [each for number in first for each in records if each.number == number]
            helped.append(_trials_to_close([*start, *(each for each in order if each not in start)]))
        fewer = 1 - fmean(helped) / fmean(alone)
        yield folder.name, f"{family}, {fraction:g}", f"{fmean(alone):.1f}", f"{fmean(helped):.1f}", f"{fewer:.0%}"


def _value(each: Record) -> float:
    return each.value if each.state is State.COMPLETE and each.value is not None else -math.inf


def _trials_to_close(order: Sequence[Record]) -> int:
    best = max(map(_value, order))
    return next(count for count, each in enumerate(order, start=1) if _value(each) >= best - CLOSE - 1e-9)


def _distance(spec: SearchSpec, one: Record, other: Record) -> float:
    return sum(
        distance(domain, getattr(one.spec.configuration, name), getattr(other.spec.configuration, name))
        for name, domain in spec.parameters.items()
    )


def main() -> None:
    """Record the sets, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="folder of the searches")
    parser.add_argument("--only", nargs="+", default=list(SETS), help="names of searches in the home")
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--pruners", nargs="+", default=list(PRUNERS))
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    folders = [Home(root=options.home).search(name) for name in options.only]
    for name in options.only if "record" in options.part else ():
        record(options.home, name)
    if "pruners" in options.part:
        show(
            "Pruners, with the recorded trials",
            (*HEADER[:1], *HEADER[2:]),
            (compare(folder, pruner, None, options.seeds) for pruner in options.pruners for folder in folders),
        )
    if "samplers" in options.part:
        show(
            "Samplers with pruners",
            HEADER,
            (
                compare(folder, pruner, sampler, options.seeds)
                for sampler in options.samplers
                for pruner in options.pruners
                for folder in folders
            ),
        )
    if "transfer" in options.part:
        header = ("set", "cell", "trials alone", "with transfer", "fewer")
        show("Transfer between data sizes", header, (row for folder in folders for row in transfer(folder, 200)))


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
