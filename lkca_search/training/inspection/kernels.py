"""Learned kernels of the LKCA layers of a model, and the values that are kept of any weights by relative position."""

from collections.abc import Iterator

from torch import Tensor, nn

from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.inspection.inspection import Kind, LayerMaps, group_limit


def kernel_maps(model: nn.Module) -> Iterator[LayerMaps]:
    """Yield the kernels of each LKCA layer; layers of your own models count too."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LKCA)]
    for number, (name, module) in enumerate(layers, start=1):
        kernel = module.kernel.detach()
        yield layer_maps(kernel, kind="kernel", layer=number, name=name, grid=module.grid, num_layers=len(layers))


def layer_maps(
    weights: Tensor, *, kind: Kind, layer: int, name: str, grid: tuple[int, int], num_layers: int
) -> LayerMaps:
    """Return the maps of one layer from its weights by relative position, (groups, height, width).

    `num_layers` is the number of such layers of the model, which share the limit on stored values.
    """
    values = weights.detach().double().cpu()
    _, height, width = values.shape
    kept = values[: group_limit(num_layers, (height, width))]
    return LayerMaps(
        kind=kind,
        layer=layer,
        name=name,
        grid=(int(grid[0]), int(grid[1])),
        num_groups=len(values),
        weights=kept.float().numpy(),
        energy=values.square().sum(dim=0).float().numpy(),
        mass=values.abs().sum(dim=0).float().numpy(),
    )
