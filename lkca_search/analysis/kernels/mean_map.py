"""Mean of learned kernels, or of attention, over replicates.

The kernel of LKCA and the weights around it can change sign and scale together without a change of the layer's output.
So each kernel is scaled to an energy of 1, and its sign is chosen before the mean is taken. Attention is positive; only
its scale is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lkca_search.analysis.stats.replicates import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanMap:
    """Mean over replicates and groups of maps with an energy of 1."""

    values: Floats
    """Mean, (height, width); its energy is 1 if all maps are equal, and small if they have nothing in common."""
    agreement: float | None
    """Mean absolute cosine between maps of two replicates; None for a single replicate."""
    num_replicates: int
    """Replicates with weights that are not all 0."""


def mean_map(replicates: Sequence[Floats]) -> MeanMap | None:
    """Return the mean map of replicates, each (groups, height, width).

    None if their maps differ in size, or if all weights are 0.
    """
    shapes = {weights.shape[1:] for weights in replicates}
    if len(shapes) != 1:
        return None
    scaled = [_scale(np.asarray(weights, dtype=np.float64)) for weights in replicates]
    present = [maps for maps in scaled if len(maps)]
    if not present:
        return None
    aligned = _align(np.concatenate(present))
    starts = np.cumsum([0, *map(len, present)])
    means = [aligned[start:end].mean(axis=0) for start, end in pairwise(starts)]
    return MeanMap(
        values=np.mean(means, axis=0).reshape(shapes.pop()),
        agreement=_agreement(aligned, starts) if len(present) > 1 else None,
        num_replicates=len(present),
    )


def _scale(weights: Floats) -> Floats:
    """Return the groups with weights, each as a vector of length 1, (groups, height x width)."""
    flat = weights.reshape(len(weights), -1)
    norms = np.linalg.norm(flat, axis=1)
    scaled: Floats = flat[norms > 0] / norms[norms > 0, None]
    return scaled


def _align(vectors: Floats) -> Floats:
    """Return the vectors with signs that agree with the direction that they have most in common.

    The largest entry of their mean is positive.
    """
    direction = np.linalg.svd(vectors, full_matrices=False)[2][0]
    aligned: Floats = vectors * np.where(vectors @ direction < 0, -1.0, 1.0)[:, None]
    mean = aligned.mean(axis=0)
    return aligned * (-1.0 if mean[np.argmax(np.abs(mean))] < 0 else 1.0)


def _agreement(vectors: Floats, starts: Floats) -> float:
    """Return the mean absolute cosine over pairs of vectors of two replicates, which begin at `starts`."""
    owner = np.searchsorted(starts, np.arange(len(vectors)), side="right")
    cosines = np.abs(vectors @ vectors.T)
    return float(cosines[owner[:, None] != owner].mean())
