"""How long the LKCA operator takes in each view, beside the published formulation and beside attention.

Question:  which view is fastest for which grid and kernel, and does `auto` choose it?
Command:   python benchmarks/lkca_views.py [--threads 2] [--batch 128] [--dim 192] [--seconds 0.3]
Expected:  `auto` within a tenth of the faster view everywhere; 5 to 20 times as fast as published.

`published` folds the channels into the batch and convolves one channel; `sdpa` is multi-head attention on the same
tokens, projections included in both. Forward and backward, float32, milliseconds, median of interleaved rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lkca_search.models.lkca import LKCA
from lkca_search.models.mixers import Attention

CASES = [(4, 3), (4, 7), (8, 3), (8, 5), (8, 7), (8, 15), (16, 3), (16, 7), (16, 9), (16, 11), (16, 31)]


class Published(nn.Module):
    """The operator as its authors publish it: every channel an image of its own."""

    def __init__(self, layer: LKCA) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        # (B, N, C) -> (B C, 1, H, W)
        images = self.layer.value(x).transpose(1, 2).reshape(batch * channels, 1, *self.layer.grid)
        mixed = F.conv2d(images, self.layer.kernel[None, None], padding=self.layer.kernel.shape[0] // 2)
        # (B C, 1, H, W) -> (B, N, C)
        return self.layer.out(mixed.reshape(batch, channels, tokens).transpose(1, 2))


def milliseconds(steps: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Median time of each step, the steps taking turns so that a busy moment touches all of them."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    begun = time.perf_counter()
    while len(times["published"]) < 4 or time.perf_counter() - begun < seconds * len(steps):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def train_step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        module.zero_grad()
        module(x).square().mean().backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=0.3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table(
        "grid", "k", "published", "conv", "attention", "sdpa", "auto is", "auto / best view", "published / auto"
    )
    for side, kernel_size in CASES:
        x = torch.randn(options.batch, side * side, options.dim, requires_grad=True)
        layer = LKCA(options.dim, (side, side), kernel_size)
        chosen = layer.view
        nn.init.normal_(layer.kernel)
        views = {}
        for view in ("conv", "attention"):
            views[view] = LKCA(options.dim, (side, side), kernel_size, view=view)  # type: ignore[arg-type]
            views[view].load_state_dict(layer.state_dict())
        modules = {"published": Published(layer), **views, "sdpa": Attention(options.dim, 8)}
        taken = milliseconds({name: train_step(module, x) for name, module in modules.items()}, options.seconds)
        best = min(taken["conv"], taken["attention"])
        figures = [f"{taken[name]:.1f}" for name in modules]
        ratios = [f"{taken[chosen] / best:.2f}", f"{taken['published'] / taken[chosen]:.1f}"]
        table.add_row(f"{side}x{side}", str(kernel_size), *figures, chosen, *ratios)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
