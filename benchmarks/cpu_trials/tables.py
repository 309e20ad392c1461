"""Tables: speed against the floor from FLOPs, settings, images per evaluation batch, and threads."""

import argparse
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.cpu_trials.server import EVALUATED, per_turn
from benchmarks.cpu_trials.ways import alternate, ways

EVALUATIONS = (128, 512, 1024)
LIBRARIES = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "kept memory": {"GLIBC_TUNABLES": f"glibc.malloc.trim_threshold={1 << 30}:glibc.malloc.mmap_threshold={1 << 30}"},
    "one arena": {"MALLOC_ARENA_MAX": "1"},
    "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "torch huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
}


def peak_flops(seconds: float) -> float:
    """Return the operations per second of one thread in a large float32 matrix product."""
    torch.set_num_threads(1)
    size = 1536
    one, other = torch.randn(size, size), torch.randn(size, size)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        times.append(per_turn(lambda: one @ other)[0])
    return 2 * size**3 / min(times)


def speed_table(options: argparse.Namespace) -> Table:
    peak = peak_flops(options.seconds)
    title = f"one thread; a float32 matrix product reaches {peak / 1e9:.0f} GFLOP/s"
    names = ("", "parameters", "MFLOPs", "images/s", "floor, images/s", "of the floor", "batch", "kernel", "peak MB")
    table = Table(*names, title=title)
    with ways({"loop": {}}) as started:
        for family in options.families:
            for size in options.sizes:
                figures = alternate(started, family, size, options.seconds)["loop"]
                floor = peak / (3 * figures["flops"])
                table.add_row(
                    family,
                    f"{figures['parameters']:,}",
                    f"{figures['flops'] / 1e6:.1f}",
                    f"{1 / figures['cpu']:,.0f}",
                    f"{floor:,.0f}",
                    f"{1 / figures['cpu'] / floor:.0%}",
                    f"{figures['batch'] / figures['cpu']:.1%}",
                    f"{figures['system'] / figures['cpu']:.1%}",
                    f"{figures['peak_bytes'] / 1e6:,.0f}",
                )
                print(f"{family} {size}: {1 / figures['cpu']:,.0f} images/s", file=sys.stderr, flush=True)
    return table


def settings_of(family: str, libraries: Path | None) -> dict[str, Mapping[str, str]]:
    """Return the settings that apply to a family, the loop first."""
    preloads = {} if libraries is None else {name: libraries / file for name, file in LIBRARIES.items()}
    layouts = ("channels first", "channels last") if family in ("resnet", "convmixer") else ()
    return {
        "loop": {},
        **ENVIRONMENTS,
        **{name: {"LD_PRELOAD": str(path)} for name, path in preloads.items()},
        **{name: {} for name in ("AdamW not fused", *layouts)},
    }


def settings_table(options: argparse.Namespace) -> Table:
    names = ("", "setting", *(f"{size}: speed" for size in options.sizes), "kernel", "peak MB", "same bits")
    table = Table(*names, title="speed as a multiple of the loop's, in CPU time")
    for family in options.families:
        rows: dict[str, list[dict[str, Any]]] = {}
        with ways(settings_of(family, options.libraries)) as started:
            for size in options.sizes:
                for setting, figures in alternate(started, family, size, options.seconds).items():
                    rows.setdefault(setting, []).append(figures)
                print(f"{family} {size}: settings", file=sys.stderr, flush=True)
        for setting, row in rows.items():
            pairs = list(zip(rows["loop"], row, strict=True))
            table.add_row(
                family,
                setting,
                *(f"{loop['cpu'] / own['cpu']:.2f}" for loop, own in pairs),
                "-".join(f"{own['system'] / own['cpu']:.0%}" for own in row),
                "-".join(f"{own['peak_bytes'] / 1e6:.0f}" for own in row),
                "yes" if all(loop["weights"] == own["weights"] for loop, own in pairs) else "NO",
            )
    return table


def evaluation_table(options: argparse.Namespace) -> Table:
    table = Table("", *(f"{size}: {count}" for size in options.sizes for count in EVALUATIONS), "same bits")
    table.title = f"evaluation of {EVALUATED} images: images/s by the images per batch"
    with ways({f"evaluation of {count}": {} for count in EVALUATIONS}) as started:
        for family in options.families:
            rows = [alternate(started, family, size, options.seconds / 4) for size in options.sizes]
            figures = [f"{1 / row[way.setting]['cpu']:,.0f}" for row in rows for way in started]
            same = all(len({own["weights"] for own in row.values()}) == 1 for row in rows)
            table.add_row(family, *figures, "yes" if same else "NO")
    return table


def threads_table(options: argparse.Namespace) -> Table:
    """Time one training on one and two threads alone, and two trainings at a time on one and two threads each."""
    names = ("", "size", "1 thread alone", "2 threads alone", "2 trials, 1 thread each", "2 trials, 2 threads each")
    table = Table(*names, title="images/s of all trainings, by time: other work on the machine slows them")
    cases = [(threads, count) for count in (1, 2) for threads in (1, 2)]
    for family in options.families:
        for size in options.sizes:
            speeds: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
            with ExitStack() as stack:
                pairs = {
                    threads: stack.enter_context(ways({"loop": {}, "the other": {}}, threads=threads))
                    for threads in (1, 2)
                }
                for pair in pairs.values():
                    for way in pair:
                        way.ask((family, size, "loop"))
                for _ in range(3):
                    for threads, count in cases:
                        for way in pairs[threads][:count]:
                            way.send(None)
                        walls = [way.receive()["wall"] for way in pairs[threads][:count]]
                        speeds[threads, count].append(sum(1 / wall for wall in walls))
            table.add_row(family, size, *(f"{statistics.median(speeds[case]):,.0f}" for case in cases))
            print(f"{family} {size}: threads", file=sys.stderr, flush=True)
    return table
