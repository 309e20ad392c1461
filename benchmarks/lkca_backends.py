"""Time of LKCA with the backend that `auto` chooses, compared with all other ways to compute it.

Question:  is `auto` ever much slower than the best known formulation, and how much faster is it than the published one?
           Is the backend that a training measures the best of the three, where the estimated one is not?
Command:   python -m benchmarks.lkca_backends [--threads 2] [--channels 192] [--batches 16 128] [--dtype float32]
           [--device cuda] [--only-choices]
Expected:  the measured backend within 1.15 of the best of three everywhere, on every device and machine. On 2 CPU
           threads `auto` within 1.15 of the best everywhere; at batch 128 at least 25 times as fast as published for
           15x15 on 8x8 and 31x31 on 16x16, 20 times for 3x3 on 8x8; a training step of LKCA-T at least 6 times as fast
           as published, and faster than the same backbone with scaled_dot_product_attention.

The first table compares choices between the three backends: the one by estimate, which all trainings took before they
measured, the one that a training measures, and the fastest in this benchmark.

The other tables, for CPUs, time the map alone, forward and backward, from tokens (B, N, C) to contiguous tokens:
published (channels folded into the batch), depthwise (the kernel expanded over channels, channels_last), attention (one
matrix, batched product), fft (one transform of all), unfold (patches times the kernel). Times are in milliseconds, the
best of rounds in which all ways alternate. A tilde marks a time that is extrapolated from two images: of published if a
step takes more than four seconds, of the others if it takes more than 0.4, far from the best.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lkca_search.models.networks.backend_times import LayerShape, choose_backend, measure_backends
from lkca_search.models.networks.backends import (
    Backend,
    attention_matrix,
    estimate_backend,
    estimate_times,
    fastest_backend,
    mix_tokens,
)
from lkca_search.models.networks.grid import Grid
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.registry import build_model
from lkca_search.spec.configuration import Configuration, ImageShape

Map = Callable[[Tensor, Tensor, Grid], Tensor]
"""(B, N, C), (1, k, k) -> (B, N, C)."""
SIDES, SIZES = (7, 8, 14, 16, 32), (3, 7, 15)
MOST_PUBLISHED, MOST_OTHERS = 4000, 400
"""Limit in milliseconds above which a time is extrapolated."""


def auto(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    return mix_tokens(value, kernel, grid, fastest_backend(kernel, grid, value))


def published(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    batch, tokens, channels = value.shape
    # (B, N, C) -> (B C, 1, H, W)
    images = value.transpose(1, 2).reshape(batch * channels, 1, *grid)
    mixed = F.conv2d(images, kernel[None], padding=kernel.shape[-1] // 2)
    # (B C, 1, H, W) -> (B, N, C)
    return mixed.reshape(batch, channels, tokens).transpose(1, 2)


def depthwise(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    batch, _, channels = value.shape
    images = value.view(batch, *grid, channels).permute(0, 3, 1, 2)
    kernels = kernel.expand(channels, -1, -1)[:, None]
    return F.conv2d(images, kernels, padding=kernel.shape[-1] // 2, groups=channels).permute(0, 2, 3, 1).flatten(1, 2)


def attention(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    return attention_matrix(kernel, grid).expand(len(value), -1, -1) @ value


def fft(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    size = kernel.shape[-1]
    period = [side + size // 2 for side in grid]
    taps = F.pad(kernel, (0, period[1] - size, 0, period[0] - size)).roll((-(size // 2),) * 2, (1, 2))
    planes = value.transpose(1, 2).unflatten(2, grid)
    mixed = torch.fft.irfft2(torch.fft.rfft2(planes, s=period) * torch.fft.rfft2(taps).conj(), s=period)
    return mixed[..., : grid[0], : grid[1]].flatten(2).transpose(1, 2)


def unfold(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    batch, tokens, channels = value.shape
    size = kernel.shape[-1]
    # (B, N, C) -> (B C, k k, N)
    images = value.transpose(1, 2).reshape(batch * channels, 1, *grid)
    patches = F.unfold(images, size, padding=size // 2)
    return (kernel.view(1, -1) @ patches).view(batch, channels, tokens).transpose(1, 2)


MAPS: dict[str, Map] = {
    "auto": auto,
    "published": published,
    "depthwise": depthwise,
    "attention": attention,
    "fft": fft,
    "unfold": unfold,
}


def best_times(steps: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the time of the fastest run of each step, in milliseconds.

    Steps alternate, so that a busy moment affects all of them. Each turn is two runs, and the second counts: the first
    refills the caches after another step. The order is random in each round, so that no step always follows the one
    that takes the most memory.
    """
    order, generator = list(steps), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in steps}
    begun, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - begun < seconds * len(steps):
        generator.shuffle(order)
        for name in order:
            steps[name]()
            start = time.perf_counter()
            steps[name]()
            times[name].append(1000 * (time.perf_counter() - start))
        rounds += 1
    return {name: min(values) for name, values in times.items()}


def step_of(mix: Map, value: Tensor, kernel: Tensor, grid: Grid, gradient: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(mix(value, kernel, grid).contiguous(), (value, kernel), gradient)


def map_times(batch: int, side: int, size: int, options: argparse.Namespace) -> tuple[dict[str, float], set[str]]:
    """Return the time of every way to compute the map in milliseconds, and the extrapolated ones."""
    dtype, grid = getattr(torch, options.dtype), (side, side)
    kernel = torch.randn(1, size, size, dtype=dtype, requires_grad=True)
    value = torch.randn(batch, side * side, options.channels, dtype=dtype, requires_grad=True)
    two, gradient = value.detach()[:2].requires_grad_(), torch.randn_like(value)
    steps, guessed = {}, {}
    for name, mix in MAPS.items():
        guess = best_times({name: step_of(mix, two, kernel, grid, gradient[:2])}, 0)[name] * batch / 2
        if name != "auto" and guess > (MOST_PUBLISHED if name == "published" else MOST_OTHERS):
            guessed[name] = guess
        else:
            steps[name] = step_of(mix, value, kernel, grid, gradient)
    return {**best_times(steps, options.seconds), **guessed}, set(guessed)


def wait_for(device: torch.device, step: Callable[[], object]) -> Callable[[], object]:
    """Return the step, followed by a wait for a GPU."""

    def waiting() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return waiting


def backend_times(shape: LayerShape, batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the best time of each backend in milliseconds, without those that are hopeless by the estimate."""
    dtype, device = getattr(torch, options.dtype), torch.device(options.device)
    side, size = shape.grid[0], shape.kernel_size
    kernel = torch.randn(shape.num_kernels, size, size, device=device, dtype=dtype, requires_grad=True)
    value = torch.randn(batch, side * side, shape.channels, device=device, dtype=dtype, requires_grad=True)
    gradient = torch.randn_like(value)
    estimates = estimate_times(shape.grid, size, shape.num_kernels, dtype)
    limit = 20 * min(estimates.values()) if device.type == "cpu" else float("inf")

    def mix(name: Backend) -> Map:
        return lambda value, kernel, grid: mix_tokens(value, kernel, grid, name)

    steps = {
        name: wait_for(device, step_of(mix(name), value, kernel, shape.grid, gradient))
        for name in estimates
        if estimates[name] <= limit
    }
    return best_times(steps, options.seconds)


def choice_table(options: argparse.Namespace) -> Table:
    names = ("conv", "attention", "fft")
    table = Table(
        "batch", "grid", "k", "kernels", *names, "estimated", "measured", "estimated / best", "measured / best"
    )
    dtype, device = getattr(torch, options.dtype), torch.device(options.device)
    worst = [0.0, 0.0]
    for batch in options.batches:
        for side in options.sides:
            for size in sorted({size for size in (*SIZES, 2 * side - 1) if size < 2 * side}):
                for num_kernels in options.kernels:
                    shape = LayerShape((side, side), size, num_kernels, options.channels)
                    times = backend_times(shape, batch, options)
                    milliseconds = measure_backends(shape, batch_size=batch, device=device, dtype=dtype)
                    taken = (
                        estimate_backend(shape.grid, size, num_kernels, dtype),
                        choose_backend(shape, dtype, milliseconds),
                    )
                    ratios = [times[name] / min(times.values()) for name in taken]
                    worst = [max(pair) for pair in zip(worst, ratios, strict=True)]
                    figures = [f"{times[name]:.3g}" if name in times else "-" for name in names]
                    cells = [str(batch), f"{side}x{side}", str(size), str(num_kernels), *figures, *taken]
                    table.add_row(*cells, *(f"{ratio:.2f}" for ratio in ratios))
    table.caption = f"worst: estimated {worst[0]:.2f}, measured {worst[1]:.2f} times the best"
    return table


def map_table(options: argparse.Namespace) -> Table:
    table = Table("batch", "grid", "k", *MAPS, "auto is", "auto / best", "published / auto")
    for batch in options.batches:
        for side in options.sides:
            for size in sorted({size for size in (*SIZES, 2 * side - 1) if size < 2 * side}):
                times, guessed = map_times(batch, side, size, options)
                best = min(taken for name, taken in times.items() if name != "auto")
                value = torch.empty(1, side * side, options.channels, dtype=getattr(torch, options.dtype))
                backend = fastest_backend(torch.empty(1, size, size), (side, side), value)
                figures = [("~" if name in guessed else "") + f"{times[name]:.3g}" for name in MAPS]
                ratios = [f"{times['auto'] / best:.2f}", f"{times['published'] / times['auto']:.1f}"]
                table.add_row(str(batch), f"{side}x{side}", str(size), *figures, backend, *ratios)
    return table


class PublishedLKCA(LKCA):
    """LKCA layer with the map as published by its authors."""

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.out(published(self.value(x), self.kernel, self.grid))
        return mixed


def training_step(model: nn.Module) -> Callable[[], object]:
    images, labels = torch.randn(128, 3, 32, 32), torch.randint(10, (128,))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def model_table(seconds: float) -> Table:
    """Time a training step of LKCA-T (forward, backward, AdamW), and of its backbone with other mixers."""
    shape = ImageShape(32, 32, 3)
    ours = build_model(Configuration(family="LKCA-T"), shape, 10)
    theirs = build_model(Configuration(family="LKCA-T"), shape, 10)
    for module in theirs.modules():
        if isinstance(module, LKCA):
            module.__class__ = PublishedLKCA
    same_width = Configuration(family="vit", width=136, depth=9, num_heads=8)
    models = {
        "LKCA-T, auto": ours,
        "LKCA-T, published": theirs,
        "the same backbone, scaled_dot_product_attention": build_model(same_width, shape, 10),
    }
    times = best_times({name: training_step(model) for name, model in models.items()}, seconds)
    table = Table("training step at batch 128, 32 px", "milliseconds", "times auto")
    for name, taken in times.items():
        table.add_row(name, f"{taken:.0f}", f"{taken / times['LKCA-T, auto']:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=(16, 128))
    parser.add_argument("--channels", type=int, default=192)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="sides of the grids")
    parser.add_argument("--kernels", type=int, nargs="+", default=(1,), help="numbers of kernels")
    parser.add_argument("--device", default="cpu", help="device of the choices (default: cpu)")
    parser.add_argument("--only-choices", action="store_true", help="print only the choices")
    parser.add_argument("--seconds", type=float, default=0.3, help="minimum seconds per measurement (default: 0.3)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console(width=140)
    console.print(choice_table(options))
    if not options.only_choices:
        console.print(model_table(options.seconds))
        console.print(map_table(options))


if __name__ == "__main__":
    main()
