"""What a model costs, counted without training it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lkca_search.models.networks.backends import Backend
from lkca_search.models.networks.lkca import LKCA
from lkca_search.spec.configuration import ImageShape


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model takes on any machine."""

    num_parameters: int
    """Learnable parameters."""
    flops: int
    """Floating-point operations of one image's forward pass, two a multiply-add; a training step takes three times as
    many an image. Counted are convolutions and products of matrices, token mixing included, and nothing elementwise;
    LKCA counts as the cheaper of its convolution and its attention, whichever of its views a machine is given."""
    activation_bytes: int
    """Bytes that the forward pass of a training step keeps for the backward pass, on the CPU in float32; parameters
    and buffers are not among them."""


def measure_cost(build: Callable[[], nn.Module], shape: ImageShape, *, batch_size: int) -> Cost:
    """Count what the model that `build` returns costs at a training step of `batch_size` images.

    Tensors are made without memory and random numbers are not drawn, so that this takes a tenth of a second.
    """
    with torch.device("meta"):
        model = build()
    # On `meta` itself attention would keep its whole matrix, which it does not on the CPU.
    with FakeTensorMode():
        _move_to_cpu(model)
        images = torch.empty(batch_size, shape.channels, shape.height, shape.width)
        return Cost(
            num_parameters=count_parameters(model),
            activation_bytes=count_activation_bytes(model, images),
            flops=count_flops(model, images[:1]),
        )


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(model: nn.Module, image: Tensor) -> int:
    """Return `Cost.flops`: (1, channels, height, width) -> operations. The model is left in evaluation mode."""
    model.eval()
    layers = [module for module in model.modules() if isinstance(module, LKCA)]
    if not layers:
        return _forward_flops(model, image)
    views: tuple[Backend, ...] = ("conv", "attention")  # of transforms torch counts nothing
    chosen = [layer.view for layer in layers]
    counts = []
    for view in views:
        for layer in layers:
            layer.view = view
        counts.append(_forward_flops(model, image))
    for layer, own in zip(layers, chosen, strict=True):
        layer.view = own
    # All layers of a model have one grid and one size of kernel, so one view is the cheaper for all of them.
    return min(counts)


def count_activation_bytes(model: nn.Module, images: Tensor) -> int:
    """Return `Cost.activation_bytes`: (B, channels, height, width) -> bytes. The model is left in training mode."""
    model.train()
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    # The output holds the graph; a storage that was let go could lend its address to the next.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(images)
    for own in (*model.parameters(), *model.buffers()):
        kept.pop(own.untyped_storage()._cdata, None)
    del output
    return sum(storage.nbytes() for storage in kept.values())


def _move_to_cpu(model: nn.Module) -> None:
    """Move a model off `meta`, to the CPU as the mode at hand has it."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(_empty_like(parameter), requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, _empty_like(buffer))


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _forward_flops(model: nn.Module, image: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    # Of attention's kernels, torch counts those of GPUs and its plain products, but not the fused one of the CPU.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(image)
    return int(counter.get_total_flops())
