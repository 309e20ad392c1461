"""Cost of a model, counted without training it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from lkca_search.models.networks.backends import Backend
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.networks.meta_device import meta_device
from lkca_search.spec.configuration import ImageShape, UsedPrecision


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters, operations and activation memory of a model, the same on every machine."""

    num_parameters: int
    """Learnable parameters."""
    flops: int
    """Floating-point operations of one image's forward pass; a multiply-add counts as two.

    A training step takes three times as many per image. Convolutions and matrix products count, elementwise operations
    do not. LKCA counts as the cheaper of its `conv` and `attention` backends, for every backend that computes it.
    """
    activation_bytes: int
    """Bytes that a training step keeps for the backward pass on the CPU, without parameters and buffers.

    In bfloat16 and float16, the short copies of the weights are among them.
    """


def measure_cost(
    build: Callable[[], nn.Module], shape: ImageShape, *, batch_size: int, precision: UsedPrecision = "float32"
) -> Cost:
    """Count the cost of the model that `build` returns, for training steps of `batch_size` images in a precision.

    It takes about 0.1 s: tensors have no memory, and no random numbers are drawn.
    """
    with meta_device():
        model = build()
    # Attention keeps its whole matrix on `meta`, but not on the CPU.
    with FakeTensorMode():
        _move_to_cpu(model)
        images = torch.empty(batch_size, shape.channels, shape.height, shape.width)
        return Cost(
            num_parameters=count_parameters(model),
            activation_bytes=_count_activation_bytes(model, images, precision),
            flops=count_flops(model, images[:1]),
        )


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(model: nn.Module, image: Tensor) -> int:
    """Return `Cost.flops`: (1, channels, height, width) -> operations. The model is left in evaluation mode."""
    model.eval()
    layers = [module for module in model.modules() if isinstance(module, LKCA)]
    if not layers:
        return _forward_flops(model, image)
    backends: tuple[Backend, ...] = ("conv", "attention")  # torch does not count FFTs
    originals = [layer.backend for layer in layers]
    counts = []
    for backend in backends:
        for layer in layers:
            layer.backend = backend
        counts.append(_forward_flops(model, image))
    for layer, original in zip(layers, originals, strict=True):
        layer.backend = original
    # All layers of a model share one grid and kernel size, so one backend is the cheaper for all of them.
    return min(counts)


def count_activation_bytes(model: nn.Module, images: Tensor) -> int:
    """Return `Cost.activation_bytes`: (B, channels, height, width) -> bytes. The model is left in training mode."""
    model.train()
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    # The output holds the graph: the address of a freed storage could be reused and counted once.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(images)
    for tensor in (*model.parameters(), *model.buffers()):
        kept.pop(tensor.untyped_storage()._cdata, None)
    del output
    return sum(storage.nbytes() for storage in kept.values())


def _count_activation_bytes(model: nn.Module, images: Tensor, precision: UsedPrecision) -> int:
    if precision not in ("bfloat16", "float16"):
        return count_activation_bytes(model, images)
    with torch.autocast("cpu", torch.bfloat16):  # as long as float16
        return count_activation_bytes(model, images)


def _move_to_cpu(model: nn.Module) -> None:
    """Replace the tensors on `meta` by fake tensors on the CPU."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(_empty_like(parameter), requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, _empty_like(buffer))


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _forward_flops(model: nn.Module, image: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # it imports Triton, which few processes need

    counter = FlopCounterMode(display=False)
    # torch does not count the fused attention kernel of the CPU; SDPBackend.MATH uses plain matrix products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(image)
    return int(counter.get_total_flops())
