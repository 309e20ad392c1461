"""Initial weights of attention that make small data enough: mimetic (arXiv 2305.09828), impulse (arXiv 2505.19985)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lkca_search.models.networks.grid import Grid
from lkca_search.models.networks.mixers import Attention

AttentionInit = Literal["default", "mimetic", "impulse"]
"""Initial weights of attention: those of all other layers, or one of the two schemes of this module."""

QUERY_KEY = (0.7, 0.7)
"""Weights of noise and identity in the product of query and key weights: alpha_1 and beta_1 of the mimetic paper."""
VALUE_OUT = (0.4, 0.4)
"""Weights of noise and minus identity in the product of value and output weights: alpha_2 and beta_2."""
IMPULSE_NORM = 7.0
"""Frobenius norm of a head's query weights, and of its key weights, as in the code of the impulse paper."""
_CUTOFF = 0.3
"""Singular values of the positions below this share of the largest are left out of their pseudo-inverse.

The published pseudo-inverse has no such limit. Without one, attention is almost uniform where tokens are as many as
channels: the smallest singular values take all of the norm.
"""
_OFFSETS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
"""Taps of a 3x3 filter, as the displacement of the token that is attended to."""


@torch.no_grad()
def initialize_mimetic(layers: Sequence[Attention]) -> None:
    """Set each head's query and key to the best factors of 0.7 Z + 0.7 I, and value and out to those of 0.4 Z - 0.4 I.

    Z is normal with variance 1 / C, new for every product. A head of C / heads channels keeps the largest singular
    values. Nothing is drawn on the meta device.
    """
    for layer in _with_values(layers):
        channels = layer.out.in_features
        query, key, _ = layer.qkv.weight.chunk(3)
        for head in range(layer.num_heads):
            left, right = _factors(_near_identity(channels, *QUERY_KEY), channels // layer.num_heads)
            _head(query, layer, head).copy_(left.T)
            _head(key, layer, head).copy_(right.T)
        _initialize_value(layer)


@torch.no_grad()
def initialize_impulse(layers: Sequence[Attention], positions: Tensor, grid: Grid) -> None:
    """Set query and key so that each head starts as a 3x3 convolution with one random tap: it shifts the grid.

    The tokens are taken to be their normalized positions X, (N, C) with N = height * width. Query and key are the best
    factors of X^+ S X^+T, where S is the shift as an (N, N) matrix and X^+ the pseudo-inverse. The taps of a layer are
    a random order of the nine; further heads take another order. Value and out are mimetic, as in the authors' code.
    Nothing is drawn on the meta device.
    """
    layers = _with_values(layers)
    if not layers:
        return
    factors = {offset: _shift_factors(positions, grid, offset, layers[0]) for offset in _OFFSETS}
    for layer in layers:
        query, key, _ = layer.qkv.weight.chunk(3)
        rounds = -(-layer.num_heads // len(_OFFSETS))
        order = torch.cat([torch.randperm(len(_OFFSETS)) for _ in range(rounds)]).tolist()
        for head, index in enumerate(order[: layer.num_heads]):
            left, right = factors[_OFFSETS[index]]
            _head(query, layer, head).copy_(left.T)
            _head(key, layer, head).copy_(right.T)
        _initialize_value(layer)


def shift_matrix(grid: Grid, offset: tuple[int, int]) -> Tensor:
    """Return S with S[i, j] = 1 if token j lies at `offset` from token i, (N, N); a row is zero outside the grid."""
    height, width = grid
    rows, columns = (
        torch.diag(torch.ones(side - abs(steps)), steps) for side, steps in zip((height, width), offset, strict=True)
    )
    return torch.kron(rows, columns)


def _shift_factors(positions: Tensor, grid: Grid, offset: tuple[int, int], layer: Attention) -> tuple[Tensor, Tensor]:
    tokens = F.layer_norm(positions, positions.shape[-1:])
    inverse = torch.linalg.pinv(tokens, rtol=_CUTOFF)
    shift = inverse @ shift_matrix(grid, offset) @ inverse.T
    factors = _factors(shift, layer.out.in_features // layer.num_heads)
    left, right = (IMPULSE_NORM * F.normalize(factor.flatten(), dim=0).view_as(factor) for factor in factors)
    return left, right


def _with_values(layers: Sequence[Attention]) -> list[Attention]:
    return [layer for layer in layers if not layer.qkv.weight.is_meta]


def _head(weight: Tensor, layer: Attention, head: int) -> Tensor:
    """Return the rows of one head: (C, C) -> (C / heads, C)."""
    return weight.view(layer.num_heads, -1, weight.shape[1])[head]


def _near_identity(channels: int, noise: float, identity: float) -> Tensor:
    return torch.randn(channels, channels).mul(noise / channels**0.5).add(torch.eye(channels), alpha=identity)


def _factors(product: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return L and R, (C, rank) each, such that L R^T is the best approximation of a product (C, C)."""
    left, values, right = torch.linalg.svd(product)
    scale = values[:rank].sqrt()
    return left[:, :rank] * scale, right[:rank].T * scale


def _initialize_value(layer: Attention) -> None:
    channels, (noise, identity) = layer.out.in_features, VALUE_OUT
    left, right = _factors(_near_identity(channels, noise, -identity), channels)
    layer.qkv.weight.chunk(3)[2].copy_(right.T)
    layer.out.weight.copy_(left)
