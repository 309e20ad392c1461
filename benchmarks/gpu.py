"""Speed and accuracy of trainings on one GPU: precisions, compilation, LKCA backends, and trials per GPU.

Question:  how much faster is each precision, at which accuracy; from which length does a compilation pay; is the
           backend that `auto` takes the fastest; how many trials per GPU give the most images per second?
Command:   python -m benchmarks.gpu [--output table.txt]          (8 minutes at most, on one GPU)
           python -m benchmarks.gpu --device cpu --quick           (a minute; the same code, tiny)
Expected:  bfloat16 agrees with float32 (see benchmarks/precision.py) and is faster; `auto` within 1.15 of the fastest
           backend; more images per second with more trials per GPU, up to some number; otherwise exit code 1.

Not measured yet: no GPU was at hand. Its short form runs on the CPU in tests/training/recipe/test_gpu_benchmark.py.
Each part ends at its share of the time; what was left out is listed.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.precision import MODELS, Setting, compare, comparison_table
from lkca_search.models.networks.backends import Backend, mix_tokens
from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration, Precision
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.backends.choice import LayerSettings, choose_backends
from lkca_search.training.device import configure_torch, device_name
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training

LARGE_MODELS: dict[str, dict[str, Any]] = {
    "lkca": {"patch_size": 4, "depth": 9, "width": 136},
    "vit": {"patch_size": 4, "depth": 9, "width": 136, "num_heads": 8},
    "resnet": {"depth": 3, "width": 64},
}
"""Models for 32x32 images."""
CASES = ((8, 3), (8, 15), (16, 7), (16, 31), (32, 15))
"""Sides of the token grid and of the kernel."""


@dataclass(kw_only=True)
class Bench:
    """Options of all parts, and the time that is left."""

    device: torch.device
    is_quick: bool
    minutes: float
    data_dirs: DataDirs
    dataset: str
    models: dict[str, dict[str, Any]]
    started: float = field(default_factory=time.perf_counter)
    skipped: list[str] = field(default_factory=list)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        return ("float32", "bfloat16") if self.device.type == "cpu" else ("float32", "tf32", "bfloat16", "float16")

    @property
    def device_name(self) -> str:
        return device_name(self.device)

    def has_time(self, share: float, part: str) -> bool:
        """Return True before a share of the time is over; note the part that is left out after it."""
        if time.perf_counter() - self.started < 60 * self.minutes * share:
            return True
        self.skipped.append(part)
        return False

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def open(self, family: str, *, steps: int, precision: str = "auto", compiles: bool = False) -> Training:
        """Open a training with one report at its end."""
        configure_torch(num_threads=1)
        values = {"family": family, "precision": precision, "compile": "off", **self.models[family]}
        spec = TrialSpec(
            data=DataSection(dataset=self.dataset, validation=0.05),
            training=TrainingSection(steps=steps, batch_size=16 if self.is_quick else 128, reports=1),
            resources=TrialResources(cpu=1, gpu=float(self.device.type != "cpu")),
            configuration=Configuration.model_validate(values),
            seed=0,
            split_seed=0,
        )
        _, training = open_training(spec, self.data_dirs, device=self.device)
        if compiles:
            # The compiler of the CPU takes minutes at its first use: the short form only traces the model.
            compiler = "aot_eager" if self.is_quick else "inductor"
            training.numerics = replace(training.numerics, compiled=True, compiler=compiler)
            training.numerics.prepare(training.model)
        return training

    def seconds(self, action: Callable[[], object], *, repeats: int) -> float:
        """Return the mean seconds of an action."""
        self.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            action()
        self.synchronize()
        return (time.perf_counter() - started) / repeats


def step_of(training: Training) -> Callable[[], None]:
    """Return a function that computes the loss and gradients of the first batch."""
    images, labels = training.batches.train_batch(0)
    training.model.train()

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(training.numerics.forward(training.model, images), labels)
        training.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]

    return step


def accuracy_by_precision(bench: Bench) -> tuple[Table, bool]:
    setting = Setting(
        device=bench.device,
        dataset=bench.dataset,
        fraction=0.1 if bench.is_quick else 0.2,
        epochs=1 if bench.is_quick else 5,
        batch_size=64 if bench.is_quick else 128,
        models=bench.models,
        data_dirs=bench.data_dirs,
    )
    rows = compare(setting, bench.precisions, seeds=2)
    return comparison_table(rows), bench.is_quick or all(row.agrees for row in rows)


def speed_by_compilation(bench: Bench) -> tuple[Table, bool]:
    """Time the first step and the following ones, with and without compilation, per family and precision."""
    table = Table("family", "precision", "ms per step", "compiled", "seconds of compilation", "pays from steps")
    repeats = 2 if bench.is_quick else 50
    for family in bench.models:
        for precision in bench.precisions[-1:] if bench.is_quick else ("float32", "bfloat16"):
            if not bench.has_time(0.6, f"compilation of {family} in {precision}"):
                continue
            times = []
            for compiles in (False, True):
                step = step_of(bench.open(family, steps=4, precision=precision, compiles=compiles))
                first = bench.seconds(step, repeats=1)
                step()
                times.append((first, bench.seconds(step, repeats=repeats)))
            (_, plain), (first, compiled) = times
            saved = plain - compiled
            pays = f"{(first - compiled) / saved:,.0f}" if saved > 0 else "never"
            table.add_row(family, precision, f"{1e3 * plain:.2f}", f"{1e3 * compiled:.2f}", f"{first:.1f}", pays)
    return table, True


def backend_times(bench: Bench) -> tuple[Table, bool]:
    """Time forward and backward of each backend of LKCA, and of the one that `auto` takes."""
    table = Table("grid", "kernel", "batch", "type", *(f"{name} (ms)" for name in get_args(Backend)), "auto", "ratio")
    slow, batches = False, (4,) if bench.is_quick else (16, 128)
    channels, repeats = (8, 1) if bench.is_quick else (136, 20)
    for side, size in CASES[:2] if bench.is_quick else CASES:
        for batch in batches:
            for dtype in (torch.float32, torch.bfloat16):
                if not bench.has_time(0.75, f"backends of grid {side}, kernel {size}, batch {batch}"):
                    continue
                value = torch.randn(batch, side**2, channels, device=bench.device, dtype=dtype, requires_grad=True)
                kernel = torch.randn(1, size, size, device=bench.device, requires_grad=True)
                times = {
                    name: 1e3 * bench.seconds(mix_of(value, kernel, side, name), repeats=repeats)
                    for name in get_args(Backend)
                    for _ in range(2)  # the first round warms up
                }
                kind = str(dtype).removeprefix("torch.")
                layer = LKCA(channels, (side, side), size).to(bench.device)
                settings = LayerSettings(batch, bench.device, bench.device_name, precision=kind, dtype=dtype)
                chosen = choose_backends(layer, settings)[0].backend
                ratio = times[chosen] / min(times.values())
                slow = slow or ratio > 1.15
                found = [f"{milliseconds:.3f}" for milliseconds in times.values()]
                table.add_row(f"{side}x{side}", f"{size}x{size}", str(batch), kind, *found, chosen, f"{ratio:.2f}")
    return table, bench.is_quick or not slow


def mix_of(value: Tensor, kernel: Tensor, side: int, backend: Backend) -> Callable[[], object]:
    return lambda: torch.autograd.grad(
        mix_tokens(value, kernel, (side, side), backend).sum(dtype=torch.float32), (value, kernel)
    )


def packed_trials(bench: Bench) -> tuple[Table, bool]:
    """Time 1, 2, 4 and 8 processes that train at once on the device."""
    table = Table("trials at once", "images/s in all", "images/s per trial")
    rates = []
    for count in (1, 2) if bench.is_quick else (1, 2, 4, 8):
        if bench.has_time(0.95, f"{count} trials at once"):
            rates.append(images_per_second(bench, count))
            table.add_row(str(count), f"{rates[-1]:,.0f}", f"{rates[-1] / count:,.0f}")
    return table, bench.is_quick or max(rates, default=0) > rates[0]


def images_per_second(bench: Bench, count: int) -> float:
    """Return the images per second of `count` processes, which begin to train at the same moment."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    barrier, queue = context.Barrier(count), context.Queue()
    seconds = 1.0 if bench.is_quick else 10.0
    processes = [
        context.Process(target=train_for, args=(replace(bench), seconds, barrier, queue)) for _ in range(count)
    ]
    for process in processes:
        process.start()
    rates = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return float(sum(rates))


def train_for(bench: Bench, seconds: float, barrier: Any, queue: Any) -> None:
    """Put the images per second of `seconds` of training steps into a queue."""
    training = bench.open("lkca", steps=4)
    step, batch_size = step_of(training), training.batches.batch_size
    step()
    bench.synchronize()
    barrier.wait(timeout=300)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step()
        bench.synchronize()
        count += batch_size
    queue.put(count / (time.perf_counter() - started))


def parts() -> Iterator[tuple[str, Callable[[Bench], tuple[Table, bool]]]]:
    yield "Accuracy and speed by precision", accuracy_by_precision
    yield "Compilation", speed_by_compilation
    yield "Backends of LKCA, forward and backward", backend_times
    yield "Trials packed on one device", packed_trials


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models on digits, to test the script")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--output", type=Path, help="file for the tables, besides the terminal")
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("--device must be cpu on a machine without a GPU")
    data_dir = os.environ.get("LKCA_DATA_DIR")
    dataset = "digits" if options.quick or not data_dir else "cifar10"
    device = torch.device(options.device)
    console, is_good = Console(width=140, record=True), True
    console.print(f"{device_name(device)}, torch {torch.__version__}, {dataset}")
    with tempfile.TemporaryDirectory() as cache:
        bench = Bench(
            device=device,
            is_quick=options.quick,
            minutes=options.minutes,
            data_dirs=DataDirs(cache=Path(cache), data_dir=Path(data_dir) if data_dir else None),
            dataset=dataset,
            models=LARGE_MODELS if dataset == "cifar10" else MODELS,
        )
        for title, part in parts():
            if bench.has_time(0.9, title):
                table, passed = part(bench)
                table.title = f"{title}{'' if passed else ': NOT AS EXPECTED'}"
                is_good = is_good and passed
                console.print(table)
    console.print(f"{time.perf_counter() - bench.started:.0f} s; left out: {', '.join(bench.skipped) or 'nothing'}")
    if options.output:
        options.output.write_text(console.export_text())
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
