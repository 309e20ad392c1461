"""Speed of trainings on a CPU against the floor from their FLOPs, and the effect of each setting that could raise it.

Question:  how many images per second does the loop train, how far is that from the floor, and which settings are faster
           at equal bits?
Command:   python -m benchmarks.cpu_trials [--families lkca vit resnet convmixer] [--sizes 16k 250k 3M] [--seconds 4]
           [--only speed settings threads]
Expected:  a table to read. No setting that keeps the weights is more than 5% faster over all sizes of a family.

Trainings are those of the loop: random images of 32x32 pixels, batches of 128, crop and flip, AdamW, one thread. Each
way has its own process. The ways take turns, and the median of their CPU seconds counts: it does not depend on other
processes as time does. The floor is three forward passes of FLOPs at the speed of a large float32 matrix product.
`batch` is the share of a step that gathers, augments and normalizes its images.

Settings, each against the loop; `same bits` compares the weights after the warm-up:

    kept memory       freed blocks of up to 1 GiB stay in the process; by default glibc returns them to the system
    one arena         MALLOC_ARENA_MAX=1
    huge pages        glibc.malloc.hugetlb=1
    torch huge pages  THP_MEM_ALLOC_ENABLE=1
    jemalloc, tcmalloc  in place of glibc's allocator, if --libraries has the folder of their Debian packages
    AdamW not fused   torch's default on CPUs
    channels first    weights of convolutions as torch makes them
    channels last     images too have their channels last
    evaluation of N   images per evaluation batch, of which the loop has 512; its time per image alone
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from lkca_search.data.batches import Evaluation
from lkca_search.data.store import Images
from lkca_search.records.record import TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import configure_torch
from lkca_search.training.evaluation import evaluate
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from lkca_search.training.weights_hash import weights_hash

WIDTHS = {
    "lkca": {"16k": 14, "250k": 66, "3M": 234},
    "vit": {"16k": 16, "250k": 56, "3M": 208},
    "resnet": {"16k": 16, "250k": 64, "3M": 216},
    "convmixer": {"16k": 32, "250k": 160, "3M": 592},
}
"""Width of each family, by its approximate number of parameters."""
CPU = torch.device("cpu")
BATCH, STEPS, NUM_IMAGES, EVALUATED = 128, 2, 2000, 1024
"""Images per step, steps per measurement, images of the dataset, and images of an evaluation."""
EVALUATIONS = (128, 512, 1024)
LIBRARIES = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "kept memory": {"GLIBC_TUNABLES": f"glibc.malloc.trim_threshold={1 << 30}:glibc.malloc.mmap_threshold={1 << 30}"},
    "one arena": {"MALLOC_ARENA_MAX": "1"},
    "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "torch huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
}


def random_images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(NUM_IMAGES) % 10
    return Images(name="random", pixels=pixels, labels=labels, class_names=tuple("abcdefghij"), content_hash="")


def open_one(family: str, size: str, setting: str) -> tuple[TrialMetadata, Training, Images]:
    """Open a training with a setting, as the loop does otherwise."""
    images = random_images()
    extra = {"optimizer": "torch.optim.AdamW"} if setting == "AdamW not fused" else {}
    spec = TrialSpec(
        data=DataSection(dataset="cifar10", validation=0.005, augment=("crop", "flip")),
        training=TrainingSection(steps=10_000 * STEPS, reports=10_000, batch_size=BATCH),
        resources=TrialResources(cpu=torch.get_num_threads(), gpu=0),
        configuration=Configuration.model_validate({"family": family, "width": WIDTHS[family][size], **extra}),
        seed=0,
        split_seed=0,
    )
    dirs = DataDirs(cache=Path(os.devnull), data_dir=None)
    metadata, training = open_training(spec, dirs, device=CPU, images=images)
    if setting == "channels first":
        training.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if setting == "channels last":
        training.numerics = replace(training.numerics, channels_last=True)
        training.numerics.prepare(training.model)
    return metadata, training, images


def used() -> tuple[float, float, float, float]:
    """Return CPU seconds, seconds in the kernel, wall seconds and page faults of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_stime, time.perf_counter(), usage.ru_minflt


def per_turn(work: Callable[[], object]) -> list[float]:
    """Return the use of one turn of work, as `used`."""
    before = used()
    work()
    return [after - start for after, start in zip(used(), before, strict=True)]


class Server:
    """Process of one way: opens a training per request, and measures one turn of it per request."""

    def open(self, family: str, size: str, setting: str) -> dict[str, Any]:
        metadata, self._training, images = open_one(family, size, setting)
        self._results = self._training.results()
        next(self._results)
        next(self._results)
        self._evaluation = None
        if setting.startswith("evaluation of"):
            batches = self._training.batches
            self._evaluation = Evaluation(
                images=images,
                indices=np.arange(EVALUATED),
                mean=batches.mean,
                std=batches.std,
                batch_size=int(setting.split()[-1]),
                device=CPU,
            )
            evaluated = evaluate(self._training.model, self._evaluation)
            return self._described(metadata, weights=hashlib.sha256(evaluated.logits.numpy().tobytes()).hexdigest())
        return self._described(metadata, weights=weights_hash(self._training.model))

    def _described(self, metadata: TrialMetadata, *, weights: str) -> dict[str, Any]:
        return {"parameters": metadata.num_parameters, "flops": metadata.flops, "weights": weights}

    def turn(self) -> dict[str, Any]:
        """Measure one turn, per image."""
        batches = self._training.batches
        if self._evaluation is not None:
            turn, count = per_turn(lambda: evaluate(self._training.model, self._evaluation)), EVALUATED
            batch = 0.0
        else:
            turn, count = per_turn(lambda: next(self._results)), STEPS * BATCH
            batch = per_turn(lambda: [batches.train_batch(step) for step in range(STEPS)])[0] / count
        cpu, system, wall = (value / count for value in turn[:3])
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "cpu": cpu,
            "system": system,
            "wall": wall,
            "faults": turn[3] / STEPS,
            "batch": batch,
            "peak_bytes": peak,
        }


def serve(setting: str, threads: int) -> None:
    """Answer requests of the parent process, one line of JSON each."""
    configure_torch(num_threads=threads)
    server = Server()
    for line in sys.stdin:
        request = json.loads(line)
        answer = server.turn() if request is None else server.open(*request)
        print(json.dumps(answer), flush=True)


class Way:
    """Process that trains with one setting, seen from the parent."""

    def __init__(self, setting: str, *, threads: int = 1, environment: Mapping[str, str] | None = None) -> None:
        self.setting = setting
        command = [sys.executable, "-m", "benchmarks.cpu_trials", "--serve", setting, "--threads", str(threads)]
        variables = {**os.environ, **(environment or {})}
        self._process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, request: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, request: object) -> dict[str, Any]:
        self.send(request)
        return self.receive()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def ways(settings: Mapping[str, Mapping[str, str]], *, threads: int = 1) -> Iterator[list[Way]]:
    """Start a process per setting, given the variables of its environment."""
    with ExitStack() as stack:
        started = []
        for name, variables in settings.items():
            way = Way(name, threads=threads, environment=variables)
            stack.callback(way.close)
            started.append(way)
        yield started


def medians(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the median of every figure."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def alternate(started: Sequence[Way], family: str, size: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the figures of each way, which take turns."""
    described = {way.setting: way.ask((family, size, way.setting)) for way in started}
    turns: dict[str, list[dict[str, Any]]] = {way.setting: [] for way in started}
    spent = 0.0
    while spent < seconds * len(started) or len(turns[started[0].setting]) < 3:
        for way in started if len(turns[started[0].setting]) % 2 == 0 else reversed(started):
            turn = way.ask(None)
            turns[way.setting].append(turn)
            spent += turn["wall"] * STEPS * BATCH
    return {setting: {**described[setting], **medians(turns[setting])} for setting in turns}


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


TABLES = {"speed": speed_table, "settings": settings_table, "evaluation": evaluation_table, "threads": threads_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(WIDTHS), default=list(WIDTHS))
    parser.add_argument("--sizes", nargs="+", choices=("16k", "250k", "3M"), default=["16k", "250k", "3M"])
    parser.add_argument("--seconds", type=float, default=4.0, help="minimum seconds per measurement (default: 4)")
    parser.add_argument("--libraries", type=Path, help="folder of libjemalloc.so.2 and libtcmalloc_minimal.so.4")
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return
    console = Console(width=140)
    for name in options.only:
        console.print(TABLES[name](options))


if __name__ == "__main__":
    main()
