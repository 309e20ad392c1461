"""Attention averaged by relative position, over images and queries, for every model that calls torch's attention.

Calls of `torch.nn.functional.scaled_dot_product_attention`, and of softmax over a square of tokens, are observed while
the model classifies images: those of this package's families, of timm and of your own models. Nothing in a model is
changed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
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

    def add(self, weights: Tensor) -> None:
        """Add weights (B, heads, N, N) of some images."""
        total = weights[:, :, self.extra :, self.extra :].float().sum(dim=0)
        self.total = total if self.total is None else self.total + total
        self.count += len(weights)

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
        """Run a function, and observe it if it is attention, or the softmax of attention without torch's function."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self._observe_fused(*args, **kwargs)
            return func(*args, **kwargs)
        output = func(*args, **kwargs)
        if func in _SOFTMAX and _is_over_keys(output, args, kwargs):
            if (layer := self._layer(output.shape)) is not None:
                layer.add(output)
        return output

    def _observe_fused(
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
        if is_causal or query.ndim != 4 or query.shape != key.shape:
            return
        batch, heads, tokens, channels = query.shape
        layer = self._layer((batch, heads, tokens, tokens))
        if layer is None:
            return
        size = max(1, _CHUNK_VALUES // (heads * tokens**2))
        for start in range(0, batch, size):
            part = slice(start, start + size)
            mask = attn_mask[part] if attn_mask is not None and _is_per_image(attn_mask, batch) else attn_mask
            layer.add(attention_weights(query[part], key[part], mask, channels**-0.5 if scale is None else scale))

    def _layer(self, shape: Sequence[int]) -> _Layer | None:
        """Return the layer of this call, whose attention is (B, heads, N, N); None if it is left out."""
        number = self._call
        self._call += 1
        batch, heads, tokens, _ = shape
        if batch == 0 or heads * tokens**2 > _MAX_VALUES:
            return None
        if number not in self._layers:
            # Windows are square, and more than the images.
            sides = self._image if batch == self._images else (1, 1)
            grid, extra = infer_grid(tokens, sides) or (None, 0)
            self._layers[number] = _Layer(self._running[-1] if self._running else "", grid, extra)
        layer = self._layers[number]
        return None if layer.grid is None else layer


def _is_per_image(mask: Tensor, batch: int) -> bool:
    return mask.ndim == 4 and len(mask) == batch


def _is_over_keys(output: object, args: Any, kwargs: Any) -> bool:
    """Return True if the output of softmax is attention (B, heads, N, N), over its last dimension."""
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] != output.shape[3]:
        return False
    return kwargs.get("dim", args[1] if len(args) > 1 else None) in (-1, 3)


@contextmanager
def observe_attention(
    model: nn.Module, layers: dict[int, _Layer], *, images: int, image: Grid
) -> Iterator[Mapping[int, _Layer]]:
    """Add the attention of every call in the block to `layers`, by the number of the call."""
    with record_module_names(model) as running, _Observer(layers, running, images=images, image=image):
        yield layers
