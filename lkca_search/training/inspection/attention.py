"""Attention averaged by relative position, over images and queries, for every model that calls torch's attention.

Calls of `torch.nn.functional.scaled_dot_product_attention` are observed while the model classifies images: those of
this package's families, of timm and of your own models. Nothing in a model is changed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lkca_search.records.inspection.inspection import LayerMaps
from lkca_search.training.inspection.kernels import layer_maps
from lkca_search.training.inspection.spatial import Grid, infer_grid, record_module_names

_CHUNK_VALUES = 2**23
"""Values of attention in memory at once: 32 MiB."""
_MAX_VALUES = 2**25
"""Largest number of values of the attention of one image in one layer; larger layers are left out."""


def attention_maps(model: nn.Module, batches: Iterable[Tensor], image: Grid) -> list[LayerMaps]:
    """Return the mean attention of each layer by relative position.

    An entry is the mean weight of the tokens at a displacement over all images and all queries that have a token
    there. So weights that depend on the displacement alone are returned unchanged, as those of a kernel. Class tokens
    are left out, as query and as key.

    Args:
        model: Model in eval mode.
        batches: Normalized images (B, C, H, W).
        image: Height and width of the images.
    """
    layers: dict[int, _Layer] = {}
    for images in batches:
        with torch.no_grad(), observe_attention(model, layers, images=len(images), image=image):
            model(images)
    found = [(layer, layer.means()) for layer in layers.values() if layer.grid]
    return [
        layer_maps(means, kind="attention", layer=number, name=layer.name, grid=layer.known_grid, num_layers=len(found))
        for number, (layer, means) in enumerate(found, start=1)
    ]


def relative_means(attention: Tensor, grid: Grid) -> Tensor:
    """Return the mean weight by relative position: (heads, N, N) -> (heads, 2 H - 1, 2 W - 1), N = H W.

    Row i of the attention holds the weights of query i. A displacement is averaged over the queries whose token at
    that displacement is on the grid.
    """
    height, width = grid
    windows = attention.double().cpu().unflatten(2, grid).unflatten(1, grid)  # type: ignore[no-untyped-call]
    sums = windows.new_zeros(len(windows), 2 * height - 1, 2 * width - 1)
    for row in range(height):
        for column in range(width):
            # The query is at displacement 0, in the center.
            top, left = height - 1 - row, width - 1 - column
            sums[:, top : top + height, left : left + width] += windows[:, row, column]
    pairs = torch.outer(_overlaps(height), _overlaps(width))
    means: Tensor = sums / pairs
    return means


def _overlaps(side: int) -> Tensor:
    """Return the number of pairs of tokens of a row at each displacement, (2 side - 1,)."""
    return side - torch.arange(1 - side, side).abs().double()


@dataclass
class _Layer:
    """Sum of the attention of one layer over images."""

    name: str
    grid: Grid | None
    extra: int
    total: Tensor | None = None
    count: int = 0

    @property
    def known_grid(self) -> Grid:
        """Grid of a layer that has one."""
        assert self.grid is not None
        return self.grid

    def add(self, query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> None:
        """Add the attention of queries and keys, (B, heads, N, d) each."""
        size = max(1, _CHUNK_VALUES // (query.shape[1] * query.shape[2] ** 2))
        for start in range(0, len(query), size):
            part = slice(start, start + size)
            weights = attention_weights(query[part], key[part], _part(mask, part, len(query)), scale)
            weights = weights[:, :, self.extra :, self.extra :].sum(dim=0)
            self.total = weights if self.total is None else self.total + weights
        self.count += len(query)

    def means(self) -> Tensor:
        """Return the mean attention by relative position, (heads, 2 H - 1, 2 W - 1)."""
        assert self.total is not None
        return relative_means(self.total / self.count, self.known_grid)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Return the weights of scaled dot-product attention in float32: (B, heads, N, d) twice -> (B, heads, N, N)."""
    scores = query.float() @ key.float().mT * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.float()
    return scores.softmax(dim=-1)


def _part(mask: Tensor | None, part: slice, batch: int) -> Tensor | None:
    return mask[part] if mask is not None and mask.ndim == 4 and len(mask) == batch else mask


class _Observer(TorchFunctionMode):
    """Mode that adds the arguments of each call of attention to its layer."""

    def __init__(self, layers: dict[int, _Layer], running: list[str], *, images: int, image: Grid) -> None:
        """Observe the calls of one forward pass; `running` are the names of the modules that are running."""
        super().__init__()
        self._layers = layers
        self._running = running
        self._images = images
        self._image = image
        self._call = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and observe it first if it is attention."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self._observe(*args, **kwargs)
        return func(*args, **kwargs)

    def _observe(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **options: Any,
    ) -> None:
        number = self._call
        self._call += 1
        if is_causal or query.ndim != 4 or query.shape != key.shape or query.shape[:3].numel() == 0:
            return
        _, heads, tokens, channels = query.shape
        if heads * tokens**2 > _MAX_VALUES:
            return
        if number not in self._layers:
            # Windows are square, and more than the images.
            sides = self._image if len(query) == self._images else (1, 1)
            grid, extra = infer_grid(tokens, sides) or (None, 0)
            self._layers[number] = _Layer(self._running[-1] if self._running else "", grid, extra)
        layer = self._layers[number]
        if layer.grid is not None:
            layer.add(query, key, attn_mask, channels**-0.5 if scale is None else scale)


@contextmanager
def observe_attention(
    model: nn.Module, layers: dict[int, _Layer], *, images: int, image: Grid
) -> Iterator[Mapping[int, _Layer]]:
    """Add the attention of every call in the block to `layers`, by the number of the call."""
    with record_module_names(model) as running, _Observer(layers, running, images=images, image=image):
        yield layers
